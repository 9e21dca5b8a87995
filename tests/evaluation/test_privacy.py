from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from synth.data.schema import Schema
from synth.evaluation import privacy
from synth.evaluation.frame import Lens


def test_planted_copies_are_found_exactly_whatever_the_block(
    schema: Schema, people: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "HASHED_ROWS", 64)
    train, test, fresh = people(1000, 0), people(500, 1), people(500, 2)
    sample = pa.concat_tables([fresh.slice(0, 463), train.slice(300, 37)])
    tables = {"real": train, "synthetic": sample, "test": test}
    found = privacy.exact_copies(Lens.fit(schema, tables), train, {"synthetic": sample, "test": test})
    assert found["synthetic"].value == 37 / 500
    assert found["test"].value == 0
    assert found["synthetic"].low < 37 / 500 < found["synthetic"].high


def test_copies_are_equal_at_the_precision_of_the_column(schema: Schema, people: Callable[..., pa.Table]) -> None:
    train = people(50, 0)
    age = train.column_names.index("age")
    unrounded = train.set_column(age, "age", pa.array(train["age"].to_numpy() + 0.2))
    lens = Lens.fit(schema, {"real": train, "synthetic": unrounded})
    assert privacy.exact_copies(lens, train, {"synthetic": unrounded})["synthetic"].value == 1


def test_copied_rows_are_closer_to_train_and_fresh_ones_are_not(
    schema: Schema, people: Callable[..., pa.Table]
) -> None:
    train, test, fresh = people(800, 0), people(800, 1), people(800, 2)
    lens = Lens.fit(schema, {"real": train, "synthetic": fresh, "test": test})
    a, b, c = (lens.view(t, "", np.random.default_rng(i))[0] for i, t in enumerate((train, test, fresh)))
    good = privacy.closest(lens, a, c, b, np.random.default_rng(0))
    copied = privacy.closest(lens, a, a, b, np.random.default_rng(0))
    assert good is not None
    assert copied is not None
    assert good[0].dcr_share.value == pytest.approx(0.5, abs=0.06)
    assert good[1].dcr_share.value == pytest.approx(0.5, abs=0.08)
    assert good[0].ratio.value == pytest.approx(good[1].ratio.value, abs=0.1)
    assert copied[0].dcr_share.value > 0.95
    assert copied[0].ratio.value == 0
    edges, ours, theirs = privacy.histogram(*good)
    assert sum(ours) == pytest.approx(1)
    assert sum(theirs) == pytest.approx(1)
    assert len(edges) == len(ours) + 1
    assert privacy.closest(lens, a, c, b.take(np.arange(3)), np.random.default_rng(0)) is None
