"""What the loss on held-out rows says of a release, and what it saves to end a training by it.

    python benchmarks/early_release.py DATA_DIR [--tables shoppers …] [--budgets 240 1800] [--seeds 0] [--rows N] [--batch B]

DATA_DIR holds a folder a table with train.parquet, test.parquet and schema.json. A tenth of the train rows is kept apart as
select, and the rest is learnt from, or N rows of it, for a budget of processor time. ``whole``: to the end of the budget;
``early``: until more time buys nothing, by the loss on select (training.early). At the rungs of the first, and at the end of
both, as many rows as the test has are drawn and held against it: the error of columns and of pairs, in per cent, how well
boosted trees tell the two apart, what models that learn from them are worth relative to real rows, and the copies of training
rows among them; beside the loss on test rows, which neither training nor its end has seen. Lines are appended to
results/early_release.jsonl; ``--table`` prints them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from bare import CPU, alone, train
from published_protocol import circumstances

from synth.evaluation.fidelity import shape, trend, two_sample
from synth.evaluation.frame import Lens
from synth.evaluation.utility import Downstream
from synth.generators.base import Generator
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training import prepare as preparing
from synth.training.feed import Feed, Share
from synth.training.heldout import HeldOut, Size
from synth.training.parting import narrow

RESULTS = Path(__file__).parent / "results" / "early_release.jsonl"
ARMS = {"whole": False, "early": True}
RUNGS = (0.1, 0.2, 0.4, 0.7)  # of the budget, of which the last is in the fall


class Course:
    """A table, its rows to learn from and to judge by, and what is known of a model on the way."""

    def __init__(self, folder: Path, seed: int, budget: float, rows: int | None, batch: int, *, early: bool) -> None:
        schema = json.loads((folder / "schema.json").read_text())
        classes = [*schema["categorical"], *([schema["target"]] if schema["task"] == "classification" else [])]
        numbers = [*schema["numerical"], *([schema["target"]] if schema["task"] == "regression" else [])]
        wanted = Recipe.read(
            None,
            {
                "target": schema["target"], "categorical": classes, "numerical": numbers, "split": [0.9, 0.1, 0.0],
                "seed": seed, "training.budget_s": budget, "training.early": early, "training.batch": batch,
            },
        )  # fmt: skip
        sources, known = preparing.open_sources(folder / "train.parquet", folder / "test.parquet", wanted)
        self.recipe = wanted.resolved(test_apart=True).suited(images=False)
        table = preparing.prepare(sources, known, self.recipe)
        self.codec, self.test = table.codec, table.test
        self.select = _whole(table.watched.rows)
        learnt = _whole(table.encoded)
        kept = slice(0, len(learnt.cells) if rows is None else rows)
        self.feed = Feed([Encoded(*(part[kept] for part in learnt))], Share(seed, batch, 1, 0, 1, CPU))
        fits = pa.array(self.codec.encodable(self.test.to_batches()[0]))
        other = narrow(self.codec.encode(self.test.to_batches()[0].filter(fits)), self.codec)
        self.held = HeldOut(other, seed, CPU, 10**6)
        self.held.size = Size(self.held.most, 4)
        self.lens = Lens.fit(known, {"train": table.real, "test": self.test})
        rng = np.random.default_rng(0)
        self.real = self.lens.view(self.test, "test", rng)[0]
        ours = self.lens.view(table.real, "train", rng)[0].draw(self.feed.rows, rng)
        self.downstream = Downstream(self.lens, ours, self.real, rng)
        self.learnt = {tuple(row) for row in self._decoded(Encoded(self.feed.cells, self.feed.values))}
        self.rungs: list[dict[str, Any]] = []

    def _decoded(self, rows: Encoded) -> list[Any]:
        arrays = Encoded(*(np.asarray(part) for part in rows))
        return list(zip(*self.codec.decode(arrays).to_pydict().values(), strict=True))

    def look(self, model: Generator, seconds: float) -> None:
        losses = self.held.look(model, 0.0)
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        rows = Sampler.of(self.recipe, self.codec, weights).table(len(self.real), seed=self.recipe.seed + 1)
        rng = np.random.default_rng(0)
        made = self.lens.view(rows, "rows", rng)[0]
        apart = two_sample(self.lens, self.real, made, rng)
        assert apart is not None, "there are enough rows"
        own = list(zip(*rows.to_pydict().values(), strict=True))
        self.rungs.append(
            {
                "seconds": round(seconds, 1), "test_loss": round(float(np.mean(losses)), 4),
                "shape_error": round(shape(self.lens, self.real, made).mean.value, 3),
                "trend_error": round(trend(self.lens, self.real, [made], rng)[0].mean.value, 3),
                "c2st": round(apart.tree.value, 4), "utility": round(self.downstream.judge(made, rng).relative.value, 4),
                "copies": round(sum(row in self.learnt for row in own) / len(own), 4),
            }
        )  # fmt: skip


def _whole(parts: Any) -> Encoded:
    return Encoded(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def run(folder: Path, seed: int, budget: float, rows: int | None, batch: int, arm: str) -> dict[str, Any]:
    course = Course(folder, seed, budget, rows, batch, early=ARMS[arm])
    with alone():
        model, told = train(
            course.recipe, course.codec.layout, lambda step: course.feed(step, slice(0, course.feed.share.batch)),
            course.feed.rows, course.select, clock=time.process_time,
            rungs=RUNGS if arm == "whole" else (), at_rung=course.look,
        )  # fmt: skip
    course.look(model, told["seconds"])
    return {
        "table": folder.name, "learnt_from": course.feed.rows, "batch": batch, "seed": seed, "budget_s": budget, "arm": arm,
        "course": course.rungs, **{k: told[k] for k in ("steps", "seconds", "looks_s", "held_out", "notes")},
        **circumstances(),
    }  # fmt: skip


def table() -> str:
    lines = [
        "| table | rows | budget | seed | arm | seconds | test loss | shape | trend | C2ST | utility | copies | looks |",
        "|---" * 13 + "|",
    ]
    for line in RESULTS.read_text().splitlines():
        row = json.loads(line)
        at = row["course"][-1]
        lines.append(
            f"| {row['table']} | {row['learnt_from']:,} | {row['budget_s']:.0f} | {row['seed']} | {row['arm']} "
            f"| {row['seconds']:.0f} | {at['test_loss']:.4f} | {at['shape_error']:.2f} | {at['trend_error']:.2f} "
            f"| {at['c2st']:.3f} | {at['utility']:.3f} | {at['copies']:.2%} | {row['looks_s'] / row['seconds']:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--tables", nargs="+", default=["shoppers", "magic", "default", "adult", "beijing"])
    parser.add_argument("--budgets", nargs="+", type=float, default=[240.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", type=int, help="to learn from, of those that there are")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.data is None:
            parser.error("DATA_DIR is needed")
        torch.set_num_threads(1)
        for name in options.tables:
            for budget in options.budgets:
                for seed in options.seeds:
                    for arm in options.arms:
                        row = run(options.data / name, seed, budget, options.rows, options.batch, arm)
                        with RESULTS.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                        print(json.dumps(row), flush=True)
    print(table())


if __name__ == "__main__":
    main()
