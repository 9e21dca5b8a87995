"""A study at work: its trials, then its finalists, then its release."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from cluster import storage
from cluster.location import scrub
from synth.errors import JobError, UserError
from synth.provenance.manifest import Look, Selection
from synth.training import beacon, checkpoint, workers
from synth.training import prepare as preparing
from synth.training.publish import Trained
from synth.training.run import publish_run
from tuning import experiment, finalists, insight, longer, space
from tuning.finalists import Found
from tuning.ideas import Ideas
from tuning.kept import Kept
from tuning.longer import Longer
from tuning.objective import Objective
from tuning.plan import LEAST_LONG, SEGMENTS, TRIAL_S, Plan
from tuning.population import Population
from tuning.record import Study, Trial
from tuning.search import Search
from tuning.table import Table
from tuning.trial import RUNS, Shared, name_of, run_of

LOOK_S = 0.5
REPORT = "report.html"  # where what is known is to be seen
SAVE_S = 60.0  # between checkpoints of a long training
DRAW_S = 60.0  # between reports and records while trials run
STOP_S = 90.0  # for trials to save where they stand, after Ctrl-C

Method = Literal["halving", "population"]
Show = Callable[[Study, dict[int, dict[str, Any]], float, str], None]
"""Called with the study, what is known of running trials by number, the seconds that are left, and the phase."""


class Driver:
    """Carries a study out, in steps that each leave their result in its record, under ``folder``."""

    def __init__(
        self, ray: Any, study: Study, plan: Plan, table: Table, folder: str, show: Show, *,
        on_confirm: Callable[[], Objective], began: float, embedded: bool,
    ) -> None:  # fmt: skip
        self.ray, self.study, self.plan, self.table, self.folder = ray, study, plan, table, folder
        self.show, self.on_confirm, self.began, self.embedded = show, on_confirm, began, embedded
        self.drawn, self.saving = time.monotonic(), threading.Lock()

    @property
    def spent(self) -> float:
        """Seconds, those of earlier starts included."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        return self.study.budget_s - self.spent

    def save(self) -> None:
        with self.saving:  # what is older must not be written later, and both Tune's thread and this one write
            self.study.spent_s = self.spent
            self.study.save(self.folder)

    def report(self) -> None:
        """Draw the report, with what is known by now."""
        from tuning.report import render

        storage.write_bytes(storage.join(self.folder, REPORT), render(self.study).encode())
        self.drawn = time.monotonic()

    def search(self, judge: Objective, families: Sequence[str], most: int | None, ideas: Ideas, method: Method) -> None:
        """Trials until the time for them is over, or there are so many."""
        deadline = time.time() + max(self.plan.until_s - self.spent, 0.0)
        base = self.table.base
        if base.family not in families:
            base = space.recipe_of(base, {"family": families[0]})
        default = Trial(number=0, origin="default", why="the default", knobs=space.knobs_of(base))
        first = [] if self.study.trials else [default, *(t for t in ideas.first() if t.knobs != default.knobs)]
        self._again()
        options: dict[str, Any] = {
            "families": families, "fixed": space.settings(self.table.base), "propose": ideas.next,
            "first": [t.model_copy(update={"number": k}) for k, t in enumerate(first[:most])],
            "deadline": deadline, "most": most, "on_change": self.save,
        }  # fmt: skip
        if method == "population":
            members, segment = self.plan.segments()
            search: Search = Population(self.study, members=members, segment_s=segment, least_s=segment, **options)
            rungs: tuple[float, ...] = (segment * SEGMENTS,)
            save_s = segment
        else:
            search = Search(self.study, least_s=self.plan.least_s, **options)
            rungs, save_s = self.plan.rungs, self.plan.rungs[0]
        shared = Shared(
            folder=self.folder, table=self.table, objective=judge, rungs=rungs, save_s=save_s,
            rows=self.plan.rows, each=(self.plan.cpus, self.plan.gpus), embedded=self.embedded, deadline=deadline,
        )  # fmt: skip
        self._run(search, shared, self.plan.slots, "searching")

    def lengthen(self, judge: Objective) -> None:
        """Train the default recipe and what did best on select for the rest of the budget, and look for ways to sample them."""
        study, plan = self.study, self.plan
        first = self._longer() if study.long_s is None else []
        self._again()
        if study.long_s:
            deadline = time.time() + max(self.left - plan.last_s, 0.0)
            search = Longer(
                study, first=first, fixed=space.settings(self.table.base), deadline=deadline, on_change=self.save
            )
            shared = Shared(
                folder=self.folder, table=self.table, objective=judge, rungs=(self._length(),), save_s=SAVE_S,
                rows=plan.long_rows, each=(plan.long_cpus, plan.long_gpus), embedded=self.embedded, deadline=deadline,
            )  # fmt: skip
            self._run(search, shared, plan.long, "training the best for longer")

    def _longer(self) -> list[Trial]:
        """The trials to train for longer, the default and another at least, one after the other where they must be; none
        where that is not longer than they had."""
        study, plan = self.study, self.plan
        found = longer.recipes(study, max(plan.long, LEAST_LONG))
        left = (self.left - plan.ways_s - plan.last_s - TRIAL_S) / max(math.ceil(len(found) / plan.long), 1)
        had = max((r.seconds for t in found for r in study.trials[t.parent or 0].curve), default=0.0)
        if not found or left <= had:
            if found:
                study.notes.append(f"{max(left, 0):.0f} s were left, too few to train the best recipes for longer")
            study.long_s = 0.0
            return []
        study.long_s = round(left, 1)
        return [t.model_copy(update={"number": len(study.trials) + k}) for k, t in enumerate(found)]

    def _length(self) -> float:
        """Seconds of the longer trainings: as planned, but for what an interruption has lost of them since their last
        checkpoints, so that the learning rate has fallen by the time they end."""
        study = self.study
        assert study.long_s is not None
        waiting = [t for t in study.trials if t.origin == "longer" and t.state == "waiting"]
        saved = [checkpoint.newest(run_of(self.folder, name_of(t.number))) for t in waiting]
        had = min((0.0 if s is None else float(s[0]["elapsed_s"]) for s in saved), default=0.0)
        return min(study.long_s, max(had + self.left - self.plan.last_s - TRIAL_S, SAVE_S))

    def _again(self) -> None:
        """Have what ran when the driver died run again: it goes on from its checkpoints."""
        for trial in self.study.trials:
            if trial.state == "running":
                trial.state = "waiting"

    def _run(self, search: Search, shared: Shared, slots: int, phase: str) -> None:
        self.save()
        if not search.over:
            self._follow(search, shared, slots, phase)
        self.save()
        self._tidy()

    def _tidy(self) -> None:
        """Take away what is left of runs: of a population, and of trials that failed."""
        if storage.exists(runs := storage.join(self.folder, RUNS)):
            for name in {file.partition("/")[0] for file in storage.list_files(runs)}:
                storage.remove_tree(storage.join(runs, name))

    def _follow(self, search: Search, shared: Shared, slots: int, phase: str) -> None:
        """Show where trials stand until the search is over. Ctrl-C has them save, and is raised when they have."""
        beacon.clear(self.folder)
        ending = workers.in_background(experiment.run, search, shared, slots)
        try:
            while not ending.done():
                time.sleep(LOOK_S)
                self.show(self.study, self._moment(len(shared.rungs)), self.left, phase)
                if time.monotonic() - self.drawn > DRAW_S:
                    self.save()
                    self.report()
        except BaseException:
            search.ended = True
            beacon.ask_to_stop(self.folder)
            deadline = time.monotonic() + STOP_S
            while not ending.done() and time.monotonic() < deadline:
                time.sleep(LOOK_S)
                self.show(self.study, {}, self.left, "saving before the stop")
            raise
        ending.result()

    def _moment(self, rungs: int) -> dict[int, dict[str, Any]]:
        running = [t for t in self.study.trials if t.state == "running" and t.origin != "sampling"]
        seen = {t.number: beacon.look(run_of(self.folder, name_of(t.number))) or {} for t in running}
        found: dict[int, dict[str, Any]] = {}
        for t in running:
            names = {"elapsed_s": "seconds", "step": "step", "loss": "loss"}
            known = {ours: seen[t.number][name] for name, ours in names.items() if name in seen[t.number]}
            found[t.number] = known | {"rung": len(t.curve), "rungs": rungs}
        return found

    def decide(self) -> None:
        """Score the finalists on confirm, and choose one; anew, with the same samples, where an earlier start did not come to
        the end of that."""
        chosen = finalists.of(self.study)
        if not chosen:
            failures = [t.failure for t in self.study.trials if t.failure]
            raise UserError("no trial was scored" + (f"; the last failed: {failures[-1]}" if failures else ""))
        self.show(self.study, {}, self.left, "scoring the finalists on confirm")
        models = [(t, finalists.load(self.folder, t, self.table.schema)) for t in chosen]
        found = self._confirm(models, self._judge(), "the finalists")
        if not found:
            raise JobError("no finalist could be scored on confirm; the study's notes say why")
        self.study.finalists = finalists.compared(found)
        usual = insight.default(self.study)
        finalists.choose(self.study.finalists, usual.number if usual else None)
        self.study.decided = True
        self.save()

    def _judge(self) -> Any:
        """The objective on confirm, in the object store."""
        return self.ray.put(self.on_confirm())

    def _confirm(self, models: Sequence[tuple[Trial, Kept]], judge: Any, what: str) -> list[Found]:
        """Each model scored on confirm, with samples of several seeds, side by side on the cluster. One that cannot be is
        left out, with a note."""
        look = Look(part="confirm", what=what, samples=len(models) * finalists.SEEDS, at=datetime.now(UTC))
        self.study.looks.append(look)
        self.save()  # first: a look that is not in the record did not happen
        score = self.ray.remote(num_cpus=self.plan.cpus, max_retries=2)(finalists.score)
        waiting = []
        for t, kept in models:
            of, rest = (self.table.recipe_of(t.knobs), self.ray.put(kept), judge), (self.plan.long_rows, self.plan.cpus)
            waiting.append([score.remote(*of, seed, *rest) for seed in range(finalists.SEEDS)])
        found = []
        for (t, kept), refs in zip(models, waiting, strict=True):
            try:
                scores = self.ray.get(refs)
                if not all(math.isfinite(s.value) for s in scores):
                    raise ArithmeticError("what it samples has no finite score")
            except (RayTaskError, WorkerCrashedError, OutOfMemoryError, ArithmeticError) as e:
                told = str(e).strip().splitlines()[-1]
                self.study.notes.append(scrub(f"trial {t.number} could not be scored on confirm: {told}"))
                continue
            found.append(Found(t, kept, scores))
        return found

    def choose(self, number: int) -> None:
        """Have another trial released than the one that the study chose, scored on confirm if it was not yet."""
        study = self.study
        chosen = next((t for t in study.trials if t.number == number and t.last is not None), None)
        if chosen is None:
            scored = ", ".join(str(t.number) for t in study.trials if t.last is not None)
            raise UserError(f"--choose {number}: is no trial with a score; there are {scored or 'none yet'}")
        mine = next((f for f in study.finalists if f.trial == number), None)
        if mine is None:
            model = chosen, finalists.load(self.folder, chosen, self.table.schema)
            found = self._confirm([model], self._judge(), f"trial {number}, which was chosen")
            if not found:
                raise JobError(study.notes[-1])
            mine = finalists.compared(found)[0]
            if (best := max(study.finalists, key=lambda f: f.value, default=None)) is not None:
                mine.behind, mine.behind_error = best.value - mine.value, math.hypot(best.error, mine.error)
            study.finalists.append(mine)
        for finalist in study.finalists:
            finalist.released = finalist is mine
        mine.why, study.decided = "chosen by hand", True
        self.save()

    def release(self, out: str, *, overwrite: bool) -> Trained:
        """Publish what was chosen, with its certificate: a look at the test rows, and the only one, unless this is an earlier
        start's over again or another trial is chosen by hand."""
        study, table = self.study, self.table
        chosen = next(f for f in study.finalists if f.released)
        trial = study.trials[chosen.trial]
        kept = finalists.load(self.folder, trial, table.schema)
        recipe = table.recipe_of(trial.knobs)
        rows = preparing.prepare(table.sources, table.schema, recipe)
        rows.notes += table.notes
        assert trial.last is not None, "finalists are scored"
        what = f"the certificate of trial {trial.number}"
        study.looks.append(Look(part="test", what=what, samples=1, at=datetime.now(UTC)))
        self.save()
        selection = Selection(
            study=study.id, split_key=study.key, why=chosen.why,
            trials=sum(t.last is not None or t.state == "failed" for t in study.trials),
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
        self.report()
        return trained
