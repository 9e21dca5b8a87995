"""How many modes of a grid of 25 Gaussians a GAN finds, with and without what keeps it from collapsing.

    python benchmarks/modes.py [--steps 15000] [--seeds 0 1 2] [--only cured|plain] [--table]

A grid of 5 × 5 normal distributions of deviation 0.05, two apart (Srivastava et al. 2017, arXiv 1705.07761, section 5.1;
Lin et al. 2018, arXiv 1712.04086, section 4.1), standardised, is a table of two numbers. ``cured`` is the table GAN as its
recipe is by default; ``plain`` is the same networks with the non-saturating loss and no penalty. Of 10,000 samples, those
within three deviations of the nearest centre are ``good``; a mode is found that has 20 of them or more (one in 20 of its
share); ``kl`` is the Kullback-Leibler divergence of the good samples' modes from the uniform distribution, in nats, and
``kl_all`` that of all samples' nearest modes. ``collapse`` and ``notes`` are what the training watch says, which is shown
2,000 other points; in the product, a collapse ends the run. The loop is a bare one; rows are appended to
benchmarks/results/modes.jsonl.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import bare
import torch
from published_protocol import circumstances, shown
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "modes.jsonl"
DEVIATION, SAMPLES, ENOUGH = 0.05, 10_000, 20
CENTRES = torch.cartesian_prod(*[torch.arange(-4.0, 5.0, 2.0)] * 2)
SCALE = float((CENTRES.square().mean() + DEVIATION**2).sqrt())
GANS = {"cured": {}, "plain": {"objective": "non-saturating", "gamma": 0.0, "pac": 1}}
ROWS = 100_000  # that an epoch would have; the grid is drawn anew at every step
SELECT = 2000  # rows that samples are held against on the way


def rows(draw: Draw, count: int) -> Encoded:
    """(count, 2) standardised points of the grid."""
    centre = CENTRES[(draw.uniform(count, 1)[:, 0] * len(CENTRES)).long()]
    return Encoded(torch.zeros(count, 0, dtype=torch.long), (centre + DEVIATION * draw.normal(count, 2)) / SCALE)


def divergence(counts: Tensor) -> float:
    """KL of shares from equal ones, in nats."""
    shares = counts.double() / counts.sum().clamp_min(1)
    return float(torch.xlogy(shares, shares * len(shares)).sum())


def judge(points: Tensor) -> dict[str, float]:
    distance, mode = torch.cdist(points, CENTRES).min(1)
    good, every = [torch.bincount(m, minlength=len(CENTRES)) for m in (mode[distance < 3 * DEVIATION], mode)]
    return {
        "modes": int((good >= ENOUGH).sum()), "good": round(float(good.sum() / len(points)), 4),
        "kl": round(divergence(good), 4), "kl_all": round(divergence(every), 4),
    }  # fmt: skip


def train(gan: dict[str, object], steps: int, seed: int) -> dict[str, Any]:
    recipe = Recipe.check({"family": "gan", "gan": gan, "seed": seed, "training": {"steps": steps}})
    recipe = recipe.suited(images=False)
    model, told = bare.train(
        recipe, Layout(cells=(), values=2), lambda step: rows(Draw(seed, "rows", step), recipe.training.batch), ROWS,
        select=bare.as_arrays(rows(Draw(seed, "select"), SELECT)),
    )  # fmt: skip
    return {**judge(model.sample(SAMPLES, Draw(seed, "sample")).values * SCALE), **told}


def table(found: list[dict[str, object]]) -> str:
    """Medians and ranges over the seeds at the newest commit, as Markdown."""
    keys = ("modes", "good", "kl", "kl_all", "steps", "seconds")
    lines = ["| GAN | seeds | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for gan in dict.fromkeys(row["gan"] for row in found):
        mine = [row for row in found if row["gan"] == gan]
        mine = list({row["seed"]: row for row in mine if row["commit"] == mine[-1]["commit"]}.values())
        lines.append(f"| {gan} | {len(mine)} | " + " | ".join(shown([r[key] for r in mine]) for key in keys) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", choices=list(GANS), help="one of the two")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        for name in [options.only] if options.only else GANS:
            row = {"gan": name, "seed": seed, **train(GANS[name], options.steps, seed), **circumstances()}
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


if __name__ == "__main__":
    with bare.alone():
        main()
