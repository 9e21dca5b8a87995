"""The checks on the way: a few times in a run, what its averaged weights draw is held against real rows.

Where a budget says how long at most and nothing is learnt from these rows, the loss on them is looked at too, OFTEN times to
each check, and says when more time buys nothing (``synth.training.early``).
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from synth.generators.base import Draw, Generator
from synth.generators.layout import Encoded, Layout
from synth.provenance.manifest import Check, Diversity, Loss
from synth.recipe import Recipe
from synth.training import shards
from synth.training.collapse import Collapse, Modes
from synth.training.early import Early
from synth.training.engine import Average
from synth.training.heldout import BLOCKS, LEAST, HeldOut, Size
from synth.training.schedule import MOST as NEARER
from synth.training.shards import Fragment
from synth.training.watch import Watch

MOST, FEWEST = 1000, 100  # rows that a check draws
ENOUGH = 20  # real rows, half of which are held against the others
SHARE = 0.03  # of the training time for all checks together: they draw fewer rows where more would take longer
OFTEN = 2  # looks at the loss to each at samples
LOSS_SHARE = 0.02  # of the training time for all looks at the loss
COPIES = 3  # of the weights that a GPU needs room for: the second generator, what fills it, what it draws with


class Found(NamedTuple):
    """What a check came to: whether the coverage is at its best (None: it was not looked at), what is to be told of it, the
    collapse if it is one, the seconds that it took, and why more training buys nothing, if it is so."""

    at_best: bool | None
    notes: list[str]
    collapse: str | None
    seconds: float
    enough: str | None = None


class Checks:
    """What has been found so far, the same on all ranks; on rank 0 also a second copy of the generator, to draw from.

    ``watched``: of how many ("count") real rows of which "part" of the split there are, how many more were "left_out",
    and on rank 0 the "rows", encoded batches. Of too few, or with ``training.checks`` = 0, none are looked at.
    """

    def __init__(
        self, recipe: Recipe, generator: Generator, layout: Layout, watched: Mapping[str, Any], device: torch.device,
        rank: int, world: int,
    ) -> None:  # fmt: skip
        """Made before the engines, which take the weights of ``generator`` apart."""
        self.seed, self.layout, self.device, self.world = recipe.seed, layout, device, world
        self.number = recipe.training.checks if watched["count"] >= ENOUGH else 0
        self.training, self.early = recipe.training, Early()
        judged = recipe.training.early and recipe.training.budget_s is not None and not generator.judges
        other = watched["part"] != "train" and watched["count"] >= LEAST * BLOCKS
        self.every = OFTEN if self.number and judged and other else 1  # of all looks, one at samples
        self.number *= self.every
        self.falls, self.warmup = recipe.training.falls, recipe.training.warmup
        self.block = max(recipe.training.batch // (recipe.training.accumulate * world), 1)  # as many rows as fit
        self.plays = len(generator.players) > 1  # a game: its losses do not tell how well it goes
        self.generator: Generator | None = None
        self.real: Encoded | None = None
        if rank == 0 and self.number:
            self.generator = copy.deepcopy(generator).eval()  # on the CPU, but for the time of a check
            self.real = Encoded(*(np.concatenate(parts) for parts in zip(*watched["rows"], strict=True)))
        self.held: HeldOut | None = None
        if self.real is not None and self.every > 1:
            self.held = HeldOut(self.real, self.seed, device, self.block)
        self.watch: Watch | None = None
        self.passed, self.collapse, self.modes = 0, Collapse(), Modes()
        self.record: dict[str, Any] = {"part": watched["part"], "left_out": watched["left_out"], "checks": []}
        self.losses: dict[str, Any] = {"size": None, "looks": []}  # on the rows that nothing is learnt from
        self.sum, self.steps = 0.0, 0  # of the losses since the last check

    @property
    def coverage(self) -> float | None:
        """At the last check, relative to that of real rows; None before the first, and where real rows have none."""
        real = self.record["real"]["coverage"] if self.record["checks"] else 0.0
        return self.record["checks"][-1]["coverage"] / real if real else None

    def state(self) -> dict[str, Any]:
        """As JSON; ``watched`` is what the manifest keeps, None before the first check."""
        watched = self.record | {"losses": self.losses["looks"]} if self.record["checks"] else None
        kept = {"passed": self.passed, "collapse": asdict(self.collapse), "modes": asdict(self.modes)}
        return kept | {"watched": watched, "early": asdict(self.early), "losses": self.losses}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.passed = state["passed"]
        self.collapse, self.modes = Collapse(**state["collapse"]), Modes(**state["modes"])
        self.record = state["watched"] or self.record
        # Of an earlier version's run there is none.
        self.early, self.losses = Early(**state.get("early", {})), state.get("losses", self.losses)
        if self.held is not None and self.losses["size"] is not None:
            self.held.size = Size(**self.losses["size"])

    def add(self, loss: float, steps: int) -> None:
        """Take in the mean loss of some steps."""
        self.sum, self.steps = self.sum + loss * steps, self.steps + steps

    def due(self, fraction: float) -> bool:
        """Whether that share of the training calls for the next check: they lie evenly, the last at the end."""
        return self.passed < self.number and fraction >= (self.passed + 1) / self.number

    def until(self, step: int, total: int | None) -> int:
        """``step``, or an earlier one after which the next check is due, as far as the ``total`` is known."""
        if total is None or self.passed >= self.number:
            return step
        return min(step, -(-total * (self.passed + 1) // self.number))

    def look(
        self, step: int, fraction: float, elapsed: float, owned: Mapping[str, Sequence[Fragment]],
        averages: Mapping[str, Average], *, falling: bool = False,
    ) -> Found:  # fmt: skip
        """A check after ``step``, when ``elapsed`` seconds of training are that ``fraction`` of it, and the learning rate is
        ``falling`` or not yet. A collective."""
        began, drawn = time.monotonic(), self.passed // self.every
        while self.due(fraction):
            self.passed += 1
        if not self._agreed(self._fits()):
            self.number = 0
            note = f"step {step}: no longer watched, as the GPU has no room for a second copy of the weights"
            return Found(at_best=False, notes=[note], collapse=None, seconds=time.monotonic() - began)
        weights = {
            f"{player}.{name}": tensor
            for player, mine in owned.items()
            for name, tensor in shards.gather(mine, averages[player].shards, self.device).items()
        }
        said: dict[str, Any] = {}
        if self.generator is not None:
            self.generator.load_state_dict(weights)
            weights.clear()
            generator, each = self.generator.to(self.device), elapsed / fraction / self.number
            if self.held is not None:
                said["losses"] = self.held.look(generator, LOSS_SHARE * each)
                said["size"] = asdict(self.held.size) if self.held.size is not None else None
            if self.passed // self.every > drawn:
                said |= self._look(generator, SHARE * each * self.every)
                said["check"] |= {"step": step, "loss": self.sum / self.steps}
            generator.cpu()
            said["seconds"] = time.monotonic() - began
        said = self._agreed(said)
        enough = self._enough(said, step, fraction, elapsed, falling=falling)
        if "check" not in said:
            return Found(None, [], None, said["seconds"], enough)
        self.sum, self.steps = 0.0, 0
        return self._judge(said, enough, fraction=fraction)

    def _agreed(self, said: Any) -> Any:
        """What rank 0 says."""
        decided = [said]
        if self.world > 1:
            dist.broadcast_object_list(decided)
        return decided[0]

    def _fits(self) -> bool:
        if self.generator is None or self.device.type != "cuda":
            return True
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        size = sum(p.numel() * p.element_size() for p in self.generator.parameters())
        return torch.cuda.mem_get_info(self.device)[0] + unused > COPIES * size

    @torch.no_grad()
    def _look(self, generator: Generator, allowed: float) -> dict[str, Any]:
        """What a sample shows; the first check decides of how many rows, by the seconds that each is ``allowed``."""
        assert self.real is not None
        if self.watch is None:
            rows = self.record.get("rows") or self._affordable(generator, allowed)
            order = Draw(self.seed, "watch").permutation(len(self.real.cells)).numpy()
            self.real, others = (Encoded(*(a[i] for a in self.real)) for i in (order[:rows], order[rows : 2 * rows]))
            self.watch = Watch(self.layout, self.real, others, np.random.default_rng(self.seed))
        sample = self._draw(generator, len(self.real.cells), self.passed // self.every)
        cells, values = (torch.from_numpy(a).to(self.device) for a in self.real)
        return {
            "check": self.watch.look(sample).model_dump(),
            "remarks": generator.remarks(Encoded(cells.long(), values)),
            "about": {"rows": len(cells), "modes": len(self.watch.centres), "real": self.watch.real.model_dump()},
        }

    def _affordable(self, generator: Generator, seconds: float) -> int:
        """How many rows can be drawn in that time, within limits."""
        assert self.real is not None
        most = min(MOST, len(self.real.cells) // 2)
        fewest = min(FEWEST, most)
        for rows in (2, fewest):  # the first are slow
            began = time.monotonic()
            self._draw(generator, rows, "trial", rows)
        return min(max(int(fewest * seconds / (time.monotonic() - began)), fewest), most)

    def _draw(self, generator: Generator, rows: int, *address: int | str) -> Encoded:
        """Rows from the generator, on the CPU, in blocks as large as a worker's batches."""
        blocks = [
            generator.sample(
                min(self.block, rows - first), Draw(self.seed, "watch", *address, first, device=self.device)
            )
            for first in range(0, rows, self.block)
        ]
        return Encoded(*(torch.cat(parts).cpu() for parts in zip(*blocks, strict=True)))

    def _enough(self, said: dict[str, Any], step: int, fraction: float, elapsed: float, *, falling: bool) -> str | None:
        """What the losses on rows that nothing is learnt from came to, where it is that more training buys nothing."""
        if not all(map(math.isfinite, said.get("losses", (math.nan,)))):  # it was not looked at, or says nothing
            return None
        losses, budget, early = said["losses"], self.training.budget_s, self.early
        assert budget is not None
        error = statistics.stdev(losses) / len(losses) ** 0.5
        self.losses["size"] = said["size"]
        self.losses["looks"].append(Loss(step=step, loss=statistics.fmean(losses), error=error).model_dump())
        early.seen(step, losses)
        if fraction >= 1 or not early.enough(step, falling=falling):
            return None
        told = f"step {step}: the loss on {BLOCKS * said['size']['rows']:,} rows of {self.record['part']} "
        told += f"{early.describe(losses)}; so "
        told += "half of what was left is left out" if falling else "the learning rate begins to fall"
        # What share of the training is done then, as the schedule has it.
        done = 1 / (1 + (1 - NEARER) * (1 / fraction - 1)) if falling else 1 - self.training.decay
        self.passed = max(self.passed, int(done * self.number))
        early.forgive()
        return f"{told}, and about {max(budget - elapsed / done, 0):.0f} of {budget:.0f} s will be left"

    def _judge(self, said: Mapping[str, Any], enough: str | None, *, fraction: float) -> Found:
        check, remarks, about = said["check"], said["remarks"], said["about"]
        self.record |= {"rows": about["rows"], "real": about["real"]}
        self.record["checks"].append(check)
        step, loss, last = check["step"], None if self.plays else check["loss"], fraction >= 1
        found, real = Check.model_validate(check), Diversity.model_validate(about["real"])
        at_best, collapse, notes = False, None, list[str]()
        # Until the learning rate has risen, what is drawn is no more than initial weights do, which may cover much.
        if step > self.warmup:
            at_best = self.collapse.seen(step, found.coverage, about["rows"], real.coverage, loss)
            self.modes.seen(step, found, real, about["rows"], about["modes"], fraction)
        drawn = (
            f"samples cover {found.coverage:.2f} of the real rows and {found.modes:.0%} of their modes, other real rows "
            f"{real.coverage:.2f} and {real.modes:.0%}"
        )
        if self.collapse.falls:
            fall = f"step {step}: {self.collapse.describe(found.coverage, loss)}"
            if self.collapse.falls >= self.falls:
                collapse = f"collapse at {fall}"
            elif last:
                notes.append(fall)
        if self.modes.stuck >= self.falls and not collapse:
            collapse = f"collapse at step {step}: {drawn}, and neither has risen since step {self.modes.since}"
        elif last and (came_to := self.modes.describe(found, real, self.falls)):
            notes.append(f"step {step}: {drawn}: {came_to}")
        if last or collapse:  # what they say changes from check to check: of the state that the run ends in
            notes = [*(f"step {step}: {remark}" for remark in remarks), *notes]
        return Found(at_best, notes, collapse, said["seconds"], enough)
