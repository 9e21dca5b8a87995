"""Who is asking, and for which generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer

from serving.desk import Desk
from serving.keys import Key, Refused
from serving.problems import Problem
from serving.settings import DEFAULT_ALIAS

NAMED = r"^[a-z0-9][a-z0-9._-]{0,63}(@[0-9]{1,9}|:[a-z0-9][a-z0-9._-]{0,63})?$"


# For the OpenAPI document alone: it takes the first of several headers.
BEARER = HTTPBearer(auto_error=False, description="A key of the service, art_…; it may need none on loopback.")


@dataclass(frozen=True)
class Caller:
    """Who is asking; ``key`` is None where the service has no keys, and everybody may do everything."""

    key: Key | None

    @property
    def rules(self) -> bool:
        """Whether the caller may do everything."""
        return self.key is None or (self.key.admin and "*" in self.key.generators)

    def may(self, name: str) -> bool:
        """Whether the caller may draw from ``adult``, ``adult@3`` or ``adult:production``. The first is another word for its
        default alias, so that a key for ``adult:production`` opens it, too."""
        return self.key is None or self.key.may(name if {"@", ":"} & set(name) else f"{name}:{DEFAULT_ALIAS}")

    def must(self, name: str) -> None:
        """Problem unless the caller may draw from this generator."""
        if not self.may(name):
            raise Problem(
                403, "Not with this key", f"this key does not reach {name}", "/problems/not-yours",
                remedy="ask for a key that does: artesian keys add --generators",
            )  # fmt: skip

    def must_rule(self, name: str) -> None:
        """Problem unless the caller may change what is served under this name, or with ``*`` the service."""
        if self.rules or self.key is None:
            return
        if name != "*":
            self.must(name)
        elif self.key.admin:
            raise Problem(
                403, "Not with this key", "this key rules some generators, and not the service", "/problems/not-yours",
                remedy="use one that was made with artesian keys add --admin --generators '*'",
            )  # fmt: skip
        if not self.key.admin:
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


async def caller(request: Request, _: Annotated[object, Depends(BEARER)]) -> Caller:
    """The caller by the key in the Authorization header. Problem 401 where there is none, or not a good one."""
    return identified(desk_of(request), request.headers.getlist("authorization"))


def identified(desk: Desk, given: Sequence[str]) -> Caller:
    """The caller by what was given as authorization. Problem 401 where the service has keys and this is none of them."""
    if desk.keys is None:
        return Caller(None)
    if len(given) > 1:  # of which a proxy may have looked at the other
        raise _unauthorised("more than one Authorization header came with the request", "send one")
    scheme, _, token = "".join(given).partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorised("no key came with the request", "send it as: Authorization: Bearer art_…")
    try:
        return Caller(desk.keys.current().check(token.strip(), desk.time()))
    except Refused as e:
        raise _unauthorised(str(e), "check the key, or have another one made with artesian keys") from e


def _unauthorised(detail: str, remedy: str) -> Problem:
    return Problem(
        401, "Who is asking?", detail, "/problems/unauthorised", remedy=remedy,
        headers={"WWW-Authenticate": 'Bearer realm="artesian"'},
    )  # fmt: skip


Name = Annotated[str, Depends(named)]
Who = Annotated[Caller, Depends(caller)]
