"""Every format is written of every kind of thing, with the exit status of the walk and without what must not leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synth import release as releases
from synth.provenance import formats
from synth.provenance.manifest import DataEntry
from tests.command import run
from tests.provenance.formats.conftest import save
from tests.serving.releases import people

PLACES = ("rows2.parquet", "rows1.csv", "real.parquet", "g1", "g0", "pets", "pngs", "pets.parquet")


@pytest.mark.parametrize("format", formats.NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_every_format_is_written_of_everything(
    made: Path, place: str, format: str, written: Callable[..., str]
) -> None:
    out = written(made / place, format)
    assert out
    if format not in ("tree", "card"):
        json.loads(out)
    for city in people()["city"].unique().to_pylist():  # in the codec and the rows, and nowhere else
        assert city not in out
    if format in ("croissant", "prov", "card"):
        assert str(made.parent) not in out


@pytest.mark.parametrize("format", formats.NAMES)
def test_a_broken_link_is_told_by_the_exit_status(made: Path, format: str, written: Callable[..., str]) -> None:
    (made / "g0" / "recipe.yaml").write_text("seed: 9")
    (made / "g1" / "certificate.json").write_text("{}")
    (made / "g1" / "schema.yaml").unlink()
    for place in ("rows2.parquet", "g1", "g0"):
        assert written(made / place, format, status=1)


@pytest.mark.parametrize("format", formats.NAMES)
def test_a_release_whose_manifest_cannot_be_read_is_written_all_the_same(
    made: Path, format: str, written: Callable[..., str]
) -> None:
    (made / "g1" / "manifest.json").write_text("{}")
    assert written(made / "g1", format, status=1)
    assert written(made / "rows2.parquet", format, status=1)


def test_an_unknown_format_is_told_the_six(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lineage", "g0", "--format", "rdf"], monkeypatch) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "'rdf' is unknown; formats: tree, json, croissant, prov, openlineage, card" in told


@pytest.mark.parametrize("format", formats.NAMES)
def test_credentials_stay_out(made: Path, format: str, written: Callable[..., str]) -> None:
    entry = DataEntry(
        location="memory://ana:hunter2@box/people.csv?token=hunter2", sha256="0" * 64, rows=9, role="train"
    )
    save(releases.load("g0"), "g9", {"train": "real.parquet"}, seed=9, more=[entry])
    text = written("g9", format)
    assert "hunter2" not in text and ("people.csv" in text.replace("\\", "") or format == "tree")
