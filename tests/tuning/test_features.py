from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from synth.data.schema import Column, Schema
from synth.errors import UserError
from tuning.features import NAMES, describe


def schema_of(table: pa.Table, target: str | None, classes: tuple[str, ...] = ()) -> Schema:
    """Text is a category, and so are ``classes``; all else is a number."""
    columns = [
        Column(
            name=column.name,
            kind="categorical" if column.name in classes or pa.types.is_string(column.type) else "numerical",
            dtype=str(column.type),
            nullable=True,
        )
        for column in table.schema
    ]
    return Schema(columns=columns, target=target)


def described(columns: dict[str, object], target: str | None = "y") -> dict[str, float]:
    table = pa.table(columns)
    return describe(schema_of(table, target), table)


def test_what_a_table_says_of_itself() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    found = described({
        "x": x,
        "cube": x**3,
        "gaps": pa.array([None if k % 4 == 0 else 7.0 for k in range(1000)]),
        "town": [f"t{k % 8}" for k in range(1000)],
        "y": ["yes" if v else "no" for v in x > np.median(x)],
    })  # fmt: skip
    assert tuple(found) == NAMES
    assert found["log_rows"] == pytest.approx(math.log(1000))
    assert found["log_columns"] == pytest.approx(math.log(5))
    assert found["numerical"] == 0.6 and found["categorical"] == 0.4
    assert found["log_cardinality_max"] == pytest.approx(math.log(8))
    assert found["log_cardinality_mean"] == pytest.approx((math.log(8) + math.log(2)) / 2)
    assert found["missing"] == pytest.approx(0.25 / 5)
    assert found["point_mass"] == pytest.approx((0.001 + 0.001 + 1) / 3)
    assert found["few_values"] == pytest.approx(1 / 3)
    assert found["correlation_max"] == pytest.approx(1) and found["correlation_mean"] == pytest.approx(1)
    assert found["regression"] == 0 and found["log_classes"] == pytest.approx(math.log(2))
    assert found["balance"] == pytest.approx(1)
    assert found["landmark_stump"] > 0.98 and found["landmark_tree"] > 0.98


def test_landmarks_tell_what_can_be_learnt_and_how() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, 1500))
    noise = described({"x": x, "z": z, "y": rng.normal(size=1500)})
    line = described({"x": x, "z": z, "y": x + z})
    product = described({"x": np.sign(x) + 0.1 * z, "z": z, "y": ["ab"[int(v)] for v in x * z > 0]})
    learners = [f"landmark_{name}" for name in ("stump", "tree", "linear", "neighbour")]
    assert all(noise[name] < 0.1 for name in learners)
    assert line["landmark_linear"] > 0.99 > line["landmark_tree"] > line["landmark_stump"] > 0.1
    assert product["landmark_tree"] > 0.9 and product["landmark_linear"] < 0.2
    assert line["regression"] == 1 and line["balance"] == 1 and line["log_classes"] == 0


def test_rare_classes_and_heavy_tails_show() -> None:
    rng = np.random.default_rng(2)
    rare = ["rare" if k % 100 == 0 else "common" for k in range(2000)]
    even = described({"x": rng.normal(size=2000), "y": ["ab"[k % 2] for k in range(2000)]})
    odd = described({"x": np.exp(2 * rng.normal(size=2000)), "y": rare})
    assert odd["balance"] < 0.1 < even["balance"]
    assert odd["skew"] > 0.7 > 0.2 > even["skew"]
    assert odd["tails"] > even["tails"] == pytest.approx(math.log(2 * 2.326 / 1.349), abs=0.2)


def test_it_is_of_the_table_and_not_of_its_order_or_names() -> None:
    rng = np.random.default_rng(3)
    table = pa.table({"x": rng.normal(size=800), "k": [f"{k % 5}" for k in range(800)], "y": rng.integers(0, 3, 800)})
    found = describe(schema_of(table, "y", ("y",)), table)
    other = table.take(rng.permutation(800)).rename_columns(["a", "b", "c"])
    again = describe(schema_of(other, "c", ("c",)), other)
    assert again == describe(schema_of(other, "c", ("c",)), other)
    for name in NAMES:
        assert again[name] == pytest.approx(found[name], abs=0.15 if name.startswith("landmark") else 1e-9), name


@pytest.mark.parametrize(
    "y", [["a"] * 30, [1.5] * 30, ["a"] * 29 + ["b"], [None] * 29 + [2.0], [f"{k}" for k in range(30)]]
)
def test_poor_tables_have_finite_features(y: list[object]) -> None:
    gone = pa.array([None] * 30, pa.float64())
    found = described({"gone": gone, "one": [1.0] * 30, "far": [*[0.0] * 29, math.inf], "y": y})
    assert all(math.isfinite(value) for value in found.values()), found
    assert all(math.isfinite(value) for value in described({"y": y}).values())
    assert all(
        math.isfinite(value)
        for value in described({"x": [1.0], "y": y[:1]} if y[0] else {"x": [1.0], "y": ["a"]}).values()
    )


def test_a_target_must_be_named() -> None:
    with pytest.raises(UserError, match="--target"):
        described({"x": [1.0, 2.0]}, target=None)
