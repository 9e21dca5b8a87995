"""The keys of a service: tokens, rights, times, and the file that they lie in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import random
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.keys import Key, Keys, Refused
from synth.errors import UserError

NOW = datetime(2027, 1, 31, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
UNKNOWN = "the key is not known here"
URL_SAFE = string.ascii_letters + string.digits + "-_"

KEYS, TOKEN = Keys(keys=()).add(name="Ana", generators=["adult"], now=NOW, random=random.Random(0).randbytes)
ID, SECRET = TOKEN[4:16], TOKEN[17:]


def refusal(keys: Keys, token: str, now: datetime = NOW) -> str:
    with pytest.raises(Refused) as caught:
        keys.check(token, now)
    return str(caught.value)


def test_a_token_opens_what_it_was_made_for() -> None:
    key = KEYS.check(TOKEN, NOW)
    assert (key.id, key.name, key.admin, key.created) == (ID, "Ana", False, NOW)
    secret = base64.urlsafe_b64decode(SECRET + "=")
    assert len(secret) == 32 and key.hash == hashlib.sha256(secret).hexdigest()
    assert TOKEN[:4] + TOKEN[16] == "art__" and len(ID) == 12 and ID.isalnum()


def test_a_key_is_made_of_the_draws_that_it_is_given() -> None:
    def counting(size: int) -> bytes:
        return bytes(range(size))

    keys, token = Keys(keys=()).add(name="a", generators=["*"], now=NOW, random=counting)
    assert token == "art_aaaqeayeauda_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert keys.check(token, NOW) == keys.keys[0]


@given(st.text() | st.text(alphabet=URL_SAFE).map(lambda t: f"art_{t}") | st.text(alphabet=URL_SAFE, min_size=43, max_size=43)
       .map(lambda secret: f"art_{ID}_{secret}"))  # fmt: skip
def test_whatever_is_sent_is_refused_in_the_same_words(text: str) -> None:
    assert refusal(KEYS, text) == UNKNOWN


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(URL_SAFE + " \n=ß"))
def test_a_token_with_another_character_is_refused(at: int, character: str) -> None:
    """Every one of them: a secret has one spelling."""
    if TOKEN[at] != character:
        assert refusal(KEYS, TOKEN[:at] + character + TOKEN[at + 1 :]) == UNKNOWN


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
def test_every_secret_has_a_token_that_opens(id: bytes, secret: bytes) -> None:
    keys, token = KEYS.add(name="a", generators=["*"], now=NOW, random=lambda size: secret if size == 32 else id)
    assert keys.check(token, NOW).name == "a" and keys.check(TOKEN, NOW).name == "Ana"
    assert refusal(KEYS, token) == UNKNOWN


@pytest.mark.parametrize(
    "wrong", ["", TOKEN + "A", TOKEN[:-1], TOKEN + "\n", TOKEN + "=", "art_" * 10**6, TOKEN * 1000]
)
def test_a_token_of_another_length_is_refused(wrong: str) -> None:
    assert refusal(KEYS, wrong) == UNKNOWN


def test_an_id_that_is_not_known_takes_the_same_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return True  # and not even a hash that matched would open a key that there is not

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert refusal(KEYS, f"art_{'a' * 12}_{SECRET}") == UNKNOWN
    assert KEYS.check(TOKEN, NOW).id == ID
    assert refusal(KEYS, "art_short") == UNKNOWN
    assert [len(b) for _, b in compared] == [64, 64]
    assert compared[0][0] == compared[1][0] == KEYS.keys[0].hash != compared[0][1]


def test_a_key_expires_to_the_second() -> None:
    keys, token = Keys(keys=()).add(name="a", generators=["*"], now=NOW, expires=NOW + timedelta(days=90))
    end = datetime(2027, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert keys.check(token, end - timedelta(microseconds=1))
    assert refusal(keys, token, end) == (
        "the key expired on 2027-05-01 12:00:00 UTC; ask who runs this service for a new one"
    )
    assert refusal(keys, token[:-1] + "A", end) == UNKNOWN or token.endswith("A"), "who lacks the secret learns nothing"


def test_a_key_is_revoked_to_the_second_and_once() -> None:
    when = NOW + timedelta(hours=1)
    keys = KEYS.revoke(ID, now=when + timedelta(microseconds=7))
    assert keys.check(TOKEN, when - timedelta(microseconds=1))
    assert refusal(keys, TOKEN, when).startswith("the key was revoked on 2027-01-31 13:00:00 UTC; ask")
    assert keys.revoke(ID, now=when + SECOND) == keys, "the first date stays"
    assert keys.revoke(ID, now=when - SECOND).find(ID).revoked == when - SECOND
    assert KEYS.check(TOKEN, when), "what there was is not changed"


def test_no_refusal_has_anything_of_the_token() -> None:
    over, later = KEYS.revoke(ID, now=NOW), NOW + SECOND
    for text in (refusal(over, TOKEN, later), refusal(over, TOKEN[:-4] + "AAAA", later)):
        assert ID not in text and SECRET not in text and SECRET[:8] not in text
    assert SECRET not in repr(KEYS) and KEYS.keys[0].hash not in repr(KEYS) + str(KEYS) + repr(KEYS.keys[0])


def test_a_rotated_key_is_followed_by_one_of_the_same_rights() -> None:
    keys, old = Keys(keys=()).add(
        name="a", generators=["adult", "births@3"], now=NOW, expires=NOW + timedelta(days=90), admin=True,
        rows_per_day=5, requests_per_minute=7,
    )  # fmt: skip
    later = NOW + timedelta(days=80)
    keys, new = keys.rotate(keys.keys[0].id, timedelta(hours=24), now=later)
    first, second = keys.keys
    assert first.expires == later + timedelta(hours=24) and second.expires == later + timedelta(days=90)
    assert second.created == later and second.id != first.id and second.hash != first.hash
    changed = {"id", "hash", "created", "expires"}
    assert first.model_dump(exclude=changed) == second.model_dump(exclude=changed)
    assert keys.check(old, later + timedelta(hours=24) - SECOND) and keys.check(new, later)
    assert "expired" in refusal(keys, old, later + timedelta(hours=24))


def test_an_overlap_does_not_lengthen_a_life() -> None:
    ends = NOW + timedelta(hours=1)
    keys, _ = Keys(keys=()).add(name="a", generators=["*"], now=NOW, expires=ends)
    assert keys.rotate(keys.keys[0].id, timedelta(days=1), now=NOW)[0].keys[0].expires == ends
    forever, _ = KEYS.rotate(ID, timedelta(0), now=NOW)
    assert forever.keys[1].expires is None and "expired" in refusal(forever, TOKEN)


def test_what_is_over_is_not_rotated() -> None:
    with pytest.raises(UserError, match=f"{ID}: was revoked on .* add a new key"):
        KEYS.revoke(ID, now=NOW).rotate(ID, timedelta(0), now=NOW)


@pytest.mark.parametrize("change", [lambda id: KEYS.revoke(id, now=NOW), lambda id: KEYS.rotate(id, SECOND, now=NOW)])
def test_an_unknown_id_is_named_and_a_token_in_its_place_is_not(change: Callable[[str], object]) -> None:
    with pytest.raises(UserError, match="aaaaaaaaaaaa: no key has this id"):
        change("aaaaaaaaaaaa")
    with pytest.raises(UserError, match=r"^no key has this id") as caught:
        change(TOKEN)
    assert SECRET not in str(caught.value)


REACH = {
    "adult": {"adult", "adult@1", "adult@3", "adult:production"},
    "adult@3": {"adult@3"},
    "adult:production": {"adult:production"},
    "*": {"adult", "adult@1", "adult@3", "adult:production", "adults", "adult.v2", "births@3"},
}


@pytest.mark.parametrize("listed", REACH)
def test_what_a_key_reaches(listed: str) -> None:
    key = Keys(keys=()).add(name="a", generators=[listed], now=NOW)[0].keys[0]
    assert {name for name in REACH["*"] if key.may(name)} == REACH[listed]
    both = Keys(keys=()).add(name="a", generators=["births", listed], now=NOW)[0].keys[0]
    assert both.may("births@3") and {name for name in REACH[listed] if not both.may(name)} == set()


@pytest.mark.parametrize("odd", ["", "@3", ":production", "adult@3:production", "adult*", "ADULT", "art*", "a?"])
def test_an_odd_name_is_reached_by_no_key_that_lists_others(odd: str) -> None:
    key = Keys(keys=()).add(name="a", generators=["births", "adult@3", "adult:production"], now=NOW)[0].keys[0]
    assert not key.may(odd)


WRONG = {
    "generators": ([], ["Adult"], ["adult", "a*"], ["adult@0"], ["adult@latest"], ["adult:"], ["a b"], [""]),
    "name": ("", "  ", "two\nlines", "\x1b[31m", "x" * 101),
    "rows_per_day": (0, -1, 10**16),
    "requests_per_minute": (0,),
    "expires": (NOW - SECOND, datetime(2028, 1, 1)),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_a_value_that_is_not_allowed_is_named(field: str, value: object) -> None:
    given: dict[str, object] = {"name": "a", "generators": ["*"], field: value}
    with pytest.raises(UserError, match=f"^{field}.*:"):
        Keys(keys=()).add(now=NOW, **given)  # type: ignore[arg-type]


# The file.

FULL, _ = KEYS.add(
    name="Bjørn: #1 of 'them'", generators=["*", "births:production"], now=NOW, expires=NOW + timedelta(days=1), admin=True,
    rows_per_day=10**6, requests_per_minute=60,
)  # fmt: skip
FULL = FULL.revoke(FULL.keys[1].id, now=NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


ids = st.text(alphabet=URL_SAFE, min_size=12, max_size=12)
times = st.datetimes(datetime(2000, 1, 1), datetime(2900, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)
limits = st.none() | st.integers(1, 10**15)
one = st.builds(
    Key, id=ids, name=st.text("aß'\"#:[]{}*&!|>%@`-0 ", min_size=1, max_size=9).filter(str.strip),
    hash=st.text(alphabet="0123456789abcdef", min_size=64, max_size=64), admin=st.booleans(), created=times,
    generators=st.lists(st.sampled_from(sorted(REACH)), min_size=1), expires=st.none(), revoked=st.none() | times,
    rows_per_day=limits, requests_per_minute=limits,
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(one, max_size=3, unique_by=lambda key: key.id))
def test_keys_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, listed: list[Key]) -> None:
    """Whatever an id or a hash looks like to YAML: 012345678901, 1_2, 0x…, 1e10."""
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    keys = Keys(keys=tuple(listed))
    keys.save(path)
    assert Keys.load(path) == keys


def test_a_file_has_no_secret_and_is_read_by_people(path: Path) -> None:
    FULL.save(path)
    text = path.read_text()
    assert SECRET not in text and "null" not in text
    assert "  generators: [adult]\n" in text and "  created: '2027-01-31T12:00:00Z'\n" in text
    assert Keys.load(path) == FULL


def test_a_file_by_hand_may_say_its_times_in_any_zone(path: Path) -> None:
    entry = f"id: 012345678901\n  name: a\n  hash: {'0' * 64}\n  generators: [adult]"
    write(path, f"# ours\nkeys:\n- {entry}\n  created: 2027-01-31 14:00:00+02:00\n  admin: yes\n  rows_per_day: 5\n")
    key = Keys.load(path).keys[0]
    assert (key.id, key.created, key.admin, key.rows_per_day) == ("012345678901", NOW, True, 5)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606, 0o620])
def test_a_file_that_others_can_read_or_write_is_refused(path: Path, mode: int) -> None:
    KEYS.save(path)
    path.chmod(mode)
    with pytest.raises(UserError, match=f"{path}: can be read or written by others .*chmod 600 {path}"):
        Keys.load(path)


ENTRY = [
    "- id: aaaaaaaaaaaa",
    "  name: a",
    f"  hash: {'0' * 64}",
    "  generators: [adult]",
    "  created: 2027-01-31T12:00Z",
]
FAULTS = {
    "": "keys.yaml: is no keys file",
    "- a": "is no keys file",
    "keys: 3": "line 1: keys='3': must be a list",
    "keys: []\nkeyz: []": "line 2: unknown field keyz; did you mean keys?",
    "keys:\n- 3": "line 2: keys.0='3': must be a key, with its fields",
    "keys:\n" + "\n".join([*ENTRY, "  generatrs: x"]): "line 7: unknown field keys.0.generatrs; did you mean generators?",
    "keys:\n" + "\n".join([*ENTRY, "  zzz: x"]): "line 7: unknown field keys.0.zzz; known: id, name, hash",
    "keys:\n" + "\n".join([*ENTRY, "  expires:"]): "line 7: keys.0.expires='': write a time with its zone",
    "keys:\n" + "\n".join([*ENTRY, "  expires: 2027-13-01T00:00Z"]): "line 7: keys.0.expires='2027-13-01T00:00Z': write",
    "keys:\n" + "\n".join([*ENTRY, "  expires: 2026-12-31"]): "line 7: keys.0.expires='2026-12-31': write",
    "keys:\n" + "\n".join([*ENTRY, "  expires: 2026-12-31T00:00Z"]): "line 2: keys.0: expires: is before created",
    "keys:\n" + "\n".join([*ENTRY, "  rows_per_day: 1e6"]): "line 7: keys.0.rows_per_day='1e6'",
    "keys:\n" + "\n".join([*ENTRY, "  admin: perhaps"]): "line 7: keys.0.admin='perhaps'",
    "keys:\n" + "\n".join([*ENTRY, "  admin: true", "  admin: false"]): "line 8: a field is given twice",
    "keys:\n" + "\n".join(ENTRY[:-1]): "line 2: keys.0.created: is missing",
    "keys:\n" + "\n".join(ENTRY).replace("a" * 12, "a" * 11): "line 2: keys.0.id='aaaaaaaaaaa'",
    "keys:\n" + "\n".join(ENTRY).replace("[adult]", "[adult, 'a?']"): "line 5: keys.0.generators: entry 2: write adult",
    "keys:\n" + "\n".join(ENTRY * 2): "two of them have the id aaaaaaaaaaaa",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_in_a_file_is_named_with_its_line(path: Path, text: str) -> None:
    write(path, text)
    with pytest.raises(UserError) as caught:
        Keys.load(path)
    assert str(path) in str(caught.value) and FAULTS[text] in str(caught.value)


@pytest.mark.parametrize("field", ["id", "hash", "name", "created", "admin", "generators", "rows_per_day"])
def test_a_token_that_was_pasted_into_the_file_is_not_repeated(path: Path, field: str) -> None:
    entry = [line for line in ENTRY if f"{field}:" not in line]
    text = "\n".join(entry) + f"\n  {field}: '{TOKEN * 2}'"
    write(path, "keys:\n" + text.replace("  ", "- ", 1) if field == "id" else "keys:\n" + text)
    with pytest.raises(UserError) as caught:
        Keys.load(path)
    assert field in str(caught.value)
    told: BaseException | None = caught.value
    while told is not None:  # a traceback shows its causes
        assert SECRET not in str(told)
        told = told.__cause__
