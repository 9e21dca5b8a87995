"""``artesian tune`` as a person types it: what it refuses, and what it recommends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from synth.recipe import Recipe
from tests.command import run
from tuning import space
from tuning.memory import LAYOUT, VERSION


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    rows = {"x": x, "k": rng.choice(["a", "b", "c"], 600), "y": np.where(x + rng.normal(size=600) > 0, "up", "down")}
    path = tmp_path_factory.mktemp("data") / "table.parquet"
    pq.write_table(pa.table(rows), path)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "20s"], "--budget 20s: is too small for the default recipe and one trial beside it"),
        (["--families", "diffusion,flow"], "--families flow: has no search space; choose among diffusion, gan, vae"),
        (["--objective", "utility,speed"], "--objective speed: is none of utility, coverage, privacy"),
        (["--objective", "coverage"], "--objective coverage: lacks utility"),
        (
            ["--set", "family=vae"],
            "family=vae: is set, and --families asks for diffusion, gan, vae; give --families vae",
        ),
        (["--workers", "99"], "--workers 99: the cluster has"),
        (["--policy", "absent.yaml"], "absent.yaml: no such file"),
        (["--method", "random"], "--method random: is none of halving, population"),
        (["--set", "training.steps=100"], "training.steps=100: how long trials train follows from --budget"),
        (["--set", "training.hold_mib=0"], "is larger than training.hold_mib=0, and every trial holds the table"),
        (["--set", "diffusion.widht=3"], "did you mean 'width'?"),
        (["--resume"], "there is no run to resume"),
        (["--choose", "3"], "there is no run to resume"),
        (["--recommend", "--target", "z"], "'z'"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(
    arguments: list[str], said: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = str(tmp_path / "release")
    assert run(["tune", table, "--target", "y", "--out", out, "--memory", "none", *arguments], monkeypatch) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_smallest_budget_is_named_that_will_do(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["tune", table, "--target", "y", "--out", str(tmp_path / "r"), "--budget", "20s"], monkeypatch)
    least = capsys.readouterr().err.partition("give ")[2].partition(" or more")[0]
    assert run(["tune", table, "--target", "y", "--budget", least, "--recommend", "--memory", "none"], monkeypatch) == 0


def test_without_a_place_for_the_release_nothing_begins(
    table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", table, "--target", "y"], monkeypatch) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_a_store_of_another_version_is_named(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pa.table({name: pa.nulls(1, kind) for name, kind in zip(LAYOUT.names, LAYOUT.types, strict=True)})
    rows = rows.set_column(LAYOUT.get_field_index("version"), "version", pa.array([VERSION + 1], pa.int32()))
    pq.write_table(rows, tmp_path / "old.parquet")
    assert run(["tune", table, "--target", "y", "--recommend", "--memory", str(tmp_path)], monkeypatch) == 2
    said = capsys.readouterr().err
    assert "old.parquet" in said
    assert f"version {VERSION + 1}, and this is version {VERSION}" in said


def test_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", image=images, label=np.arange(60) % 2)
    arguments = ["tune", str(tmp_path / "images.npz"), "--target", "label", "--out", str(tmp_path / "out")]
    assert run(arguments, monkeypatch) == 2
    assert "images have no search space" in capsys.readouterr().err


def test_a_recommendation_is_a_recipe_with_its_reasons(
    table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--recommend", "--memory", "none", "--families", "vae", "--set", "vae.width=64", "--seed", "3"]
    assert run(["tune", table, "--target", "y", *arguments], monkeypatch) == 0
    said = capsys.readouterr().out
    comments = [line for line in said.splitlines() if line.startswith("# ")]
    assert any("remembered" in line for line in comments)
    assert any("expected to be" in line for line in comments)
    recipe = Recipe.check(yaml.safe_load(said))
    assert (recipe.family, recipe.target, recipe.seed, recipe.vae.width) == ("vae", "y", 3, 64)
    assert set(space.knobs_of(recipe)) == {"family", *space.space("vae")}
