from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import synth.data
from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.evaluation.certificate import Certificate, evaluate
from synth.evaluation.figures import CATALOGUE
from synth.evaluation.summary import figures_table


@pytest.fixture(scope="module")
def certificate(schema: Schema, people: Callable[..., pa.Table]) -> Certificate:
    return evaluate(people(900, 0), people(900, 1, towns=8), people(600, 2), schema)


def test_a_certificate_has_every_figure_with_interval_and_baseline_and_survives_json(certificate: Certificate) -> None:
    assert set(certificate.figures) == {name for name in CATALOGUE if "rmse" not in name and "r2" not in name}
    for f in certificate.figures.values():
        assert f.low <= f.value <= f.high
        assert f.baseline_low <= f.baseline <= f.baseline_high
    text = certificate.model_dump_json()
    assert "NaN" not in text
    assert Certificate.model_validate_json(text) == certificate
    assert certificate.rows == {"train": 900, "synthetic": 900, "test": 600}
    assert list(certificate.columns) == ["age", "income", "since", "town", "bought"]
    assert certificate.columns["town"].absent[:1] == ["town 8"]
    assert any("left out" in note or "ids or free text: who" in note for note in certificate.notes)
    town, age = certificate.reference["town"], certificate.reference["age"]
    assert town.labels is not None
    assert town.real is not None
    assert sum(town.real) + town.missing_real == pytest.approx(1)
    assert age.labels is None
    assert age.real is not None
    assert (len(age.real), age.real[0], age.real[-1]) == (101, 18, 89)


def test_fresh_real_rows_are_as_good_as_real_and_lost_towns_are_not(
    schema: Schema, people: Callable[..., pa.Table], certificate: Certificate
) -> None:
    fresh = evaluate(people(900, 0), people(900, 1), people(600, 2), schema)
    good, total = fresh.tally()
    assert good >= total - 2
    assert fresh.verdict()[0] == f"{good} of {total} figures are where fresh real rows are, or better."
    assert "rare_category_coverage" in certificate.short_of_real
    assert "rare_category_coverage" in fresh.as_good_as_real


def test_the_same_tables_and_seed_give_the_same_certificate(
    schema: Schema, people: Callable[..., pa.Table], certificate: Certificate
) -> None:
    again = evaluate(people(900, 0), people(900, 1, towns=8), people(600, 2), schema)
    assert again.model_dump_json() == certificate.model_dump_json()


def test_progress_ends_at_one(schema: Schema, people: Callable[..., pa.Table]) -> None:
    said: list[float] = []
    evaluate(people(60, 0), people(60, 1), people(60, 2), schema, progress=lambda what, done: said.append(done))
    assert said == sorted(said)
    assert said[-1] == 1


def test_what_cannot_be_measured_is_noted_not_raised() -> None:
    schema = Schema(
        columns=[
            Column(name="empty", kind="numerical", dtype="double", nullable=True),
            Column(name="flat", kind="numerical", dtype="double"),
            Column(name="void", kind="categorical", dtype="string", nullable=True),
        ]
    )

    def table(rows: int) -> pa.Table:
        return pa.table({
            "empty": pa.nulls(rows, pa.float64()), "flat": np.ones(rows), "void": pa.nulls(rows, pa.string()),
        })  # fmt: skip

    for rows in (1, 50):
        certificate = evaluate(table(rows), table(rows), table(rows), schema)
        assert "NaN" not in certificate.model_dump_json()
        assert certificate.figures["shape_error"].value == 0
        assert "utility" not in certificate.figures
        assert any("'empty' is missing in every row" in note for note in certificate.notes)
        assert any("no target" in note for note in certificate.notes)
    Certificate.model_validate(json.loads(certificate.model_dump_json()))


def test_numbers_near_the_largest_double_are_measured_as_large_as_they_can_be_and_noted() -> None:
    schema = Schema(columns=[Column(name="x", kind="numerical", dtype="double"),
                             Column(name="c", kind="categorical", dtype="string")], target="c")  # fmt: skip
    rng = np.random.default_rng(0)
    real, sample, test = (
        pa.table({"x": rng.choice([-1e308, 1e308], rows), "c": rng.choice(["a", "b"], rows)}) for rows in (90, 90, 24)
    )
    certificate = evaluate(real, sample, test, schema)
    assert certificate.figures["shape_error"].value < 30
    assert "the real table: 90 values in 'x' beyond ±1e+150 count as that" in certificate.notes


def test_bad_tables_are_refused_by_name(schema: Schema, people: Callable[..., pa.Table]) -> None:
    table = people(20, 0)
    with pytest.raises(UserError, match="the synthetic table has no rows"):
        evaluate(table, table.slice(0, 0), table, schema)
    with pytest.raises(UserError, match="the test table lacks the columns 'age', 'town'"):
        evaluate(table, table, table.drop_columns(["age", "town"]), schema)


def test_the_summary_has_a_row_a_figure_and_takes_no_title_for_markup(certificate: Certificate) -> None:
    figures = dict(certificate.figures)
    figures["nndr"] = figures["nndr"].model_copy(update={"title": "Ratio [kg] of [/b]"})
    shown = certificate.model_copy(update={"figures": figures})
    printed = io.StringIO()
    Console(width=160, file=printed).print(figures_table(shown))
    lines = [line for line in printed.getvalue().splitlines() if "●" in line or "○" in line][:-1]  # the caption
    assert len(lines) == len(figures)
    for line, f in zip(lines, figures.values(), strict=True):
        assert f.title in line
        assert f"{f.value:.2f}"[:-1] in line
        assert ("●" if f.as_good_as_real else "○") in line
    assert "900 synthetic rows, measured against 900 train and 600 test rows" in " ".join(printed.getvalue().split())


def test_reading_a_certificate_does_not_import_scikit_learn() -> None:
    check = "import sys, synth.evaluation.certificate; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_real_rows_of_adult_score_as_real() -> None:
    adult = pq.read_table(Path(synth.data.__file__).parent / "demo" / "adult.parquet")
    rows = np.random.default_rng(0).permutation(adult.num_rows)
    columns = [Column(name=f.name, kind="numerical" if pa.types.is_integer(f.type) else "categorical",
                      dtype="int64" if pa.types.is_integer(f.type) else "string", nullable=True)
               for f in adult.schema]  # fmt: skip
    train, synthetic, test = (adult.take(rows[i : i + 2000]) for i in (0, 2000, 4000))
    certificate = evaluate(train, synthetic, test, Schema(columns=columns, target="income"))
    assert certificate.figures["shape_error"].value < 3
    assert certificate.figures["c2st_tree"].value == pytest.approx(0.5, abs=0.03)
    assert certificate.figures["tstr_auc_boosting"].value > 0.88
    good, total = certificate.tally()
    assert good >= total - 2


def test_of_a_wide_table_some_columns_are_asked_what_gives_the_sample_away_and_a_note_says_so() -> None:
    names = [f"x{i}" for i in range(250)]
    schema = Schema(columns=[Column(name=name, kind="numerical", dtype="double") for name in names])
    real, other, test = (
        pa.table(dict(zip(names, np.random.default_rng(seed).normal(size=(250, 60)), strict=True))) for seed in range(3)
    )
    shifted = other.set_column(77, "x77", pa.array(np.full(60, 3.0)))
    certificate = evaluate(real, shifted, test, schema)
    asked = [name for name, detail in certificate.columns.items() if detail.betrayal is not None]
    assert len(certificate.columns) == 250 and "x77" in asked and 3 * 15 <= len(asked) < 60
    assert any(f"was asked of {len(asked)} of the 250 columns" in note for note in certificate.notes)
    assert "What gives the sample away most: x77." in certificate.verdict()
