"""What is remembered of other tables against a cold start, one table of the prior left out after another.

    OMP_NUM_THREADS=1 python benchmarks/warm_start.py [--runs RUNS] [--prior PRIOR] [--seeds 20] [--dry]

On the table that is left out, both may choose only among the recipes that prior_runs.py ran there. Warm: the memory of the
other tables proposes among them, a portfolio first and then with this table's results. Cold: Optuna's TPE with its defaults
proposes in the families' spaces, and what it proposes stands for the nearest recipe of that family that it has not had yet.
The incumbent after each trial is the best on select, and judged by its rank among all recipes of the table (0 the best, 1
the worst): there, where the search has looked, and on confirm, where it has not and where on small tables much is chance:
the best of all on select has a regret on confirm, too (``best_on_select``). The trials that warm needs are the first after
which its incumbent is as good as cold's after 24: on select for good, on confirm perhaps for a moment. A row of
results/warm_start.jsonl a call; ``--dry`` only prints.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prior_build import PRIOR, name_of, past, value_and_error
from prior_runs import RESULTS as RUNS
from prior_runs import RUNGS
from published_protocol import circumstances
from scipy.stats import rankdata, spearmanr

from tuning import space
from tuning.distances import apart
from tuning.memory import recall
from tuning.prior import Prior, Told

RESULTS = Path(__file__).parent / "results" / "warm_start.jsonl"
TRIALS, MANY, PORTFOLIO = 4, 24, 8
FAMILIES = list(space.TABLES)


class Held:
    """The table that is left out: its recipes, what they scored on select, and their ranks on confirm."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.knobs = [row["knobs"] for row in rows]
        self.select, self.confirm = (
            np.array([value_and_error(row[part])[0] if part in row else np.nan for row in rows])
            for part in ("select", "confirm")
        )
        self.rank, self.seen = (
            (rankdata(-np.nan_to_num(scores, nan=-np.inf)) - 1) / max(len(rows) - 1, 1)
            for scores in (self.confirm, self.select)
        )

    def regrets(self, order: Sequence[int], *, seen: bool = False) -> list[float]:
        """Of the incumbent after each of the trials in this order, on confirm or, if ``seen``, on select."""
        select, rank = np.nan_to_num(self.select[list(order)], nan=-np.inf), self.seen if seen else self.rank
        return [float(rank[order[int(np.argmax(select[: n + 1]))]]) for n in range(len(order))]


def warm(held: Held, prior: Prior, trials: int) -> list[int]:
    """Which recipes are tried, in their order; nothing in it is random."""
    order = [held.knobs.index(s.knobs) for s in prior.portfolio(min(PORTFOLIO, trials), among=held.knobs)]
    while len(order) < min(trials, len(held.knobs)):
        told: list[Told] = [(held.knobs[k], float(held.select[k])) for k in order]
        proposed = prior.propose(np.random.default_rng(0), 1, told, among=held.knobs)
        order.append(held.knobs.index(proposed[0].knobs))
    return order


def cold(held: Held, trials: int, seed: int) -> list[int]:
    """The same of TPE, whose first ten trials are drawn evenly."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    order: list[int] = []
    families = sorted({knobs["family"] for knobs in held.knobs})
    while len(order) < min(trials, len(held.knobs)):
        trial = study.ask()
        family = trial.suggest_categorical("family", families)
        proposed = {"family": family} | {
            key: range_.value(trial.suggest_float(f"{family}: {key}", 0.0, 1.0))
            for key, range_ in space.space(family).items()
        }
        away = apart([proposed], held.knobs)[0]
        away[order] = np.inf
        order.append(int(np.argmin(away)))
        study.tell(
            trial, state=optuna.trial.TrialState.FAIL
        )  # it is told of the recipe that was scored instead, where that is
        value = held.select[order[-1]]
        if not np.isnan(value):
            study.add_trial(known(held.knobs[order[-1]], families, float(value)))
    return order


def known(knobs: space.Knobs, families: list[str], value: float) -> Any:
    """A recipe and its score, as TPE keeps them."""
    import optuna

    family = str(knobs["family"])
    units = {
        f"{family}: {key}": min(max(range_.unit(knobs[key]), 0.0), 1.0) for key, range_ in space.space(family).items()
    }
    even = optuna.distributions.FloatDistribution(0.0, 1.0)
    return optuna.trial.create_trial(
        value=value, params={"family": family} | units,
        distributions={"family": optuna.distributions.CategoricalDistribution(families)} | dict.fromkeys(units, even),
    )  # fmt: skip


def measured(
    name: str, tables: dict[str, list[dict[str, Any]]], features: dict[str, dict[str, float]], seeds: int
) -> dict[str, Any]:
    """All figures of one table that is left out."""
    held, seconds = Held(tables[name]), float(tables[name][0]["seconds"])
    others = [past(other, other, features[other], rows) for other, rows in tables.items() if other != name]
    trials = MANY if len(held.knobs) >= 2 * MANY else TRIALS
    prior = Prior(others, features[name], FAMILIES, seconds=seconds)
    order, orders = warm(held, prior, trials), [cold(held, trials, seed) for seed in range(seeds)]
    ours, theirs = held.regrets(order), np.array([held.regrets(other) for other in orders])
    found: dict[str, Any] = {
        "warm": [round(r, 4) for r in ours],
        "cold": [round(float(r), 4) for r in theirs.mean(axis=0)],
        "warm on select": [round(r, 4) for r in held.regrets(order, seen=True)],
        "cold on select": np.mean([held.regrets(o, seen=True) for o in orders], axis=0).round(4).tolist(),
        "default": round(float(held.rank[0]), 4),
        "best_on_select": round(held.regrets(range(len(held.knobs)))[-1], 4),
    }
    if trials == MANY:
        on_select = np.array([held.regrets(other, seen=True) for other in orders])
        for key, mine, last in (
            ("needed on select", held.regrets(order, seen=True), on_select[:, -1]), ("needed", ours, theirs[:, -1]),
        ):  # fmt: skip
            found[key] = statistics.median(
                next((n + 1 for n, r in enumerate(mine) if r <= at), MANY + 1) for at in last
            )
    return found | rungs(tables[name], held) | predicted(held, prior)


def rungs(rows: Sequence[dict[str, Any]], held: Held) -> dict[str, float]:
    """Rank correlation of what is known early, and at the end, with the score on confirm."""
    scored = [k for k, row in enumerate(rows) if "confirm" in row]
    early = np.array([[score["value"] for _, score in rows[k]["curve"]] for k in scored])
    both = zip((*(f"{share:.2f}" for share in RUNGS), "1.00"), (*early.T, held.select[scored]), strict=True)
    return {f"rung {name}": round(float(spearmanr(values, held.confirm[scored]).statistic), 3) for name, values in both}


def predicted(held: Held, prior: Prior) -> dict[str, float]:
    """What was expected of this table's recipes before any was run, against what they reached on select."""
    scored = ~np.isnan(held.select)
    value, error = np.array(prior.expected(held.knobs)).T
    missed = (held.select - value)[scored]
    ranks, _ = prior.expected_ranks(held.knobs)
    return {
        "value rmse": round(float(np.sqrt(np.mean(missed**2))), 4),
        "value error": round(float(np.sqrt(np.mean(error[scored] ** 2))), 4),
        "within 2 errors": round(float(np.mean(np.abs(missed) <= 2 * error[scored])), 3),
        "rank correlation": round(float(spearmanr(ranks[scored], -held.select[scored]).statistic), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--prior", type=Path, default=PRIOR, help="where the tables' meta-features are taken from")
    parser.add_argument("--seeds", type=int, default=20, help="of the cold start; nothing in the warm one is random")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in map(json.loads, options.runs.read_text().splitlines()):
        tables.setdefault(row["table"], []).append(row)
    for rows in tables.values():
        rows.sort(key=lambda row: row["recipe"])
    by_study = {study.study: study.features for study in recall(str(options.prior))}
    features = {name: by_study[name_of(name)] for name in tables}
    found = {}
    for name in tables:
        found[name] = measured(name, tables, features, options.seeds)
        print(f"{name:18}" + "  ".join(f"{k} {shown(v)}" for k, v in found[name].items()), flush=True)
    summary = summed(list(found.values()))
    for key, value in summary.items():
        print(f"{key}: {value}")
    if not options.dry:
        row = {
            "seeds": options.seeds,
            "recipes": {n: len(rows) for n, rows in tables.items()},
            **summary,
            "tables": found,
        }
        with RESULTS.open("a") as file:
            file.write(json.dumps(row | circumstances()) + "\n")


def summed(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the tables."""
    curves = ("warm", "cold", "warm on select", "cold on select")
    after = {who: float(np.mean([f[who][min(TRIALS, len(f[who])) - 1] for f in found])) for who in curves}
    means = [key for key in found[0] if key not in (*curves, "needed", "needed on select")]
    return {
        f"regret after {TRIALS}": {who: round(regret, 4) for who, regret in after.items()}
        | {"ratio": round(after["warm"] / after["cold"], 3)}
        | {"ratio on select": round(after["warm on select"] / after["cold on select"], 3)},
        **{
            f"trials to match cold's {MANY}{where}": statistics.median(f[f"needed{where}"] for f in found)
            for where in (" on select", "")
            if all(f"needed{where}" in f for f in found)
        },
        **{key: round(float(np.nanmean([f[key] for f in found])), 4) for key in means},
    }


def shown(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(f"{v:.2f}" for v in value[:TRIALS])
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
