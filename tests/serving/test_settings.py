"""A service's settings are understood, or refused in words that say where, what and what instead."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.settings import Settings, apart, checked_shares, loopback, named
from synth.errors import UserError

GENERATORS = {"adult": {"versions": {1: "releases/adult"}}}
LEAST = {"generators": GENERATORS}


def check(**more: Any) -> Settings:
    return Settings.check(LEAST | more, where="serve.yaml")


def aliased(aliases: dict[str, Any]) -> dict[str, Any]:
    return {"generators": {"adult": {"versions": {1: "a", 2: "b"}, "aliases": aliases}}}


def test_the_least_that_is_to_be_said_is_what_is_served() -> None:
    settings = check()
    assert (settings.host, settings.port, settings.policy, settings.replicas) == ("127.0.0.1", 8000, "warn", (1, 1))
    assert settings.generators["adult"].all_aliases == {"production": {1: 1.0}}


def test_what_is_dumped_for_another_process_is_understood_there() -> None:
    settings = check(**aliased({"beta": {1: 9, 2: 1}}), replicas=[1, 4], limits={"answer_s": 2.5}, policy="stop")
    assert Settings.check(settings.model_dump(mode="json"), where="x") == settings


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "generators: is missing; add it"),
        ({"generators": {}}, "generators: has nothing in it; give one at least"),
        ({"generators": ["adult"]}, "generators: has keys of its own; write each below it, indented"),
        ({"generators": {"adult": "place"}}, "generators.adult='place': has keys of its own"),
        ({"generators": {"Adult": {"versions": {1: "a"}}}}, "generators.Adult='Adult': write lower-case letters"),
        ({"generators": {"adult": {"versions": {}}}}, "generators.adult.versions: has nothing in it"),
        ({"generators": {"adult": {"versions": {0: "a"}}}}, "generators.adult: version 0: count versions from 1"),
        ({"generators": {"adult": {"versions": {"new": "a"}}}}, "generators.adult.versions.new='new': Input should be"),
        ({"generators": {"adult": {"versions": {1: 3}}}}, "generators.adult.versions.1=3: Input should be a valid string"),
        ({"generators": {"adult": {"version": {1: "a"}}}}, "'generators.adult.version'; did you mean versions?"),
        (aliased({"beta": {3: 1}}), "generators.adult: alias 'beta': there is no version 3; there are 1, 2"),
        (aliased({"beta": {1: -1, 2: 2}}), "alias 'beta': shares {1: -1.0, 2: 2.0} must be 0 or more"),
        (aliased({"beta": {1: 0}}), "alias 'beta': shares {1: 0.0} must be 0 or more, and one of them above 0"),
        (aliased({"beta": {1: math.nan}}), "aliases.beta.1=nan: Input should be a finite number"),
        (aliased({"beta": {}}), "alias 'beta': shares {} must be"),
        (aliased({"Beta": {1: 1}}), "generators.adult.aliases.Beta='Beta': write lower-case letters"),
        (LEAST | {"port": 70_000}, "port=70000: Input should be less than or equal to 65535"),
        (LEAST | {"host": "0.0.0.0"}, "host 0.0.0.0: can be reached from other machines, and there are no keys; make some"),
        (LEAST | {"replicas": [4, 1]}, "replicas: 4 to 1: give the least and the most, such as [1, 4]"),
        (LEAST | {"replicas": [0, 1]}, "replicas: 0 to 1: give the least and the most"),
        (LEAST | {"replicas": 4}, "replicas=4: give the least and the most"),
        (LEAST | {"replicas": [1, 2, 3]}, "replicas: give the least and the most"),
        (LEAST | {"policy": "halt"}, "policy='halt': Input should be 'warn', 'stop' or 'fallback'"),
        (LEAST | {"certificate": "a.pem"}, "certificate a.pem: TLS takes a certificate and a certificate_key; give both"),
        (LEAST | {"certificate_key": "a.pem"}, "certificate_key a.pem: TLS takes"),
        (LEAST | {"limits": {"rows": 0}}, "limits.rows=0: Input should be greater than or equal to 1"),
        (LEAST | {"limits": {"row": 1}}, "unknown key 'limits.row'; did you mean rows?"),
        (LEAST | {"limits": {"answer_s": math.inf}}, "limits.answer_s=inf: Input should be a finite number"),
        (LEAST | {"limits": 3}, "limits=3: has keys of its own"),
        (LEAST | {"qqq": 1}, "unknown key 'qqq'; there are generators, host, port"),
        (LEAST | {1: 2}, "1=1: Keys should be strings"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_a_remedy(document: dict[Any, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        Settings.check(document, where="serve.yaml")
    assert all(line.startswith("serve.yaml: ") for line in str(refused.value).splitlines())
    assert message in str(refused.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(UserError) as refused:
        check(port="http", limits={"rows": 0, "clauses": 0})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"generators: [", "cannot be read"), (b"\xff", "cannot be read"), (b"a: 2027-13-45", "cannot be read"),
        (b"just text", "is no document of settings"), (b"", "is no document of settings"), (b"generators: {}", "generators"),
        (b"generators: !!python/object:os.system {}", "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message) as refused:
        Settings.read(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_what_is_given_holds_instead_of_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("generators: {adult: {versions: {1: a}}}\nport: 1\npolicy: stop\n")
    settings = Settings.read(path, port=2)
    assert (settings.port, settings.policy) == (2, "stop")
    with pytest.raises(UserError, match="cannot be read"):
        Settings.read(tmp_path / "other.yaml")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_keys_are_not_needed(host: str) -> None:
    assert loopback(host) and check(host=host).keys is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.example.org"])
def test_beyond_loopback_they_are(host: str) -> None:
    assert not loopback(host) and check(host=host, keys="keys.yaml").host == host
    with pytest.raises(UserError, match="there are no keys"):
        check(host=host)


@given(st.dictionaries(st.integers(1, 5), st.floats(0, 1e6), min_size=1).filter(lambda s: sum(s.values()) > 1e-300))
def test_shares_are_made_to_sum_to_one(shares: dict[int, float]) -> None:
    found = checked_shares("a", shares, dict.fromkeys(range(1, 6), ""))
    assert math.isclose(sum(found.values()), 1) and found.keys() == {k for k, share in shares.items() if share}
    assert sorted(found, key=found.__getitem__) == sorted(found, key=shares.__getitem__)


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("adult-release", "", "adult-release"), ("adult=a", "adult", "a"), ("adult@3=a", "adult@3", "a"),
        ("s3://bucket/day=3/adult", "", "s3://bucket/day=3/adult"), ("adult=s3://b/day=3", "adult", "s3://b/day=3"),
        ("/data/day=3", "", "/data/day=3"), ("./day=3", "", "./day=3"), ("adult@new=a", "", "adult@new=a"),
    ],
)  # fmt: skip
def test_an_argument_s_name_ends_at_its_first_equals_sign_and_before_any_slash(
    text: str, name: str, place: str
) -> None:
    assert apart(text) == (name, place)


def test_releases_of_one_name_are_its_versions() -> None:
    found = named(["first", "adult@7=c", "adult=b", "births=d"], {"first": "adult"})
    assert found == {"adult": {"versions": {1: "first", 7: "c", 8: "b"}}, "births": {"versions": {1: "d"}}}


@pytest.mark.parametrize(
    ("releases", "message"),
    [
        (["Adult=a"], "Adult=a: 'Adult' cannot name a generator: lower-case .* such as adult=a"),
        (["adult=a", "adult@1=b"], "adult@1=b: adult@1 is a; give another version"),
        (["Ä=s3://me:secret@host/a"], r"'Ä' cannot name"),
        (["a=s3://me:secret@host/x", "a@1=s3://me:secret@host/y"], "a@1 is s3"),
    ],
)
def test_names_that_cannot_be_are_refused_without_the_credentials(releases: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        named(releases, {})
    assert "secret" not in str(refused.value)
