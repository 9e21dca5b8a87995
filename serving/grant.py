"""An answer that is under way: what it may be sent, and how far it is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.keys import Key
from serving.shelf import Shelf


@dataclass
class Grant:
    """Rows ``first`` … ``first + rows − 1`` of ``seed``, as they are ``asked`` for, from which release and for whom."""

    key: Key | None
    shelf: Shelf
    seed: int
    first: int
    rows: int
    began: float
    asked: Mapping[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: int = 0
    first_row_s: float | None = field(default=None)

    @property
    def told(self) -> dict[str, Any]:
        """What the audit says of it when it begins and when it is over: enough to draw it again."""
        return {
            "answer": self.id, "key": self.key and self.key.id, "release": self.shelf.manifest.id,
            "version": str(self.shelf.version), "seed": self.seed, "first": self.first, "rows": self.rows, **self.asked,
        }  # fmt: skip
