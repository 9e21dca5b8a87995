"""The monitors of all releases, in a process of their own: they compute, and must not keep answers waiting."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from serving.monitor.monitor import Monitor, Report
from serving.monitor.once import Once
from serving.monitor.watch import Alarm
from serving.replica import Loaded
from serving.stream import Drawn, Piece
from synth.errors import UserError

SAVE_S = 30.0
WAITING = 64  # pieces; while more wait, those that come are passed over

Known = tuple[dict[str, Report], dict[str, tuple[str, Alarm]]]
"""Of each version its report, and the alarms that nobody has heard yet: by a name of each, the version and what it says."""

logger = logging.getLogger(__name__)


class Watcher:
    """``releases``: of each version its release's id and place."""

    def __init__(self, releases: dict[str, tuple[str, str]], folder: str) -> None:
        torch.set_num_threads(1)
        self.releases, self.folder = releases, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.monitors: dict[str, Monitor | None] = {}  # None: of what cannot be watched
        self.once = {version: Once() for version in releases}
        self.alarms: dict[str, tuple[str, Alarm]] = {}
        self.work = ThreadPoolExecutor(1, "watch")
        self.waiting, self.saved = 0, time.monotonic()
        self.passed: dict[str, int] = {}

    async def see(self, version: str, piece: Piece, drawn: Drawn) -> None:
        """Rows that were sent."""
        if self.waiting >= WAITING:
            self.passed[version] = self.passed.get(version, 0) + piece.rows
            return
        self.waiting += 1
        try:
            await self._later(self._see, version, piece, drawn)
        finally:
            self.waiting -= 1

    async def anew(self, version: str) -> None:
        """Watch a version anew, as after its alarm was looked into."""
        await self._later(self._anew, version)

    async def report(self, heard: Collection[str] = ()) -> Known:
        """Of each version that was watched what is known, and the alarms but for those that were ``heard``: whoever asks may
        die before it has acted on one, and who comes after it is to have it, too."""
        known: Known = await self._later(self._report, heard)
        return known

    def __del__(self) -> None:  # which Serve calls at the end
        self.work.shutdown()
        self._save()

    async def _later(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.work, call, *arguments)

    def _monitor(self, version: str) -> Monitor | None:
        if version not in self.monitors:
            release, place = self.releases[version]
            try:
                loaded = Loaded(place, release)
                self.monitors[version] = Monitor(loaded.sampler, release, self.folder, loaded.reference)
            except UserError as e:  # such as of a release that is gone from its place
                logger.warning("%s: is not watched: %s", version, e)
                self.monitors[version] = None
        return self.monitors[version]

    def _anew(self, version: str) -> None:
        if (monitor := self._monitor(version)) is not None:
            monitor.reset()
            self._save()

    def _see(self, version: str, piece: Piece, drawn: Drawn) -> None:
        if not self.once[version].new(piece.seed, piece.text, piece.first, piece.rows):
            return
        if (monitor := self._monitor(version)) is None:
            return
        alarm = monitor.see(drawn.batch, piece.text, drawn.seconds)
        if alarm is not None:
            logger.warning("%s: alarm by %s after %d rows", version, alarm.detector, alarm.rows)
            self.alarms[secrets.token_hex(8)] = version, alarm
        if time.monotonic() - self.saved > SAVE_S:
            self._save()

    def _report(self, heard: Collection[str] = ()) -> Known:
        found = {version: monitor.report() for version, monitor in self.monitors.items() if monitor is not None}
        for version, passed in self.passed.items():
            if version in found:
                found[version] = replace(found[version], skipped=found[version].skipped + passed)
        self.alarms = {name: alarm for name, alarm in self.alarms.items() if name not in heard}
        return found, dict(self.alarms)

    def _save(self) -> None:
        self.saved = time.monotonic()
        for monitor in self.monitors.values():
            if monitor is not None:
                monitor.save()
