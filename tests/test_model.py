"""A release in Python: what a model says of itself, and the data frames that it draws."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artesian
from synth import release as releases
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import served
from synth.provenance.origin import Origin, Signed
from synth.provenance.policy import PolicyError
from synth.provenance.recognition import recognise
from synth.sampling import Sampler
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


@pytest.fixture
def model(tmp_path: Path) -> artesian.Model:
    return artesian.load(publish(tmp_path / "people"))


def test_rows_that_are_drawn_in_python_say_so_and_are_known_again(model: artesian.Model, tmp_path: Path) -> None:
    table = model.table(3_000, seed=5)
    pq.write_table(table, tmp_path / "rows.parquet")
    origin, signer = Origin.read(pq.read_schema(tmp_path / "rows.parquet").metadata)
    assert (origin.release, origin.seed, origin.rows, origin.asked) == (model.release.manifest.id, 5, 3_000, {})
    assert signer.kind == "own"
    frame = model.sample(3_000, seed=5)
    [known] = recognise(open_source(frame)).rows
    assert known.release == model.release.manifest.id and known.share > 0.5
    assert len(served.logs()[0].pairs()) == 3_000  # the same rows
    assert table.equals(Sampler.from_release(model.release).table(3_000, seed=5))


@pytest.mark.parametrize(
    "asked",
    [
        {"where": {"age": [40, 41], "city": ("Rome",)}}, {"where": ["age>=40", "city=Rome"]},
        {"balance": {"member": {False: 0.5, True: 0.5}}}, {"rare": "age>=80", "boost": 2.0},
        {"where": {"age": np.int64(40)}},
    ],
)  # fmt: skip
def test_what_is_asked_in_python_can_be_asked_again_by_the_origin(model: artesian.Model, asked: dict[str, Any]) -> None:
    table = model.table(20, **asked)
    origin, _ = Origin.read(table.schema.metadata)
    assert origin.key is not None and origin.asked is not None and origin.asked.keys() == asked.keys()
    assert model.table(20, **origin.asked).equals(table)


def test_rows_are_drawn_in_python_where_nothing_can_be_signed_or_logged(
    model: artesian.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARTESIAN_STATE_DIR", str(tmp_path / "file"))
    assert Origin.read(model.table(10).schema.metadata)[0].rows == 10
    assert len(model.sample(10)) == 10 and "people: drawn rows are not logged: " in caplog.text
    monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(tmp_path / "file"))
    assert model.table(10).schema.metadata is None and "people: drawn rows carry no origin: " in caplog.text


def test_whole_numbers_with_gaps_stay_exact_in_pandas(model: artesian.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTESIAN_ROW_LOG", "off")
    table = pa.table({"big": [2**60 + 1, None], "tiny": pa.array([255, None], pa.uint8()), "full": [1, 2]})
    sampler = SimpleNamespace(
        ask=lambda **options: None, batches=lambda rows, seed, request: iter(table.to_batches()),
        arrow=lambda request: table.schema, schema=Schema(columns=[]),
    )  # fmt: skip
    model._sampler = sampler  # type: ignore[assignment]
    frame = model.sample(2)
    assert frame["big"][0] == 2**60 + 1 and frame["big"].isna()[1]
    assert str(frame["tiny"].dtype) == "UInt8" and frame["full"].tolist() == [1, 2]
