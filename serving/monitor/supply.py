"""Fresh rows of the certified release under the requests that are watched, and the time that may be spent on them."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.monitor.view import View
from synth.sampling import BLOCK, Sampler

SHARE = 0.05  # of the time that samples take
FREE = 8_192  # fresh rows that cost nothing: the first that a release serves are watched closely
SAVED = 4_096  # fresh rows whose cost is saved up, for when something looks odd
REQUESTS = 32  # whose fresh rows are kept


class Budget:
    """Seconds that the monitor has spent, against a share of those that sampling has taken."""

    def __init__(self) -> None:
        self.spent = self.earned = 0.0

    def earn(self, sampling_s: float) -> None:
        self.earned += SHARE * sampling_s

    @property
    def left(self) -> float:
        return self.earned - self.spent

    @contextmanager
    def charged(self) -> Iterator[None]:
        began = time.thread_time()
        try:
            yield
        finally:
            self.spent += time.thread_time() - began


class Supply:
    """Features of fresh rows, request by request, each row given out once.

    Rows that had been given out before would be learnt by heart: a finite reference that is used again makes healthy
    streams look ill.
    """

    def __init__(self, sampler: Sampler, view: View, seed: int, budget: Budget) -> None:
        self.sampler, self.view, self.seed, self.budget = sampler, view, seed, budget
        self.kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self.position = 1  # the next block's seed is so much above ``seed``, of which the reference may be
        self.block_s = 0.0  # what the latest block took
        self.drawn = 0

    def take(self, text: str, rows: int, *, odd: bool = False) -> NDArray[np.float32]:
        """Features of at most so many rows, as ``text`` asks for them: what is there, and what the budget allows for. Where
        something looks ``odd``, what was saved is spent: a share of the sampling time is little when it is needed. That it
        is spent then is decided by earlier rows, as a sequential test has it."""
        kept = self.kept.pop(text, self.view.reference.features[:0])
        saved = 0.0 if odd else SAVED / BLOCK * self.block_s
        while len(kept) < rows and (self.drawn < FREE or self.budget.left > saved + self.block_s):
            kept = np.concatenate([kept, self._block(text)])
        self.kept[text] = kept[rows:]
        if len(self.kept) > REQUESTS:
            self.kept.popitem(last=False)
        return kept[:rows]

    def _block(self, text: str) -> NDArray[np.float32]:
        began = time.thread_time()
        request = self.sampler.ask(**json.loads(text)) if text else None
        # From row 0 of a seed of its own: ids are made of a row's number, and there may not be ids for numbers without end.
        batches = self.sampler.batches(BLOCK, seed=(self.seed + self.position) % 2**63, request=request)
        features = self.view(pa.Table.from_batches(batches).select(self.view.columns)).features
        self.position += 1
        self.block_s = time.thread_time() - began
        if self.drawn >= FREE:
            self.budget.spent += self.block_s
        self.drawn += BLOCK
        return features
