"""How many evaluations of the network a row's values need, and what a student's rows are worth: figures of kept releases.

    python benchmarks/solvers.py DATA_DIR RELEASE… [--evaluations 4 6 8 12 20 100] [--others heun float32 order] [--again]
        [--blocks 200 800] [--seeds 0 1 2] [--rows 10000]
    python benchmarks/solvers.py --table

DATA_DIR holds a folder a table with train.parquet and test.parquet; a release's name begins with that of its table, as
adult-30m does. For each release, way and seed, rows are drawn from the same noise and compared with the train rows: errors of
shape and trend, and the tree's AUC in telling them apart; and models that learn from them with those that learn from the train
rows, on test rows (utility). ``heun`` are the 39 evaluations of Heun's method in 20 steps that were usual, ``float32`` the most
evaluations without products of bfloat16, ``order`` the most evaluations with the cells of all rows in the student's order;
``fast`` is the release's student, if it has one, or (``--again``) one that the checked-out code taught as long, and ``fast
200`` one that was taught by so many blocks of rows (training.distilled). Beside them stands what the encoded values themselves
are off those of the most evaluations: the root mean square and, of 99 quantiles of each value, the mean absolute difference, in
deviations; nothing is said of them where the cells differ. Rows are appended to results/solvers.jsonl as they come; ``--table``
prints the means over a table's releases and seeds, and how far each is from that of the most evaluations of the same ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, rows_of

RESULTS = Path(__file__).parent / "results" / "solvers.jsonl"
FIGURES = ("shape_error", "trend_error", "c2st_tree", "utility")
HEUN = 20  # steps
OTHERS = ("heun", "float32", "order")


def measured(release: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from synth import release as releases
    from synth.recipe import Recipe
    from synth.sampling import Sampler

    loaded = releases.load(release)
    sampler, recipe = Sampler.from_release(loaded), Recipe.check(loaded.recipe)
    students = {} if sampler.generator.student is None else {"fast": (sampler.generator.student, {})}
    again = {"fast": recipe.training.distilled} if options.again else {}
    students |= {
        way: taught(sampler, recipe, n) for way, n in (again | {f"fast {n}": n for n in options.blocks}).items() if n
    }
    evaluations = sorted(options.evaluations)
    ways = [*map(str, [evaluations[-1], *evaluations[:-1]]), *options.others, *students]
    for seed in options.seeds:
        judge, best = Judge(sampler.schema, options.data / table_of(release), seed), None
        for way in ways:
            sampler.generator.student, cost = students.get(way, (None, {}))
            encoded = drawn(sampler, way, evaluations[-1], options.rows, seed)
            best = best or encoded
            yield {
                "release": Path(release).name, "way": way, "seed": seed, "rows": options.rows, **cost,
                **judge.figures(sampler.codec.decode(encoded)), **distance(encoded, best), **circumstances(),
            }  # fmt: skip


def table_of(release: str) -> str:
    return Path(release).name.partition("-")[0]


def taught(sampler: Any, recipe: Any, blocks: int) -> tuple[Any, dict[str, float]]:
    """A student that so many blocks of rows have taught, raked as that of a release, and what it cost."""
    from synth.training import finishing

    began = time.monotonic()
    finishing.teach(sampler.generator, recipe, blocks, lambda phase, share, facts: None)
    return sampler.generator.student, {"taught_s": round(time.monotonic() - began, 1)}


def drawn(sampler: Any, way: str, most: int, rows: int, seed: int) -> Any:
    """Encoded rows of a draw, by a way to sample."""
    import torch

    from synth.generators import noise, still
    from synth.generators.base import Draw
    from synth.generators.student import Student
    from synth.generators.unmasking import Unmasking

    with ExitStack() as stack:
        if way == "heun":
            stack.enter_context(mock.patch.object(noise, "multistep", noise.heun))
        if way == "float32":
            stack.enter_context(mock.patch.object(still, "precision", return_value=torch.float32))
        if way == "order":
            order = torch.tensor(Student.order(sampler.generator.layout), device=sampler.device)
            alike = lambda self, draw, rows, cells: order.repeat(rows, 1)  # noqa: E731
            stack.enter_context(mock.patch.object(Unmasking, "_orders", alike))
        steps = HEUN if way == "heun" else int(way) if way.isdigit() else most
        stack.enter_context(mock.patch.object(sampler.generator, "steps", steps))
        return sampler.draw(rows, Draw("solvers", seed, device=sampler.device), fast=way.startswith("fast"))


class Judge:
    """The real rows of a table, to hold samples against, as a certificate does."""

    def __init__(self, schema: Any, folder: Path, seed: int) -> None:
        import numpy as np
        import pyarrow.parquet as pq

        from synth.evaluation.frame import Lens
        from synth.evaluation.utility import Downstream

        arrow = schema.arrow()
        real = {
            name: pq.read_table(folder / f"{name}.parquet", columns=arrow.names).cast(arrow)
            for name in ("train", "test")
        }
        self.lens, self.seed = Lens.fit(schema, real), seed
        rng = np.random.default_rng(seed)
        self.train, test = (self.lens.view(table, name, rng)[0] for name, table in real.items())
        self.downstream = Downstream(self.lens, self.train, test, rng)

    def figures(self, sample: Any) -> dict[str, float]:
        import numpy as np
        import pyarrow as pa

        from synth.evaluation import fidelity

        rng = np.random.default_rng(self.seed)
        own = self.lens.view(pa.Table.from_batches([sample]), "sample", rng)[0]
        told = fidelity.two_sample(self.lens, self.train, own, rng)
        [trend] = fidelity.trend(self.lens, self.train, [own], rng)
        found = (
            fidelity.shape(self.lens, self.train, own).mean, trend.mean, told.tree if told is not None else None,
            self.downstream.judge(own, rng).relative,
        )  # fmt: skip
        return {key: round(each.value, 5) for key, each in zip(FIGURES, found, strict=True) if each is not None}


def distance(encoded: Any, best: Any) -> dict[str, float | None]:
    """Of values, where the cells are the same."""
    import numpy as np

    if encoded.cells.shape[1] and not np.array_equal(encoded.cells, best.cells):
        return {"rms": None, "quantiles": None}
    levels = np.arange(1, 100) / 100
    apart = np.quantile(encoded.values, levels, axis=0) - np.quantile(best.values, levels, axis=0)
    rms = float(np.sqrt(np.mean((encoded.values - best.values) ** 2)))
    return {"rms": round(rms, 5), "quantiles": round(float(abs(apart).mean()), 5)}


def table(rows: list[dict[str, Any]]) -> str:
    """Of each way's newest commit: means over releases and seeds, and beside them their change, in per cent, against those of
    the most evaluations of the same releases and seeds; of students taught anew, the seconds that it took."""
    newest = {(table_of(r["release"]), r["way"]): r["commit"] for r in rows}
    lines = [
        "| table | way | taught, s | releases | " + " | ".join(FIGURES) + " | rms | quantiles |",
        "|---" * (len(FIGURES) + 6) + "|",
    ]
    for name, way in newest:
        mine = [
            r for r in rows if (table_of(r["release"]), r["way"]) == (name, way) and r["commit"] == newest[name, way]
        ]
        most = str(max(int(r["way"]) for r in rows if table_of(r["release"]) == name and r["way"].isdigit()))
        same = {place(r): r for r in rows if r["way"] == most}
        shown = []
        for key in FIGURES:
            pairs = [(r[key], same[place(r)][key]) for r in mine if key in r and key in same[place(r)]]
            own, other = (statistics.fmean(side) for side in zip(*pairs, strict=True)) if pairs else (None, None)
            change = "" if not own or not other else f" ({100 * (own / other - 1):+.1f})"
            shown.append("–" if own is None else f"{own:.4g}{change}")
        for key in ("rms", "quantiles"):
            found = [r[key] for r in mine if r[key] is not None]
            shown.append(f"{statistics.fmean(found):.4f}" if found else "–")
        costs = [r["taught_s"] for r in mine if "taught_s" in r]
        cost = f"{statistics.fmean(costs):.0f}" if costs else ""
        lines.append(f"| {name} | {way} | {cost} | {len({r['release'] for r in mine})} | {' | '.join(shown)} |")
    return "\n".join(lines)


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    """What the most evaluations have to have in common with another way, to be compared."""
    return row["release"], row["seed"], row["rows"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("releases", nargs="*")
    parser.add_argument("--evaluations", nargs="+", type=int, default=[4, 6, 8, 12, 20, 100])
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS))
    parser.add_argument("--again", action="store_true", help="teach the student anew, as long as the release's was")
    parser.add_argument("--blocks", nargs="*", type=int, default=[], help="of rows that teach students anew")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--table", action="store_true", help="only print the means of what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.data is None or not options.releases:
            parser.error("give DATA_DIR and RELEASE…, or --table")
        RESULTS.parent.mkdir(exist_ok=True)
        for release in options.releases:
            for row in measured(release, options):
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    print(table(rows_of(RESULTS)))


if __name__ == "__main__":
    main()
