"""What a run that ends early leaves, and says; its workers are stand-ins here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import pyarrow as pa
import pytest
import yaml

from cluster import storage
from synth.data.schema import Column, Schema
from synth.errors import JobError, UserError
from synth.recipe import Recipe
from synth.training import run, workers
from synth.training.prepare import open_sources, prepare

TRAINED: dict[str, Any] = {  # what the workers end with
    "step": 5, "stopped": False, "asked": False, "weights": {}, "notes": [], "shortened": [], "workers": 1, "zero": 0,
    "checks": {"watched": None}, "elapsed_s": 1.0, "sharding": "", "precision": "fp32", "device": "cpu",
}  # fmt: skip


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., run.Trained]:
    """Start a run to ``tmp_path / "out"`` without Ray."""

    @contextmanager
    def connected(address: str | None) -> Iterator[None]:
        yield

    monkeypatch.setattr(run, "connected", connected)
    draw = np.random.default_rng(0)
    table = pa.table({"x": draw.normal(size=200), "y": draw.choice(["a", "b"], 200)})
    recipe = Recipe.read(None, {"target": "y", "training.steps": 5})
    return lambda **options: run.train(table, recipe, str(tmp_path / "out"), **options)


def failing(error: BaseException, *, after_a_checkpoint: bool) -> Callable[..., NoReturn]:
    def fit(ray: object, recipe: Recipe, table: object, place: str, progress: object, *, embedded: bool) -> NoReturn:
        if after_a_checkpoint:
            storage.write_bytes(storage.join(place, run.CHECKPOINTS), b"{}")
        else:  # the first one, not yet whole
            storage.write_bytes(storage.join(place, "checkpoint_1/progress.json"), b"{}")
        raise error

    return fit


@pytest.mark.parametrize("error", [JobError("worker lost"), KeyboardInterrupt()])
def test_what_is_said_of_resuming_is_true(
    error: BaseException, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "fit", failing(error, after_a_checkpoint=False))
    with pytest.raises((JobError, run.Interrupted), match="nothing to resume") as ended:
        start()
    assert str(error) in str(ended.value) and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(workers, "fit", failing(error, after_a_checkpoint=True))
    with pytest.raises((JobError, run.Interrupted), match="is kept: the same command with --resume goes on"):
        start()
    assert [p.name for p in tmp_path.iterdir()] == ["out.run"]


@pytest.mark.parametrize("error", [UserError("no space left"), KeyboardInterrupt()])
def test_a_trained_run_is_kept_until_it_is_published(
    error: BaseException, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(*arguments: object, **options: object) -> NoReturn:
        raise error

    facts = dict(TRAINED)
    monkeypatch.setattr(workers, "fit", lambda *arguments, **options: dict(facts))
    monkeypatch.setattr(run, "publish_run", publish)
    with pytest.raises(
        (UserError, run.Interrupted), match=r"trained, not yet published.*--resume publishes it"
    ) as ended:
        start()
    assert str(error) in str(ended.value) and (tmp_path / "out.run").exists()
    facts["asked"] = True  # Ctrl-C in the last steps stops what comes after them
    monkeypatch.setattr(run, "publish_run", None)
    with pytest.raises(run.Interrupted, match="trained, not yet published"):
        start(resume=True)


def test_a_key_that_cannot_sign_is_found_before_the_work(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(run, "connected", None)
    with pytest.raises(UserError, match="signing key cannot be made"):
        start()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", [b"", b'{"recipe": "ab', b"[1]", b"\xff"])
def test_a_damaged_marker_is_named(content: bytes, start: Callable[..., Any], tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "out.run" / storage.RUN_MARKER, content)
    with pytest.raises(UserError, match=f"{storage.RUN_MARKER}: is damaged.*--overwrite"):
        start(resume=True)


def test_a_run_that_another_process_works_on_is_left_alone(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "fit", failing(KeyboardInterrupt(), after_a_checkpoint=True))
    with pytest.raises(run.Interrupted):
        start()
    marker = tmp_path / "out.run" / storage.RUN_MARKER
    said = json.loads(marker.read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        said["process"] |= {"pid": other.pid, "started": psutil.Process(other.pid).create_time()}
        marker.write_text(json.dumps(said))
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(UserError, match=f"out.run: process {other.pid} is at work on it"):
                start(**options)
    with pytest.raises(run.Interrupted, match="--resume goes on"):  # it has ended
        start(resume=True)


def test_the_place_of_a_new_key_is_for_its_owner_alone(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def publish(recipe: Recipe, table: Any, *arguments: object, **options: object) -> run.Trained:
        seen.extend(table.notes)
        return run.Trained("out", None, None, table.notes)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "fit", lambda *arguments, **options: dict(TRAINED))
    monkeypatch.setattr(run, "publish_run", publish)
    trained = start()
    assert "signing.key" in "".join(trained.notes) and "signing.key" not in "".join(seen)


def test_the_recipe_of_the_release_has_the_steps_that_were_taken(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(recipe: Recipe, *arguments: object, **options: object) -> run.Trained:
        found.append(recipe)
        return run.Trained("out", None, None, [])  # type: ignore[arg-type]

    found: list[Recipe] = []
    monkeypatch.setattr(workers, "fit", lambda *arguments, **options: TRAINED | {"shortened": [[3, 9]]})  # from JSON
    monkeypatch.setattr(run, "publish", publish)
    start()
    [recipe] = found
    assert Recipe.check(yaml.safe_load(recipe.yaml())) == recipe
    assert (recipe.training.steps, recipe.training.shortened) == (5, [(3, 9)])


def test_a_table_in_which_nothing_varies_is_refused(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, recipe = pa.table({"x": [7.0] * 60, "y": ["a"] * 60}), Recipe.read(None, {"split": [1, 0, 0]})
    with pytest.raises(UserError, match="nothing to learn"):
        run.train(same, recipe, str(tmp_path / "out"), test=same)


def test_a_network_to_compare_images_by_is_looked_at_before_the_training(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(60.0), "y": ["a", "b"] * 30})
    recipe = Recipe.read(None, {"split": [1, 0, 0], "image.features": str(tmp_path / "net.pt")})
    with pytest.raises(UserError, match=r"image.features='.*net.pt': there are no images to compare by it"):
        run.train(table, recipe, str(tmp_path / "out"), test=table)
    column = Column(name="image", kind="image", dtype="fixed_size_binary[12]", shape=(2, 2, 3))
    with pytest.raises(UserError, match=r"net.pt: there is no such file"):
        run._check_network(recipe, Schema(columns=[column]))


@pytest.mark.parametrize("family", ["gan", "vae"])
@pytest.mark.parametrize(("target", "found"), [(None, "there is none"), ("x", "'x' is a numerical column")])
def test_what_needs_a_target_class_is_refused_before_the_training(
    tmp_path: Path, family: str, target: str | None, found: str
) -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=60), "y": ["a", "b"] * 30})
    keys = {"family": family, "target": target, "split": [1, 0, 0], f"{family}.domain": 0.1}
    wanted = f"{family}.domain=0.1: needs a target that is a class, and {found}; .* set {family}.domain=0$"
    with pytest.raises(UserError, match=wanted):
        run.train(table, Recipe.read(None, keys), str(tmp_path / "out"), test=table)
    assert not any(tmp_path.iterdir())


def test_test_rows_are_read_as_the_training_rows_are(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,y\n" + "".join(f"{i},{('True', 'False', '?')[i % 3]}\n" for i in range(60)))
    (tmp_path / "test.csv").write_text("x,y\n" + "".join(f"{i},{('True', 'False')[i % 2]}\n" for i in range(60)))
    (tmp_path / "other.csv").write_text("x,z\n1,2\n")
    recipe = Recipe.read(None, {"split": [1, 0, 0]})
    found = prepare(*open_sources(tmp_path / "train.csv", tmp_path / "test.csv", recipe), recipe)
    assert set(found.test["y"].to_pylist()) == {"True", "False"}
    with pytest.raises(UserError, match=r"other.csv: column 'y' of the training rows is missing"):
        open_sources(tmp_path / "train.csv", tmp_path / "other.csv", recipe)
