"""Which release a name stands for: versions, aliases, and shares of the requests while a version is tried out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.settings import DEFAULT_ALIAS, Served, checked_shares

HISTORY = 100  # changes of an alias that are remembered


@dataclass(frozen=True)
class Version:
    """A version of a generator, and the ``place`` of its release."""

    name: str
    number: int
    place: str

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class UnknownError(LookupError):
    """A generator, version or alias that there is not; the message says which there are."""


@dataclass
class Catalogue:
    """Names and what they stand for. A change holds for the requests that come after it; those before keep theirs."""

    generators: dict[str, Served]
    aliases: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    past: dict[str, list[tuple[str, dict[int, float]]]] = field(default_factory=dict)
    assigned: set[tuple[str, str]] = field(
        default_factory=set
    )  # aliases that stand for what somebody said, and not by default

    def __post_init__(self) -> None:
        for name, served in self.generators.items():
            self.aliases.setdefault(name, _parts(served, served.all_aliases))

    def versions(self) -> list[Version]:
        return [Version(n, k, place) for n, served in self.generators.items() for k, place in served.versions.items()]

    def find(self, wanted: str, seed: int) -> Version:
        """Of ``adult``, ``adult@3`` or ``adult:alias``. Of an alias of several versions the seed decides, so that a request
        with the same seed is answered by the same one. UnknownError for what there is not."""
        name, served = self._served(wanted)
        _, at, number = wanted.partition("@")
        if at:
            if not number.isascii() or not number.isdigit() or int(number) not in served.versions:
                known = ", ".join(f"{name}@{k}" for k in sorted(served.versions))
                raise UnknownError(f"{wanted}: there is no such version; there are {known}")
            chosen = int(number)
        else:
            alias = wanted.partition(":")[2] or DEFAULT_ALIAS
            if alias not in self.aliases[name]:
                known = ", ".join(f"{name}:{a}" for a in sorted(self.aliases[name]))
                raise UnknownError(f"{wanted}: there is no such alias; there are {known}")
            chosen = _drawn(self.aliases[name][alias], f"{name}:{alias}", seed)
        return Version(name, chosen, served.versions[chosen])

    def _served(self, wanted: str) -> tuple[str, Served]:
        name = wanted.partition("@")[0].partition(":")[0]
        if name not in self.generators:
            raise UnknownError(f"{name}: there is no such generator; there are {', '.join(sorted(self.generators))}")
        return name, self.generators[name]

    def assign(self, name: str, alias: str, shares: Mapping[int, float]) -> dict[int, float]:
        """Have an alias stand for these versions, in these shares. UnknownError, UserError for what cannot be."""
        _, served = self._served(name)
        checked = checked_shares(alias, shares, served.versions)
        before = self.aliases[name].get(alias)
        if before is not None and before != checked:
            self.past.setdefault(name, []).append((alias, before))
            del self.past[name][:-HISTORY]
        self.aliases[name][alias] = checked
        self.assigned.add((name, alias))
        return checked

    def roll_back(self, name: str, alias: str) -> dict[int, float]:
        """What the alias stood for before its last change. UnknownError where it has not been changed."""
        self._served(name)
        past = self.past.get(name, [])
        last = next((k for k in reversed(range(len(past))) if past[k][0] == alias), None)
        if last is None:
            raise UnknownError(f"{name}:{alias}: has not been changed: there is nothing to go back to")
        self.aliases[name][alias] = past.pop(last)[1]
        if alias not in dict(past):  # it was never changed otherwise
            self.assigned.discard((name, alias))
        return self.aliases[name][alias]

    def state(self) -> dict[str, Any]:
        """As JSON has it."""
        assigned: dict[str, dict[str, Any]] = {}
        for name, served in self.generators.items():
            given = _parts(served, served.aliases)
            assigned[name] = {
                alias: {"shares": shares, "given": given.get(alias, {})}
                for alias, shares in self.aliases[name].items() if (name, alias) in self.assigned
            }  # fmt: skip
        return {"assigned": assigned, "past": self.past}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, but for what names a version that is no longer served, and for aliases of which the settings
        say something else by now: who edits them means it."""

        def known(name: str, shares: Mapping[Any, float]) -> dict[int, float] | None:
            found = {int(k): float(share) for k, share in shares.items()}
            return found if name in self.generators and set(found) <= set(self.generators[name].versions) else None

        for name, aliases in state["assigned"].items():
            for alias, told in aliases.items():
                shares, given = known(name, told["shares"]), known(name, told["given"])
                if shares is not None and given == _parts(served := self.generators[name], served.aliases).get(
                    alias, {}
                ):
                    self.aliases[name][alias] = shares
                    self.assigned.add((name, alias))
        for name, changes in state["past"].items():
            kept = [(alias, known(name, shares)) for alias, shares in changes]
            self.past[name] = [(alias, shares) for alias, shares in kept if shares is not None]


def _parts(served: Served, aliases: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Their shares as parts of 1."""
    return {alias: checked_shares(alias, shares, served.versions) for alias, shares in aliases.items()}


def _drawn(shares: Mapping[int, float], name: str, seed: int) -> int:
    """A version, with the probability of its share, by a hash of name and seed."""
    word = hashlib.blake2b(f"{name}/{seed}".encode(), digest_size=8).digest()
    point = int.from_bytes(word, "little") / 2**64
    for version, share in sorted(shares.items()):
        point -= share
        if point < 0:
            return version
    return max(shares)
