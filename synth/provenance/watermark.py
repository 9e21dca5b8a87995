"""A watermark in the choice of rows: of two that a generator draws for a place, the one that a secret key likes better.

A *token* of a row is the content of a few of its columns, and its coins are bits of a keyed hash (SipHash) of that. The key
likes the row of two that has more heads among its COINS coins. Whoever lacks the key sees rows as the generator draws them;
with the key, the coins of n rows show some 0.56 √n standard deviations more heads than tails. No row is made up or altered, and
a shuffle, a subset, columns that are left out or another file format leave the coins of what is left as they were.

A value of a token that is frequent would come up more often, or less, wherever the key is used: of a value x of any column,
by 0.56 √c of its share, where c is the chance that two rows that show x agree in a token, the mean over all coins. So tokens
are of columns in which rows hardly ever agree: one where numbers do, else several.

Detection counts each value of a token once, however many rows have it, so that by chance alone, the key being unknown to
whoever made the rows, heads are binomial with a half: the p-value is exact, whatever the rows are.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.canonical import cells, columns_of, combined
from synth.provenance.kept import Kept
from synth.provenance.manifest import Manifest, Sha256
from synth.provenance.siphash import siphash

COINS = 16  # of a row
AIM, MOST = 1 / 5_000, 1 / 200  # chance that two rows agree in a token: good enough, and the most that is borne
DEAR = 1 / 10_000  # chance that is as dear as one column more
LOOKED_AT = 2_048  # rows, from which these chances are estimated
WIDEST, TRIED = 4, 2_000  # columns of a token, and sets of so many that are tried
SURE = 1e-6  # p-value below which a table carries a watermark


class Mark(BaseModel):
    """A watermark of a release: the secret ``key`` in hex, the ``columns`` that rows are known by, of each token the names of
    those it consists of, and how many coins it has. The ``id`` may be known; the rest is its owner's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["artesian-mark/1"] = "artesian-mark/1"
    release: Sha256
    name: str
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", repr=False)]
    columns: list[Column]
    tokens: list[list[str]] = Field(min_length=1)
    coins: list[Annotated[int, Field(ge=1, le=COINS)]]

    @model_validator(mode="after")
    def _coins_for_each(self) -> Self:
        if len(self.coins) != len(self.tokens):
            raise ValueError("each token has coins")
        return self

    @classmethod
    def of(cls, manifest: Manifest, schema: Schema, rows: pa.Table) -> Self:
        """This user's watermark of a release, of which ``rows`` are some that it draws: the same wherever the signing key is.
        UserError for images, and for tables whose rows are too few distinct ones."""
        if schema.image is not None:
            raise UserError(
                "--watermark: images carry none; each PNG file says by its C2PA manifest where it comes from, where that is on"
            )
        columns = columns_of(schema)
        secret = secret_of(manifest.id, keys.signing_key())
        tokens = chosen({column.name: _whole(column, rows) for column in columns})
        return cls(
            release=manifest.id, name=manifest.name, key=secret.hex(), columns=columns, tokens=[list(t) for t in tokens],
            coins=list(tokens.values()),
        )  # fmt: skip

    @property
    def id(self) -> str:
        """16 digits in hex, from which nothing of the key can be told."""
        told = f"{self.release}{self.tokens}{self.coins}".encode()
        return hashlib.blake2b(told, key=bytes.fromhex(self.key), digest_size=8).hexdigest()

    def better(self, first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
        """Of the two candidates for each row, the one with more heads, the first where both have as many."""
        take = self.heads(second) > self.heads(first)
        both = pa.Table.from_batches([first, second])
        rows = np.arange(len(take)) + np.where(take, len(take), 0)
        return both.take(rows).combine_chunks().to_batches()[0]

    def heads(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """(rows,) int64, of the coins of each row."""
        hashes = {c.name: cells(c, rows.column(c.name)) for c in self.columns if c.name in self.needs}
        pairs = self.values(hashes)
        return self.tossed(pairs).reshape(-1, rows.num_rows).sum(axis=0)

    @property
    def needs(self) -> set[str]:
        """Names of the columns that tokens consist of."""
        return set(itertools.chain.from_iterable(self.tokens))

    def values(self, hashes: Mapping[str, NDArray[np.uint64]]) -> NDArray[np.uint64]:
        """(tokens · rows, 2) uint64, the values of all tokens whose columns are there, a token after the other, and which one
        each is of."""
        there = [(k, token) for k, token in enumerate(self.tokens) if hashes.keys() >= set(token)]
        values = [combined([hashes[name] for name in token]) for _, token in there]
        pairs = [np.stack([one, np.full_like(one, k)], 1) for one, (k, _) in zip(values, there, strict=True)]
        return np.concatenate([np.empty((0, 2), np.uint64), *pairs])

    def tossed(self, pairs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) int64, the heads among the coins of each of these values of tokens."""
        masks = np.array([(1 << count) - 1 for count in self.coins], np.uint64)
        bits = siphash(bytes.fromhex(self.key), pairs[:, 0] + pairs[:, 1])
        return np.bitwise_count(bits & masks[pairs[:, 1].astype(np.int64)]).astype(np.int64)

    def tosses(self, pairs: NDArray[np.uint64]) -> int:
        """How many coins these values have."""
        return int(np.asarray(self.coins)[pairs[:, 1].astype(np.int64)].sum())


def secret_of(release: str, own: Ed25519PrivateKey) -> bytes:
    """The key of a release's mark, by this user's key."""
    return keys.derived(own, f"watermark of {release}")


def _whole(column: Column, rows: pa.Table) -> NDArray[np.uint64]:
    return cells(column, rows.column(column.name).slice(0, LOOKED_AT).combine_chunks())


def chosen(hashes: Mapping[str, NDArray[np.uint64]]) -> dict[tuple[str, ...], int]:
    """The columns of each token and its coins, COINS together, from hashes of the cells of some rows. Coin by coin the
    cheapest: of few columns in which rows hardly ever agree, and which few coins have had before; no token has more than half
    of the coins, so that some are whole whichever columns are left out. UserError where rows agree in all columns too often."""
    found = _sets(hashes)
    if not found:
        chance = _chance(hashes, hashes)
        if not chance <= MOST:
            raise UserError(
                f"--watermark: two rows of this release are the same with a chance of {chance:.2g}, and a watermark takes "
                f"{MOST:g} at most, lest it changes how frequent they are; draw without it"
            )
        found = {tuple(hashes): chance}
    used, coins = dict.fromkeys(hashes, 0), dict[tuple[str, ...], int]()

    def price(token: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
        return sum((1 + used[name]) ** 2 for name in token) + found[token] / DEAR, token

    for _ in range(COINS):
        free = [token for token in found if coins.get(token, 0) < COINS // 2] if len(found) > 1 else found
        best = min(free, key=price)
        coins[best] = coins.get(best, 0) + 1
        for name in best:
            used[name] += 1
    return coins


def _sets(hashes: Mapping[str, NDArray[np.uint64]]) -> dict[tuple[str, ...], float]:
    """Sets of columns in which two rows agree with a chance of MOST at most, and none that holds another which is good
    enough."""
    found, enough = dict[tuple[str, ...], float](), list[set[str]]()
    for size in range(1, min(WIDEST, len(hashes)) + 1):
        sets = list(itertools.combinations(hashes, size))
        if len(sets) > TRIED:
            picked = np.random.default_rng(size).choice(len(sets), TRIED, replace=False)
            sets = [sets[k] for k in np.sort(picked)]
        for token in sets:
            if not any(part <= set(token) for part in enough) and (chance := _chance(hashes, token)) <= MOST:
                found[token] = chance
        enough = [set(token) for token, chance in found.items() if chance <= AIM]
        if len(enough) >= 4 * COINS:
            break
    return found


def _chance(hashes: Mapping[str, NDArray[np.uint64]], token: Iterable[str]) -> float:
    """That two rows have the same values in these columns: the share of the pairs that do."""
    counts = np.unique(combined([hashes[name] for name in token]), return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / max(counts.sum() * (counts.sum() - 1), 1))


@dataclass(frozen=True)
class Found:
    """What a table shows of a mark: of ``coins`` of distinct values so many ``heads``; ``p`` is the chance of as many or more
    where it does not carry the mark, for all marks that were looked for together."""

    mark: Mark
    coins: int
    heads: int
    p: float

    @property
    def sure(self) -> bool:
        return self.p < SURE

    def __str__(self) -> str:
        return (
            f"the watermark of '{self.mark.name}' ({self.mark.release[:12]}): {self.heads:,} of {self.coins:,} coins are "
            f"heads, p = {self.p:.2g}"
        )


class Detector:
    """Looks for marks in a table batch by batch, in memory that does not grow; of a very large one, at a sample of the values
    of its tokens."""

    def __init__(self, marks: Sequence[Mark], most: int | None = None) -> None:
        each = max((1 << 21) // max(len(marks), 1), 1 << 16) if most is None else most
        self._looked = [(mark, Kept(most=each)) for mark in marks]

    def add(self, hashes: Sequence[Mapping[str, NDArray[np.uint64]]]) -> None:
        """The next rows: for each mark the hashes of their cells, by the names of the columns that are there."""
        for (mark, kept), there in zip(self._looked, hashes, strict=True):
            kept.add(mark.values(there))

    def found(self) -> list[Found]:
        """Of each mark of which there are tokens, the surest first."""
        from scipy.stats import binom

        results = []
        for mark, kept in self._looked:
            pairs = kept.pairs()
            if len(pairs):
                coins, heads = mark.tosses(pairs), int(mark.tossed(pairs).sum())
                p = float(binom.sf(heads - 1, coins, 0.5))
                results.append(Found(mark, coins, heads, min(1.0, p * len(self._looked))))
        return sorted(results, key=lambda found: found.p)
