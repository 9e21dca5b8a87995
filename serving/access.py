"""Who is asking, and for which generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from serving.desk import Desk
from serving.keys import Key, Refused
from serving.problems import Problem

NAMED = r"^[a-z0-9][a-z0-9._-]{0,63}(@[0-9]{1,9}|:[a-z0-9][a-z0-9._-]{0,63})?$"


@dataclass(frozen=True)
class Caller:
    """Who is asking; ``key`` is None where the service has no keys, and everybody may do everything."""

    key: Key | None

    def must(self, name: str) -> None:
        """Problem unless the caller may draw from this generator."""
        if self.key is not None and not self.key.may(name):
            raise Problem(
                403, "Not with this key", f"this key does not reach {name}", "/problems/not-yours",
                remedy="ask for a key that does: artesian keys add --generators",
            )  # fmt: skip

    def must_rule(self) -> None:
        """Problem unless the caller may change what is served."""
        if self.key is not None and not self.key.admin:
            raise Problem(
                403, "Not with this key", "this key may draw, and change nothing", "/problems/not-yours",
                remedy="use one that was made with artesian keys add --admin",
            )  # fmt: skip


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def named(name: Annotated[str, Path(pattern=NAMED, examples=["adult", "adult@3", "adult:production"])]) -> str:
    """A generator, a version of it or an alias, as it stands in a path."""
    return name


async def caller(request: Request) -> Caller:
    """The caller by the key in the Authorization header. Problem 401 where there is none, or not a good one."""
    desk = desk_of(request)
    if desk.keys is None:
        return Caller(None)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorised("no key came with the request", "send it as: Authorization: Bearer art_…")
    try:
        return Caller(desk.keys.current().check(token.strip(), desk.time()))
    except Refused as e:
        raise _unauthorised(str(e), "check the key, or have another one made with artesian keys") from e


def _unauthorised(detail: str, remedy: str) -> Problem:
    return Problem(
        401,
        "unauthorised",
        "Who is asking?",
        detail,
        remedy=remedy,
        headers={"WWW-Authenticate": 'Bearer realm="artesian"'},
    )


Name = Annotated[str, Depends(named)]
Who = Annotated[Caller, Depends(caller)]
