"""What breeding recipes beyond the hand-written spaces gains over proposals of the memory alone, at as many trials.

    OMP_NUM_THREADS=1 python benchmarks/evolution.py TABLES [--only diamonds …] [--trials 16] [--seconds 20] [--seeds 1]

TABLES is what prior_tables.py wrote. On each table both arms begin with the same portfolio, learnt from the other tables of the
shipped prior. Then one goes on with the memory's proposals, and in the other every third trial is bred instead, as
``artesian tune --evolve`` does. The incumbent is the best on select and is judged on confirm. A row of
results/evolution.jsonl an arm; what is there is not run again. ``--table`` prints the differences.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from bare import alone
from prior_build import name_of
from prior_runs import base, parted, run
from published_protocol import circumstances

from tuning import memory, space
from tuning.evolve import evolve
from tuning.features import describe
from tuning.ideas import EVOLVED, PORTFOLIO
from tuning.prior import Prior, Told

RESULTS = Path(__file__).parent / "results" / "evolution.jsonl"
TABLES = ["credit_scoring", "phoneme", "segment", "storms", "bike_rentals", "diamonds", "life_expectancy", "rodents"]


def search(table: dict[str, Any], folder: Path, arm: str, trials: int, seconds: float, seed: int) -> dict[str, Any]:
    """The incumbent's mean value on confirm after each trial."""
    prepared = parted(table, folder, base(table, seconds).suited(images=False))
    pasts = [past for past in memory.shipped() if past.study != name_of(table["name"])]
    prior = Prior(pasts, describe(prepared.schema, prepared.real), list(space.TABLES), seconds=seconds, seed=seed)
    told, confirm, origins = list[Told](), list[float](), list[str]()
    ahead = prior.portfolio(PORTFOLIO + 1)
    while len(told) < trials:
        rng = np.random.default_rng([seed, len(told)])
        if not ahead and arm == "evolved" and len(told) % EVOLVED == 0:
            ahead = evolve(rng, told, 1, prior=prior)
        ahead = ahead or prior.propose(rng, 1, told)
        found = ahead.pop(0)
        try:
            scores = run(table, folder, found.knobs, seconds)
            values = [float(np.mean([s["value"] for s in scores[part]])) for part in ("select", "confirm")]
        except ArithmeticError:  # it diverged
            values = [math.nan, math.nan]
        told.append((found.knobs, values[0]))
        confirm.append(values[1])
        origins.append(found.origin)
    best = [int(np.nanargmax([v for _, v in told[: n + 1]])) for n in range(trials)]
    return {"incumbent": [round(confirm[k], 6) for k in best], "origins": origins, "won": origins[best[-1]]}


def summary(rows: list[dict[str, Any]]) -> str:
    arms = {(r["table"], r["seed"], r["arm"]): r["incumbent"][-1] for r in rows}
    lines = ["| table | seed | memory alone | with evolved ones | gain |", "|---|---|---|---|---|"]
    gains = []
    for name, seed in dict.fromkeys((name, seed) for name, seed, _ in arms):
        plain, evolved = (arms.get((name, seed, arm)) for arm in ("memory", "evolved"))
        if plain is not None and evolved is not None:
            gains.append(evolved - plain)
            lines.append(f"| {name} | {seed} | {plain:.4f} | {evolved:.4f} | {evolved - plain:+.4f} |")
    error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else math.nan
    return "\n".join([*lines, f"mean gain {np.mean(gains):+.4f} ± {error:.4f}" if gains else "nothing to compare yet"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", default=TABLES)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    if not options.table:
        if options.tables is None:
            parser.error("give TABLES, or --table")
        about = {table["name"]: table for table in json.loads((options.tables / "tables.json").read_text())}
        with alone():
            for seed in range(options.seeds):
                for name in options.only:
                    for arm in ("memory", "evolved"):
                        asked = {
                            "table": name,
                            "seed": seed,
                            "arm": arm,
                            "trials": options.trials,
                            "seconds": options.seconds,
                        }
                        if any(asked.items() <= row.items() for row in rows):
                            continue
                        found = search(about[name], options.tables, arm, options.trials, options.seconds, seed)
                        rows.append(asked | found | circumstances())
                        with RESULTS.open("a") as file:
                            file.write(json.dumps(rows[-1]) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
