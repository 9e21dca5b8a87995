"""Workers that stop, die, are given up or write to a store: what they end with is as if nothing had happened."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from cluster import storage
from synth.errors import JobError
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.training import beacon, checkpoint, loop, prepare, workers
from synth.training.snapshot import CHECKPOINTS

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SMALL = {"target": "income", "training.steps": 40, "training.batch": 128, "diffusion.width": 32, "diffusion.blocks": 1,
         "training.precision": "fp32", "training.checkpoint_s": 0.01}  # fmt: skip
LONG = 400

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def fit(table: Path) -> Callable[..., Facts]:
    def start(run: str, progress: Callable[[str, Facts], None] = lambda phase, facts: None, **keys: float) -> Facts:
        settings = SMALL | {key.replace("__", "."): value for key, value in keys.items()}
        recipe = Recipe.read(None, settings).resolved(test_apart=False)
        sources, schema = prepare.open_sources(str(table), None, recipe)
        prepared = prepare.prepare(sources, schema, recipe)
        found = workers.fit(
            ray, recipe, prepared, run, lambda phase, done, facts: progress(phase, facts), embedded=True
        )
        assert prepared.encoded == []
        return found

    return start


@pytest.fixture(scope="module")
def undisturbed(
    fit: Callable[..., Facts], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], set[str]]:
    """What a run of one worker ends with, and the names of the processes that were there while it trained."""

    def running() -> set[tuple[int, str]]:
        found = set()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                found.add((process.pid, process.name()))
        return found

    before, seen = running(), set[tuple[int, str]]()  # other tests' runs may have left theirs

    def look(phase: str, facts: Facts) -> None:
        if phase == "training":
            seen.update(running())

    weights = fit(str(tmp_path_factory.mktemp("whole") / "x.run"), look)["weights"]
    return weights, {name for _, name in seen - before}


@pytest.fixture(scope="module")
def expected(undisturbed: tuple[dict[str, torch.Tensor], set[str]]) -> dict[str, torch.Tensor]:
    return undisturbed[0]


@pytest.fixture(scope="module")
def long(fit: Callable[..., Facts], tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What a run of LONG steps ends with: long enough for something to happen to it meanwhile."""
    return fit(str(tmp_path_factory.mktemp("long") / "x.run"), training__steps=LONG)["weights"]


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, expected[key], **tolerance, msg=lambda m, k=key: f"{k}: {m}")


def test_one_worker_goes_on_where_two_that_were_sharded_stopped(
    fit: Callable[..., Facts], expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    sharded = {"training__zero": 2, "training__workers": 2}
    run = str(tmp_path / "x.run")

    def stop(phase: str, facts: Facts) -> None:
        if phase == "starting the workers":
            beacon.ask_to_stop(run)

    first = fit(run, stop, **sharded)
    assert first["stopped"] and first["step"] < 40
    steps: list[int] = []
    second = fit(run, lambda phase, facts: steps.append(facts.get("step", 40)))
    assert second["step"] == 40 and not second["stopped"] and second["notes"] == []
    assert min(steps) > first["step"]  # nothing was done again
    same(second["weights"], expected, atol=2e-5, rtol=1e-3)


def test_no_helper_of_ray_train_runs_for_nothing(undisturbed: tuple[dict[str, torch.Tensor], set[str]]) -> None:
    """Each that runs takes steps from the cores that train."""
    actors = {name.removeprefix("ray::") for name in undisturbed[1] if name.startswith("ray::")}
    assert any(name.startswith("RayTrainWorke") for name in actors), actors
    needless = ("Placement", "Dataset", "Preemption")
    assert not [name for name in actors if name.startswith(needless)], actors


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    fit: Callable[..., Facts], expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    run = tmp_path / "x.run"
    fit(str(run))
    kept = sorted(path for path in run.glob("checkpoint_*") if path.is_dir())
    assert len(kept) == 2
    assert 0 < checkpoint.progress_of(run / checkpoint.BEST)["step"] <= 40
    with (kept[1] / "denoiser-0.safetensors").open("r+b") as file:
        file.truncate(1000)
    again = fit(str(run))
    assert again["step"] == 40
    assert again["notes"] == [f"{kept[1].name} was passed over: denoiser-0.safetensors is damaged"]
    same(again["weights"], expected)


def test_a_worker_killed_at_a_random_step_is_replaced_and_the_weights_are_the_same(
    fit: Callable[..., Facts], long: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)  # shown if it fails
    draw = random.Random(seed)
    victim, later = draw.randrange(50, 200), draw.uniform(0, 0.3)
    killed: list[int] = []
    steps: list[int] = []

    def kill(phase: str, facts: Facts) -> None:
        steps.append(facts.get("step", 0))
        if not killed and steps[-1] >= victim:
            time.sleep(later)  # steps are shown by tens, and it may be at any, or saving
            for process in psutil.Process().children(recursive=True):
                if "RayTrainWorker" in "".join(process.cmdline()):
                    killed.append(len(steps))
                    process.kill()

    found = fit(str(tmp_path / "x.run"), kill, training__steps=LONG)
    assert killed and found["step"] == LONG
    # It went on from a checkpoint, perhaps not the last, which Ray may not have taken in yet: steps are shown by tens.
    assert min(steps[killed[0] :]) > 10
    same(found["weights"], long, atol=0, rtol=0)


def test_a_worker_that_hangs_is_given_up(
    fit: Callable[..., Facts], expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    hung: list[int] = []

    def hang(phase: str, facts: Facts) -> None:
        if not hung and facts.get("step", 0) >= 10:
            [*_, one] = [
                p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in "".join(p.cmdline())
            ]
            one.suspend()
            hung.append(one.pid)

    found = fit(str(tmp_path / "x.run"), hang, training__workers=2, training__patience_s=8)
    assert hung and not psutil.pid_exists(hung[0])
    assert found["step"] == 40
    same(found["weights"], expected, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_that_diverges_goes_back_and_on_more_slowly_twice(
    fit: Callable[..., Facts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The rows of one step are not numbers, the first ``times``; if that is for good, those before are far out."""

    def train_on_bad_rows(job: Facts) -> None:
        from synth.training import feed, loop

        class BadFeed(feed.Feed):
            bad = times

            def __call__(self, step: int, micro: slice) -> Encoded:
                rows = super().__call__(step, micro)
                if times == 3 and 12 <= step < 25:
                    rows.values.mul_(3)
                if self.bad and step == 25:
                    self.bad -= 1
                    rows.values.fill_(torch.nan)
                return rows

        feed.Feed = BadFeed  # type: ignore[misc]  # the process ends with the run
        loop.train_worker(job)

    monkeypatch.setattr(loop, "train_worker", train_on_bad_rows)
    found = fit(str(tmp_path / "x.run"), training__checks=0)  # the best is then that with the lowest loss
    assert all(tensor.isfinite().all() for tensor in found["weights"].values())
    assert len(found["notes"]) == {1: 1, 3: 4}[times]
    for note, share in zip(found["notes"], ("0.33", "0.11"), strict=False):
        back = re.fullmatch(
            rf"step \d+: the loss, \S+ at first, was nan: went back to step (\d+), at {share} of .*", note
        )
        assert back and int(back[1]) in range(1, 26), note
    if times == 1:
        assert found["step"] == 40
    else:
        assert re.search(r"nan; lower training.learning_rate \(0.003\)$", found["notes"][2])
        assert found["notes"][3] == f"what is published is the best checkpoint, of step {found['step']}"
        assert found["step"] in range(1, 13)


def test_workers_do_not_outlive_a_driver_that_failed(fit: Callable[..., Facts], tmp_path: Path) -> None:
    run = str(tmp_path / "x.run")

    def fail(phase: str, facts: Facts) -> None:
        if phase == "training":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fit(run, fail, training__steps=1_000_000)
    stopped = beacon.look(run)
    time.sleep(3)
    assert stopped is not None and beacon.look(run) == stopped
    assert any("checkpoint_" in name for name in storage.list_files(run))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system with options such as "size=1m", the first time, or changes them; only root may."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if folder.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
        if subprocess.run(["mount", *again, str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def test_storage_may_refuse_for_a_while(
    fit: Callable[..., Facts], long: dict[str, torch.Tensor], disk: Callable[..., Path]
) -> None:
    folder, refused = disk("size=64m"), list[float]()

    def refuse(phase: str, facts: Facts) -> None:
        if phase == "training" and not refused:
            disk("ro")
            refused.append(time.monotonic())
        elif len(refused) == 1 and time.monotonic() - refused[0] > 6:
            disk("rw")
            refused.append(time.monotonic())

    found = fit(str(folder / "x.run"), refuse, training__steps=LONG, training__checkpoint_s=1)
    assert len(refused) == 2 and found["step"] == LONG
    same(found["weights"], long)


def test_ray_s_own_list_of_checkpoints_may_be_refused_for_a_while(fit: Callable[..., Facts], tmp_path: Path) -> None:
    lists, refused = tmp_path / "x.run" / CHECKPOINTS, list[float]()

    def refuse(phase: str, facts: Facts) -> None:
        if phase == "training" and not refused and lists.exists():
            lists.unlink()
            lists.mkdir()  # no file can be written over a folder
            refused.append(time.monotonic())
        elif len(refused) == 1 and time.monotonic() - refused[0] > 4:
            lists.rmdir()
            refused.append(time.monotonic())

    found = fit(str(tmp_path / "x.run"), refuse, training__steps=600, training__checkpoint_s=0.5)
    assert len(refused) == 2 and found["step"] == 600
    assert lists.is_file()


def test_a_disk_that_fills_up_while_training_is_named(fit: Callable[..., Facts], disk: Callable[..., Path]) -> None:
    with pytest.raises(JobError, match=r"x\.run: no space left to save a checkpoint; free some") as failed:
        # No second try: each would find the disk as full.
        fit(str(disk("size=1m") / "x.run"), diffusion__width=128, diffusion__blocks=4, training__failures=0)
    assert "Traceback" not in str(failed.value)


def test_checkpoints_go_to_a_store_that_only_fsspec_speaks(
    fit: Callable[..., Facts], expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    run = storage.append(f"local://{tmp_path}/x", ".run")
    assert storage.is_remote(run)
    for _ in ("trained", "found trained"):
        same(fit(run)["weights"], expected)
    assert any("checkpoint_" in name for name in storage.list_files(run))


@pytest.mark.parametrize(
    ("phase", "signals", "message"),
    [
        ("training", [signal.SIGINT], "stopped at step .*--resume"),
        ("starting the workers", [signal.SIGINT, signal.SIGINT], "no checkpoint was saved yet"),
    ],
)
def test_signals(table: Path, tmp_path: Path, phase: str, signals: list[signal.Signals], message: str) -> None:
    """The first asks the workers to save and stop, the second does not wait for them. SIGTERM is what ends a job."""
    keys = [f"--set={key}={value}" for key, value in SMALL.items() if key in ("training.batch", "diffusion.width")]
    command = [sys.executable, "-m", "artesian", "train", str(table), "--target", "income", "--steps", "1000000"]
    said = tmp_path / "said.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [*command, *keys, "--out", str(tmp_path / "out")],
            stderr=file, cwd=Path(workers.__file__).parents[2], env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 180
            while f"\n{phase} " not in f"\n{said.read_text()}":
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.1)
            for number in signals:
                process.send_signal(number)
                time.sleep(0.5)
            assert process.wait(timeout=90) == 130, said.read_text()
        finally:
            process.kill()
    last = said.read_text().splitlines()[-1]
    assert re.search(message, last), said.read_text()
    assert (tmp_path / "out.run").exists() == ("--resume" in message)
