from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth.data.schema import Column, Schema
from synth.data.split import PARTS, Split
from synth.evaluation import privacy
from synth.evaluation.certificate import evaluate
from synth.evaluation.frame import Lens


def test_nearly_copied_rows_are_closer_to_train_and_fresh_ones_are_not(
    schema: Schema, people: Callable[..., pa.Table]
) -> None:
    train, test, fresh = people(800, 0), people(800, 1), people(800, 2)
    income = train.column_names.index("income")
    jittered = train.set_column(income, "income", pc.add(train["income"], 0.01))
    lens = Lens.fit(schema, {"real": train, "synthetic": fresh, "test": test})
    a, b, c, d = (lens.view(t, "", np.random.default_rng(i))[0] for i, t in enumerate((train, test, fresh, jittered)))
    good = privacy.closest(lens, a, c, b, np.random.default_rng(0))
    copied = privacy.closest(lens, a, d, b, np.random.default_rng(0))
    assert good is not None
    assert copied is not None
    assert good[0].dcr_share.value == pytest.approx(0.5, abs=0.06)
    assert good[1].dcr_share.value == pytest.approx(0.5, abs=0.08)
    assert good[0].ratio.value == pytest.approx(good[1].ratio.value, abs=0.1)
    assert copied[0].dcr_share.value > 0.95
    assert copied[0].ratio.value < 0.01
    found = privacy.histogram(*good)
    assert sum(found.synthetic) == pytest.approx(1, abs=1e-4) and sum(found.baseline) == pytest.approx(1, abs=1e-4)
    assert len(found.edges) == len(found.synthetic) + 1
    assert privacy.closest(lens, a, c, b.take(np.arange(3)), np.random.default_rng(0)) is None
    # Rows that are copied to the last decimal are not asked about; ``exact_copies`` counts them.
    assert privacy.closest(lens, a, a, b, np.random.default_rng(0)) is None


TWINS = Schema(columns=[Column(name=n, kind="categorical", dtype="string") for n in "abc"]
               + [Column(name="k", kind="numerical", dtype="int64", decimals=0)])  # fmt: skip


def twins(rows: int, seed: int) -> pa.Table:
    """Rows of few values each, about half of which have a twin."""
    rng = np.random.default_rng(seed)
    columns = {n: [f"{n}{v}" for v in np.minimum(rng.geometric(0.35, rows), 9)] for n in "abc"}
    return pa.table({**columns, "k": np.minimum(rng.geometric(0.25, rows), 12)})


@pytest.mark.parametrize("by_content", [True, False])
def test_other_real_rows_are_as_private_as_real_however_the_table_was_split(by_content: bool) -> None:
    table, other = twins(6000, 0), twins(1500, 1)
    if by_content:
        part = Split(0.7, 0.1, 0.1, 0.1).assign(table.combine_chunks().to_batches()[0])
    else:
        part = np.random.default_rng(2).choice(len(PARTS), table.num_rows, p=[0.7, 0.1, 0.1, 0.1])
    train, test = (table.filter(pa.array(part == PARTS.index(name))) for name in ("train", "test"))
    figures = evaluate(train, other, test, TWINS).figures
    copies, share, ratio = (figures[name] for name in ("exact_copies", "dcr_share", "nndr"))
    assert copies.value > 0.4
    assert copies.as_good_as_real
    if not by_content:
        assert copies.baseline == pytest.approx(copies.value, abs=0.04)
    assert share.baseline == pytest.approx(0.5, abs=0.12)
    assert share.value == pytest.approx(0.5, abs=0.08)
    assert share.as_good_as_real
    assert ratio.as_good_as_real
    # A sample of train's own rows is one of copies alone, and is told apart.
    assert not evaluate(train, train.slice(0, 1500), test, TWINS).figures["exact_copies"].as_good_as_real
