"""Score any synthetic table, whoever made it: three tables in, a certificate out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.passes import here
from synth.data.schema import Schema
from synth.data.source import Source, open_source
from synth.data.survey import survey_as
from synth.evaluation.certificate import Certificate, evaluate


@dataclass(frozen=True)
class Comparison:
    """A certificate and the tables behind it, as the report shows them."""

    certificate: Certificate
    real: pa.Table
    synthetic: pa.Table
    schema: Schema


def compare(
    real: Any,
    synthetic: Any,
    test: Any,
    *,
    target: str | None = None,
    seed: int = 0,
    size: int | None = None,
    kinds: Mapping[str, Sequence[str]],
    network: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Measure ``synthetic`` against ``real`` train rows, with ``test`` rows nobody trained on as the baseline.

    Each table is whatever ``open_source`` takes. ``kinds`` are the columns named for ``infer``: categorical, numerical,
    datetime, ids, exclude; ``size`` is the side of the squares that images become, and ``network`` the file of one to
    compare them by. Raises UserError for what is wrong with a table.
    """
    columns: dict[str, Any] = {name: list(names) for name, names in kinds.items()}
    as_text = [*columns.get("categorical", ()), *columns.get("exclude", ())]
    source = open_source(real, as_text=as_text)
    schema = infer(source, target=target, size=size, **columns)
    # A category that looks like a number or a truth value in another file is one all the same.
    as_text += schema.text_columns
    sources = [source, *(open_source(table, as_text=as_text) for table in (synthetic, test))]
    for other in sources[1:]:
        schema.notes.extend(survey_as(schema, other, here))
    known, theirs, fresh = (table.table() if schema.image is None else conformed(table, schema) for table in sources)
    certificate = evaluate(
        known, theirs, fresh, schema, seed=seed, preparation=schema.notes, network=network, progress=progress
    )
    return Comparison(certificate, known, theirs, schema)


def conformed(source: Source, schema: Schema) -> pa.Table:
    """The whole of a source in the schema's types: of images, the pixels."""
    batches = [conform(batch, schema, place=source.whole().place(first)) for first, batch in source.whole().batches()]
    return pa.Table.from_batches(batches, schema.arrow())
