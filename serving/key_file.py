"""A keys file in use: changed by several at a time, and read again by a service when it has changed, so that keys are added,
rotated and revoked while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from serving import private_file
from serving.keys import Keys
from synth.errors import UserError

LOOK_S = 1.0  # seconds between two looks
T = TypeVar("T")

logger = logging.getLogger(__name__)


def edit(path: private_file.Place, change: Callable[[Keys], tuple[Keys, T]], *, create: bool = False) -> T:
    """Read a keys file, write what ``change`` makes of the keys, and give back what else it gave; others that edit the file
    meanwhile wait. With ``create``, a file that is not there is one without keys. Raises UserError as ``load`` does."""
    with private_file.locked(path):
        changed, result = change(Keys(keys=()) if create and not Path(path).exists() else Keys.load(path))
        private_file.write(path, changed.text())
    return result


class KeyFile:
    """A keys file that is read again when it has changed, looked at once a second at most.

    A file that became unreadable or wrong leaves the keys in force that were read before, since a typing error must not
    lock everybody out; ``problem`` then says what is wrong, and is None otherwise. Raises UserError if it is wrong at once.
    """

    def __init__(self, path: private_file.Place, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path, self._monotonic = Path(path), monotonic
        self.problem: str | None = None
        self._looked, self._seen = monotonic(), self._sight()  # before it is read: what comes later is seen next time
        self._keys = Keys.load(self.path)

    def current(self) -> Keys:
        """The keys that hold now."""
        now = self._monotonic()
        if now - self._looked < LOOK_S:
            return self._keys
        seen, before = self._sight(), self._seen
        self._looked, self._seen = now, seen
        if seen != before or self.problem is not None:
            try:
                self._keys, self.problem = Keys.load(self.path), None
            except UserError as e:
                self.problem = f"{e}\nuntil then the keys hold that were read before"
                logger.error("%s", self.problem)
        return self._keys

    def _sight(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except OSError:  # load says why
            return None
        # The change time, too, for a chmod, and for a copy that keeps its date.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
