"""The narrow network that draws rows as a table diffusion model taught it."""

from __future__ import annotations

import itertools

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
    missed, error = student.losses(lesson, noisy, sigma, raw)
    (missed + error).backward()
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


@pytest.mark.parametrize("layout", [MIXED, CROSSED])
def test_a_lesson_has_probabilities_whose_mean_is_the_shares_of_its_cells(layout: Layout) -> None:
    """Of a teacher whose conditionals are those of one joint distribution, as the marginals are that it begins with."""
    lesson, student = small(layout).lesson(2048, Draw("lesson")), Student(layout)
    for span, cell, n in zip(student.spans, lesson.cells.T, layout.sizes, strict=True):
        chances = lesson.logs[:, span].float().exp()
        assert torch.allclose(chances.sum(1), torch.ones(2048), atol=5e-3)  # of float16
        assert torch.allclose(cell.bincount(minlength=n) / 2048, chances.mean(0), atol=0.03)


def test_a_cells_probabilities_know_all_before_it_some_after_it_and_none_that_are_drawn_later() -> None:
    """Each is the network's own, of the row with so much hidden."""
    layout = Layout(cells=(*MIXED.cells, Cell(shares=(0.5, 0.5)), Cell(shares=(0.4, 0.6))), values=2, target=0)
    layout = layout.model_copy(update={"crosses": ((3, 4),)})
    teacher = small(layout, temperature=0.8, target_temperature=0.7)
    fit(teacher, batch(layout), 5)
    lesson, order, none = teacher.lesson(256, Draw("lesson")), Student.order(layout), torch.zeros(0, 2)
    assert order == [3, 4, 2, 1, 0]  # of a cross, of none, the target
    after = {3: [4], 4: [], 2: [1], 1: [], 0: []}
    for place, cell in enumerate(order):
        span, heat = Student(layout).spans[cell], 0.7 if cell == 0 else 0.8
        apart, seen = [], after[cell]
        for shown in itertools.chain.from_iterable(itertools.combinations(seen, n) for n in range(len(seen) + 1)):
            hidden = torch.ones(256, 5, dtype=torch.bool)
            hidden[:, [*order[:place], *shown]] = False
            with torch.no_grad():
                logits = teacher.denoiser(lesson.cells, hidden, none, none[:, :1], smooth=256 if cell == 0 else 0)[0]
            expected = (logits[:, span] / heat).log_softmax(1)
            apart.append((lesson.logs[:, span].float() - expected).abs().max(1).values)
        nearest = torch.stack(apart).min(0)
        assert nearest.values.max() < 0.05, cell  # of bfloat16
        if seen:  # a half of the rows, on average
            assert 0.3 < nearest.indices.float().mean() < 0.7


def test_probabilities_that_are_the_same_are_missed_by_nothing() -> None:
    student, lesson, (sigma, noisy, raw) = taught(MIXED)
    before, _ = student.losses(lesson, noisy, sigma, raw)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    for _ in range(60):
        missed, error = student.losses(lesson, noisy, sigma, raw)
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
