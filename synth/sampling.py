"""The one sampler: used by files, jobs, the service and the evaluation.

Rows are drawn in blocks, each from noise of its own address (seed, block). Row *i* of a request is row ``i % size`` of block
``i // size``: on the same machine and number of threads it depends on the release, the seed and *i* alone (elsewhere a
matrix product sums in another order, and numbers may differ a little).

Blocks of tables of which nothing is asked are small, and many of them are computed at once, whoever asked for them: a row of a
product comes out the same among any number of others but for the very fewest. So of one block a few rows may be computed
without the rest, too. On a GPU, where a row may not come out the same, the number is always the same, and as large as a GPU
needs to be at work. Other blocks are as large as a batch, and computed whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import pyarrow as pa
import torch

from synth import asking
from synth.asking import Chance, Quality, Request
from synth.balance import Balance
from synth.data.codec import Codec
from synth.data.conditions import Conditions, Where
from synth.data.schema import Schema
from synth.errors import ReleaseError, UserError
from synth.generators.base import Draw, Generator, Joint
from synth.generators.families import build
from synth.generators.given import Given
from synth.generators.layout import Encoded
from synth.generators.student import CELLS, Student
from synth.provenance.watermark import Mark
from synth.recipe import Recipe

if TYPE_CHECKING:
    from synth.release import Release

BLOCK = 1024  # rows of a batch, and of a block of which something is asked
ABREAST = 4  # blocks of fast rows that are drawn at once
SMALL, TOGETHER = 128, 8  # rows of a block of which nothing is asked, and how many of them make BLOCK
LONG, WIDE = 32, 64  # small blocks of a long table that are computed at once on a CPU, and always on a GPU
GRAIN = 16  # rows that are computed where one is wanted: of fewer, products may be rounded otherwise
AGAIN = 64  # times that rows which break a constraint are drawn anew
REMEDY = "train the generator longer, or state it otherwise"


def attempt(again: int, *address: int | str, device: torch.device | str, part: slice | None = None) -> Draw:
    """The draw at an address, or the one at which rows of it are drawn ``again`` for that time; of a small block's rows
    ``part`` alone, if given."""
    total = None if part is None else SMALL
    return Draw(*address, *(("again", again) if again else ()), device=device, part=part, total=total)


class Sampler:
    """Draws tables from a generator; memory does not depend on the number of rows.

    With a ``mark``, two candidates are drawn for each row, and the one that the mark likes better is the row: it then depends
    on the mark, too, and takes twice the time.
    """

    mark: Mark | None = None

    def __init__(self, generator: Generator, codec: Codec, device: torch.device | str = "cpu") -> None:
        self.generator, self.codec, self.device = generator.to(device).eval(), codec, device
        self.redrawn = 0  # rows that broke a constraint, each as often as it did

    @classmethod
    def of(cls, recipe: Recipe, codec: Codec, weights: Mapping[str, torch.Tensor]) -> Sampler:
        """A sampler from the parts that a release consists of, on the accelerator if there is one."""
        generator = build(recipe, codec.layout)
        for judge in generator.judges:
            delattr(generator, judge)
        if any(name.startswith("student.") for name in weights):
            generator.student = Student(codec.layout, recipe.diffusion.noise)
        generator.load_state_dict({n: t for n, t in weights.items() if n.partition(".")[0] not in generator.judges})
        return cls(generator, codec, "cuda" if torch.cuda.is_available() else "cpu")

    @classmethod
    def from_release(cls, release: Release, mark: Mark | None = None) -> Sampler:
        """A sampler from a release, whose rows carry a watermark where one is given; ReleaseError names the file that
        does not fit the others, however well signed."""
        recipe = Recipe.check(release.recipe, where="the release's recipe")
        try:
            codec = Codec.model_validate(release.codec | {"table": release.schema})
        except (ValueError, TypeError, KeyError) as e:
            raise ReleaseError(f"{release.location}: codec.json: is of another version or shape: {e}") from e
        try:
            sampler = cls.of(recipe, codec, release.tensors)
        except RuntimeError as e:  # torch names the tensors that are missing, unknown or of another shape
            raise ReleaseError(
                f"{release.location}: weights.safetensors: do not fit the codec and recipe, as those of other versions: "
                f"train again from its recipe.yaml, or draw with that version; {e}"
            ) from e
        sampler.mark = mark
        return sampler

    @property
    def schema(self) -> Schema:
        return self.codec.table

    def ask(
        self,
        *,
        where: Where | None = None,
        balance: Balance | None = None,
        rare: Where | None = None,
        boost: float = 1.0,
        quality: Quality = "best",
    ) -> Request | None:
        """What is asked for, understood and found possible; None where nothing is. See ``synth.asking.ask``. Rows of quality
        fast are drawn by the release's student: UserError where it has none, and where more is asked of them."""
        if quality not in get_args(Quality):
            raise UserError(f"--quality {quality!r}: is unknown; write best or fast")
        if quality == "fast":
            if where or balance or rare or boost != 1:
                raise UserError("--quality fast: draws rows as they come; ask for some of them with --quality best")
            if self.generator.student is None:
                raise UserError(
                    "--quality fast: this release has no student; table diffusion models get one, unless their training had "
                    f"training.distilled=0, very few steps or over {CELLS} cells a row, or a guide refined it; draw with "
                    "--quality best"
                )
            told = "drawn by the release's student; its certificate is of rows of quality best"
            return Request(({},), (1.0,), None, asking.key([], quality), (told,), fast=True)
        return asking.ask(self.codec, self._chance, where=where, balance=balance, rare=rare, boost=boost)

    def arrow(self, request: Request | None = None) -> pa.Schema:
        """The Arrow schema of the batches."""
        return self.schema.arrow() if request is None else request.schema(self.codec)

    def batches(
        self, rows: int, *, seed: int = 0, first: int = 0, request: Request | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows ``first`` … ``first + rows − 1`` of the endless table of ``seed``, at most BLOCK to a batch; of the endless
        table of ``seed`` and ``request``, where something is asked for."""
        if rows < 0 or first < 0:
            raise UserError(f"the number of rows ({rows}) and the first row ({first}) must not be negative")
        last = first + rows
        if not rows:
            return
        if request is None and self.generator.joins:
            yield from self._joined(seed, first, last)
            return
        fast = request is not None and request.fast
        # Products of more rows are shared better between threads; on a GPU, there is always one number of rows.
        size = BLOCK * (ABREAST if fast and torch.device(self.device).type == "cpu" else 1)
        for start in range(first // BLOCK * BLOCK, last, size):
            end = min(last, start + size)
            drawn = self._blocks(seed, range(start // BLOCK, -(-end // BLOCK)), request)
            for block in range(start, end, BLOCK):
                low, high = max(first, block), min(end, block + BLOCK)
                yield drawn.slice(low - start, high - low)

    @property
    def room(self) -> int:
        """How many small blocks are computed at once, or always on a GPU."""
        return TOGETHER if torch.device(self.device).type == "cpu" else WIDE

    def _joined(self, seed: int, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Rows ``first`` … ``last − 1``, of which nothing is asked."""
        size = SMALL * max(self.room, LONG)
        for start in range(first // size * size, last, size):
            low, high = max(first, start), min(last, start + size)
            numbers = range(low // SMALL, -(-high // SMALL))
            if len(numbers) == 1 and torch.device(self.device).type == "cpu":
                begin, drawn = low // GRAIN * GRAIN, [self._few(seed, low // GRAIN * GRAIN, -(-high // GRAIN) * GRAIN)]
            else:
                begin, drawn = numbers.start * SMALL, self.together([(seed, number) for number in numbers])
            whole = pa.Table.from_batches(drawn)
            for block in range(low // BLOCK, -(-high // BLOCK)):
                at, end = max(low, block * BLOCK), min(high, (block + 1) * BLOCK)
                yield whole.slice(at - begin, end - at).combine_chunks().to_batches()[0]

    def _few(self, seed: int, first: int, last: int) -> pa.RecordBatch:
        """Rows ``first`` … ``last − 1``, whole grains of one small block, as they are among the others."""
        number = first // SMALL
        part = slice(first - number * SMALL, last - number * SMALL)
        return self._marked(
            lambda *word: self.settled(
                last - first,
                lambda again: attempt(again, "sample", seed, number, *word, device=self.device, part=part),
                None, lambda rows: self.codec.decode(rows, first),
            )
        )  # fmt: skip

    def together(self, blocks: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """The SMALL rows of each of these blocks, by seed and number, of which nothing is asked: each as if it were drawn
        alone. At most ``room`` of them on a GPU."""
        padding = self.room - len(blocks) if torch.device(self.device).type != "cpu" else 0
        drawn = [*blocks, *[blocks[0]] * padding]
        # Of successive blocks, which are decoded in one piece.
        starts = [k for k, (seed, number) in enumerate(drawn) if not k or drawn[k - 1] != (seed, number - 1)]
        runs = list(itertools.pairwise([*starts, len(drawn)]))

        def draw(again: int, *word: str) -> Draw:
            return Joint([attempt(again, "sample", *block, *word, device=self.device) for block in drawn])

        def decode(rows: Encoded) -> pa.RecordBatch:
            parts = [
                self.codec.decode(Encoded(*(a[start * SMALL : stop * SMALL] for a in rows)), drawn[start][1] * SMALL)
                for start, stop in runs
            ]
            return parts[0] if len(parts) == 1 else pa.Table.from_batches(parts).combine_chunks().to_batches()[0]

        batch = self._marked(
            lambda *word: self.settled(SMALL * len(drawn), lambda again: draw(again, *word), None, decode)
        )
        return [batch.slice(k * SMALL, SMALL) for k in range(len(blocks))]

    def table(self, rows: int, *, seed: int = 0, request: Request | None = None) -> pa.Table:
        return pa.Table.from_batches(self.batches(rows, seed=seed, request=request), schema=self.arrow(request))

    def draw(self, rows: int, draw: Draw, asked: Sequence[np.ndarray] | None = None, *, fast: bool = False) -> Encoded:
        """Encoded rows as NumPy arrays; ``asked`` are the arrays of a ``Given``, a row each. ``fast``: by the student."""
        if fast:
            assert self.generator.student is not None
            encoded = self.generator.student.sample(rows, draw)
        else:
            encoded = self.generator.sample(rows, draw, None if asked is None else self._given(asked))
        return Encoded(encoded.cells.cpu().numpy(), encoded.values.cpu().numpy())

    def _blocks(self, seed: int, blocks: range, request: Request | None) -> pa.RecordBatch:
        """The rows of successive blocks, of several only where they are fast; UserError where drawing those anew that break a
        constraint does not end."""
        fast, rows = request is not None and request.fast, BLOCK * len(blocks)
        asked, decode = (
            (None, self.codec.decode) if request is None or fast else self._asked(seed, blocks.start, request)
        )
        key = () if request is None else (request.key,)

        def draw(again: int, *word: str) -> Draw:
            draws = [attempt(again, "sample", seed, block, *key, *word, device=self.device) for block in blocks]
            return draws[0] if len(draws) == 1 else Joint(draws)

        batch = self._marked(
            lambda *word: self.settled(
                rows,
                lambda again: draw(again, *word),
                asked,
                lambda drawn: decode(drawn, blocks.start * BLOCK),
                fast=fast,
            ),
            remedy="draw with --quality best: this is the student of the release" if fast else REMEDY,
        )
        return batch if request is None else request.weigh(batch, self.codec)

    def _marked(
        self, settled: Callable[..., tuple[pa.RecordBatch, Mapping[str, np.ndarray]]], remedy: str = REMEDY
    ) -> pa.RecordBatch:
        """The rows that are drawn at an address or, with a mark, for each of them the better of that and of another, drawn at
        the address with a word more."""
        batch = self._whole(*settled(), remedy)
        return batch if self.mark is None else self.mark.better(batch, self._whole(*settled("mark"), remedy))

    @staticmethod
    def _whole(batch: pa.RecordBatch, broken: Mapping[str, np.ndarray], remedy: str) -> pa.RecordBatch:
        """The rows, none of which may break a constraint; UserError otherwise, with the remedy."""
        if broken:
            raise UserError(
                f"of {batch.num_rows:,} rows drawn {AGAIN} times each, "
                + ", ".join(f"{marks.sum():,} break {text!r}" for text, marks in broken.items())
                + f": what the constraint asks for has not been learnt; {remedy}"
            )
        return batch

    def settled(
        self, rows: int, draw: Callable[[int], Draw], asked: Sequence[np.ndarray] | None,
        decode: Callable[[Encoded], pa.RecordBatch], *, fast: bool = False,
    ) -> tuple[pa.RecordBatch, dict[str, np.ndarray]]:  # fmt: skip
        """Rows of ``draw(0)``, those that break a constraint drawn anew in their places, by ``draw(1)`` and so on up to AGAIN
        times; and by constraint, which still break it."""
        drawn = self.draw(rows, draw(0), asked, fast=fast)
        for again in range(1, AGAIN + 2):
            batch = decode(drawn)
            broken = {text: marks for text, marks in self.codec.reduction.broken(batch).items() if marks.any()}
            if not broken or again > AGAIN:
                break
            anew = np.logical_or.reduce(list(broken.values()))
            self.redrawn += int(anew.sum())
            fresh = self.draw(rows, draw(again), asked, fast=fast)
            for part, other in zip(drawn, fresh, strict=True):
                part[anew] = other[anew]
        return batch, broken

    def _asked(
        self, seed: int, block: int, request: Request
    ) -> tuple[Sequence[np.ndarray], Callable[[Encoded, int], pa.RecordBatch]]:
        """What is asked of the rows of a block, and how they are decoded."""
        kind = request.drawn(BLOCK, Draw("kind", seed, block, request.key))
        asked = [np.stack(arrays)[kind] for arrays in zip(*map(self.codec.asked, request.kinds), strict=True)]
        # Each distinct way to decode, and of each row that of its kind: classes differ in their cells alone.
        ways: list[Conditions] = []
        way = np.zeros(len(request.kinds), np.int64)
        for j, conditions in enumerate(request.kinds):
            needed = self.codec.decodes(conditions)
            if needed not in ways:
                ways.append(needed)
            way[j] = ways.index(needed)

        def decode(rows: Encoded, first: int) -> pa.RecordBatch:
            decoded = pa.Table.from_batches([self.codec.decode(rows, first, one) for one in ways])
            found = decoded.take(way[kind] * BLOCK + np.arange(BLOCK)) if len(ways) > 1 else decoded
            return found.combine_chunks().to_batches()[0]

        return asked, decode

    def _chance(self, conditions: Conditions, rows: int) -> Chance:
        """Of ``rows`` independent estimates, the mean and its standard error."""
        asked = self.codec.asked(conditions)
        given = self._given(tuple(np.repeat(a[None], rows, 0) for a in asked))
        draw = Draw("chance", asking.key([conditions]), device=self.device)
        chances = self.generator.log_chances(draw, given).double().exp()
        return Chance(float(chances.mean()), float(chances.std()) / rows**0.5)

    def _given(self, asked: Sequence[np.ndarray]) -> Given:
        return Given(*(torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(self.device) for a in asked))
