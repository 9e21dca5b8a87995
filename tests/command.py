"""The command as a person runs it, in this process."""

from __future__ import annotations

import sys

import pytest

import artesian


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of ``artesian ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["artesian", *arguments])
    with pytest.raises(SystemExit) as stopped:
        artesian.main()
    return int(stopped.value.code or 0)
