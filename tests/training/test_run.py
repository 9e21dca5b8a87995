"""What a run that ends early leaves, and says; its workers are stand-ins here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

from cluster import storage
from synth.errors import JobError, UserError
from synth.recipe import Recipe
from synth.training import run, workers


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
    def fit(ray: object, recipe: Recipe, table: object, place: str, progress: object) -> NoReturn:
        if after_a_checkpoint:
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
    def publish(*arguments: object) -> NoReturn:
        raise error

    facts = {"step": 5, "stopped": False, "asked": False, "weights": {}}
    monkeypatch.setattr(workers, "fit", lambda *arguments: dict(facts))
    monkeypatch.setattr(run, "_publish", publish)
    with pytest.raises(
        (UserError, run.Interrupted), match=r"trained, not yet published.*--resume publishes it"
    ) as ended:
        start()
    assert str(error) in str(ended.value) and (tmp_path / "out.run").exists()
    facts["asked"] = True  # Ctrl-C in the last steps stops what comes after them
    monkeypatch.setattr(run, "_publish", None)
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
