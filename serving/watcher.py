"""The monitors of all releases, in a process of their own: they compute, and must not keep answers waiting.

So this one stays patient where the front and the samplers do not (see ``cluster.session.impatient``).
"""

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
    """``releases``: of each version its release's id and place. Versions of one release are watched as one."""

    def __init__(self, releases: dict[str, tuple[str, str]], folder: str, *, any_signer: bool) -> None:
        torch.set_num_threads(1)
        self.releases, self.folder, self.any_signer = releases, Path(folder), any_signer
        self.folder.mkdir(parents=True, exist_ok=True)
        self.monitors: dict[str, Monitor | None] = {}  # by the release's id; None: of what cannot be watched
        self.alarms: dict[str, tuple[str, Alarm]] = {}
        self.work = ThreadPoolExecutor(1, "watch")
        self.waiting, self.saved = 0, time.monotonic()
        self.passed: dict[str, int] = {}

    async def see(self, version: str, piece: Piece, drawn: Drawn) -> None:
        """Rows that were sent."""
        if self.waiting >= WAITING:
            self._pass(version, piece.rows)
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

    def _pass(self, version: str, rows: int) -> None:
        release = self.releases[version][0]
        self.passed[release] = self.passed.get(release, 0) + rows

    def _monitor(self, version: str) -> Monitor | None:
        release, place = self.releases[version]
        if release not in self.monitors:
            try:
                loaded = Loaded(place, release, any_signer=self.any_signer)
                self.monitors[release] = Monitor(loaded.sampler, release, self.folder, loaded.reference)
            except UserError as e:  # such as of a release that is gone from its place
                logger.warning("%s: is not watched: %s", version, e)
                self.monitors[release] = None
        return self.monitors[release]

    def _anew(self, version: str) -> None:
        if (monitor := self._monitor(version)) is not None:
            monitor.reset()
            self._save()

    def _see(self, version: str, piece: Piece, drawn: Drawn) -> None:
        monitor = self._monitor(version)
        if monitor is None or not monitor.once.new(piece.seed, drawn.key, piece.first, piece.rows):
            return
        try:
            alarm = monitor.see(drawn.batch, piece.text, drawn.seconds)
        except Exception:  # nobody waits for what comes of it
            logger.exception("%s: rows could not be looked at", version)
            self._pass(version, piece.rows)
            return
        if alarm is not None:
            logger.warning("%s: alarm by %s after %d rows", version, alarm.detector, alarm.rows)
            for name in self._versions(version):
                self.alarms[secrets.token_hex(8)] = name, alarm
        if time.monotonic() - self.saved > SAVE_S:
            self._save()

    def _versions(self, version: str) -> list[str]:
        """Those of the same release."""
        return [name for name, (release, _) in self.releases.items() if release == self.releases[version][0]]

    def _report(self, heard: Collection[str] = ()) -> Known:
        found = {}
        for version, (release, _) in self.releases.items():
            if (monitor := self.monitors.get(release)) is not None:
                report = monitor.report()
                found[version] = replace(report, skipped=report.skipped + self.passed.get(release, 0))
        self.alarms = {name: alarm for name, alarm in self.alarms.items() if name not in heard}
        return found, dict(self.alarms)

    def _save(self) -> None:
        self.saved = time.monotonic()
        for monitor in self.monitors.values():
            if monitor is not None:
                monitor.save()
