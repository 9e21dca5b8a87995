"""The commands sample and fill, from a release on disk to files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import artesian
from synth import release
from synth.data.codec import Codec, Fit
from synth.data.infer import infer
from synth.data.source import open_source
from synth.generators.families import build
from synth.generators.student import Student
from synth.provenance import lineage
from synth.provenance.manifest import Training
from synth.provenance.origin import Origin, Signed
from synth.provenance.policy import PolicyError
from synth.recipe import Recipe
from synth.training import allowed
from synth.training.allowed import Rules
from tests.command import run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> str:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=500), "k": draw.choice(["a", "b", "c"], 500, p=[0.7, 0.2, 0.1])})
    recipe = Recipe.read(None, {"diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})
    source = open_source(frame)
    fit = Fit(infer(source))
    for batch in source.batches():
        fit.update(batch)
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("release")
    release.save(
        folder, tensors=build(recipe, codec.layout).state_dict(), codec=codec.model_dump(mode="json"),
        schema=codec.table, recipe=recipe.model_dump(), certificate=None, report=None, name="k", data=[], parents=[],
        real_fraction=1.0, seed=0, training=Training(steps=0, seconds=0, workers=1, zero=0, devices=["CPU"]),
    )  # fmt: skip
    return str(folder)


def test_rows_as_asked_reach_the_file(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.csv"
    asked = ["--where", "k in (b, c)", "--where", "x>=0.5"]
    assert run(["sample", published, "-n", "300", *asked, "--out", str(out)], monkeypatch) == 0
    frame = pd.read_csv(out)
    assert len(frame) == 300 and set(frame["k"]) == {"b", "c"} and (frame["x"] >= 0.5).all()
    assert "of the model's rows, 1 row in" in capsys.readouterr().err
    same = artesian.load(published).sample(300, where={"k": ["b", "c"], "x": ">= 0.5"})
    assert (same["x"] >= 0.5).all() and len(same) == 300


def test_fast_rows_reach_the_file_which_says_so(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those of Python, in one piece and in parts; of a release with a student."""
    loaded = release.load(published)
    recipe, codec = Recipe.check(loaded.recipe), Codec.model_validate(loaded.codec | {"table": loaded.schema})
    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    generator.student = Student(codec.layout)
    folder = tmp_path / "taught"
    folder.mkdir()
    release.save(
        folder, tensors=generator.state_dict(), codec=codec.model_dump(mode="json"), schema=codec.table,
        recipe=recipe.model_dump(), certificate=None, report=None, name="k", data=[], parents=[], real_fraction=1.0, seed=0,
        training=Training(steps=0, seconds=0, workers=1, zero=0, devices=["CPU"]),
    )  # fmt: skip
    out = tmp_path / "rows.parquet"
    assert run(["sample", str(folder), "-n", "300", "--quality", "fast", "--out", str(out)], monkeypatch) == 0
    drawn = pq.read_table(out)
    origin, _ = Origin.read(drawn.schema.metadata)
    assert origin.asked == {"quality": "fast"}
    model = artesian.load(folder)
    assert drawn.equals(model.table(300, quality="fast")) and not drawn.equals(model.table(300))
    capsys.readouterr()
    assert (
        run(["sample", published, "-n", "3", "--quality", "fast", "--out", str(tmp_path / "no.csv")], monkeypatch) == 2
    )
    assert "has no student" in capsys.readouterr().err and not (tmp_path / "no.csv").exists()


def test_weights_reach_the_file(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.parquet"
    assert run(["sample", published, "-n", "1024", "--balance", "k", "--out", str(out)], monkeypatch) == 0
    frame = pd.read_parquet(out)
    assert frame["k"].value_counts().between(340, 343).all() and frame["_weight"].mean() == pytest.approx(1, abs=0.01)
    rare = ["--rare", "k=c", "--rare", "x>1", "--boost", "10", "--overwrite"]
    assert run(["sample", published, "-n", "1024", *rare, "--out", str(out)], monkeypatch) == 0
    assert "95 % confidence interval" in (said := capsys.readouterr().err) and "effective sample size" in said
    frame = pd.read_parquet(out)
    assert set(frame["_weight"][(frame["k"] == "c") & (frame["x"] > 1)]) == {0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "kk=a"], "Did you mean 'k'?"),
        (["--where", "k=z"], "'k' is never 'z' in the training rows"),
        (["--where", "x>100"], "no row of the training table is so"),
        (["--balance", "x"], "only classes can be balanced"),
        (["--rare", "k=c", "--boost", "0.5"], "a number from 1 on"),
        (["--rare", "k=c", "--boost", "0"], "a number from 1 on"),
        (["--rare", "k=c"], "--rare and --boost belong together"),
    ],
)
def test_what_cannot_be_asked_is_explained(
    options: list[str], message: str, published: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(["sample", published, "-n", "5", *options, "--out", str(tmp_path / "x.csv")], monkeypatch) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_gaps_are_filled(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps, out = tmp_path / "gaps.csv", tmp_path / "whole.csv"
    gaps.write_text("k,who\na,Ann\n,Bob\nq,Cy\n")
    assert run(["fill", str(gaps), "--release", published, "--out", str(out)], monkeypatch) == 0
    frame = pd.read_csv(out)
    assert list(frame) == ["k", "who", "x"] and frame["k"].isin(["a", "b", "c", "q"]).all() and frame["x"].notna().all()
    assert frame["who"].tolist() == ["Ann", "Bob", "Cy"] and frame["k"][2] == "q"
    said = capsys.readouterr().err
    assert "'k': 1 missing cells filled" in said and "taken for unknown" in said and "left as they are: who" in said
    assert run(["fill", str(gaps), "--release", published, "--out", str(out)], monkeypatch) == 2  # it is there
    filled = artesian.load(published).fill(pd.DataFrame({"k": ["a", None]}))
    assert filled["k"][0] == "a" and filled.notna().all(None) and "'k': 1 missing cells filled" in filled.attrs["notes"]


@pytest.mark.parametrize("name", ["whole.csv", "whole.parquet"])
def test_a_table_that_was_filled_is_none_of_real_rows(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    gaps, out = tmp_path / "gaps.csv", tmp_path / name
    gaps.write_text("k,who\na,Ann\n,Bob\nc,Cy\n")
    assert run(["fill", str(gaps), "--release", published, "--seed", "7", "--out", str(out)], monkeypatch) == 0
    [claim] = lineage.claims(open_source(str(out)))
    assert claim.origin is not None and claim.origin.release == release.load(published).manifest.id
    assert (claim.depth, claim.origin.seed, claim.origin.first, claim.origin.rows) == (1, 7, 0, 3)
    assert claim.origin.asked == {"filled": hashlib.sha256(gaps.read_bytes()).hexdigest()}
    with pytest.raises(PolicyError, match=rf"{name}: 3 rows filled by 'k' .*leaves 0 of each batch to real rows"):
        allowed.check(Rules.read(), {"train": open_source(str(out))})


def test_filling_brings_no_rows_nearer_to_real_ones(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps, out = tmp_path / "gaps.parquet", tmp_path / "whole.csv"
    far = Signed.of(release.load(published).manifest, seed=0, first=0, rows=2, key=None, asked={}, depth=4)
    table = pa.table({"k": ["a", None]})
    pq.write_table(table.cast(far.into(table.schema)), gaps)
    assert run(["fill", str(gaps), "--release", published, "--out", str(out)], monkeypatch) == 0
    assert [claim.depth for claim in lineage.claims(open_source(str(out)))] == [4]


def test_a_table_in_a_store_is_not_filled_in_its_own_place(
    published: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fsspec.open("memory://filled/t.csv", "wb") as file:
        file.write(b"k,who\na,Ann\n,Bob\n")
    there = "memory://filled/t.csv"
    assert run(["fill", there, "--release", published, "--out", there, "--overwrite"], monkeypatch) == 2
    assert "t.csv: is the table that is to be filled; choose another --out" in capsys.readouterr().err
    assert fsspec.filesystem("memory").cat("/filled/t.csv").startswith(b"k,who")


def test_samples_do_not_replace_a_file_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "real.csv"
    file.write_text("precious")
    assert run(["sample", str(tmp_path), "-n", "5", "--out", str(file)], monkeypatch) == 2
    assert f"{file}: exists; choose another --out, or replace it with --overwrite" in capsys.readouterr().err
    assert run(["sample", str(tmp_path), "-n", "5", "--out", str(file), "--overwrite"], monkeypatch) == 2
    assert "manifest.json" in capsys.readouterr().err  # past that, to the folder that is no release
    assert run(["sample", str(tmp_path), "-n", "5", "--out", file.as_uri()], monkeypatch) == 2
    assert "real.csv: exists; choose another --out" in capsys.readouterr().err
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "many", "--out", "x.csv"], "'many' is no number of rows: write 5000 or 1e9"),
        (["-n", "2.5", "--out", "x.csv"], "'2.5' is no number of rows"),
        (["-n", "5", "--out", "x/", "--format", "csv"], "a folder gets Parquet parts"),
        (["-n", "5", "--out", "x.csv", "--address", "auto"], "a cluster draws into a folder; write --out x.csv/"),
        (["-n", "5", "--out", "x.csv", "--boost", "20"], "--rare and --boost belong together"),
    ],
)
def test_samples_that_cannot_be_had_are_explained(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", "release", *options], monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", "").split())
