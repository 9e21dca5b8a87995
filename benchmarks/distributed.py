"""What sharding, saving and dying cost, on the shipped Adult: one JSON object a measurement.

    python benchmarks/distributed.py [workers] [memory] [saving] [killing]

* workers: steps a second of two workers of one core each beside one worker of two, the same global batch, in turns.
* memory: bytes of parameters, gradients and optimizer state on a rank, ZeRO 3 over two workers beside ZeRO 0.
* saving: share of the training time that checkpoints every 60 s take.
* killing: ten SIGKILLs of a worker at random steps; seconds until the next step that had not been taken yet, and whether
  the weights are those of an undisturbed run.

Rows are appended to benchmarks/results/distributed.jsonl.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

from cluster.session import connected
from synth.data.demo import adult
from synth.recipe import Recipe
from synth.training import loop, prepare, workers

RESULTS = Path(__file__).parent / "results" / "distributed.jsonl"
Facts = dict[str, Any]


def fit(
    ray: Any, progress: Callable[[str, float, Facts], None] = lambda phase, done, facts: None, **training: Any
) -> Facts:
    """Train on Adult; what ``workers.fit`` returns."""
    settings = {f"training.{key}": value for key, value in training.items()}
    recipe = Recipe.read(None, {"target": "income", **settings}).resolved(test_apart=False)
    table = prepare.prepare(*prepare.open_sources(str(adult()), None, recipe), recipe)
    with tempfile.TemporaryDirectory() as folder:
        return workers.fit(ray, recipe, table, f"{folder}/x.run", progress, embedded=True)


@contextmanager
def every_worker(body: Callable[[Facts], None]) -> Iterator[None]:
    """Ray runs ``body`` in place of the loop; it travels by value, and its processes end with the run."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    original, loop.train_worker = loop.train_worker, body
    try:
        yield
    finally:
        loop.train_worker = original


def of_workers(ray: Any) -> Facts:
    rates: dict[int, list[float]] = {1: [], 2: []}
    for count in (1, 2) * 3:
        done = fit(ray, steps=300, workers=count)
        rates[count].append(done["step"] / done["elapsed_s"])
    one, two = (statistics.median(rates[count]) for count in (1, 2))
    return {"one_worker": round(one, 2), "two_workers": round(two, 2), "ratio": round(two / one, 3), "runs": rates}


def of_memory(ray: Any) -> Facts:
    def count(job: Facts) -> None:
        class Counting(loop.Worker):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                [engine] = self.engines.values()
                step = engine.step

                def counting() -> None:
                    gradients = [p.grad for p in engine.module.parameters()]  # seen by gc once Python holds them
                    aside = [self.feed.cells, self.feed.values, *(t for a in self.averages.values() for t in a.shards)]
                    storages = {t.untyped_storage() for t in gc.get_objects() if isinstance(t, torch.Tensor)}
                    sizes = {s.data_ptr(): s.nbytes() for s in storages}
                    self.notes = [str(sum(sizes.values()) - sum(t.untyped_storage().nbytes() for t in aside))]
                    del gradients
                    step()

                engine.step = counting

        loop.Worker = Counting  # type: ignore[misc]
        loop.train_worker(job)  # this process's own, whatever the driver's is

    found = {}
    for zero in (0, 3):
        with every_worker(count):
            found[zero] = int(fit(ray, steps=3, workers=2, zero=zero)["notes"][0])
    return {"zero_0": found[0], "zero_3": found[3], "ratio": round(found[3] / found[0], 3)}


def of_saving(ray: Any) -> Facts:
    def timed(job: Facts) -> None:
        class Timing(loop.Worker):
            spent = 0.0

            def save(self) -> None:
                began = time.monotonic()
                self.notes = [str(self.spent)]  # of the saves before this one
                super().save()
                self.spent += (time.monotonic() - began) if self.step else 0.0

        loop.Worker = Timing  # type: ignore[misc]
        loop.train_worker(job)  # this process's own, whatever the driver's is

    with every_worker(timed):
        done = fit(ray, budget_s=200)
    spent = float(done["notes"][0])
    return {
        "seconds": round(done["elapsed_s"], 1),
        "saving_s": round(spent, 2),
        "share": round(spent / done["elapsed_s"], 4),
    }


def of_killing(ray: Any) -> Facts:
    draw, steps, recovered, same = random.Random(0), 120, list[float](), 0
    whole = fit(ray, steps=steps, checkpoint_s=2)["weights"]
    for _ in range(10):
        victim, died, seen = draw.randrange(10, steps - 20), list[float](), [0]

        def kill(
            phase: str,
            done: float,
            facts: Facts,
            victim: int = victim,
            died: list[float] = died,
            seen: list[int] = seen,
        ) -> None:
            step = facts.get("step", 0)
            if not died and step >= victim:
                [one] = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::RayTrainWo")]
                one.kill()
                died.append(time.monotonic())
                seen[0] = step
            elif len(died) == 1 and step > seen[0]:
                died.append(time.monotonic())

        found = fit(ray, kill, steps=steps, checkpoint_s=2)["weights"]
        recovered.append(died[1] - died[0])
        same += all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    return {
        "median_s": round(statistics.median(recovered), 1),
        "most_s": round(max(recovered), 1),
        "kills": 10,
        "same_weights": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"workers": of_workers, "memory": of_memory, "saving": of_saving, "killing": of_killing}
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(kinds))
    RESULTS.parent.mkdir(exist_ok=True)
    chosen = parser.parse_args().kinds or list(kinds)
    for kind in chosen:
        if kind not in kinds:
            parser.error(f"{kind!r} is none of {', '.join(kinds)}")
    for kind in chosen:
        with connected() as ray:
            row = {"what": kind, **kinds[kind](ray), **circumstances()}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
