"""From a source to what training needs: schema, split, codec, encoded rows, and the rows that the certificate looks at.

A table that a worker can hold is read in this process, and its encoded rows travel with the job. A larger one is read
piece by piece on the cluster, and its encoded rows go to the run's storage, from which the workers stream them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.storage import is_remote
from synth.data.codec import Codec, Fit
from synth.data.infer import infer
from synth.data.passes import Pass, here
from synth.data.reduction import Reduction
from synth.data.schema import Schema, nearest
from synth.data.source import Piece, Source, open_source
from synth.data.split import PARTS, Split
from synth.data.survey import first_shape, survey_as
from synth.errors import UserError
from synth.evaluation.copies import Keys, row_keys
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.training import mixing
from synth.training.mixing import Given
from synth.training.parting import as_many, conformed, drawn, judged, narrow, parted, split_of
from synth.training.stored import Stored, Writer, record
from synth.training.synthetic import Synthetic, gathered

MOST_EVALUATED = 200_000  # rows of a part that the certificate looks at; more are sampled, and a note says so
EVALUATED_BYTES = 512 << 20  # of images, so many bytes at most
EVALUATED_VALUES = 1 << 25  # rows × columns, at most: 268 MB of numbers
# Rows that samples are held against during training, in number and bytes; and of select, below which those of train
# stand in, which tell less of what was learnt by heart.
MOST_WATCHED, WATCHED_BYTES, FEW = 2_000, 64 << 20, 200
VALUE = 4  # bytes of an encoded cell or number
TRAIN, TEST = PARTS.index("train"), PARTS.index("test")


@dataclass
class Watched:
    """Encoded rows of a part of the split, drawn at random; ``left_out`` more hold what no training row does."""

    rows: list[Encoded]
    part: str
    left_out: int


@dataclass
class Prepared:
    """``encoded`` are the training rows, batch by batch, or where they are stored; ``real`` and ``test`` what the
    certificate compares; ``keys`` what it looks for copies among: every training row, also those ``real`` lacks;
    ``watched`` what samples are held against during training; ``kept`` rows of other parts that were asked for; ``mixed`` the
    encoded rows of each synthetic table, after its share of every batch."""

    schema: Schema
    codec: Codec
    encoded: list[Encoded] | Stored
    real: pa.Table
    test: pa.Table
    keys: Keys
    watched: Watched
    rows: dict[str, int]
    sources: dict[str, Source]
    kept: dict[str, pa.Table] = field(default_factory=dict)
    mixed: list[tuple[float, list[Encoded]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def open_train(data: Any, test: Any, recipe: Recipe) -> Source:
    """The table to train on. UserError for what is wrong with it at first sight, or with the split."""
    split = split_of(recipe)
    if test is not None and split.test:
        raise UserError(
            f"the split {split} keeps rows for the test, and --test names a file of them: give three shares, "
            "such as --split 1,0,0, or leave --test out"
        )
    if test is None and not split.test:
        raise UserError(f"the split {split} leaves no rows to certify on: give a fourth share, or --test FILE")
    return open_source(data, as_text=[*recipe.categorical, *recipe.exclude])


def spreads(source: Source, *, embedded: bool) -> bool:
    """Whether any node can read the source: the one node that an ``embedded`` cluster has, or all of them from a URI."""
    return embedded or is_remote(source.location)


def is_held(source: Source, recipe: Recipe) -> tuple[bool, str]:
    """(whether each worker holds the encoded table, a sentence on it): a matter of the table and the recipe alone, as
    the order in which rows are seen depends on it."""
    size, limit, columns = size_of(source, recipe), recipe.training.hold_mib, _columns(source, recipe)
    if shape := first_shape(source, recipe.exclude, recipe.image.size):
        height, width, channels = shape
        table = f"{source.rows():,} images of {width} × {height} × {channels}, {size:,.0f} MiB when decoded"
    else:
        table = f"{source.rows():,} rows × {columns} columns, {size:,.0f} MiB when encoded"
    if size <= limit:
        return True, f"{table}: held by each worker"
    return False, f"{table}, beyond training.hold_mib={limit:,}: streamed from the run's storage"


def size_of(source: Source, recipe: Recipe) -> float:
    """MiB of the encoded table."""
    shape = first_shape(source, recipe.exclude, recipe.image.size)
    return source.rows() * (math.prod(shape) if shape else _columns(source, recipe) * VALUE) / 2**20


def _columns(source: Source, recipe: Recipe) -> int:
    return len(set(source.schema.names) - set(recipe.exclude))


def describe(
    source: Source, test: Any, recipe: Recipe, over: Pass = here, synthetic: Sequence[Given] = ()
) -> tuple[dict[str, Source], Schema]:
    """Infer the schema and open the test rows, and synthetic ones; whatever is wrong with the tables is found here, before
    training."""
    sources = {"train": source}
    schema = infer(
        source, target=recipe.target, categorical=recipe.categorical, numerical=recipe.numerical,
        datetime=recipe.datetime, ids=recipe.id, exclude=recipe.exclude, constraints=recipe.constraints,
        size=recipe.image.size, over=over,
    )  # fmt: skip
    if test is not None:
        # A category that looks like a number or a truth value in the other file is one all the same.
        as_text = [*recipe.categorical, *recipe.exclude, *schema.text_columns]
        sources["test"] = open_source(test, as_text=as_text)
        for column in schema.learnt:
            if column.name not in (names := sources["test"].schema.names):
                where = f"{sources['test'].location}: column '{column.name}' of the training rows is missing"
                raise UserError(f"{where}.{nearest(column.name, names)}")
        schema.notes.extend(survey_as(schema, sources["test"], over))
    sources |= mixing.opened(synthetic, schema, [*recipe.categorical, *recipe.exclude, *schema.text_columns])
    return sources, schema


def open_sources(data: Any, test: Any, recipe: Recipe) -> tuple[dict[str, Source], Schema]:
    """Open the tables and infer the schema, in this process."""
    return describe(open_train(data, test, recipe), test, recipe)


def prepare(
    sources: dict[str, Source], schema: Schema, recipe: Recipe, *, store: str | None = None, over: Pass = here,
    keep: Sequence[str] = (), synthetic: Sequence[Given] = (),
) -> Prepared:  # fmt: skip
    """Split, fit the codec in one pass over the training rows, and encode them in another: to files at ``store``, or in
    memory without it. Rows of the parts ``keep`` are kept as they are, too. All ``synthetic`` rows are training rows."""
    split, seed = split_of(recipe), recipe.seed
    reduction = Reduction(schema)
    needed = {column.name for column in schema.learnt}.union(*(c.columns for c in reduction.constraints))
    train = sources["train"].only([name for name in schema.names if name in needed])
    made = gathered(sources, synthetic, schema, split, recipe)
    codec, counts, notes = _fit(train, schema, split, recipe, over, made)
    rows = dict(zip(PARTS, counts.tolist(), strict=True))
    most = min(as_many(schema, MOST_EVALUATED, EVALUATED_BYTES), EVALUATED_VALUES // len(schema.columns))
    shares = {part: most / max(rows[part], 1) for part in ("train", "test", *keep)}
    watched = "select" if rows["select"] >= FEW else "train"
    watch = watched, min(MOST_WATCHED, WATCHED_BYTES // record(codec.layout).itemsize) / max(rows[watched], 1)

    def encode(piece: Piece) -> _Encoded:
        return _encode(piece, codec, split, seed=seed, shares=shares, watch=watch, store=store)

    parts = list(over("encoding the rows", encode, train))
    held = [keys for part in parts for keys in part.keys]  # alone, so that the rows beside them can be let go
    tables = {name: [batch for part in parts for batch in part.tables[name]] for name in shares}
    if "test" in sources:
        draw, share = np.random.default_rng([seed, TEST]), most / max(sources["test"].rows(), 1)
        rows["test"], tables["test"] = 0, []
        for _, batch in conformed(sources["test"].whole(), schema):
            rows["test"] += batch.num_rows
            tables["test"].append(drawn(batch, share, draw))
    stored = None
    if store is not None:
        written = {name: count for part in parts for name, count in part.written.items()}
        stored = Stored(location=store, parts=written, layout=codec.layout)
    found = Prepared(
        schema=schema,
        codec=codec,
        encoded=stored or [batch for part in parts for batch in part.rows],
        real=pa.Table.from_batches(tables["train"], schema.arrow()),
        test=pa.Table.from_batches(tables["test"], schema.arrow()),
        keys=Keys(stored.keys if stored else lambda: iter(held), rows["train"]),
        watched=Watched([batch for part in parts for batch in part.watched], watched, sum(p.left_out for p in parts)),
        rows=rows,
        sources=sources,
        kept={name: pa.Table.from_batches(tables[name], schema.arrow()) for name in keep},
        mixed=[] if made is None else made.encoded(codec, rows["train"]),
        notes=[*schema.notes, *notes, *(made.notes if made is not None else ())],
    )
    looked_up = {"train": "; exact copies are looked for among all", "test": ""}
    for what, part in (("train", found.real), ("test", found.test)):
        if part.num_rows < rows[what]:
            found.notes.append(
                f"the certificate is measured on {part.num_rows:,} of the {rows[what]:,} {what} rows, drawn at "
                f"random{looked_up[what]}"
            )
    return found


def _fit(
    train: Source, schema: Schema, split: Split, recipe: Recipe, over: Pass, made: Synthetic | None
) -> tuple[Codec, np.ndarray, list[str]]:
    """The codec, the real rows of each part of the split (4,), and what is to be said of constraints that they break."""
    Looked = tuple[Fit, np.ndarray, Counter[str]]

    def look(piece: Piece) -> Looked:
        fit, counts, broken = Fit(schema), np.zeros(len(PARTS), np.int64), Counter[str]()
        for part, batch in parted(piece, schema, split, broken):
            counts += np.bincount(part, minlength=len(PARTS))
            fit.update(batch.filter(pa.array(part == TRAIN)))
        return fit, counts, broken

    def merged(so_far: Looked, later: Looked) -> Looked:
        so_far[0].merge(later[0])
        return so_far[0], so_far[1] + later[1], so_far[2] + later[2]

    fit, counts, broken = reduce(merged, over("fitting the codec", look, train))
    notes = judged(broken, train, recipe)
    if made is not None:
        fit = made.joined(fit, int(counts[TRAIN]))
    codec = fit.finish(**recipe.codec.model_dump())
    notes += [f"{cross}: what only their combination says is told apart (codec.crosses)" for cross in codec.together]
    split.check(counts)
    if counts[TRAIN] < recipe.training.most:
        raise UserError(
            f"--workers {recipe.training.most}: there are {counts[TRAIN]} training rows, less than one for each worker; "
            "give fewer workers or more rows"
        )
    if not codec.layout.cells and not codec.layout.values:
        raise UserError(
            f"{train.location}: every column holds one and the same value in all training rows, so there is "
            "nothing to learn. Bring rows that differ."
        )
    return codec, counts, notes


@dataclass
class _Encoded:
    """What is left of a piece: its training rows and their keys, or the files that hold them (rows by name); the rows to
    evaluate on, by part, and those to watch the training on."""

    rows: list[Encoded]
    keys: list[np.ndarray]
    written: dict[str, int]
    tables: dict[str, list[pa.RecordBatch]]
    watched: list[Encoded]
    left_out: int = 0


def _encode(
    piece: Piece, codec: Codec, split: Split, *, seed: int, shares: dict[str, float], watch: tuple[str, float],
    store: str | None,
) -> _Encoded:  # fmt: skip
    """Encode the training rows of a piece, and draw ``shares`` of its parts to evaluate on, the training rows' first, and
    the share of a part that training is watched on."""
    done, schema = _Encoded([], [], {}, {name: [] for name in shares}, []), codec.table
    draw = np.random.default_rng([seed, piece.first])
    watched, share = PARTS.index(watch[0]), watch[1]
    draw_watched = np.random.default_rng([seed, piece.first, watched])
    writer = Writer(store, codec.layout, piece.first) if store is not None else None
    for part, batch in parted(piece, schema, split):
        train = batch.filter(pa.array(part == TRAIN))
        rows, keys = codec.encode(train), row_keys(schema, train)
        if writer is not None:
            writer.add(rows, keys)
        else:
            done.rows.append(narrow(rows, codec))
            done.keys.append(keys)
        for name, share_of_part in shares.items():
            mine = train if name == "train" else batch.filter(pa.array(part == PARTS.index(name)))
            done.tables[name].append(drawn(mine, share_of_part, draw))
        seen = drawn(batch.filter(pa.array(part == watched)), share, draw_watched)
        known = codec.encodable(seen)
        done.watched.append(narrow(codec.encode(seen.filter(pa.array(known))), codec))
        done.left_out += int((~known).sum())
    if writer is not None:
        done.written = writer.finish()
    return done
