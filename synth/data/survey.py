"""What one pass over a column of encoded images tells of it: what is there, what is wrong, and which shape they get."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import pyarrow as pa

from synth.data.conform import Place, without_nan
from synth.data.images import WHAT, Seen, Shape, UnreadableError, each, look
from synth.data.passes import Pass
from synth.data.schema import Column, Kind, Schema
from synth.data.sketch import Counter as Values
from synth.data.source import Piece, Source
from synth.errors import UserError

MOST_UNREADABLE = 0.01  # share of images from which something is wrong with the source, and not with an image
MOST_SIDE = 1024  # pixels that images of one size may have a side without anybody's having said so
NAMED = 3  # images that a note or an error names
SIZES = 4096  # distinct sizes that are told apart


@dataclass
class Tally:
    """How many images something is true of, and the first ones' names."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, count: int, names: list[str]) -> None:
        self.count += count
        self.first = [*self.first, *names][:NAMED]

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {more:,} more" if more else "")


class Survey:
    """The images of column ``name`` and their classes in column ``label``, in bounded memory."""

    def __init__(self, name: str, label: str | None = None) -> None:
        self.name, self.label = name, label
        self.rows = 0
        self.classes = Values(label or "")
        self.colour = 0
        self.unreadable = Tally()
        self.marked = {mark: Tally() for mark in WHAT}
        self.sizes: Counter[tuple[int, int]] = Counter()  # (height, width)

    def update(self, batch: pa.RecordBatch, place: Place) -> None:
        """Decode the images of one batch; ``place`` says where its rows stand."""
        self.rows += batch.num_rows
        seen = each(_looked, batch.column(self.name))
        if self.label is not None:
            readable = pa.array([isinstance(found, Seen) for found in seen], pa.bool_())
            self.classes.update(without_nan(batch.column(self.label).filter(readable)))
        for row, found in enumerate(seen):
            if isinstance(found, UnreadableError):
                self.unreadable.add(1, [f"{place(row)} ({found})"] if self.unreadable.count < NAMED else [])
                continue
            self.colour += found.colour
            self._size((found.height, found.width), 1)
            for mark in found.marks:
                self.marked[mark].add(1, [place(row)] if self.marked[mark].count < NAMED else [])

    def merge(self, later: Survey) -> None:
        """Add what ``later`` has seen of the same column in the rows after these."""
        self.rows += later.rows
        self.classes.merge(later.classes)
        self.colour += later.colour
        self.unreadable.add(later.unreadable.count, later.unreadable.first)
        for mark, tally in later.marked.items():
            self.marked[mark].add(tally.count, tally.first)
        for size, count in later.sizes.items():
            self._size(size, count)

    def _size(self, size: tuple[int, int], count: int) -> None:
        self.sizes[size if size in self.sizes or len(self.sizes) < SIZES else (0, 0)] += count

    @property
    def readable(self) -> int:
        return self.rows - self.unreadable.count

    def check(self, location: str) -> None:
        """UserError where nothing is an image, more than MOST_UNREADABLE cannot be read, or their classes are none."""
        if not self.readable:
            raise UserError(
                f"{location}: column '{self.name}' holds bytes, and no images that can be read: {self.unreadable}. "
                f"Leave it out with --exclude {self.name}, or write it as PNG, JPEG or WebP."
            )
        if (share := self.unreadable.count / self.rows) > MOST_UNREADABLE:
            raise UserError(
                f"{location}: {self.unreadable.count:,} of {self.rows:,} images ({share:.1%}) cannot be read: "
                f"{self.unreadable}. Mend or remove them; up to {MOST_UNREADABLE:.0%} are left out."
            )
        values, _ = self.classes.counts()
        if len(values) == 1 and self.classes.missing:
            raise UserError(
                f"{location}: {self.classes.missing:,} images have no class in column '{self.label}', and all others "
                f"have '{values[0]}'. Give them one, or leave the column out with --exclude {self.label}."
            )
        if 2 * (distinct := len(values)) > self.readable:
            raise UserError(
                f"{location}: column '{self.label}' has {distinct:,} values for {self.readable:,} images, so it is no "
                f"class: leave it out with --exclude {self.label}."
            )

    @property
    def target(self) -> str | None:
        """The column of classes, if there are several."""
        return self.label if len(self.classes.counts()[0]) > 1 else None

    def column(self, location: str, size: int | None) -> Column:
        """The column of images all in one shape: squares of ``size`` pixels, or as all of them are.

        Three channels if any pixel of any image has a colour. UserError where the images leave the size open.
        """
        height, width = self._common(location) if size is None else (size, size)
        shape = height, width, 3 if self.colour else 1
        return Column(name=self.name, kind="image", dtype=f"fixed_size_binary[{math.prod(shape)}]", shape=shape)

    def _common(self, location: str) -> tuple[int, int]:
        """The height and width that all images have."""
        [((height, width), count), *others] = self.sizes.most_common()
        remedy = "Choose the side of the squares that they become with --set image.size=64 (or --size 64 of evaluate)"
        if others:
            raise UserError(
                f"{location}: the images differ in size: {len(self.sizes):,} sizes, of which {width} × {height} is the "
                f"commonest ({count:,} of {self.readable:,}). {remedy}: their middle is resized."
            )
        if max(height, width) > MOST_SIDE:
            raise UserError(
                f"{location}: the images have {width} × {height} pixels, and more than {MOST_SIDE} a side are learnt "
                f"from on request only. {remedy}."
            )
        return height, width

    def notes(self, column: Column) -> list[str]:
        """What was left out, and what was done to the others so that all fit ``column``, one sentence each."""
        assert column.shape is not None, "an image's column has a shape"
        height, width, channels = column.shape
        of = f"of {self.rows:,} images"
        notes = []
        if self.unreadable.count:
            notes.append(f"{self.unreadable.count:,} {of} cannot be read and were left out: {self.unreadable}")
        notes += [f"{t.count:,} {of} {WHAT[mark]}: {t}" for mark, t in self.marked.items() if t.count]
        if other := self.readable - self.sizes[height, width]:
            small = sum(n for (h, w), n in self.sizes.items() if 0 < h < height or 0 < w < width)
            enlarged = f", {small:,} of them enlarged" if small else ""
            notes.append(f"{other:,} {of} were cut to their middle and resized to {width} × {height}{enlarged}")
        grey = self.readable - self.colour
        if channels == 3 and grey:
            notes.append(f"{grey:,} {of} are grey among others in colour, and are learnt in colour, too")
        if channels == 1 and self.colour:
            notes.append(f"{self.colour:,} {of} are in colour, and were made grey, as those are that are learnt from")
        values, counts = self.classes.counts()
        if alone := [str(value) for value in values.filter(pa.array(counts == 1)).to_pylist()]:
            told = Tally(len(alone), alone[:NAMED])
            notes.append(f"{len(alone):,} classes have one image each, which lies in one part of the split: {told}")
        return notes


def _looked(data: bytes | None) -> Seen | UnreadableError:
    try:
        return look(data)
    except UnreadableError as e:
        return e


def image_column(
    fields: Sequence[pa.Field], forced: dict[str, Kind], target: str | None, constraints: Sequence[str]
) -> str | None:
    """The column of images, None in a table. What stands beside it is added to ``forced`` as their class; UserError where
    it cannot be one, and where an option is none for images."""
    images = [f.name for f in fields if pa.types.is_binary(f.type)]
    if not images:
        return None
    if len(images) > 1:
        raise UserError(f"columns {', '.join(images)} hold bytes: leave out all but the images with --exclude.")
    for name in images:
        if name == target or name in forced:
            raise UserError(f"column '{name}' holds images, and is no {forced.get(name, 'target')}.")
    if constraints:
        raise UserError(f"constraint {constraints[0]!r}: is for a table, and '{images[0]}' holds images. Leave it out.")
    beside = [f.name for f in fields if f.name not in images and forced.get(f.name) != "id"]
    if len(beside) > 1:
        raise UserError(
            f"columns {', '.join(beside)} stand beside the images of '{images[0]}', which are learnt with one class at "
            f"most: leave out the others, such as --exclude {','.join(beside[1:])}."
        )
    for name in beside:
        if forced.setdefault(name, "categorical") != "categorical":
            raise UserError(f"--{forced[name]} {name}: beside images only a class is learnt. Leave the option out.")
    return images[0]


def survey_as(schema: Schema, source: Source, over: Pass) -> list[str]:
    """Notes on the images of another source that is to fit ``schema``; none where that has no images, or they are pixels
    already. UserError as ``Survey.check`` has it."""
    if schema.image is None or pa.binary() not in [f.type for f in source.schema if f.name == schema.image]:
        return []

    def look(piece: Piece) -> Survey:
        survey = Survey(piece.source.schema.names[0])
        for first, batch in piece.batches():
            survey.update(batch, piece.place(first))
        return survey

    def merged(so_far: Survey, later: Survey) -> Survey:
        so_far.merge(later)
        return so_far

    found = reduce(merged, over("looking at the images", look, source.only([schema.image])))
    found.check(source.location)
    return [f"{source.location}: {note}" for note in found.notes(schema[schema.image])]


def first_shape(source: Source, exclude: Sequence[str], size: int | None) -> Shape | None:
    """(height, width, channels) of a source's first image, or of what becomes of it; None where there is none.

    What all images become is known after a pass only, and whether they can be held is to be known before.
    """
    images = [f.name for f in source.schema if pa.types.is_binary(f.type) and f.name not in exclude]
    for batch in source.only(images[:1]).batches() if images else ():
        for data in batch.column(0):
            found = _looked(data.as_py())
            if isinstance(found, Seen):
                return size or found.height, size or found.width, 3 if found.colour else 1
    return None
