"""The one training loop, run by every worker: it owns engines, precision, accumulation, averages and checkpoints.

The generator only says what its losses are. Nothing here knows a family.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.location import without_credentials
from cluster.session import impatient
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training import beacon, checkpoint, shards
from synth.training.checks import Checks
from synth.training.device import computes_in_bf16, device_of_worker, keep_memory, name_of_device
from synth.training.divergence import Divergence, finite
from synth.training.engine import Average, limit_waits, make_engine
from synth.training.feed import Mixed, Pools, Share, mixed
from synth.training.notice import nodes_leaving
from synth.training.schedule import Schedule
from synth.training.sharding import decide
from synth.training.stored import Stored
from synth.training.stream import Stream

# Looks at the clock, the loss and the stop signal cost a synchronisation: so many steps lie between them, or fewer
# where they take longer than so many seconds.
PULSE, PULSE_S = 10, 1.0


class FailedError(Exception):
    """What cannot be helped by trying again; ``said`` is for the driver."""

    def __init__(self, **said: Any) -> None:
        super().__init__(*said.values())
        self.said = said


def train_worker(job: dict[str, Any]) -> None:
    """Train one worker's share of a run; the body that Ray Train calls on every worker.

    ``job`` holds the recipe and the layout as plain data, the encoded batches of each kind of rows as references into Ray's
    object store, after the kind's share of every batch, or where they are ``Stored`` ("rows"), the real rows that samples are
    held against ("watched", see ``Checks``), the run's location, which names it ("run"), and what is to be told of it so far
    ("notes").
    """
    import ray
    import ray.train

    impatient()
    context = ray.train.get_context()
    if context.get_world_rank() == 0:
        job["watched"]["rows"] = ray.get(job["watched"]["rows"])
    rows = job["rows"]
    if not isinstance(rows, Stored):
        rows = [(weight, [Encoded(*part) for part in ray.get(parts)]) for weight, parts in rows]
    try:
        Worker(job, rows, context.get_world_rank(), context.get_world_size()).train(ray.train.get_checkpoint())
    except FailedError as e:  # raised no further: Ray Train would try again
        beacon.show(job["run"], **e.said)


class Worker:
    """One worker's engines, averages and rows, and where the run stands."""

    def __init__(self, job: dict[str, Any], rows: Pools | Stored, rank: int, world: int) -> None:
        self.run: str = job["run"]
        self.recipe, self.rank, self.world = Recipe.model_validate(job["recipe"]), rank, world
        training = self.recipe.training
        self.device = device = device_of_worker()
        if device.type == "cpu":
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
            keep_memory()
        torch.manual_seed(self.recipe.seed)  # initial weights; every later draw has an address
        layout = Layout.model_validate(job["layout"])
        self.generator = build(self.recipe, layout)
        self.checks = Checks(self.recipe, self.generator, layout, job["watched"], device, rank, world)
        self.generator.to(device)
        share = Share(self.recipe.seed, training.batch, training.accumulate, rank, world, device)
        self.feed = Stream(rows, share) if isinstance(rows, Stored) else mixed(rows, share)
        self.last = self.feed.first if isinstance(self.feed, Mixed) else self.feed  # of real rows alone
        self.bf16 = computes_in_bf16(training.precision, device)
        parameters = sum(p.numel() for player in self.generator.players.values() for p in player.parameters())
        second_order = self.recipe.settings(images=layout.image is not None).second_order
        self.zero, self.sharding = decide(training, parameters, device, most=2 if second_order else 3)
        self.engines = {
            name: make_engine(player, training, self.feed.rows, device, zero=self.zero, bf16=self.bf16)
            for name, player in self.generator.players.items()
        }
        limit_waits(training.patience_s)
        self.owned = {name: shards.fragments(engine) for name, engine in self.engines.items()}
        self.averages = {name: Average([f.weight for f in mine], training.ema) for name, mine in self.owned.items()}
        size = training.batch // training.accumulate
        self.micros = [slice(start, start + size) for start in range(0, training.batch, size)]
        self.schedule, self.divergence = Schedule.of(training), Divergence()
        self.step, self.elapsed, self.loss, self.stop = 0, 0.0, math.nan, False
        # Processor seconds of earlier starts, and what this process had taken when this one began.
        self.computed, self.clock = 0.0, time.process_time()
        self.alone = self.leaving = (
            0  # steps on real rows alone, where there are others; nodes that are to be taken away
        )
        # Sum and count of the losses since the last checkpoint, and the lowest mean so far.
        self.lately, self.best = torch.zeros(2, dtype=torch.float64, device=device), math.inf
        self.notes: list[str] = list(job["notes"])

    def train(self, latest: Any) -> None:
        """To the end, or until asked to stop; from the newest whole checkpoint up to ``latest`` unless that is None.

        Raises FailedError where nothing is whole, and where the run diverges for good.
        """
        if latest is None:
            self.save(wait=True)  # a place that refuses is found now, and there is a state to go back to
        else:
            saved = self.restore(latest)
            self.elapsed, self.divergence = saved["elapsed_s"], Divergence(**saved["divergence"])
            self.computed = saved["cpu_s"]
            self.best = saved["best"]
            self.checks.restore(saved["checks"])
            self.notes = list(dict.fromkeys([*saved["notes"], *self.notes]))  # an earlier team may have said the same
        started = saved_at = time.monotonic()
        before, pulse, losses = self.elapsed, self.step + 1, list[Tensor]()
        while not (self.finished or self.stop):
            losses += self.optimize()
            if self.step < pulse and not self.finished:
                continue
            self.loss = float(torch.stack(losses).mean())
            self.lately[0] += self.loss * len(losses)
            self.lately[1] += len(losses)
            taken = len(losses)
            losses.clear()
            now = time.monotonic()
            due = now - saved_at >= self.recipe.training.checkpoint_s
            asked = self.rank == 0 and beacon.stop_asked(self.run)
            relative = bool(self.generator.judges)
            diverged = self.divergence.seen(self.loss, relative=relative) or not finite(self.owned)
            self.elapsed, due, self.stop, diverged, leaving = _agree(
                self.world, self.device, before + now - started, due, asked, diverged, nodes_leaving()
            )
            if diverged:
                self.go_back()
                pulse, self.stop = self.step + 1, False  # a stop is seen again at the next pulse, and saved then
                continue
            self.checks.add(self.loss, taken)
            self.schedule.observe(self.step, self.elapsed)
            self.schedule.hold(self.step, self.elapsed)
            fraction = self.schedule.fraction(self.step, self.elapsed)
            at_best = self.check(fraction) if self.checks.due(fraction) else None
            timed = self.recipe.training.budget_s is not None and not self.checks.early.acted
            if self.finished and timed and (told := self.schedule.describe()):
                self.notes.append(told)
            pulse = self.step + min(max(int(PULSE_S * self.step / self.elapsed), 1), PULSE)
            pulse = self.checks.until(pulse, self.schedule.total)
            noticed, self.leaving = leaving > self.leaving, leaving
            if noticed:
                self.notes.append(f"step {self.step}: a checkpoint, since {leaving} node(s) will be taken away")
            if self.rank == 0:
                beacon.show(
                    self.run, step=self.step, total=self.schedule.total, loss=self.loss, elapsed_s=self.elapsed,
                    rows=self.step * self.recipe.training.batch, workers=self.world, sharding=self.sharding,
                    fraction=fraction, coverage=self.checks.coverage, notes=self.notes,
                )  # fmt: skip
            if due or noticed or self.stop or self.finished or at_best:
                self.save(wait=noticed or self.stop or self.finished, at_best=at_best)
                saved_at = time.monotonic()

    @property
    def finished(self) -> bool:
        return self.schedule.finished(self.step)

    def optimize(self) -> list[Tensor]:
        """One optimizer step of every player, and its losses."""
        rate = self.schedule.rate(self.step) * self.divergence.share
        losses, alone = [], self.schedule.last(self.step, self.recipe.finetune)
        for index, micro in enumerate(self.micros):
            draw = Draw(
                self.recipe.seed, "train", self.step, index,
                device=self.device, part=self.feed.share.mine, total=micro.stop - micro.start, local=True,
            )  # fmt: skip
            feed = self.last if alone else self.feed
            pending = self.generator.losses(self.engines, feed(self.step, micro), draw, self.step)
            while True:
                # Left before each step: autocast caches weights in bf16, which the step makes stale.
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    following = next(pending, None)
                if following is None:
                    break
                player, loss = following
                engine = self.engines[player]
                for group in engine.optimizer.param_groups:
                    group["lr"] = rate
                engine.backward(loss)
                engine.step()
                losses.append(loss.detach())
        for average in self.averages.values():
            average.update()
        self.step += 1
        self.alone += alone
        return losses

    def check(self, fraction: float) -> bool | None:
        """Look at what the averaged weights draw, or at their loss alone; whether their coverage is at its best, None where
        it was not looked at. The end is brought nearer where more time buys nothing. FailedError where the run has collapsed.
        A collective."""
        falling = self.schedule.total is not None
        found = self.checks.look(self.step, fraction, self.elapsed, self.owned, self.averages, falling=falling)
        self.elapsed += found.seconds
        self.notes += found.notes
        if found.collapse is not None:
            raise FailedError(given_up=[*self.notes, found.collapse], checks=self.checks.state())
        if found.enough is not None:
            self.schedule.sooner(self.step)
            self.notes.append(found.enough)
        return found.at_best

    def save(self, *, wait: bool, at_best: bool | None = None) -> None:
        """A checkpoint; a collective. Unless it is to ``wait`` for it, it is uploaded while training goes on.

        ``at_best`` says whether the coverage is, None where it was not looked at.
        """
        import ray.train
        from ray.train import CheckpointUploadMode

        if self.world > 1:
            dist.all_reduce(self.lately)
        lately = float(self.lately[0] / self.lately[1])  # not a number before the first step, and then no best one
        self.lately.zero_()
        lowest = lately < self.best and not self.generator.judges
        if lowest:
            self.best = lately
        best = lowest if self.checks.collapse.best is None else bool(at_best)
        progress = {
            "step": self.step, "alone": self.alone, "total": self.schedule.total, "shortened": self.schedule.shortened,
            "elapsed_s": self.elapsed, "loss": self.loss, "best": self.best,
            "cpu_s": self.computed + time.process_time() - self.clock,
            "rows_per_s": self.step * self.recipe.training.batch / self.elapsed if self.elapsed else 0.0,
            "stopped": self.stop and not self.finished, "precision": "bf16" if self.bf16 else "fp32",
            "device": name_of_device(self.device), "notes": self.notes, "workers": self.world,
            "zero": self.zero, "sharding": self.sharding, "divergence": asdict(self.divergence),
            "checks": self.checks.state(),
        }  # fmt: skip
        folder = checkpoint.write(self.engines, self.owned, self.averages, progress, self.rank, self.world)
        ray.train.report(
            progress,
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if wait else CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=partial(checkpoint.upload, best=best),
            delete_local_checkpoint_after_upload=True,
        )

    def restore(self, latest: Any) -> dict[str, Any]:
        """Take the state of the newest whole checkpoint up to ``latest``; returns what it says. A collective."""
        found, passed_over = checkpoint.newest_whole(latest, self.rank, self.world)
        self.notes += passed_over
        if found is None:
            nothing = f"{without_credentials(self.run)}: holds no whole checkpoint; start anew with --overwrite"
            raise FailedError(failure="\n".join([*self.notes, nothing]))
        with found.as_directory() as folder:
            saved = checkpoint.restore(Path(folder), self.engines, self.owned, self.averages)
        self.step, self.alone = saved["step"], saved.get("alone", 0)  # which runs before it have not
        self.schedule.restore(saved["total"], saved["shortened"])
        self.lately.zero_()
        return saved

    def go_back(self) -> None:
        """From where the run has diverged to the newest checkpoint, to go on more slowly; FailedError the third time."""
        import ray.train

        what = self.divergence.describe(self.step, self.loss)
        if self.divergence.exhausted:
            advice = f"lower training.learning_rate ({self.recipe.training.learning_rate:g})"
            # The notes since the checkpoint are not in it.
            raise FailedError(given_up=[*self.notes, f"{what}; {advice}"], checks=self.checks.state())
        self.restore(ray.train.get_checkpoint())
        self.divergence.returns += 1
        share = f"{self.divergence.share:.2g} of the learning rate"
        self.notes.append(f"{what}: went back to step {self.step}, at {share}")


def _agree(
    world: int, device: torch.device, elapsed: float, due: bool, stop: bool, diverged: bool, leaving: int
) -> tuple[float, bool, bool, bool, int]:
    """The latest clock, what any rank wants, and the most nodes that any has heard of as leaving, on every rank: the
    workers must save, stop and give up together."""
    if world == 1:
        return elapsed, due, stop, diverged, leaving
    said = torch.tensor([elapsed, due, stop, diverged, leaving], dtype=torch.float64, device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    elapsed, *wanted, leaving = said.tolist()
    due, stop, diverged = map(bool, wanted)
    return elapsed, due, stop, diverged, int(leaving)
