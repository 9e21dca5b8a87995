"""A search on a real cluster: more trials than slots, some stopped early, one killed in the midst and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import artesian
from synth import release as releases
from synth.recipe import Recipe
from tuning import space, study
from tuning.ideas import Ideas
from tuning.memory import recall
from tuning.record import Study, Trial

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SMALL = {
    "target": "income", "training.batch": 128, "training.precision": "fp32", "diffusion.width": 64,
    "diffusion.blocks": 1, "diffusion.steps": 6,
}  # fmt: skip


HASTY = {
    "tuning.plan.SHORTEST_S": 1.0, "tuning.plan.TRIAL_S": 0.5, "tuning.plan.START_S": 2.0, "tuning.plan.LEAST_S": 8.0,
    "tuning.plan.SEARCH": 0.4, "tuning.plan.WAYS": 0.2, "tuning.longer.TRIAL_S": 0.5,
}  # fmt: skip
"""Rungs of seconds, and next to no reserves."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in HASTY.items():
        monkeypatch.setattr(name, seconds)


@pytest.mark.usefixtures("hasty")
def test_more_trials_than_slots_run_and_the_worse_are_stopped(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, store, moments = tmp_path / "release", tmp_path / "studies", list[Any]()

    class Planted(Ideas):
        """Recipes that learn nothing, and one that cannot be."""

        def first(self) -> list[Trial]:
            default = space.knobs_of(Recipe.read(None, SMALL))
            others = [{"diffusion.blocks": 0}, {"training.learning_rate": 1e-7}, {"training.learning_rate": 2e-7}]
            return [Trial(number=0, origin="portfolio", knobs=default | other) for other in others]

    monkeypatch.setattr("tuning.study.Ideas", Planted)

    def show(found: Study, moment: dict[int, dict[str, Any]], left: float, phase: str) -> None:
        moments.append((phase, sum(t.state == "running" for t in found.trials)))

    # Rungs short enough that a planted trial which comes to the first of them before any other, and so goes on, leaves the
    # time for the next one to be judged.
    wanted = study.Wanted(budget_s=125.0, families=["diffusion"], trials=10, store=str(store))
    # As on a cluster that others have started, whose nodes share nothing but the place of the study.
    tuned = study.tune(str(table), Recipe.read(None, SMALL), str(out), wanted, address="auto", show=show)
    found = tuned.study
    trained = [t for t in found.trials if t.origin not in ("longer", "sampling")]
    longer = [t for t in found.trials if t.origin == "longer"]
    assert len(trained) > found.slots
    assert max(count for _, count in moments) <= found.slots
    assert trained[1].state == "failed"
    # One of the two may come to a rung before any other, or be cut short by the end of the search.
    assert "stopped" in [t.state for t in trained[2:4]]
    assert "diffusion.blocks=0" in (trained[1].failure or "")
    assert trained[0].origin == "default" and trained[0].state == "done"
    assert all(t.knobs["training.batch"] == 128 for t in trained), "what is set is not searched"
    for trial in found.trials:
        assert trial.last is not None or trial.state in ("failed", "waiting", "running"), trial
    assert {t.origin for t in found.trials} >= {"default", "portfolio", "longer", "sampling"}
    assert longer[0].parent == 0 and len(longer) == found.slots
    assert all(t.last is not None and t.last.seconds > max(found.rungs) for t in longer)
    assert {t.parent for t in found.trials if t.origin == "sampling"} <= {t.number for t in longer}

    assert [look.part for look in found.looks].count("test") == 1
    assert sum(f.released for f in found.finalists) == 1
    assert longer[0].number in [f.trial for f in found.finalists], "the default"
    manifest = releases.verify(str(out)).manifest
    assert manifest is not None and manifest.training.selection is not None
    assert manifest.training.selection.looks == found.looks
    assert manifest.training.selection.trials == sum(t.state != "waiting" for t in found.trials)
    assert found.released is not None
    assert found.released["optimism"] == pytest.approx(found.released["select"] - found.released["test"])
    page = Path(tuned.report).read_text()
    assert "Released: trial" in page
    (past,) = recall(str(store))
    assert len([t for t in past.trials if not t.failed]) == len([t for t in trained if t.last is not None])
    assert len(artesian.load(out).sample(50)) == 50
    assert not (tmp_path / "release.study" / "runs").exists() or not any(
        (tmp_path / "release.study" / "runs").iterdir()
    )

    # Another trial than the one that was chosen is published from what is kept.
    (released,) = [f for f in found.finalists if f.released]
    other = next(t.number for t in trained if t.last is not None and t.number != released.trial)
    again = study.tune(str(table), Recipe.read(None, SMALL), str(out), wanted, choose=other, overwrite=True)
    chosen = next(f for f in again.study.finalists if f.released)
    assert (chosen.trial, chosen.why) == (other, "chosen by hand")
    assert again.trained.manifest.id != tuned.trained.manifest.id


def test_a_population_that_is_killed_goes_on_from_its_checkpoints_without_losing_a_finished_trial(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "release"
    settings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings["PYTHONPATH"] = str(Path(__file__).parents[2])
    # Short segments of two members, and no time for longer ones.
    settled = HASTY | {"tuning.plan.MEMBERS": 2, "tuning.plan.SEGMENTS": 12, "tuning.driver.SEGMENTS": 12}
    settled |= {"tuning.plan.LEAST_S": 2.0, "tuning.plan.SEARCH": 0.45, "tuning.plan.WAYS": 0.5}
    program = "import tuning.plan, tuning.driver, artesian\n"
    program += "\n".join(f"{name} = {value}" for name, value in settled.items()) + "\nartesian.main()"
    command = [
        sys.executable, "-c", program, "tune", str(table), "--target", "income", "--budget", "130s", "--out", str(out),
        "--families", "diffusion", "--memory", str(tmp_path / "studies"), "--method", "population", "--trials", "6",
        "--set", "diffusion.width=64", "--set", "diffusion.steps=6",
    ]  # fmt: skip
    record = tmp_path / "release.study" / "study.json"

    def over() -> dict[int, Any]:
        """The trials that are done, with what was found of them."""
        trials = json.loads(record.read_text())["trials"] if record.exists() else []
        return {t["number"]: t["curve"] for t in trials if t["state"] == "done"}

    with subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        deadline = time.monotonic() + 200
        while not over() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert running.poll() is None and over(), running.stderr.read() if running.stderr else ""
        os.killpg(running.pid, signal.SIGKILL)
    before = over()
    assert not out.exists()
    refused = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    done = subprocess.run([*command, "--resume"], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {number: over()[number] for number in before} == before
    assert releases.verify(str(out)).whole
    assert Path(f"{out}.study/report.html").exists()

    trials = Study.load(str(record.parent)).trials
    segments = [t for t in trials if t.origin == "population" and t.last is not None]
    assert segments, [(t.number, t.origin, t.state, t.until, t.failure) for t in trials]
    for segment in segments:
        parent = trials[segment.parent or 0]
        assert segment.last is not None and parent.last is not None
        assert segment.last.step > parent.last.step, "it goes on, and does not begin anew"
        assert segment.until == pytest.approx((parent.until or 0) + (trials[0].until or 0))
