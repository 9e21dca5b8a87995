"""How many rows are drawn for the certificate."""

from __future__ import annotations

import pytest

from synth.data.schema import Column, Schema
from synth.training.publish import most_sampled


@pytest.mark.parametrize(("columns", "rows"), [(1, 50_000), (400, 50_000), (1_000, 20_000), (10_000, 8_192)])
def test_of_wide_tables_no_more_rows_are_drawn_than_are_measured(columns: int, rows: int) -> None:
    schema = Schema(columns=[Column(name=f"x{i}", kind="numerical", dtype="double") for i in range(columns)])
    assert most_sampled(schema) == rows
