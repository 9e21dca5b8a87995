"""What a key may still ask for: token buckets of requests and of rows.

A bucket holds a minute's worth of requests, or a day's worth of rows, and fills evenly; whoever was away finds it full, and
nobody gets more than it holds and what comes in meanwhile. Times are in seconds of a clock that goes on while the service is
down, such as ``time.time``: what was spent is still spent after a restart. Calls come from one thread.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from serving.keys import Key

Kind = Literal["requests", "rows"]
PERIODS: dict[Kind, float] = {"requests": 60.0, "rows": 86_400.0}  # seconds in which a limit may be asked for
PERIOD_NAMES: dict[Kind, str] = {"requests": "minute", "rows": "day"}

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Exceeded(ValueError):  # noqa: N818  (an answer, and no error of the service)
    """A key asks for more than it has left: of which ``kind``, in how many seconds it will have enough, what ``remaining``
    and what ``limit`` there is. To ask for more than the limit is in vain; the seconds are then the whole period of the
    limit, and the message says to ask in parts."""

    def __init__(self, kind: Kind, retry_after_s: float, remaining: int, limit: int, wanted: int) -> None:
        story = f"the key may ask for {limit:,} {kind} a {PERIOD_NAMES[kind]}, and "
        if wanted > limit:
            story += f"this asks for {wanted:,}: ask in parts, or have the limit raised"
        else:
            story += f"has {remaining:,} left, but this asks for {wanted:,}; try again in {math.ceil(retry_after_s)} s"
        super().__init__(story)
        self.kind, self.retry_after_s, self.remaining, self.limit = kind, retry_after_s, remaining, limit


@dataclass
class Bucket:
    """Tokens that come in at ``rate`` a second until there are ``burst``, of which ``spent`` were missing at the time ``at``.

    What is kept is what is missing, so that a limit that is changed gives back nothing that was spent.
    """

    rate: Positive
    burst: Positive
    spent: Amount = 0.0
    at: float = 0.0

    def left(self, now: float) -> float:
        """Tokens that are there; a clock that is set back adds none, and none twice when it goes on."""
        if now > self.at:
            self.spent, self.at = max(0.0, self.spent - self.rate * (now - self.at)), now
        return self.burst - self.spent

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so many tokens can be taken: 0 where they are there, infinite where there cannot be so many.

        A millisecond or two longer than the arithmetic says, so that its rounding refuses nobody who has waited.
        """
        missing = amount - self.left(now)
        if missing <= 0:
            return 0.0
        if amount > self.burst:
            return math.inf
        return (math.ceil(1e3 * (missing / self.rate + max(0.0, self.at - now))) + 1) / 1e3

    def take(self, amount: float, now: float) -> None:
        """Take so many tokens, which must be there."""
        assert 0 <= amount <= self.left(now)
        self.spent += amount

    def give_back(self, amount: float) -> None:
        """Put so many back, as if they had not been taken, as far as there is room."""
        assert amount >= 0
        self.spent = max(0.0, self.spent - amount)


_STATE = TypeAdapter(dict[str, dict[Kind, Bucket]])


@dataclass
class Quotas:
    """The buckets of all keys by their ids; a kind that a key has no limit for has none."""

    buckets: dict[str, dict[Kind, Bucket]] = field(default_factory=dict)

    def take(self, key: Key, rows: int, now: float) -> None:
        """Let a request for so many rows in, or raise Exceeded, which names what will take longest.

        All or nothing: a request that is refused costs neither rows nor a request. A refusal costs the service next to
        nothing, and whoever asks for too many rows may at once ask for fewer.
        """
        wanted: dict[Kind, int] = {"requests": 1, "rows": rows}
        buckets = {kind: bucket for kind, bucket in self._of(key, now).items() if wanted[kind]}
        waits = {kind: bucket.wait(wanted[kind], now) for kind, bucket in buckets.items()}
        if any(waits.values()):
            kind = max(waits, key=lambda kind: waits[kind])
            wait = PERIODS[kind] if math.isinf(waits[kind]) else waits[kind]
            raise Exceeded(kind, wait, self.left(key, now)[kind], int(buckets[kind].burst), wanted[kind])
        for kind, bucket in buckets.items():
            bucket.take(wanted[kind], now)

    def give_back(self, key: Key, rows: int) -> None:
        """Rows that were let in and not sent; the request stays spent."""
        if (bucket := self.buckets.get(key.id, {}).get("rows")) is not None:
            bucket.give_back(rows)

    def left(self, key: Key, now: float) -> dict[Kind, int]:
        """What the key could take now, of each kind that it has a limit for."""
        return {kind: math.floor(bucket.left(now)) for kind, bucket in self._of(key, now).items()}

    def keep(self, ids: Collection[str]) -> None:
        """Forget the buckets of all other keys, which are no more."""
        self.buckets = {id: buckets for id, buckets in self.buckets.items() if id in ids}

    def state(self) -> dict[str, Any]:
        """What a restart goes on from, as JSON has it."""
        found: dict[str, Any] = _STATE.dump_python(self.buckets, mode="json")
        return found

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Go on from what ``state`` gave: what came in since then is there. ValueError where it is no such state."""
        try:
            self.buckets = _STATE.validate_python(state)
        except ValidationError as e:
            raise ValueError(f"the state of the quotas is of another version, or damaged: {e}") from e
        for buckets in self.buckets.values():
            for bucket in buckets.values():
                bucket.at = min(bucket.at, now)  # a clock that was ahead must not hold the key up

    def _of(self, key: Key, now: float) -> dict[Kind, Bucket]:
        limits: dict[Kind, int | None] = {"requests": key.requests_per_minute, "rows": key.rows_per_day}
        mine = self.buckets.setdefault(key.id, {})
        for kind, limit in limits.items():
            if limit is None:
                mine.pop(kind, None)
                continue
            bucket = mine.setdefault(kind, Bucket(limit / PERIODS[kind], float(limit), at=now))
            if bucket.burst != limit:
                bucket.left(now)  # what came in until now came in at the old rate
                spent = min(bucket.spent, limit)  # nobody waits for longer than a period, as with a much lower limit
                mine[kind] = Bucket(limit / PERIODS[kind], float(limit), spent, bucket.at)
        return mine
