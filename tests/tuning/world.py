"""A world of tables and recipes in which what makes a recipe good is known."""

from __future__ import annotations

import math

from tuning import features, space

WIDE = (0.1, 0.15, 0.2, 0.3, 0.7, 0.8, 0.85, 0.9)
"""How wide the remembered tables are."""


def table(wide: float, *, rows: float = 2000) -> dict[str, float]:
    """Meta-features of a table of which all that matters is how ``wide`` it is, from 0 to 1."""
    return dict.fromkeys(features.NAMES, 0.0) | {"log_rows": math.log(rows), "log_columns": wide}


def worth(wide: float, knobs: space.Knobs) -> float:
    """Diffusion is better than the others, and wants a learning rate that rises with the table's width."""
    rate = space.space(knobs["family"])["training.learning_rate"].unit(knobs["training.learning_rate"])
    return 1 - 0.5 * (rate - wide) ** 2 - (0.0 if knobs["family"] == "diffusion" else 0.2)
