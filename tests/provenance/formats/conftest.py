"""Real releases and what was drawn from them, which formats are written of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster import storage
from synth import release as releases
from synth.data.source import open_source
from synth.evaluation.certificate import Certificate
from synth.evaluation.figures import figure
from synth.evaluation.intervals import Estimate
from synth.provenance import keys, lineage
from synth.provenance.manifest import DataEntry, Training
from synth.release import Release
from tests.command import run
from tests.provenance import chains
from tests.serving.releases import people, publish, publish_images

CERTIFICATE = Certificate(
    figures={
        "coverage": figure("coverage", Estimate(0.913, 0.9, 0.926), Estimate(0.954, 0.94, 0.968)),
        "tstr_auc": figure("tstr_auc", Estimate(0.8, 0.7, 0.9), Estimate(0.8, 0.7, 0.9)),
    },
    columns={}, trends=None, distances=None, reference={}, notes=[], rows={"train": 600, "synthetic": 600, "test": 99}, seed=0,
)  # fmt: skip


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """real.parquet → g0 → rows1.csv → g1 → rows2.parquet; g1 is certified, on test.parquet. pets, a release of images, → pngs
    and pets.parquet. And the key that signed all of it."""
    folder = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(tmp_path_factory.mktemp("config") / "formats"))
        monkeypatch.chdir(folder)
        pq.write_table(people(), "real.parquet")
        pq.write_table(people(99), "test.parquet")
        first = releases.load(publish(Path("seed")))
        shutil.rmtree("seed")
        save(first, "g0", {"train": "real.parquet"}, seed=0)
        assert run(["sample", "g0", "-n", "50", "--out", "rows1.csv"], monkeypatch) == 0
        save(
            first,
            "g1",
            {"train": "rows1.csv", "test": "test.parquet"},
            seed=1,
            certificate=CERTIFICATE.model_dump(mode="json"),
        )
        assert run(["sample", "g1", "-n", "50", "--out", "rows2.parquet"], monkeypatch) == 0
        publish_images(Path("pets"))
        assert run(["sample", "pets", "-n", "6", "--out", "pngs/", "--format", "png"], monkeypatch) == 0
        assert run(["sample", "pets", "-n", "6", "--out", "pets.parquet"], monkeypatch) == 0
        return folder, keys.key_file().read_bytes()


@pytest.fixture
def made(made_once: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be broken; this folder is the current one."""
    return chains.own_copy(made_once, tmp_path / "made", monkeypatch)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What ``artesian lineage PLACE --format FORMAT`` prints, and that its exit status is ``status``."""

    def written(place: object, format: str, *, status: int = 0) -> str:
        capsys.readouterr()
        assert run(["lineage", str(place), "--format", format], monkeypatch) == status
        return capsys.readouterr().out

    return written


def save(
    like: Release, name: str, rows: dict[Any, str], *, seed: int, certificate: dict[str, Any] | None = None,
    title: str | None = None, more: Sequence[DataEntry] = (),
) -> None:  # fmt: skip
    """A release with the files of another, that says that it has learnt from these rows."""
    data = list(more)
    for role, place in rows.items():
        source = open_source(place)
        drawn = [claim.origin for claim in lineage.claims(source) if claim.origin is not None]
        depth = max((origin.depth for origin in drawn), default=0)
        data.append(
            DataEntry(
                location=place, sha256=source.fingerprint(), rows=source.rows(), role=role, real=not depth, depth=depth,
                releases=[origin.release for origin in drawn],
            )
        )  # fmt: skip
    with storage.staged_directory(name) as folder:
        releases.save(
            folder, tensors=like.tensors, codec=like.codec, schema=like.schema, recipe=like.recipe | {"seed": seed},
            certificate=certificate, report=None, name=title or name, parents=[id for one in data for id in one.releases],
            real_fraction=float(not any(one.depth for one in data)), seed=seed, data=data, reference=like.reference,
            training=Training(steps=7, seconds=60.0, workers=1, zero=0, devices=["cpu"]),
        )  # fmt: skip
