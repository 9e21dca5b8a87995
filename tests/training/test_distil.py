"""A student learns after the training, and how much follows from that."""

from __future__ import annotations

import math

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Layout
from synth.recipe import Recipe
from synth.training import distil
from tests.generators.test_table_diffusion import MIXED, batch, fit, small


def recipe(steps: int, distilled: int | None = None) -> Recipe:
    return Recipe.check({"training": {"steps": steps, "distilled": distilled}})


def test_how_many_blocks_follows_from_the_steps() -> None:
    teacher = small(MIXED)
    counts = [distil.blocks(recipe(steps).training, teacher) for steps in (10, 100, 900, 8000, 10**6)]
    assert counts == [0, 5, distil.LEAST, 100, distil.MOST]
    assert distil.blocks(recipe(100, 7).training, teacher) == 7
    assert distil.blocks(recipe(100, 0).training, teacher) == 0


def test_what_cannot_be_taught_gets_no_student() -> None:
    wide = Layout(cells=(Cell(shares=(0.5, 0.5)),) * 300, values=0)
    assert distil.blocks(recipe(1000).training, small(wide)) == 0
    assert distil.blocks(recipe(1000).training, small(MIXED, guidance=1.0)) == 0


def test_a_student_draws_what_its_teacher_does() -> None:
    """The second cell is the first's twin, in one of two values."""
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5)), Cell(shares=(0.3, 0.7))), values=1)
    rows = batch(layout, 512)
    rows.cells[:, 1] = rows.cells[:, 0]
    values = rows.cells[:, :1].float() * 2 - 1 + 0.2 * rows.values
    teacher = small(layout)
    fit(teacher, type(rows)(rows.cells, values), 300)
    told: list[tuple[float, float]] = []
    distil.distil(teacher.eval(), 12, 3, "auto", lambda phase, done, facts: told.append((done, facts["loss"])))
    student = teacher.student
    assert student is not None and told[-1][0] == 1
    assert told[-1][1] < told[0][1]
    # All that it misses is what the twin, which half of the rows show, tells of the first cell.
    lesson = teacher.lesson(4096, Draw("another"))
    sigma, noisy, raw = teacher.asked(lesson, Draw("noise"))
    with torch.no_grad():
        missed, _ = student.losses(lesson, noisy, sigma, raw)
    assert missed.item() == pytest.approx(math.log(2) / 2, abs=0.05)
    drawn = student.sample(4096, Draw("drawn"))
    assert (drawn.cells[:, 0] == drawn.cells[:, 1]).float().mean() > 0.97
    near = drawn.values[:, 0] - (drawn.cells[:, 0].float() * 2 - 1)
    assert near.abs().median() < 0.3
    again = small(layout)
    again.load_state_dict({n: t for n, t in teacher.state_dict().items() if not n.startswith("student.")})
    distil.distil(again.eval(), 12, 3, "auto", lambda phase, done, facts: None)
    assert again.student is not None
    assert all(
        torch.equal(a, b)
        for a, b in zip(student.state_dict().values(), again.student.state_dict().values(), strict=True)
    )
