"""The one sampler: used by files, jobs, the service and the evaluation.

Rows are drawn in blocks of BLOCK, each from noise of its own address (seed, block). Row *i* of a request is row
``i % BLOCK`` of block ``i // BLOCK``: on the same machine and number of threads it depends on the release, the seed and
*i* alone (elsewhere a matrix product sums in another order, and numbers may differ by a millionth). A block is always
computed whole, even for one of its rows, because a product may round differently at another number of rows, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from synth.data.codec import Codec
from synth.data.schema import Schema
from synth.errors import ReleaseError, UserError
from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.recipe import Recipe

if TYPE_CHECKING:
    from synth.release import Release

BLOCK = 1024
AGAIN = 64  # times that rows which break a constraint are drawn anew


class Sampler:
    """Draws tables from a generator; memory does not depend on the number of rows."""

    def __init__(self, generator: Generator, codec: Codec, device: torch.device | str = "cpu") -> None:
        self.generator, self.codec, self.device = generator.to(device).eval(), codec, device
        self.redrawn = 0  # rows that broke a constraint, each as often as it did

    @classmethod
    def of(cls, recipe: Recipe, codec: Codec, weights: Mapping[str, torch.Tensor]) -> Sampler:
        """A sampler from the parts that a release consists of, on the accelerator if there is one."""
        generator = build(recipe, codec.layout)
        for judge in generator.judges:
            delattr(generator, judge)
        generator.load_state_dict({n: t for n, t in weights.items() if n.partition(".")[0] not in generator.judges})
        return cls(generator, codec, "cuda" if torch.cuda.is_available() else "cpu")

    @classmethod
    def from_release(cls, release: Release) -> Sampler:
        """A sampler from a release; ReleaseError names the file that does not fit the others, however well signed."""
        recipe = Recipe.check(release.recipe, where="the release's recipe")
        try:
            codec = Codec.model_validate(release.codec | {"table": release.schema})
        except (ValueError, TypeError, KeyError) as e:
            raise ReleaseError(f"{release.location}: codec.json: is of another version or shape: {e}") from e
        try:
            return cls.of(recipe, codec, release.tensors)
        except RuntimeError as e:  # torch names the tensors that are missing, unknown or of another shape
            raise ReleaseError(f"{release.location}: weights.safetensors: do not fit the codec and recipe: {e}") from e

    @property
    def schema(self) -> Schema:
        return self.codec.table

    def batches(self, rows: int, *, seed: int = 0, first: int = 0) -> Iterator[pa.RecordBatch]:
        """Rows ``first`` … ``first + rows − 1`` of the endless table of ``seed``, at most BLOCK to a batch."""
        if rows < 0 or first < 0:
            raise UserError(f"the number of rows ({rows}) and the first row ({first}) must not be negative")
        last = first + rows
        for block in range(first // BLOCK, -(-last // BLOCK)):
            start = block * BLOCK
            batch = self._block(seed, block)
            low, high = max(first, start) - start, min(last, start + BLOCK) - start
            yield batch.slice(low, high - low)

    def table(self, rows: int, *, seed: int = 0) -> pa.Table:
        return pa.Table.from_batches(self.batches(rows, seed=seed), schema=self.schema.arrow())

    def _block(self, seed: int, block: int) -> pa.RecordBatch:
        """The rows of a block, those that break a constraint drawn anew in their places; UserError if that does not end."""
        rows = self._encoded(seed, block)
        batch = self.codec.decode(rows, block * BLOCK)
        for again in range(1, AGAIN + 1):
            broken = ~self.codec.reduction.whole(batch)
            if not broken.any():
                return batch
            self.redrawn += int(broken.sum())
            fresh = self._encoded(seed, block, again)
            for part, other in zip(rows, fresh, strict=True):
                part[broken] = other[broken]
            batch = self.codec.decode(rows, block * BLOCK)
        found = {text: int(marks.sum()) for text, marks in self.codec.reduction.broken(batch).items() if marks.any()}
        raise UserError(
            f"of {BLOCK:,} rows drawn {AGAIN} times each, "
            + ", ".join(f"{n:,} break {text!r}" for text, n in found.items())
            + ": the generator has not learnt what the constraint asks for; train it longer, or state it otherwise"
        )

    def _encoded(self, seed: int, block: int, again: int = 0) -> Encoded:
        address = ("sample", seed, block, *(("again", again) if again else ()))
        rows = self.generator.sample(BLOCK, Draw(*address, device=self.device))
        return Encoded(rows.cells.cpu().numpy(), rows.values.cpu().numpy())
