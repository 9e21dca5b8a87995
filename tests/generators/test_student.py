"""The narrow network that draws rows as a table diffusion model taught it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from synth.generators.base import Draw
from synth.generators.layout import Cell, Layout
from synth.generators.student import Lesson, Student
from tests.generators.test_table_diffusion import CROSSED, LAYOUTS, MIXED, batch, fit, small


def taught(layout: Layout) -> tuple[Student, Lesson, tuple[torch.Tensor, ...]]:
    """A student with weights that are not at their beginning, and a lesson."""
    teacher = small(layout)
    fit(teacher, batch(layout), 5)
    torch.manual_seed(1)
    student = Student(layout)
    for weight in student.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    lesson = teacher.lesson(64, Draw("lesson"))
    return student, lesson, teacher.asked(lesson, Draw("asked"))


def test_the_target_comes_last_and_cells_of_few_states_first() -> None:
    assert Student.order(MIXED) == [0, 2, 1]
    assert Student.order(Layout(cells=MIXED.cells, values=2, target=0)) == [2, 1, 0]
    assert Student.order(Layout(cells=MIXED.cells, values=2, crosses=((1, 2),))) == [2, 1, 0]


@pytest.mark.parametrize("layout", [MIXED, CROSSED])
def test_it_begins_with_states_and_combinations_as_far_apart_as_the_teachers(layout: Layout) -> None:
    """Whose width is less than its own, so that no axis is left out."""
    teacher, student = small(layout), Student(layout)
    fit(teacher, batch(layout), 5)
    student.inherit(teacher.denoiser)
    shown = teacher.denoiser.cells
    assert shown is not None and student.values is not None and student.values.cells is not None
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for states, crossed in (
        (student.seen, student.crossed), (student.values.cells.states, student.values.cells.crossed)
    ):  # fmt: skip
        pairs.append((states(), shown.states()))
        if crossed is not None and shown.crossed is not None:
            pairs.append((crossed.vectors(), shown.crossed.vectors()))
    assert len(pairs) == (4 if layout.crosses else 2)
    for mine, theirs in pairs:
        assert theirs.abs().sum() > 0 and torch.allclose(mine @ mine.T, theirs @ theirs.T, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_losses_are_much_the_same_in_bfloat16(layout: Layout) -> None:
    student, lesson, (sigma, noisy, raw) = taught(layout)
    exact = student.losses(lesson, noisy, sigma, raw)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = student.losses(lesson, noisy, sigma, raw)
    for a, b in zip(exact, rounded, strict=True):
        torch.testing.assert_close(b.float(), a, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_takes_part_in_its_losses_and_samples_fit_the_layout(layout: Layout) -> None:
    student, lesson, (sigma, noisy, raw) = taught(layout)
    _, of_cells, of_values = student.losses(lesson, noisy, sigma, raw)
    (of_cells + of_values).backward()
    idle = {"values.absent", "values.cells.hidden"}  # of a denoiser, all of whose cells are known here
    for name, weight in student.named_parameters():
        assert (weight.grad is not None and bool(weight.grad.any())) or name in idle or name.endswith("curve"), name
    drawn = student.sample(50, Draw("sample"))
    assert drawn.cells.shape == (50, len(layout.cells)) and drawn.values.shape == (50, layout.values)
    assert all(
        int(column.min()) >= 0 and int(column.max()) < n for column, n in zip(drawn.cells.T, layout.sizes, strict=True)
    )
    assert bool(drawn.values.isfinite().all())


@pytest.mark.parametrize("layout", [*LAYOUTS[:3], CROSSED])
def test_rows_come_by_the_probabilities_that_it_learns(layout: Layout) -> None:
    """What is drawn one cell after the other is what all cells at once are trained on."""
    student, _, _ = taught(layout)
    drawn = student.sample(4096, Draw("sample")).cells
    with torch.no_grad():
        vectors = student.told(drawn)
        state = student.norm(student.block((vectors.cumsum(1) - vectors) * student.scale + student.shift))
        for place, cell in enumerate(student.cells):
            span = student.spans[cell]
            chances = F.linear(state[:, place], student.logits.states()[span], student.logits.bias[span]).softmax(1)
            shares = drawn[:, cell].bincount(minlength=layout.sizes[cell]) / len(drawn)
            assert torch.allclose(shares, chances.mean(0), atol=4 * 0.5 / len(drawn) ** 0.5)


def test_a_lesson_has_the_teachers_probabilities_of_its_cells_in_the_students_order() -> None:
    """They are those that the teacher itself has of each cell, of rows that know those before it alone."""
    layout = Layout(cells=MIXED.cells, values=2, target=0)
    teacher = small(layout, temperature=0.8, target_temperature=0.7)
    fit(teacher, batch(layout), 5)
    lesson, student = teacher.lesson(2048, Draw("lesson")), Student(layout)
    assert student.cells == [2, 1, 0]
    none, every = torch.zeros(0, 2), torch.arange(3)
    for place, cell in enumerate(student.cells):
        hidden = ~torch.isin(every, torch.tensor(student.cells[:place], dtype=torch.long)).expand(2048, 3)
        with torch.no_grad():
            logits, _ = teacher.denoiser(lesson.cells, hidden, none, none[:, :1], smooth=2048 if cell == 0 else 0)
        span, heat = student.spans[cell], 0.7 if cell == 0 else 0.8
        found, expected = lesson.logs[:, span].float(), (logits[:, span] / heat).log_softmax(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.05)  # of bfloat16
        assert torch.allclose(found.exp().sum(1), torch.ones(2048), atol=5e-3)  # of float16
    # The last in any order is drawn by them.
    shares = lesson.cells[:, 0].bincount(minlength=2) / 2048
    assert torch.allclose(shares, lesson.logs[:, student.spans[0]].float().exp().mean(0), atol=0.03)


def test_cells_are_learnt_half_from_their_states_and_the_target_from_its_probabilities_alone() -> None:
    """One state of a cell is as likely as the teacher says, and the rows have another: what is best lies between."""
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5))), values=0, target=1)
    torch.manual_seed(0)
    student, rows, none = Student(layout), 32, torch.zeros(32, 0)
    logs = torch.tensor([0.9, 0.1, 0.9, 0.1]).log().expand(rows, 4)
    lesson, sigma = Lesson(torch.ones(rows, 2, dtype=torch.long), none, logs), torch.ones(rows, 1)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    for _ in range(300):
        missed, loss, _ = student.losses(lesson, none, sigma, none)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    between, taught = torch.tensor([0.45, 0.55]), torch.tensor([0.9, 0.1])
    assert missed.item() == pytest.approx(float((taught * (taught / between).log()).sum()), rel=0.05)
    cells = student.sample(4096, Draw("sample")).cells
    assert cells[:, 0].float().mean() == pytest.approx(0.55, abs=0.03)
    assert cells[cells[:, 0] == 1, 1].float().mean() == pytest.approx(0.1, abs=0.02)


def test_probabilities_that_are_the_same_are_missed_by_nothing() -> None:
    student, lesson, (sigma, noisy, raw) = taught(MIXED)
    before, _, _ = student.losses(lesson, noisy, sigma, raw)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    for _ in range(60):
        missed, _, error = student.losses(lesson, noisy, sigma, raw)
        optimizer.zero_grad()
        (missed + error).backward()
        optimizer.step()
    assert -1e-3 < missed.item() < 0.1 * before.item()


def test_a_row_does_not_depend_on_how_many_stand_beside_it() -> None:
    student, _, _ = taught(MIXED)
    whole = student.sample(128, Draw("a", 1))
    for part in (slice(0, 16), slice(32, 80), slice(112, 128)):
        few = student.sample(part.stop - part.start, Draw("a", 1, part=part, total=128))
        assert torch.equal(few.cells, whole.cells[part]) and torch.equal(few.values, whole.values[part])


def test_values_are_as_wide_as_the_teachers() -> None:
    layout = Layout(cells=(), values=3)
    student = Student(layout)
    narrow, wide = (student.sample(2048, Draw("a")).values.std() for student.deviation in (1.0, 1.3))
    assert wide / narrow > 1.2
