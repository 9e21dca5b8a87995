"""A study of collapse from a table to its report: what it measures, and what is left where it is cut."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from synth.collapse import lesson
from synth.collapse.record import Study
from synth.collapse.study import collapse
from synth.errors import UserError
from synth.recipe import Recipe
from tests.collapse.tables import mixed

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
RECIPE = Recipe.check({"target": "class"})
POLICIES = ("replace", "accumulate", "fresh:golden")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As text, of which moments are seconds, which Parquet does not know."""
    path = tmp_path_factory.mktemp("data") / "mixed.csv"
    pa.csv.write_csv(mixed(3_000, 0).drop_columns(["price"]), path)
    return path


def studied(data: Path, out: Path, **options: object) -> Study:
    asked = {"policies": POLICIES, "generations": 4, "seeds": 2, "rows": 200} | options
    return collapse(str(data), RECIPE, str(out), **asked)[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("out") / "study"
    studied(data, place)
    return place


def test_every_generation_of_every_chain_is_measured(out: Path) -> None:
    study = Study.load(str(out))
    assert study.asked.policies == [*POLICIES, "real"], "the control is always among them"
    assert [(chain.policy, chain.seed) for chain in study.found] == study.asked.chains
    assert all(len(chain.figures) == len(chain.seconds) == 5 for chain in study.found)
    assert study.rows["held out"] > 300 and study.real["utility"] == pytest.approx(1, abs=0.05)
    page = (out / "report.html").read_text()
    assert all(sentence.split(";")[0] in page.replace("&#x27;", "'") for sentence in lesson.sentences(study))


def test_who_learns_from_the_last_generation_alone_ends_worst(out: Path) -> None:
    study = Study.load(str(out))
    last = {}
    for policy in study.asked.policies:
        curve = study.curve(policy, "likelihood")
        assert curve is not None
        last[policy] = curve.mean[-1]
    assert last["replace"] < min(last[policy] for policy in last if policy != "replace") - 0.3


def test_generation_0_is_the_same_under_every_policy_of_the_same_rows(out: Path) -> None:
    drawn = [
        pq.read_table(out / "chains" / f"{policy}-1" / "generation-000.parquet")
        for policy in ("replace", "accumulate", "real")
    ]
    assert drawn[0].equals(drawn[1]) and drawn[0].equals(drawn[2])
    other = pq.read_table(out / "chains" / "replace-0" / "generation-000.parquet")
    assert not drawn[0].equals(other), "of another seed"


def test_a_chain_that_was_cut_goes_on_to_the_same_rows(data: Path, out: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "artesian", "collapse", str(data), "--target", "class", "--policy", ",".join(POLICIES),
               "--generations", "4", "--seeds", "2", "--rows", "200", "--out", str(tmp_path / "cut")]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert until(lambda: len(list((tmp_path / "cut" / "chains").glob("*/*.json"))) >= 5, 120)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command with --resume goes on" in said
    whole = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "chains").glob("*/*.json")}
    assert 5 <= len(whole) < 40
    partial = Study.load(str(tmp_path / "cut"))
    assert (
        sum(len(chain.figures) for chain in partial.found) == len(whole) and (tmp_path / "cut" / "report.html").exists()
    )
    studied(data, tmp_path / "cut", resume=True)
    assert all(path.stat().st_mtime_ns == written for path, written in whole.items()), "what was whole was kept"
    for mine in sorted((out / "chains").glob("*/*")):
        other = tmp_path / "cut" / "chains" / mine.relative_to(out / "chains")
        if mine.suffix == ".parquet":
            assert pq.read_table(other).equals(pq.read_table(mine)), mine
        else:
            assert json.loads(other.read_text())["figures"] == json.loads(mine.read_text())["figures"], mine


def test_another_study_does_not_go_on_with_this_one(data: Path, out: Path) -> None:
    with pytest.raises(UserError, match="was started with another study"):
        studied(data, out, resume=True, generations=5)
    with pytest.raises(UserError, match="was started with another recipe"):
        collapse(
            str(data), Recipe.check({"target": "class", "exclude": ["y"]}), str(out), policies=POLICIES, generations=4,
            seeds=2, rows=200, resume=True,
        )  # fmt: skip
    with pytest.raises(UserError, match="holds a study; go on with it by --resume, or replace it with --overwrite"):
        studied(data, out)


def test_what_is_asked_wrongly_takes_no_folder_and_replaces_no_study(data: Path, out: Path, tmp_path: Path) -> None:
    before = (out / "study.json").read_bytes()
    for place in (tmp_path / "new", out):
        with pytest.raises(UserError, match="--family forest"):
            studied(data, place, name="forest", overwrite=True)
    assert not (tmp_path / "new").exists() and (out / "study.json").read_bytes() == before


def test_too_few_rows_are_told_with_the_reason(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"for each of 31 generations, since a policy of fresh rows is among them"):
        studied(data, tmp_path / "x", generations=30)
    with pytest.raises(UserError, match=r"--rows 3,000: a generation takes 100 to 2,\d\d\d of the 2,\d\d\d real rows$"):
        studied(data, tmp_path / "x", policies=("replace",), rows=3_000)


def until(met: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.01)  # a generation takes some hundredths of a second
    return met()


def test_generations_of_a_network_are_trained_and_measured(data: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(None, {"target": "class", "training.steps": 30, "training.batch": 64, "training.checks": 0,
                                "diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})  # fmt: skip
    study, _ = collapse(
        str(data),
        recipe,
        str(tmp_path / "out"),
        name="diffusion",
        policies=("fresh:golden",),
        generations=1,
        seeds=1,
        rows=200,
    )
    assert [chain.policy for chain in study.found] == ["fresh:golden", "real"]
    for chain in study.found:
        assert len(chain.figures) == 2
        for figures in chain.figures:
            assert {"utility", "c2st", "coverage", "recall", "modes", "variance"} <= figures.keys()
            assert "likelihood" not in figures and 0.5 < figures["c2st"] <= 1 and figures["modes"] > 0
    drawn = pq.read_table(tmp_path / "out" / "chains" / "fresh-golden-0" / "generation-001.parquet")
    assert len(drawn) == 200 and set(drawn.column_names) == set(mixed(1, 0).column_names) - {"price"}
    assert not list((tmp_path / "out" / "runs").glob("*")), "no run is left"
