"""The ``artesian`` command's words for the keys of a service: keys with add, list, revoke and rotate."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synth.commands import listed
from synth.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from serving.keys import Key

keys = typer.Typer(
    name="keys", help="Make, list, revoke and rotate the keys of a sampling service.", no_args_is_help=True
)

CENTURY = timedelta(days=36_525)  # what is longer is a slip, and leads past the year 9999
PIPED = 160  # columns of the table where there is no terminal

File = Annotated[Path, typer.Argument(metavar="FILE", help="the keys file that the service is given")]
Id = Annotated[str, typer.Argument(metavar="ID", help="a key's id, as list shows it")]


@keys.command("add", epilog="Example: artesian keys add keys.yaml --name Ana --generators adult --expires 90d")
def add_command(
    file: File,
    name: Annotated[str, typer.Option(metavar="TEXT", help="whose key it is, for people")],
    generators: Annotated[
        str, typer.Option(metavar="A,B", help="what it reaches: adult, adult@3, adult:production, or '*' for all")
    ],
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="how long it is good for [default: always]")
    ] = None,
    rows_per_day: Annotated[str | None, typer.Option(metavar="1e6", help="[default: as many as it asks for]")] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, metavar="60", help="[default: as many as it sends]")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="may promote, roll back and acknowledge alarms")] = False,
) -> None:
    """Make a key, and the file if there is none, and print its token: once, for only its hash is kept.

    A service that runs knows the key within a second or two.
    """
    from serving.key_file import edit

    rows = None if rows_per_day is None else _count(rows_per_day)
    lifetime, now = None if expires is None else _length(expires, "--expires"), datetime.now(UTC)
    if lifetime == timedelta(0):
        raise UserError(f"--expires {expires}: the key would never open anything; write 90d, or leave it out")
    token = edit(
        file,
        lambda old: old.add(
            name=name, generators=listed([generators]), now=now, expires=None if lifetime is None else now + lifetime,
            admin=admin, rows_per_day=rows, requests_per_minute=requests_per_minute,
        ),
        create=True,
    )  # fmt: skip
    _hand_over(token)


@keys.command("list", epilog="Example: artesian keys list keys.yaml")
def list_command(file: File) -> None:
    """All keys, what they reach, until when, and their limits."""
    from rich.console import Console

    from serving.keys import Keys

    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED
    console.print(_table(Keys.load(file).keys, datetime.now(UTC)))


@keys.command("revoke", epilog="Example: artesian keys revoke keys.yaml 3fzk2m5q7xwa")
def revoke_command(file: File, id: Id) -> None:
    """Have a key open nothing any more, at once and for good."""
    from serving.key_file import edit
    from serving.keys import Keys

    def revoke(old: Keys) -> tuple[Keys, str | None]:
        new = old.revoke(id, now=now)
        return new, new.find(id).over(now)

    now = datetime.now(UTC)
    typer.echo(f"key {id}: {edit(file, revoke)}")


@keys.command("rotate", epilog="Example: artesian keys rotate keys.yaml 3fzk2m5q7xwa --overlap 24h")
def rotate_command(
    file: File,
    id: Id,
    overlap: Annotated[str, typer.Option(metavar="24h", help="how long the old key stays good, too")] = "24h",
) -> None:
    """Make a key with the rights of another, which expires after the overlap, and print its token once."""
    from serving.key_file import edit

    length, now = _length(overlap, "--overlap"), datetime.now(UTC)
    _hand_over(edit(file, lambda old: old.rotate(id, length, now=now)))
    typer.echo(f"the old key, {id}, is good for {overlap} more at most", err=True)


def _hand_over(token: str) -> None:
    typer.echo(token)
    typer.echo("this token is not shown again: hand it over by a way that you trust", err=True)


def _table(found: tuple[Key, ...], now: datetime) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("id", "name", "generators", "admin", "expires (UTC)", "revoked (UTC)"):
        table.add_column(heading, no_wrap=heading == "id")
    for heading in ("rows a day", "requests a minute"):
        table.add_column(heading, justify="right")
    for key in found:
        over = key.over(now) is not None
        expired = key.expires is not None and key.expires <= now
        table.add_row(
            key.id, Text(key.name), Text(", ".join(key.generators)), "yes" if key.admin else "",
            f"{'expired on ' if expired else ''}{_when(key.expires)}", _when(key.revoked),
            _limit(key.rows_per_day), _limit(key.requests_per_minute), style="dim" if over else None,
        )  # fmt: skip
    return table


def _when(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"{limit:,}"


def _count(text: str) -> int:
    """``1e6`` → 1000000; UserError for what is no whole number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and number.is_integer()):
        raise UserError(f"--rows-per-day {text}: write a whole number above 0, such as 50000 or 1e6")
    return int(number)


def _length(text: str, option: str) -> timedelta:
    """``90d``, ``24h``, ``1h30m``, ``0s`` → how long; UserError otherwise."""
    match = re.fullmatch(r"(?=\d)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", text.strip())
    if match is None:
        raise UserError(f"{option} {text}: is no length of time; write 90d, 24h or 1h30m")
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if length > CENTURY:
        raise UserError(f"{option} {text}: is more than a century; write 90d, 24h or 1h30m")
    return length
