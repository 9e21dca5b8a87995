"""``artesian keys`` as a person types it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from serving.key_commands import keys as app
from serving.keys import Keys
from synth.errors import UserError

ADD = ("--name", "Ana", "--generators", "adult,births@3")
TOKEN = re.compile(r"art_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def added(file: Path, *more: str) -> tuple[str, str]:
    """The id and the token of a new key."""
    token = done("add", file, *ADD, *more).stdout.strip()
    return token[4:16], token


def test_a_token_is_printed_once_and_alone(file: Path) -> None:
    result = done("add", file, *ADD)
    assert TOKEN.fullmatch(result.stdout.removesuffix("\n"))
    assert "not shown again" in result.stderr and "art_" not in result.stderr
    key = Keys.load(file).check(result.stdout.strip(), datetime.now(UTC))
    assert (key.name, key.generators, key.admin) == ("Ana", ("adult", "births@3"), False)
    assert key.expires is key.rows_per_day is key.requests_per_minute is None


def test_every_option_is_kept(file: Path) -> None:
    added(file)
    more = ("--expires", "90d", "--rows-per-day", "1e6", "--requests-per-minute", "60", "--admin")
    id, _ = added(file, *more)
    assert len(Keys.load(file).keys) == 2
    key = Keys.load(file).find(id)
    assert (key.rows_per_day, key.requests_per_minute, key.admin) == (1_000_000, 60, True)
    assert key.expires is not None and key.expires - key.created == timedelta(days=90)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--expires", "soon", "--expires soon: is no length of time; write 90d"),
        ("--expires", "", "is no length of time"),
        ("--expires", "90", "is no length of time"),
        ("--expires", "0d", "the key would never open anything"),
        ("--expires", "999999d", "more than a century"),
        ("--rows-per-day", "many", "--rows-per-day many: write a whole number above 0"),
        ("--rows-per-day", "0", "write a whole number"),
        ("--rows-per-day", "1.5", "write a whole number"),
        ("--rows-per-day", "inf", "write a whole number"),
        ("--rows-per-day", "nan", "write a whole number"),
        ("--rows-per-day", "1e300", "rows_per_day"),
        ("--generators", "adult,", "generators: entry 2: write adult"),
        ("--name", "", "name=''"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(file: Path, option: str, value: str, said: str) -> None:
    result = run("add", file, *ADD, option, value)
    assert isinstance(result.exception, UserError) and said in str(result.exception)
    assert not file.exists() and "art_" not in result.output


def test_the_list_shows_all_but_secrets(file: Path) -> None:
    id, token = added(file, "--rows-per-day", "1e6", "--requests-per-minute", "60", "--admin")
    start = datetime.now(UTC) - timedelta(days=10)
    keys, old = Keys.load(file).add(
        name="[bold]Bo[/bold] :smile:", generators=["*"], now=start, expires=start + timedelta(days=3)
    )
    keys.revoke(id, now=start).save(file)
    result = done("list", file)
    for shown in (id, "Ana", "adult, births@3", "yes", "1,000,000", "60", "[bold]Bo[/bold] :smile:", old[4:16]):
        assert shown in result.stdout
    assert f"expired on {start + timedelta(days=3):%Y-%m-%d %H:%M}" in result.stdout
    assert f"{start:%Y-%m-%d %H:%M}" in result.stdout, "when it was revoked"
    for secret in (token[17:], old[17:], *(key.hash for key in keys.keys)):
        assert secret[:12] not in result.output


def test_a_revoked_key_opens_nothing_and_says_since_when(file: Path) -> None:
    id, token = added(file)
    first = done("revoke", file, id).stdout
    assert re.fullmatch(rf"key {id}: was revoked on [0-9 :-]+ UTC\n", first)
    assert done("revoke", file, id).stdout == first
    with pytest.raises(ValueError, match="revoked"):
        Keys.load(file).check(token, datetime.now(UTC))


def test_a_rotated_key_leaves_time_to_change_over(file: Path) -> None:
    id, old = added(file)
    result = done("rotate", file, id)
    assert TOKEN.fullmatch(result.stdout.strip()) and f"the old key, {id}, is good for 24h more" in result.stderr
    keys, now = Keys.load(file), datetime.now(UTC)
    assert keys.check(old, now).name == keys.check(result.stdout.strip(), now).name == "Ana"
    assert keys.find(id).over(now + timedelta(hours=23)) is None and keys.find(id).over(now + timedelta(hours=24))
    done("rotate", file, result.stdout[4:16], "--overlap", "0s")
    assert "expired" in str(Keys.load(file).find(result.stdout[4:16]).over(datetime.now(UTC)))


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_an_id_that_there_is_not_is_named(file: Path, command: str) -> None:
    _, token = added(file)
    result = run(command, file, "aaaaaaaaaaaa")
    assert isinstance(result.exception, UserError) and "aaaaaaaaaaaa: no key has this id" in str(result.exception)
    pasted = run(command, file, token)
    assert isinstance(pasted.exception, UserError) and token[17:] not in str(pasted.exception)


@pytest.mark.parametrize("command", [["list"], ["revoke", "aaaaaaaaaaaa"], ["rotate", "aaaaaaaaaaaa"]])
def test_a_file_that_is_not_there_is_not_made(file: Path, command: list[str]) -> None:
    result = run(command[0], file, *command[1:])
    assert isinstance(result.exception, UserError) and "there is no such keys file" in str(result.exception)
    assert not file.exists()


def test_every_command_shows_how_it_is_used() -> None:
    for command in ("add", "list", "revoke", "rotate"):
        assert f"artesian keys {command} keys.yaml" in done(command, "--help").output
