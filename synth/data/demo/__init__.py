"""Demo data that ships with the package; README.md says where it comes from."""

from __future__ import annotations

from pathlib import Path


def adult() -> Path:
    """UCI Adult as Parquet: 48,842 people of the 1994 US census, 15 columns; ``income`` is the target."""
    return Path(__file__).with_name("adult.parquet")
