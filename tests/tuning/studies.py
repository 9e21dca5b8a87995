"""Studies to draw and to show: made up, the same for the same seed, and as uneven as real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from synth.recipe import Recipe
from tuning import space
from tuning.record import Finalist, Look, Origin, Rung, Scored, Study, Trial

Stage = Literal["empty", "started", "searching", "confirming", "released"]
RUNGS = [20.0, 60.0, 180.0]
BEGAN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FAMILIES = ("diffusion", "vae", "diffusion", "gan")  # of successive trials
ORIGINS: tuple[Origin, ...] = ("portfolio", "surrogate", "tpe", "tpe", "mutation")


def score(utility: float, rng: np.random.Generator) -> Scored:
    coverage = float(np.clip(0.96 + 0.5 * (utility - 0.95) + rng.normal(0, 0.02), 0.2, 1.05))
    copying = float(max(0.0, rng.normal(-0.01, 0.01)))
    value = utility - 0.1 * max(0.0, 1 - coverage) - 0.5 * copying
    return Scored(utility=utility, error=0.006, coverage=coverage, copying=copying, value=value)


def curve(ends_at: float, rungs: int, rng: np.random.Generator) -> list[Rung]:
    found = []
    for seconds in RUNGS[:rungs]:
        utility = ends_at - 0.12 * (20 / seconds) ** 0.7 + float(rng.normal(0, 0.003))
        found.append(Rung(seconds=seconds * float(rng.uniform(0.98, 1.05)), step=int(seconds * 55), draws=3,
                          score=score(utility, rng), error=float(rng.uniform(0.001, 0.006))))  # fmt: skip
    return found


def trial(number: int, rng: np.random.Generator, **changes: Any) -> Trial:
    """One that was trained to the end, unless said otherwise; a high learning rate is what harms."""
    family = FAMILIES[number % len(FAMILIES)]
    usual = space.knobs_of(Recipe(family=family))
    knobs = usual if number == 0 else space.random_knobs(family, rng, near=usual, change=0.5)
    harm = 0.1 * abs(space.vector(knobs)[len(space.TABLES)] - 0.4) + {"diffusion": 0, "vae": 0.01, "gan": 0.03}[family]
    ends_at = 0.975 - float(harm) + float(rng.normal(0, 0.004))
    rungs = 3 if harm < 0.012 or number < 3 else 1 + number % 2
    found: dict[str, Any] = {
        "number": number, "origin": ORIGINS[number % len(ORIGINS)], "why": "expected to be the best of those drawn",
        "knobs": knobs, "seed": number, "expected": (ends_at - 0.026 + float(rng.normal(0, 0.01)), 0.01),
        "state": "done" if rungs == 3 else "stopped", "curve": curve(ends_at, rungs, rng),
    }  # fmt: skip
    if number == 0:
        found |= {"origin": "default", "why": "the recipe that is trained without tuning", "expected": None}
    return Trial(**found | changes)


def study(
    stage: Stage = "released", *, trials: int = 24, seed: int = 0, objective: tuple[str, ...] = ("utility",)
) -> Study:
    """A search on a table of adults. ``empty``: no trial yet; ``started``: some run and none was scored; ``searching``: some
    done, stopped, failed, running and waiting; ``confirming``: some finalists scored; ``released``: all over."""
    rng = np.random.default_rng(seed)
    made = Study(
        id="20260302-093000-adult", created=BEGAN, data="s3://tables/adult.parquet", key="5b0c91d2", target="income",
        recipe={"target": "income", "seed": 0}, task="classification", objective=list(objective), budget_s=1800, slots=2,
        rows={"train": 26048, "select": 3256, "confirm": 3257, "test": 16281}, rungs=RUNGS,
        features={"rows": 26048.0, "columns": 15.0}, real={"auc": 0.9231},
        notes=["2 rows without a target were left out"],
    )  # fmt: skip
    if stage == "empty":
        return made
    made.trials = [trial(number, rng) for number in range(trials)]
    made.spent_s = 130.0 if stage == "started" else 1240.0
    if stage == "started":
        made.trials = [trial(n, rng, state="running" if n < 2 else "waiting", curve=[]) for n in range(4)]
        return made
    made.trials[5] = trial(5, rng, state="failed", curve=[], failure="the loss is not finite after 230 steps")
    made.trials[7] = trial(7, rng, state="failed", failure="out of memory: tried to allocate 3.1 GiB")
    made.trials[9] = trial(9, rng, origin="sampling", parent=0, state="done", knobs=made.trials[0].knobs
                           | {"diffusion.target_temperature": 0.7}, curve=made.trials[0].curve[-1:])  # fmt: skip
    if stage == "searching":
        made.trials[-2] = trial(trials - 2, rng, state="running", curve=made.trials[-2].curve[:1])
        made.trials[-1] = trial(trials - 1, rng, state="waiting", curve=[])
        return made
    done = sorted((t for t in made.trials if t.state == "done"), key=lambda t: -t.curve[-1].score.value)
    chosen = [*[t for t in done if t.number][:4], made.trials[0]]
    for t in chosen if stage == "released" else chosen[:2]:
        scores = [score(t.curve[-1].score.utility - 0.004 + float(rng.normal(0, 0.003)), rng) for _ in range(3)]
        values = [s.value for s in scores]
        made.finalists.append(
            Finalist(
                trial=t.number,
                steps=t.curve[-1].step,
                seconds=t.curve[-1].seconds,
                scores=scores,
                value=float(np.mean(values)),
                error=float(np.std(values, ddof=1) / 3**0.5),
            )
        )
    best = max(made.finalists, key=lambda f: f.value)
    for f in made.finalists:
        f.behind, f.behind_error = best.value - f.value, (f is not best) * 0.8 * f.error
    made.looks = [
        Look(part="confirm", what=f"trial {f.trial}", samples=3, at=BEGAN + timedelta(minutes=21, seconds=9 * k))
        for k, f in enumerate(made.finalists)
    ]
    if stage == "released":
        top = max(made.finalists, key=lambda f: f.value)
        top.released, top.why = True, "the best on confirm"
        select = next(t for t in made.trials if t.number == top.trial).curve[-1].score.value
        made.released = {"select": select, "test": select - 0.0042, "optimism": 0.0042}
        made.release, made.spent_s = "s3://releases/adult-tuned", 1766.0
        made.looks.append(Look(part="test", what="the release", samples=1, at=BEGAN + timedelta(minutes=29)))
    return made
