"""A replica of the sampler: releases are loaded as they are asked for, and the rows of many callers drawn together."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import torch
from ray import serve

from cluster.location import without_credentials
from cluster.session import impatient
from serving.shelf import trusted
from serving.stream import Drawn, Piece
from synth import release as releases
from synth.asking import Request
from synth.errors import ReleaseError, UserError
from synth.provenance.served import Log
from synth.provenance.watermark import Mark
from synth.sampling import SMALL, Sampler

MODELS = 4  # releases that a replica holds at once; the one that was not asked for longest goes
REQUESTS = 256  # of a release, that are understood already
UNLOGGED = 16  # draws that wait to be logged, at most

logger = logging.getLogger(__name__)


class Loaded:
    """A release in memory, and the requests that are understood already.

    ``release``, its id, is a hash of all that decides its rows; so for them it is enough that the desk trusts who signed it.
    The rows that it was certified with are not among that: who looks at these says whether ``any_signer`` will do.
    ReleaseError where another release is there, or another's signature.
    """

    def __init__(self, place: str, release: str, *, any_signer: bool = True, mark: Mark | None = None) -> None:
        try:
            found = releases.load(place)
        except UserError as e:  # of a place that is gone: no fault of who asks for rows
            raise ReleaseError(str(e)) from e
        trusted(found, any_signer=any_signer)
        if found.manifest.id != release:
            raise ReleaseError(
                f"{without_credentials(place)}: is another release than when the service began; start it anew"
            )
        self.sampler, self.reference = Sampler.from_release(found, mark), found.reference
        self._facts = replace(found, tensors={}, reference=None)
        self.ask = lru_cache(REQUESTS)(self._ask)
        self.failed = False  # to log rows, by an error that nobody foresaw

    def _ask(self, text: str) -> Request | None:
        return self.sampler.ask(**json.loads(text))

    @cached_property
    def log(self) -> Log | None:
        """Where drawn rows are logged: nowhere, and that is told, where this node has no key of the user's, or no room."""
        return Log.where_possible(self._facts)


@dataclass
class Task:
    """A piece to be drawn from a release, who waits for it, and whether it is to be drawn ``alone`` in any case."""

    loaded: Loaded
    piece: Piece
    done: asyncio.Future[Drawn]
    alone: bool = False

    @property
    def joins(self) -> bool:
        """Whether it can be drawn together with others of its release."""
        return not self.piece.text and self.loaded.sampler.generator.joins


class Replica:
    """Draws pieces on one thread, small ones of several callers together, and logs them on another, a little later. ``places``:
    of releases, by their ids; ``marks``: the watermarks that their rows carry.

    With another number of threads a product may round otherwise, and rows would depend on who drew them.
    """

    def __init__(self, places: Mapping[str, str], marks: Mapping[str, Mark] = MappingProxyType({})) -> None:
        impatient(process=True)
        torch.set_num_threads(1)
        self.places, self.marks, self.work = places, marks, ThreadPoolExecutor(1, "draw")
        self.logging, self.unlogged = ThreadPoolExecutor(1, "log"), threading.Semaphore(UNLOGGED)
        self.waiting: deque[Task] = deque()
        self.drawing: asyncio.Task[None] | None = None

    @serve.multiplexed(max_num_models_per_replica=MODELS)
    async def loaded(self, release: str) -> Loaded:
        """The release of this id."""
        if release not in self.places:
            raise ReleaseError(f"{release}: is another release than when the service began; start it anew")
        load = partial(Loaded, self.places[release], release, mark=self.marks.get(release))
        return await asyncio.get_running_loop().run_in_executor(self.work, load)

    async def draw(self, release: str, piece: Piece) -> Drawn:
        """The rows of a piece. UserError for what cannot be asked of the release."""
        task = Task(await self.loaded(release), piece, asyncio.get_running_loop().create_future())
        self.waiting.append(task)
        if self.drawing is None or self.drawing.done():
            self.drawing = asyncio.get_running_loop().create_task(self._draw())
        return await task.done

    async def _draw(self) -> None:
        """Draw for as long as somebody waits."""
        while batch := self._taken():
            work = asyncio.get_running_loop().run_in_executor(self.work, self._work, batch)
            await asyncio.wait([work])
            error = work.exception()
            if error is not None and len(batch) > 1:  # only who is to blame is to have it
                for task in batch:
                    task.alone = True
                self.waiting.extendleft(reversed(batch))
                continue
            for k, task in enumerate(batch):
                if task.done.done():  # whoever has gone meanwhile has cancelled it
                    continue
                if error is not None:
                    task.done.set_exception(error)
                else:
                    task.done.set_result(work.result()[k])

    def _work(self, batch: Sequence[Task]) -> list[Drawn]:
        """What is drawn, and on its way to the log; where that is slower, it is waited for."""
        found = drawn(batch)
        if batch[0].loaded.log is not None:
            self.unlogged.acquire()
            self.logging.submit(self._log, batch, found)
        return found

    def _log(self, batch: Sequence[Task], found: Sequence[Drawn]) -> None:
        loaded = batch[0].loaded
        assert loaded.log is not None
        try:
            prints = loaded.log.prints
            pieces = zip((task.piece for task in batch), found, strict=True)
            loaded.log.add_if_possible(
                np.concatenate([prints(rows.batch, piece.seed, rows.key, piece.first) for piece, rows in pieces])
            )
        except Exception:  # the callers have their rows, and nobody waits for this thread: it is told here or nowhere
            if not loaded.failed:
                logger.exception("%s: drawn rows are not logged", loaded.log.head.name)
            loaded.failed = True
        finally:
            self.unlogged.release()

    def _taken(self) -> list[Task]:
        """The first that waits, and those that can be drawn with it; nothing where nobody does."""
        self.waiting = deque(task for task in self.waiting if not task.done.cancelled())
        if not self.waiting:
            return []
        batch = [self.waiting.popleft()]
        if batch[0].joins and not batch[0].alone:
            room = batch[0].loaded.sampler.room - len(batch[0].piece.blocks)
            for task in list(self.waiting):
                same = task.joins and not task.alone and task.loaded is batch[0].loaded
                if same and len(task.piece.blocks) <= room:
                    self.waiting.remove(task)
                    batch.append(task)
                    room -= len(task.piece.blocks)
        return batch


def drawn(tasks: Sequence[Task]) -> list[Drawn]:
    """The rows of tasks of one release, of one alone or of several that join. They share the time by their rows."""
    began = time.perf_counter()
    sampler, first = tasks[0].loaded.sampler, tasks[0]
    at_once = first.joins and torch.device(sampler.device).type != "cpu"
    if not first.joins or (len(tasks) == 1 and not at_once):  # of which a CPU computes no more rows than are wanted
        request = first.loaded.ask(first.piece.text) if first.piece.text else None
        [batch] = sampler.batches(first.piece.rows, seed=first.piece.seed, first=first.piece.first, request=request)
        key = None if request is None else request.key
        return [Drawn(batch.cast(sampler.arrow(request)), time.perf_counter() - began, key)]
    blocks = [(task.piece.seed, block) for task in tasks for block in task.piece.blocks]
    parts, found = iter(sampler.together(blocks)), []
    for task in tasks:
        whole = pa.Table.from_batches([next(parts) for _ in task.piece.blocks])
        rows = whole.slice(task.piece.first % SMALL, task.piece.rows).cast(sampler.arrow())
        found.append(rows.combine_chunks().to_batches()[0])
    seconds = time.perf_counter() - began
    every = sum(task.piece.rows for task in tasks)
    return [Drawn(rows, seconds * rows.num_rows / every, None, at_once) for rows in found]
