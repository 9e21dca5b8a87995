"""The monitor of one release: what was sent is looked at within a budget, and what is known survives a restart."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from cluster import storage
from serving.monitor.once import Once
from serving.monitor.supply import FREE, Budget, Supply
from serving.monitor.trends import WINDOW, Trend, Trends
from serving.monitor.view import View
from serving.monitor.watch import PATIENCE, Alarm, Watch
from synth.sampling import BLOCK, Sampler

REFERENCE = 8 * BLOCK  # rows that say what the release is like, where it was published without any
LEAST = 1_024  # with fewer there is too little to compare with

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a monitor knows: rows that it looked at and that it passed over, the seconds that it spent, ln of the e-value, of
    which ``threshold`` raises an alarm, and the trends."""

    rows: int
    skipped: int
    spent_s: float
    log_e_value: float = -np.inf
    trends: Mapping[str, Trend] = field(default_factory=dict)
    threshold: float = PATIENCE


class Monitor:
    """Watches rows of the release that ``sampler`` draws from, against ``reference``, rows as they were certified: what the
    release was published with, so that weights which are no longer those are seen, too. Without any, or with few, as it
    draws them now. Its state is kept in ``folder`` under the release's id.

    The seed of its own draws is nobody else's: rows that a caller had asked for by it would not be independent of them.
    """

    def __init__(self, sampler: Sampler, release: str, folder: Path, reference: pa.Table | None = None) -> None:
        self.path = folder / f"monitor-{release[:16]}.safetensors"
        state, seed = self._read()
        self.seed = secrets.randbelow(2**62) if seed is None else seed
        if reference is None or len(reference) < LEAST:
            reference = sampler.table(REFERENCE, seed=self.seed)
        self.view = View(sampler.schema, reference, sampler.codec.reduction.broken)
        self.budget = Budget()
        self.supply = Supply(sampler, self.view, self.seed, self.budget)
        self.watch, self.trends = Watch(self.view), Trends(self.view)
        self.seen = self.skipped = 0
        self.once = Once()
        self.told: tuple[int, Mapping[str, Trend]] = 0, {}  # the trends, and how many rows had been seen then
        if state:
            self._restore(state)

    def see(self, batch: pa.RecordBatch, text: str, sampling_s: float) -> Alarm | None:
        """Rows that were sent, as ``text`` asked for them (see ``serving.stream.Piece``), and how long sampling took."""
        self.budget.earn(sampling_s)
        if self.seen >= FREE and self.budget.left < 0:
            self.skipped += batch.num_rows
            return None
        fresh = self.supply.take(text, batch.num_rows, odd=self.watch.odd)
        with self.budget.charged():
            rows = self.view(pa.Table.from_batches([batch]).select(self.view.columns))
            alarm = self.watch.look(rows, fresh, plain=not text)
            if not text:
                self.trends.add(rows)
            self.seen += len(rows)
        return alarm

    def reset(self) -> None:
        """Watch anew, as after an alarm that was looked into."""
        self.watch.reset()

    def report(self) -> Report:
        """What is known now. Trends are measured anew when a quarter of the rows is new, or as many as they are of, so that
        they leave the time to the tests."""
        if self.seen - self.told[0] >= min(WINDOW, max(1, self.told[0] // 4)):
            with self.budget.charged():
                self.told = self.seen, self.trends.now()
        return Report(self.seen, self.skipped, self.budget.spent, self.watch.log_value, self.told[1])

    def save(self) -> None:
        """What a restart goes on from."""
        counters = np.array([self.seen, self.skipped, self.supply.drawn, self.supply.position], np.int64)
        seconds = np.array([self.budget.earned, self.budget.spent, self.supply.block_s])
        arrays = {n: np.ascontiguousarray(a) for n, a in self.watch.state().items()} | {"places": self.once.state()}
        content = safetensors.numpy.save(
            arrays | {"counters": counters, "seconds": seconds}, metadata={"seed": str(self.seed)}
        )
        storage.write_bytes(str(self.path), content)

    def _read(self) -> tuple[Mapping[str, NDArray[Any]], int | None]:
        """What was saved, and the seed; nothing where there is nothing, or nothing that can be read: what was known is lost
        then, but to watch goes on."""
        if not self.path.exists():
            return {}, None
        try:
            with safetensors.safe_open(self.path, "np") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, int(file.metadata()["seed"])  # noqa: SIM118
        except (
            safetensors.SafetensorError,
            OSError,
            TypeError,
            LookupError,
            ValueError,
        ) as e:  # TypeError: no metadata
            logger.warning("%s: is damaged, and the release is watched anew: %s", self.path, e)
            return {}, None

    def _restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        try:
            seen, skipped, drawn, position = (int(k) for k in state["counters"])
            earned, spent, block_s = (float(s) for s in state["seconds"])
            self.watch.restore({name: state[name] for name in self.watch.state()})
            self.once.restore(state["places"])
        except (LookupError, ValueError) as e:
            logger.warning("%s: is of another version, and the release is watched anew: %s", self.path, e)
            return
        self.seen, self.skipped, self.supply.drawn, self.supply.position = seen, skipped, drawn, position
        self.budget.earned, self.budget.spent, self.supply.block_s = earned, spent, block_s
