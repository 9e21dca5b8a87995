"""What a certificate says of images: synthetic ones beside real ones that their generator never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from synth.data.schema import Schema
from synth.evaluation import details, diversity, fidelity
from synth.evaluation.copies import Keys, copies, row_keys
from synth.evaluation.details import ImageDetail
from synth.evaluation.figures import IMAGE_CATALOGUE
from synth.evaluation.image_features import FEWEST
from synth.evaluation.image_measures import (
    Findings,
    basis_of,
    compare_classes,
    compare_features,
    find_copies,
    tell_apart,
)
from synth.evaluation.image_rows import image_shape, label_lens, read_images


def measure_images(
    tables: Mapping[str, pa.Table],
    schema: Schema,
    rngs: Sequence[np.random.Generator],
    train_keys: Keys | None,
    say: Callable[[str, float], None],
    *,
    network: str | None,
) -> dict[str, Any]:
    """What the certificate says of ``tables`` that hold images, real train, the sample and the test images, by field."""
    say("reading the images", 0.0)
    found = Findings({}, [])
    lens = label_lens(schema, tables, found.notes)
    train, sample, fresh = (
        read_images(table, what, schema, lens, rngs[0], found.notes) for what, table in tables.items()
    )
    enough = min(len(train) // 2, len(sample), len(fresh)) >= FEWEST
    basis, classes = None, []
    if enough:
        say("learning features", 0.02)
        basis = basis_of(network, train, fresh, rngs[1])
        found.notes.append(basis.describe)
        say("distances", 0.2)
        compare_features(found, basis, train, sample, fresh, rngs[2])
        say("telling real from synthetic", 0.35)
        tell_apart(found, train, sample, fresh, rngs[3])
        if lens is not None:
            say("classes", 0.65)
            classes = compare_classes(found, lens, train, sample, fresh, rngs[4])
    else:
        found.notes.append(
            f"too few images (train {len(train):,}, synthetic {len(sample):,}, test {len(fresh):,}): only copies and "
            f"distances of pixels were measured; the rest needs {FEWEST} of each and {2 * FEWEST} of train"
        )
    say("copies of training images", 0.85)
    distances, neighbours = find_copies(found, basis, train, sample, fresh, rngs[5])
    real, synthetic, _ = tables.values()
    keys = train_keys if train_keys is not None else Keys.of(row_keys(schema, real))
    found.add("exact_copies", *copies(row_keys(schema, synthetic), keys))
    columns, reference = {}, {}
    if lens is not None and set(lens.names) <= set(synthetic.column_names):
        frames = [lens.view(table, what, rngs[6])[0] for what, table in tables.items()]
        shapes = [fidelity.shape(lens, frames[0], f) for f in frames[1:]]
        kept = diversity.categories(lens, frames[1])
        columns = details.column_details(lens, frames[0], frames[1], shapes, None, kept)
        reference = details.reference(lens, frames[0], frames[1])
    return {
        "figures": {name: found.figures[name] for name in IMAGE_CATALOGUE if name in found.figures},
        "columns": columns,
        "trends": None,
        "distances": distances,
        "reference": reference,
        "images": ImageDetail(
            shape=image_shape(schema),
            features=None if basis is None else basis.describe,
            classes=classes,
            neighbours=neighbours,
        ),
        "notes": found.notes,
    }
