"""Stored rows for the loop, found by step as the held ones are, in memory that does not grow with the table.

The table is cut into LANES stretches of equal length, the *lanes*, anew in each epoch and in another order. A *window* is
the next run of rows of every lane, each lane's shuffled within the run; read across the lanes, it gives the rows of many
steps. So every batch mixes rows from all over the table, however that is sorted, and a worker reads the runs that it will
use and no others: row p of the endless sequence comes from lane p mod LANES, and a worker's are every ``world``-th of it.

Each row is seen once an epoch, but for fewer than LANES rows, others each time, that rest. The order depends on the
seed, and on neither the number of workers nor where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from synth.generators.base import Draw
from synth.generators.layout import Encoded
from synth.training.feed import Share
from synth.training.stored import Reader, Stored

LANES = 768  # = 2^8 · 3, so that most numbers of workers divide it, and each reads its share alone
WINDOW = 256 << 20  # bytes of a window, over all workers; each has its part of two: this one and the next
READERS = 4  # threads, of which most wait for storage


class Stream:
    """A worker's part of each step's batch, from ``stored``; the next window is read, shuffled and moved to the
    device while this one is used."""

    def __init__(self, stored: Stored, share: Share, window: int = WINDOW) -> None:
        self.reader, self.share = Reader(stored), share
        self.rows = self.reader.rows
        self.lanes = min(LANES, self.rows)
        self.length = self.rows // self.lanes  # of a lane
        self.run = min(max(window // (self.lanes * self.reader.record.itemsize), 1), self.length)
        # Where the workers' rows fall into lanes of their own. Otherwise each of them reads all.
        apart = share.batch // share.accumulate % share.world == self.lanes % share.world == 0
        self.read = np.arange(self.lanes)[share.mine if apart else slice(None)]
        self._pool = ThreadPoolExecutor(READERS, "rows")
        self._windows: dict[int, Future[Encoded]] = {}

    def __call__(self, step: int, micro: slice) -> Encoded:
        """This worker's rows of the ``micro`` slice of the batch of step ``step`` (from 0)."""
        epoch, within = np.divmod(self.share.positions(step, micro), self.length * self.lanes)
        turn, lane = np.divmod(within, self.lanes)
        window = epoch * self.windows + turn // self.run
        found = []
        for number in np.unique(window):
            here = window == number
            rows = self._window(int(number))
            at = np.searchsorted(self.read, lane[here]) + turn[here] % self.run * len(self.read)
            index = torch.from_numpy(at).to(self.share.device)
            found.append(Encoded(rows.cells[index].long(), rows.values[index]))
        return found[0] if len(found) == 1 else Encoded(*(torch.cat(part) for part in zip(*found, strict=True)))

    @property
    def windows(self) -> int:
        """How many windows an epoch has; the last may be shorter."""
        return -(-self.length // self.run)

    def _window(self, number: int) -> Encoded:
        for wanted in (number, number + 1):
            if wanted not in self._windows:
                self._windows[wanted] = self._ask(wanted)
        for passed in [n for n in self._windows if n not in (number, number + 1)]:
            del self._windows[passed]
        return self._windows[number].result()

    def _ask(self, number: int) -> Future[Encoded]:
        """Have a window read: cells (run × lanes, C) and values (run × lanes, V), row by row across this worker's lanes."""
        epoch, turn = divmod(number, self.windows)
        start, count = turn * self.run, min(self.run, self.length - turn * self.run)
        draw = Draw(self.share.seed, "lanes", epoch)
        cut = int(draw.uniform(1, 1).double() * self.rows) + start
        stretch = draw.permutation(self.lanes).numpy()[self.read]
        cells = np.empty((count, len(self.read), *self.reader.record["cells"].shape), self.reader.record["cells"].base)
        values = np.empty(
            (count, len(self.read), *self.reader.record["values"].shape), self.reader.record["values"].base
        )

        def fill(column: int, lane: int) -> None:
            records = self.reader.read(cut + lane * self.length, count)
            order = Draw(self.share.seed, "run", number, lane).permutation(count).numpy()
            cells[:, column], values[:, column] = records["cells"][order], records["values"][order]

        return _after(
            [self._pool.submit(fill, column, int(lane)) for column, lane in enumerate(stretch)],
            self._pool,
            lambda: Encoded(*(_on(self.share.device, part) for part in (cells, values))),
        )


def _after(pending: list[Future[None]], pool: ThreadPoolExecutor, make: Callable[[], Encoded]) -> Future[Encoded]:
    """What ``make`` returns once all that is ``pending`` is done, which was given to the pool before."""

    def finish() -> Encoded:
        for one in pending:
            one.result()
        return make()

    return pool.submit(finish)


def _on(device: torch.device, window: np.ndarray) -> torch.Tensor:
    """(run, lanes, n) → (run × lanes, n) on ``device``."""
    rows = torch.from_numpy(window.reshape(-1, window.shape[-1]))
    return rows.to(device) if device.type == "cpu" else rows.pin_memory().to(device, non_blocking=True)
