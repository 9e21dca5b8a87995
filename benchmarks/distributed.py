"""What sharding, saving and dying cost, on the shipped Adult: one JSON object a measurement.

    python benchmarks/distributed.py [workers] [memory] [saving] [killing]

* workers: steps a second of two workers of one core each beside one worker of two, the same global batch, in turns.
* memory: bytes on rank 0, ZeRO 3 over two workers beside ZeRO 0, the most of each kind that is seen before the backward
  pass and in the optimizer's step. "ratio" is of parameters (shards, and copies of them if there are any), gradients
  (copies included) and the optimizer's state. "buffers", of which ratio_with_buffers counts too, are not state: what
  gradients travel in, and weights gathered from the other rank for as long as they are used. "other" is whatever else
  PyTorch holds in the step, so that no state hides there: the last batch and what was computed from it. Left out are the
  rows of the table and the averaged weights, which are sharded as the weights are. Until 572ad19 included, rows counted
  "buffers" and "other" with the state.
* saving: share of the training time for which the steps wait for checkpoints, one every 60 s; and the seconds in which a
  thread uploads them while the steps go on.
* killing: ten SIGKILLs of a worker at random moments; seconds until the next step ("next"), until the steps that were lost
  have been taken again as well ("caught_up"), and how often the weights are those of an undisturbed run.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

from cluster.session import connected
from synth.data.demo import adult
from synth.recipe import Recipe
from synth.training import checkpoint, loop, prepare, shards, workers

RESULTS = Path(__file__).parent / "results" / "distributed.jsonl"
SAVING_S, KILLS = 200.0, 10
STATE = ("parameters", "gradients", "optimizer")
Facts = dict[str, Any]


def fit(
    ray: Any,
    progress: Callable[[str, float, Facts], None] = lambda phase, done, facts: None,
    network: Mapping[str, Any] = MappingProxyType({}),
    **training: Any,
) -> Facts:
    """Train on Adult; what ``workers.fit`` returns."""
    settings = {f"training.{key}": value for key, value in training.items()}
    recipe = Recipe.read(None, {"target": "income", **network, **settings}).resolved(test_apart=False)
    table = prepare.prepare(*prepare.open_sources(str(adult()), None, recipe), recipe)
    with tempfile.TemporaryDirectory() as folder:
        return workers.fit(ray, recipe, table, f"{folder}/x.run", progress, embedded=True)


@contextmanager
def every_worker(body: Callable[[Facts], None]) -> Iterator[None]:
    """Ray runs ``body`` in place of the loop; it travels by value, and its processes end with the run."""
    from ray import cloudpickle

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


def held(worker: loop.Worker) -> dict[str, int]:
    """Bytes of tensors in this process by kind; a storage that is of several kinds counts for the first."""
    [engine], [mine] = worker.engines.values(), worker.owned.values()
    parameters, sharded = list(engine.module.parameters()), worker.zero == 3
    flats = [fragment.flat for fragment in mine]
    gradients = [p.grad for p in parameters if p.grad is not None]  # seen by gc once Python holds them
    counted: set[int] = set()

    def size(tensors: Iterable[torch.Tensor | None]) -> int:
        storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors if t is not None)}
        fresh = {at: size for at, size in storages.items() if at not in counted}
        counted.update(fresh)
        return sum(fresh.values())

    found = {"parameters": size([*flats, *((p.ds_tensor if sharded else p) for p in parameters)])}
    own = sum(t.nbytes for t in gradients)
    around = size(gradients) - own  # of tensors that a gradient is a slice of
    found["gradients"] = own + size([f.grad for f in flats])
    if sharded:
        found["gradients"] += size([engine.optimizer.grad_partitions_flat_buffer])
    found["optimizer"] = size(t for state in shards.adam(engine).state.values() for t in state.values())
    buckets = [bucket.buffer for bucket in engine.optimizer.ipg_buckets.values()] if sharded else []
    found["buffers"] = size([*buckets, *parameters])
    size([worker.feed.cells, worker.feed.values, *(t for a in worker.averages.values() for t in a.shards)])
    found["other"] = around + size(t for t in gc.get_objects() if isinstance(t, torch.Tensor))
    return found


def of_memory(ray: Any) -> Facts:
    def count(job: Facts) -> None:
        class Counting(loop.Worker):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                [engine] = self.engines.values()
                optimizer, most = shards.adam(engine), dict[str, int]()

                def counting(call: Callable[..., Any]) -> Callable[..., Any]:
                    def counted(*arguments: Any, **options: Any) -> Any:
                        now = held(self)
                        for kind in now.keys() - {"other"}:  # before the backward pass, all activations
                            most[kind] = max(most.get(kind, 0), now[kind])
                        self.notes = [json.dumps(most | {"other": now["other"]})]
                        return call(*arguments, **options)

                    return counted

                engine.backward = counting(engine.backward)
                optimizer.step = counting(optimizer.step)  # type: ignore[method-assign]

        loop.Worker = Counting  # type: ignore[misc]
        loop.train_worker(job)  # this process's own, whatever the driver's is

    found: Facts = {}
    for width, blocks in ((256, 4), (1024, 8)):
        by_stage: dict[int, dict[str, int]] = {}
        for zero in (0, 3):
            with every_worker(count):
                network = {"diffusion.width": width, "diffusion.blocks": blocks}
                by_stage[zero] = json.loads(fit(ray, network=network, steps=4, workers=2, zero=zero)["notes"][0])
        state, all_of_it = (
            [sum(by_stage[zero][kind] for kind in kinds) for zero in (0, 3)] for kinds in (STATE, (*STATE, "buffers"))
        )
        found[f"{width} x {blocks}"] = {
            "zero_0": by_stage[0], "zero_3": by_stage[3], "ratio": round(state[1] / state[0], 3),
            "ratio_with_buffers": round(all_of_it[1] / all_of_it[0], 3),
        }  # fmt: skip
    return found


def of_saving(ray: Any) -> Facts:
    def timed(job: Facts) -> None:
        waited, uploaded = list[float](), list[float]()

        def timing(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
            def called(*arguments: Any, **options: Any) -> Any:
                began = time.monotonic()
                try:
                    return call(*arguments, **options)
                finally:
                    seconds.append(time.monotonic() - began)

            return called

        class Timing(loop.Worker):
            def save(self, *, wait: bool) -> None:
                self.notes = [json.dumps([sum(waited[1:]), sum(uploaded[1:]), len(waited[1:])])]  # but for the first
                timing(super().save, waited)(wait=wait)

        loop.Worker = Timing  # type: ignore[misc]
        checkpoint.upload = timing(checkpoint.upload, uploaded)
        loop.train_worker(job)  # this process's own, whatever the driver's is

    with every_worker(timed):
        done = fit(ray, budget_s=SAVING_S)
    waited, uploaded, saves = json.loads(done["notes"][0])
    return {
        "seconds": round(done["elapsed_s"], 1), "saves": saves, "waited_s": round(waited, 2),
        "share": round(waited / done["elapsed_s"], 4), "uploading_s": round(uploaded, 2),
    }  # fmt: skip


class Killer:
    """Kills the only worker, ``later`` seconds after a step ``victim`` or later is seen; to be told of progress."""

    def __init__(self, victim: int, later: float) -> None:
        self.victim, self.later = victim, later
        self.last: Facts = {}  # what the dead one showed last
        self.died = self.next_s = self.caught_up_s = 0.0

    def __call__(self, phase: str, done: float, facts: Facts) -> None:
        if facts.get("step", 0) < self.victim and not self.died:
            return
        if not self.died:
            time.sleep(self.later)
            [one] = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::RayTrainWo")]
            one.kill()
            self.died = time.monotonic()
        elif not self.last:
            self.last = facts
        elif not self.next_s and facts["elapsed_s"] != self.last["elapsed_s"]:
            self.next_s = time.monotonic() - self.died
        if self.next_s and not self.caught_up_s and facts["step"] > self.last["step"]:
            self.caught_up_s = time.monotonic() - self.died


def of_killing(ray: Any) -> Facts:
    draw, steps, killers, same = random.Random(0), 200, list[Killer](), 0
    whole = fit(ray, steps=steps, checkpoint_s=2)["weights"]
    for _ in range(KILLS):
        killers.append(Killer(draw.randrange(10, steps - 50), draw.random()))
        found = fit(ray, killers[-1], steps=steps, checkpoint_s=2)["weights"]
        assert killers[-1].caught_up_s, "the run ended before the worker was killed"
        same += all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    next_s, caught_up_s = ([getattr(killer, name) for killer in killers] for name in ("next_s", "caught_up_s"))
    return {
        "kills": KILLS, "same_weights": same,
        "next": {"median_s": round(statistics.median(next_s), 1), "most_s": round(max(next_s), 1)},
        "caught_up": {"median_s": round(statistics.median(caught_up_s), 1), "most_s": round(max(caught_up_s), 1)},
    }  # fmt: skip


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
