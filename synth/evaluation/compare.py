"""Score any synthetic table, whoever made it: three tables in, a certificate out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
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
    kinds: Mapping[str, Sequence[str]],
    network: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Measure ``synthetic`` against ``real`` train rows, with ``test`` rows nobody trained on as the baseline.

    Each table is whatever ``open_source`` takes. ``kinds`` are the columns named for ``infer``: categorical, numerical,
    datetime, ids, exclude. ``network``: of images, the file of one to compare them by. Raises UserError for what
    is wrong with a table.
    """
    columns: dict[str, Any] = {name: list(names) for name, names in kinds.items()}
    as_text = [*columns.get("categorical", ()), *columns.get("exclude", ())]
    source = open_source(real, as_text=as_text)
    schema = infer(source, target=target, **columns)
    # A category that looks like a number or a truth value in another file is one all the same.
    as_text += schema.text_columns
    theirs, fresh = (open_source(table, as_text=as_text).table() for table in (synthetic, test))
    known = source.table()
    certificate = evaluate(
        known, theirs, fresh, schema, seed=seed, preparation=schema.notes, network=network, progress=progress
    )
    return Comparison(certificate, known, theirs, schema)
