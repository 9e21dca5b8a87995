"""Generations that learn from each other's digits: the order of the policies, beside figures measured elsewhere.

    OMP_NUM_THREADS=1 python benchmarks/collapse_digits.py [--seeds 3] [--generations 10]

scikit-learn's digits (1,797 images of 8 × 8, pixels in 0 … 1) by their 16 principal components; a Gaussian mixture of 30 full
covariances, 1e-3 added to their variances, fitted to 1,200 of them, and ten generations after it, of as many rows each; 597
digits held out.
A row of results/collapse_digits.jsonl a policy and seed; what is there is not run again. ``--table`` prints the means.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from published_protocol import circumstances
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from synth.collapse.chain import chain
from synth.collapse.exact import Mixture
from synth.collapse.policies import Policy
from synth.collapse.rows import Rows
from synth.evaluation.diversity import manifolds

RESULTS = Path(__file__).parent / "results" / "collapse_digits.jsonl"
POLICIES = ("accumulate", "mix:0.5", "accumulate-subsample", "mix:0.1", "replace")
SHOWN = (0, 1, 5, 10)  # generations
LEARNT, PARTS, COMPONENTS, FLOOR = 1_200, 16, 30, 1e-3
# By an implementation that shares no code with this one: held-out ln p at these generations, and recall, coverage and variance
# over that of real rows at the last.
ELSEWHERE = {
    "accumulate": ((-4.0, -3.6, -3.1, -2.95), 0.945, 0.904, 1.015),
    "mix:0.5": ((-4.0, -6.2, -5.8, -6.0), 0.922, 0.898, 1.02),
    "accumulate-subsample": ((-4.0, -6.0, -6.8, -6.8), 0.906, 0.858, 1.03),
    "mix:0.1": ((-4.0, -6.7, -12.2, -12.9), 0.819, 0.821, 1.025),
    "replace": ((-4.0, -6.9, -18.9, -30.8), 0.664, 0.722, 1.025),
}


def digits(seed: int) -> tuple[Rows, Rows]:
    """Those that are learnt from, and those that are held out."""
    images = load_digits().data[np.random.default_rng(seed).permutation(1_797)] / 16
    found = PCA(PARTS, random_state=0).fit(images[:LEARNT]).transform(images)
    return Rows.of_numbers(found[:LEARNT]), Rows.of_numbers(found[LEARNT:])


def run(policy: str, seed: int, generations: int) -> dict[str, object]:
    """The likelihood of each generation, and what else is known of the last."""
    real, held = digits(seed)
    chains = chain(
        Mixture(COMPONENTS, (), FLOOR), Policy.parse(policy), lambda _: real, generations,
        lambda g: np.random.default_rng([seed, g]),
    )  # fmt: skip
    models, draws = zip(*chains, strict=True)
    densities = [model.log_density(held) for model in models]
    likelihood = [round(float(density.mean()), 4) for density in densities if density is not None]
    last = draws[-1].numbers
    [cloud] = manifolds(held.numbers, [last[: len(held)]], np.random.default_rng(seed))
    return {
        "likelihood": likelihood, "recall": round(cloud.recall.value, 4), "coverage": round(cloud.coverage.value, 4),
        "variance": round(float(np.trace(np.cov(last.T)) / np.trace(np.cov(real.numbers.T))), 4),
    }  # fmt: skip


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        f"| policy | seeds | ln p at {', '.join(map(str, SHOWN))} | recall | coverage | variance | elsewhere |",
        "|---|---|---|---|---|---|---|",
    ]
    for policy in POLICIES:
        found = [row for row in rows if row["policy"] == policy]
        if not found:
            continue
        curves = np.array([row["likelihood"] for row in found])
        at = [g for g in SHOWN if g < curves.shape[1]]
        means, errors = curves.mean(axis=0), curves.std(axis=0, ddof=min(1, len(found) - 1)) / len(found) ** 0.5
        course = ", ".join(f"{means[g]:.2f} ± {errors[g]:.2f}" for g in at)
        names = ("recall", "coverage", "variance")
        rest = " | ".join(f"{np.mean([float(str(row[name])) for row in found]):.3f}" for name in names)
        theirs, recall, coverage, variance = ELSEWHERE[policy]
        told = f"{', '.join(f'{v:g}' for v in theirs)}; {recall:g}, {coverage:g}, {variance:g}"
        lines.append(f"| {policy} | {len(found)} | {course} | {rest} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for seed in range(0 if options.table else options.seeds):
        for policy in POLICIES:
            asked = {"policy": policy, "seed": seed, "generations": options.generations}
            if not any(asked.items() <= row.items() for row in rows):
                rows.append(asked | run(policy, seed, options.generations) | circumstances())
                with RESULTS.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
