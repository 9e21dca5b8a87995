"""Who drew what, from which release, with which seed: a line of JSON an answer, enough to draw it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROLL = 64 << 20  # bytes of a file, after which another is begun
KEPT = 16  # files


class Audit:
    """Appends to ``<folder>/audit.ndjson``; full files are numbered, and the oldest go. Never has a token in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / "audit.ndjson"
        self._open()

    def _open(self) -> None:
        self.file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8")

    def write(self, facts: Mapping[str, Any]) -> None:
        """A line with the time and ``facts``, in the file before this returns."""
        told = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
        self.file.write(json.dumps(told, separators=(",", ":"), ensure_ascii=True, allow_nan=False) + "\n")
        self.file.flush()
        if self.file.tell() >= ROLL:
            self._roll()

    def _roll(self) -> None:
        self.file.close()
        for k in reversed(range(1, KEPT)):
            older = self.path.with_suffix(f".{k}.ndjson")
            if older.exists():
                older.replace(self.path.with_suffix(f".{k + 1}.ndjson"))
        self.path.replace(self.path.with_suffix(".1.ndjson"))
        self.path.with_suffix(f".{KEPT}.ndjson").unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        self.file.close()
