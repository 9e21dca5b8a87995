"""A release in Python: what a model says of itself, and the data frames that it draws."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pytest

import artesian
from synth.data.schema import Schema
from synth.errors import UserError


@pytest.mark.parametrize(("certificate", "message"), [(None, "without one"), ({"auc": 1}, "another version or shape")])
def test_a_release_without_a_certificate_that_can_be_read_is_named(
    certificate: dict[str, int] | None, message: str
) -> None:
    model = artesian.Model.__new__(artesian.Model)
    model.release = SimpleNamespace(location="theirs", certificate=certificate)  # type: ignore[assignment]
    with pytest.raises(UserError, match=rf"theirs: certificate\.json: .*{message}"):
        _ = model.certificate


def test_whole_numbers_with_gaps_stay_exact_in_pandas() -> None:
    table = pa.table({"big": [2**60 + 1, None], "tiny": pa.array([255, None], pa.uint8()), "full": [1, 2]})
    model = artesian.Model.__new__(artesian.Model)
    sampler = SimpleNamespace(
        ask=lambda **options: None, table=lambda rows, seed, request: table, schema=Schema(columns=[])
    )
    model._sampler = sampler  # type: ignore[assignment]
    frame = model.sample(2)
    assert frame["big"][0] == 2**60 + 1 and frame["big"].isna()[1]
    assert str(frame["tiny"].dtype) == "UInt8" and frame["full"].tolist() == [1, 2]
