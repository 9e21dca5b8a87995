"""A study at work: its trials, then its finalists, then its release."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from cluster import storage
from synth.errors import UserError
from synth.provenance.manifest import Look, Selection
from synth.training import beacon, workers
from synth.training import prepare as preparing
from synth.training.publish import Trained
from synth.training.run import publish_run
from tuning import finalists, space
from tuning.finalists import Found
from tuning.halving import Halving
from tuning.kept import Kept
from tuning.objective import Objective
from tuning.plan import FACTOR, Plan
from tuning.record import Finalist, Study, Trial
from tuning.search import Propose, Search
from tuning.table import Table
from tuning.trial import Shared, run_of
from tuning.trial import Trial as TrialRun

LOOK_S = 0.5
RESERVE_S, RESERVE = 45.0, 0.05  # of the budget, in seconds and as a share, for what follows the last training
WINNER = "winner"  # the run of the last training

Show = Callable[[Study, dict[int, dict[str, Any]], float, str], None]
"""Called with the study, what is known of running trials by number, the seconds that are left, and the phase."""


class Driver:
    """Carries a study out, in steps that each leave their result in its record, under ``folder``."""

    def __init__(
        self, ray: Any, study: Study, plan: Plan, table: Table, folder: str, show: Show, *, began: float, embedded: bool
    ) -> None:
        self.ray, self.study, self.plan, self.table, self.folder = ray, study, plan, table, folder
        self.show, self.began, self.embedded = show, began, embedded

    @property
    def spent(self) -> float:
        """Seconds, those of earlier starts included."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        return self.study.budget_s - self.spent

    def save(self) -> None:
        self.study.spent_s = self.spent
        self.study.save(self.folder)

    def search(
        self, judge: Objective, families: Sequence[str], most: int | None,
        first: Callable[[Study], Sequence[Trial]] | None, propose: Propose | None,
    ) -> None:  # fmt: skip
        """Trials until the time for them is over, or there are so many."""
        deadline = time.time() + max(self.plan.until_s - self.spent, 0.0)
        default = Trial(number=0, origin="default", why="the default", knobs=space.knobs_of(self.table.base))
        begin = [default, *(first(self.study) if first is not None else ())]
        for trial in self.study.trials:
            if trial.state == "running":  # when the driver died; its run goes on from its checkpoints
                trial.state, trial.curve = "waiting", []
        search = Search(
            self.study, families=families, fixed=list(space.settings(self.table.base)),
            first=[t.model_copy(update={"number": k}) for k, t in enumerate(begin)], propose=propose,
            deadline=deadline, least_s=self.plan.rungs[0], most=most, on_change=self.save,
        )  # fmt: skip
        shared = Shared(
            folder=self.folder, table=self.table, objective=judge, rungs=self.plan.rungs,
            each=(self.plan.cpus, self.plan.gpus), embedded=self.embedded, deadline=deadline,
        )  # fmt: skip
        self.save()
        ending = workers.in_background(self._tune, search, shared)
        while not ending.done():
            time.sleep(LOOK_S)
            self.show(self.study, self._moment(), self.left, "searching")
        ending.result()
        self.save()

    def _tune(self, search: Search, shared: Shared) -> None:
        """Ray Tune with our searcher and scheduler; its own record of the experiment is let go, since ours says it all."""
        os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
        from ray import tune

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the record
        with tempfile.TemporaryDirectory(prefix="artesian-tune-") as scratch:
            tune.Tuner(
                # The work is done by the workers that a trial starts, so that it takes next to nothing itself: Ray wants
                # something to be asked for, and the least share of a CPU would leave no whole one for the last worker.
                tune.with_resources(tune.with_parameters(TrialRun, shared=shared), {"memory": 1 << 20}),
                tune_config=tune.TuneConfig(
                    search_alg=search, scheduler=Halving(search, FACTOR), num_samples=-1,
                    max_concurrent_trials=self.plan.slots, reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(name="study", storage_path=scratch, verbose=0),
            ).fit()  # fmt: skip

    def _moment(self) -> dict[int, dict[str, Any]]:
        running = [t for t in self.study.trials if t.state == "running" and t.parent is None]
        seen = {t.number: beacon.look(run_of(self.folder, t.number)) or {} for t in running}
        return {
            t.number: {
                "seconds": seen[t.number].get("elapsed_s", 0.0), "step": seen[t.number].get("step", 0),
                "loss": seen[t.number].get("loss"), "rung": len(t.curve), "rungs": len(self.plan.rungs),
            }
            for t in running
        }  # fmt: skip

    def decide(self) -> None:
        """Score the finalists on confirm, choose one, and train its recipe for the rest of the budget."""
        chosen = finalists.of(self.study)
        if not chosen:
            failures = [t.failure for t in self.study.trials if t.failure]
            raise UserError("no trial was scored" + (f"; the last failed: {failures[-1]}" if failures else ""))
        self.show(self.study, {}, self.left, "scoring the finalists on confirm")
        table = self.table
        judge = self.ray.put(Objective(table.schema, table.real, table.confirm, part="confirm", seed=table.recipe.seed))
        models = [(t, finalists.load(self.folder, t, table.schema)) for t in chosen]
        found = self._confirm([(t, kept, False) for t, kept in models], judge, "the finalists")
        self.study.finalists = finalists.compared(found)
        winner = finalists.choose(self.study.finalists)
        self.save()
        if (longer := self._longer(winner)) is not None:
            found += self._confirm([longer], judge, "the winner, trained for longer")
            self.study.finalists = finalists.lengthened(finalists.compared(found), winner)
        self.save()

    def _confirm(self, models: Sequence[tuple[Trial, Kept, bool]], judge: Any, what: str) -> list[Found]:
        """Each model scored on confirm, with samples of several seeds, side by side on the cluster."""
        score = self.ray.remote(num_cpus=self.plan.cpus, max_retries=2)(finalists.score)
        waiting = [
            [
                score.remote(self.table.recipe_of(t.knobs), self.ray.put(kept), judge, seed, int(self.plan.cpus))
                for seed in range(finalists.SEEDS)
            ]
            for t, kept, _ in models
        ]
        look = Look(part="confirm", what=what, samples=len(models) * finalists.SEEDS, at=datetime.now(UTC))
        self.study.looks.append(look)
        scores = [self.ray.get(refs) for refs in waiting]
        return [Found(t, kept, s, longer) for (t, kept, longer), s in zip(models, scores, strict=True)]

    def _longer(self, winner: Finalist) -> tuple[Trial, Kept, bool] | None:
        """The winner's recipe trained anew for the rest of the budget; None where that is not longer than it had."""
        trial = self.study.trials[winner.trial]
        budget = self.left - max(RESERVE_S, RESERVE * self.study.budget_s)
        if budget < winner.seconds:
            self.study.notes.append(f"{max(budget, 0):.0f} s were left, too few to train the winner for longer")
            return None
        table = self.table
        recipe = table.recipe_of(trial.knobs, budget_s=budget)
        rows = preparing.prepare(table.sources, table.schema, recipe)
        codec, run = rows.codec, storage.join(self.folder, WINNER)

        def progress(phase: str, done: float, seen: dict[str, Any]) -> None:
            self.show(self.study, {}, self.left, f"training the winner, trial {trial.number}: {done:.0%}")

        facts = workers.fit(self.ray, recipe, rows, run, progress, embedded=self.embedded)
        if facts["asked"]:
            raise KeyboardInterrupt
        kept = Kept(facts.pop("weights"), codec, facts)
        kept.save(run)
        return trial, kept, True

    def release(self, out: str, *, overwrite: bool) -> Trained:
        """Publish what was chosen, with its certificate: the one look at the test rows."""
        study, table = self.study, self.table
        chosen = next(f for f in study.finalists if f.released)
        trial = study.trials[chosen.trial]
        if chosen.longer:
            kept = Kept.load(storage.join(self.folder, WINNER), table.schema)
        else:
            kept = finalists.load(self.folder, trial, table.schema)
        recipe = table.recipe_of(trial.knobs)
        rows = preparing.prepare(table.sources, table.schema, recipe)
        assert trial.last is not None, "finalists are scored"
        if not any(look.part == "test" for look in study.looks):  # a resumed study looks no second time
            study.looks.append(Look(part="test", what="the certificate", samples=1, at=datetime.now(UTC)))
            self.save()
        selection = Selection(
            study=study.id, split_key=study.key, trials=len(study.trials), why=chosen.why,
            select=trial.last.score.value, confirm=chosen.value, looks=study.looks,
        )  # fmt: skip
        trained = publish_run(
            recipe, rows, kept.weights, kept.facts, out, overwrite=overwrite, selection=selection,
            progress=lambda phase, done, facts: self.show(study, {}, self.left, phase),
        )  # fmt: skip
        study.release = storage.without_credentials(trained.location)
        if (figure := trained.certificate.figures.get("utility")) is not None:
            select = trial.last.score.utility
            study.released = {"select": select, "test": figure.value, "optimism": select - figure.value}
        self.save()
        return trained
