"""A release in Python: what a model says of itself, and the data frames that it draws."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

import artesian
from synth import release as releases
from synth.data.schema import Schema
from synth.errors import UserError
from synth.provenance.origin import Signed
from synth.provenance.policy import PolicyError
from tests.serving.releases import publish


@pytest.mark.parametrize(("certificate", "message"), [(None, "without one"), ({"auc": 1}, "another version or shape")])
def test_a_release_without_a_certificate_that_can_be_read_is_named(
    certificate: dict[str, int] | None, message: str
) -> None:
    model = artesian.Model.__new__(artesian.Model)
    model.release = SimpleNamespace(location="theirs", certificate=certificate)  # type: ignore[assignment]
    with pytest.raises(UserError, match=rf"theirs: certificate\.json: .*{message}"):
        _ = model.certificate


def test_synthetic_rows_are_given_in_python_as_by_the_command(tmp_path: Path) -> None:
    """Held to the policy that is named, and looked up where it is said, before anything is trained."""
    real, made = pa.table({"x": range(400), "k": ["a", "b"] * 200}), pa.table({"x": range(50), "k": ["a", "b"] * 25})
    (tmp_path / "policy.yaml").write_text("depth: 0\n")
    out = tmp_path / "release"
    with pytest.raises(PolicyError, match=r"synthetic rows: depth 1, and the policy allows 0"):
        artesian.train(real, synthetic=[(made, 2)], policy=tmp_path / "policy.yaml", out=out)
    with pytest.raises(PolicyError, match=r"leaves 0.05 of each batch to real rows"):
        artesian.train(real, synthetic=made.to_pandas(), mix=0.05, out=out)
    drawn_from = releases.load(publish(tmp_path / "releases" / "g")).manifest
    signed = Signed.of(drawn_from, seed=0, first=0, rows=50, key=None, asked={})
    with pytest.raises(PolicyError, match=r"which is not to be found beside it: .*--ancestors"):
        artesian.train(real, synthetic=made.cast(signed.into(made.schema)), out=out)
    assert not out.exists()


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
