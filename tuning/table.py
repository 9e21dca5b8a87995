"""The table that a study is about, and the recipe of a trial on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synth.data.schema import Schema
from synth.data.source import Source
from synth.recipe import Recipe
from tuning import space


@dataclass(frozen=True)
class Table:
    """What trials are of: the sources, what was set of the recipe (``base``), whether the test rows came apart, and what is to
    be told of where the rows come from (``notes``)."""

    sources: dict[str, Source]
    schema: Schema
    base: Recipe
    test_apart: bool
    notes: Sequence[str] = ()

    def recipe_of(self, knobs: space.Knobs, **training: Any) -> Recipe:
        """The whole recipe of a trial, with keys of ``training``."""
        length = {f"training.{key}": value for key, value in training.items()}
        return space.recipe_of(self.base, knobs | length).resolved(test_apart=self.test_apart).suited(images=False)
