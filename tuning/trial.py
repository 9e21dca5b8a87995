"""One trial: a training run of Ray Train whose samples are scored at each rung, as Ray Tune asks for it.

The run goes on while its samples are scored and while Tune decides; where it is not to go on, it is asked to stop.
What is known of a trial is in its run's checkpoints, so that one which was interrupted goes on where it was.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.tune import Trainable

from cluster import storage
from cluster.location import scrub
from synth.data.codec import Codec
from synth.errors import JobError, UserError
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training import beacon, checkpoint, workers
from synth.training import prepare as preparing
from tuning.kept import Kept
from tuning.objective import Objective, Score, draw_error, mean
from tuning.table import Table

RUNS = "runs"  # the folder of a study that holds those that are at work
LOOK_S = 0.5
STOP_S = 60.0  # for a run to save and end
NEAR = 0.9  # of a rung's seconds that a checkpoint has to have seen: the last one before it may be a pulse early
DRAWS = 2  # samples that are scored at a rung: at least two, of which there is an error
FEWER = 4  # of their rows, one of so many at the first rung


@dataclass(frozen=True)
class Shared:
    """What all trials of a study have in common: the table, the rows to judge on, how long, how much of the cluster."""

    folder: str
    table: Table
    objective: Objective
    rungs: tuple[float, ...]
    save_s: float  # between checkpoints: there has to be one at each rung, and at the end of a segment
    rows: int  # of a sample that is scored
    each: tuple[float, float]
    embedded: bool
    deadline: float  # seconds since 1970


class Trial(Trainable):
    """Its config has the ``number`` of the trial, its ``knobs``, whose ``model`` it samples if not its own, which trial it
    has ``continued``, or None, the seconds of training ``until`` which it goes, None for the last rung, and the ``rung`` to
    be reached next, above 0 where an earlier start was scored at those before."""

    def setup(self, config: dict[str, Any], shared: Shared) -> None:
        self.shared = shared
        self.ending: Future[dict[str, Any]] | None = None
        self.codec: Codec | None = None
        torch.set_num_threads(max(1, int(shared.each[0])))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same process, which has its imports and the table's judges already."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """The end of a trial: what was scored is kept, its run is not. One that is killed instead goes on another time."""
        if self.ending is None:
            return
        beacon.ask_to_stop(self.run)
        needed = self.ahead is not self.shared.rungs  # a segment, which others may go on with
        needed |= beacon.stop_asked(self.shared.folder)  # the whole study is: the trial goes on another time
        if wait([self.ending], timeout=STOP_S).done and not needed:
            storage.remove_tree(self.run)
        self.ending = None

    def _begin(self, config: dict[str, Any]) -> None:
        self.number, self.rung = int(config["number"]), int(config["rung"])
        self.model: int = config["model"]
        self.continued: int | None = config["continued"]
        self.ahead = self.shared.rungs if config["until"] is None else (float(config["until"]),)
        self.run = run_of(self.shared.folder, name_of(self.number))
        self.knobs: dict[str, Any] = config["knobs"]
        self.ending = self.codec = None

    def step(self) -> dict[str, Any]:
        """Train to the next rung and score what is drawn there. A failure is a result, too: of the recipe, of training, or
        of what computes with rows that no healthy model draws, down to the memory that they take."""
        try:
            return self._step()
        except (UserError, JobError) as e:
            failure = str(e)
        except (ArithmeticError, MemoryError, RuntimeError, ValueError) as e:  # torch's own are RuntimeErrors
            failure = f"{type(e).__name__}: {e}"
        return {"failure": scrub(failure), "value": math.nan, "done": True}  # for the record, which others may see

    def _step(self) -> dict[str, Any]:
        length: dict[str, Any] = {"budget_s": self.shared.rungs[-1], "checkpoint_s": self.shared.save_s}
        if self.ahead is not self.shared.rungs or len(self.ahead) > 1:
            length["early"] = False  # what is compared on the way is to have had as much, at as high a rate
        recipe = self.shared.table.recipe_of(self.knobs, **length)
        if self.model != self.number:
            kept, finished = Kept.load(self.shared.folder, name_of(self.model), self.shared.table.schema), True
        else:
            kept, finished = self._reached(self._start(recipe))
            kept.save(self.shared.folder, name_of(self.number))
        # Differences between recipes are large after the first rung, and small between models that are trained.
        rows = self.shared.rows // FEWER if self.rung == 0 and not finished else self.shared.rows
        scores = self._scored(recipe, kept, rows)
        worth = mean(scores)
        if not all(math.isfinite(part) for part in (worth.utility, worth.coverage, worth.copying)):
            raise ArithmeticError("what it samples has no finite score")
        self.rung += 1
        return {
            "rung": self.rung, "seconds": kept.facts["elapsed_s"], "cpu_s": kept.facts["cpu_s"],
            "optimizer_step": kept.facts["step"],
            "scores": scores, "value": worth.value, "error": draw_error(scores) / len(scores) ** 0.5,
            "done": finished,
        }  # fmt: skip

    def _start(self, recipe: Recipe) -> Codec:
        """Have it trained, from where an earlier start has left it."""
        if self.codec is None:
            table = preparing.prepare(self.shared.table.sources, self.shared.table.schema, recipe)
            storage.write_bytes(storage.join(self.run, storage.RUN_MARKER), b"{}")  # so that it may be taken away
            if self.continued is not None:
                checkpoint.branch(run_of(self.shared.folder, name_of(self.continued)), self.run)
            self.codec = table.codec
            self.ending = workers.in_background(
                lambda: workers.fit(
                    ray, recipe, table, self.run, lambda *_: None, embedded=self.shared.embedded,
                    each=self.shared.each, inside=True,
                )
            )  # fmt: skip
        return self.codec

    def _reached(self, codec: Codec) -> tuple[Kept, bool]:
        """What stands at the next rung, at the end, or at the deadline; and whether that is all."""
        assert self.ending is not None
        rung, segment = self.ahead[self.rung], self.ahead is not self.shared.rungs
        # The run ends by itself at the last rung, but for that of a segment. It is waited for: it may be a little late.
        last = not segment and self.rung == len(self.ahead) - 1
        while not self.ending.done():
            seen = beacon.look(self.run) or {}
            if time.time() > self.shared.deadline or beacon.stop_asked(self.shared.folder):
                beacon.ask_to_stop(self.run)  # it saves where it stands, which may be far beyond its last checkpoint
            elif not last and seen.get("elapsed_s", 0.0) >= rung:
                saved = checkpoint.newest(self.run)
                if saved is not None and saved[0]["elapsed_s"] >= NEAR * rung:
                    return Kept(saved[1], codec, saved[0]), segment
            time.sleep(LOOK_S)
        facts = self.ending.result()
        if beacon.stop_asked(self.shared.folder):
            raise JobError("the study was stopped")
        weights = facts.pop("weights")
        return Kept(weights, codec, facts), True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Where the trial stands, should Tune ask: its run has the checkpoints."""
        return {"run": self.run}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: a run goes on from its own checkpoints."""

    def _scored(self, recipe: Recipe, kept: Kept, rows: int) -> list[Score]:
        sampler = Sampler.of(recipe, kept.codec, kept.weights)
        rows = min(len(self.shared.objective.train), rows)
        return [self.shared.objective(sampler.table(rows, seed=seed), seed) for seed in range(DRAWS)]


def name_of(number: int) -> str:
    return f"trial-{number:04}"


def run_of(folder: str, name: str) -> str:
    """Where the run of a trial is, while it is at work."""
    return storage.join(folder, f"{RUNS}/{name}")
