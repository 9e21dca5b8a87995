"""Domain-adversarial training: its gradients in closed form, what it aligns and what it sees, and its place in the families."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from synth.errors import UserError
from synth.generators.base import Draw, Generator
from synth.generators.domain import Domain, Labelled, Reversal, harden, strength_at
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.states import Segments
from synth.generators.table_gan import TableGan
from synth.generators.table_vae import TableVAE
from synth.recipe import Recipe

COIN = Cell(shares=(0.5, 0.5))
LAYOUT = Layout(cells=(COIN, Cell(shares=(0.2, 0.3, 0.5)), Cell(shares=(0.05,) * 20, ordered=20)), values=2, target=1)
VALUES = Layout(cells=(), values=2)
LATE = 1000


def small(family: str, layout: Layout = LAYOUT, **part: Any) -> Any:
    torch.manual_seed(0)
    return build(Recipe.check({"family": family, family: {"width": 32} | part}), layout)


def batch(rows: int = 48) -> Encoded:
    draw = Draw("batch")
    cells = [(draw.uniform(rows, 1)[:, 0] * size).long() for size in LAYOUT.sizes]
    return Encoded(torch.stack(cells, 1), draw.normal(rows, LAYOUT.values))


def losses(model: Generator, step: int, rows: Encoded | None = None, draw: Draw | None = None) -> dict[str, Tensor]:
    return dict(model.losses(model.players, rows or batch(), draw or Draw("step"), step))


def module(family: str) -> str:
    """How the names of its weights begin."""
    return {"gan": "generator.domain.", "vae": "vae.domain."}[family]


def test_reversal_is_the_identity_and_turns_gradients_around() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    turned = Reversal.apply(x, 0.3)
    assert torch.equal(turned, x)
    above = torch.randn(3, 4)
    turned.backward(above)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -0.3 * above)


@pytest.mark.parametrize(("step", "p"), [(0, 0.0), (10, 0.05), (100, 0.5), (200, 1.0), (5000, 1.0)])
def test_strength_rises_from_0_and_stays(step: int, p: float) -> None:
    assert strength_at(step, 200) == pytest.approx(math.tanh(5 * p))  # the same function


def test_hardened_states_are_whole_and_pass_gradients_on() -> None:
    segments = Segments(Layout(cells=(COIN, Cell(shares=(0.2, 0.3, 0.5))), values=0))
    soft = torch.tensor([[0.4, 0.6, 0.5, 0.2, 0.3], [0.5, 0.5, 0.1, 0.1, 0.8]], requires_grad=True)  # a tie: the first
    cells, states = harden(soft, segments)
    assert cells.tolist() == [[1, 0], [0, 2]]
    torch.testing.assert_close(states, segments.hot(cells))
    above = torch.randn(2, 5)
    states.backward(above)
    assert soft.grad is not None and torch.equal(soft.grad, above)


@pytest.mark.parametrize("step", [0, 20, LATE])
def test_who_is_pushed_where(step: int) -> None:
    torch.manual_seed(0)
    domain = Domain(VALUES, 3, width=8, weight=0.7, steps=100)
    label = torch.randint(3, (2, 6))
    real, made = torch.randn(6, 2), torch.randn(6, 2, requires_grad=True)
    none = real[:, :0]

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        wanted = [made, domain.hidden[1].weight, domain.verdict.weight, domain.task.weight]
        found = torch.autograd.grad(loss, wanted, allow_unused=True, retain_graph=True)
        return tuple(torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True))

    features = domain.features(torch.cat([none, none]), torch.cat([real, made]))
    task = F.cross_entropy(domain.task(features), label.flatten(), reduction="sum")
    seen = domain.verdict(domain.seen(features)).gather(1, label.view(-1, 1))[:, 0]
    told = F.binary_cross_entropy_with_logits(seen, torch.tensor([1.0] * 6 + [0.0] * 6), reduction="sum") / 2
    loss = domain(Labelled(none, real, label[0]), Labelled(none, made, label[1]), step)
    torch.testing.assert_close(loss.sum(), task + 0.7 * told)
    found, of_task, of_domain = gradients(loss.sum()), gradients(task), gradients(told)
    pushed = 0.7 * math.tanh(5 * min(step / 100, 1))
    torch.testing.assert_close(
        found[0], -pushed * of_domain[0]
    )  # rows: away from what tells them, not by their classes
    torch.testing.assert_close(found[1], of_task[1] - pushed * of_domain[1])
    torch.testing.assert_close(found[2], 0.7 * of_domain[2])
    torch.testing.assert_close(found[3], of_task[3])


def told_apart(domain: Domain, real: Labelled, made: Labelled) -> float:
    """Share of rows of which the head says rightly whether they are real."""
    with torch.no_grad():
        said = [domain.judge(domain.features(part.states, part.values), part.label, 0.0) > 0 for part in (real, made)]
    return float(torch.cat([said[0], ~said[1]]).float().mean())


def test_a_shift_of_what_the_class_depends_on_is_unlearnt_and_the_task_is_not() -> None:
    torch.manual_seed(0)
    shift, draw = torch.tensor([1.5, 0.0], requires_grad=True), Draw("toy")

    def rows(shifted: Tensor | float, number: int = 256) -> Labelled:
        x = draw.normal(number, 2) + shifted
        return Labelled(x[:, :0], x, (x[:, 0] > 0).long())

    domain = Domain(VALUES, 2, width=16, weight=1.0, steps=1)
    optimizer = torch.optim.AdamW([*domain.parameters(), shift], lr=1e-2, betas=(0.0, 0.99))

    def fit(steps: int, step: int) -> float:
        for _ in range(steps):
            loss = domain(rows(0.0), rows(shift), step).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return told_apart(domain, rows(0.0, 2000), rows(shift.detach(), 2000))

    assert fit(80, 0) > 0.7  # at step 0 nothing is reversed; the best that can be is 0.77
    assert shift[0] > 1.2
    assert fit(250, 1) < 0.58 and shift[0].abs() < 0.25
    real = rows(0.0, 2000)
    said = domain.task(domain.features(real.states, real.values)).argmax(1)
    assert (said == real.label).float().mean() > 0.95


def test_the_head_sees_classes_that_are_shifted_where_features_are_not() -> None:
    # The features of real and of generated rows are distributed alike, and their classes are opposite.
    draw = Draw("shift")

    def trained(*, told: bool) -> float:
        torch.manual_seed(0)
        domain = Domain(VALUES, 2, width=16, weight=1.0, steps=1)
        optimizer = torch.optim.AdamW(domain.parameters(), lr=5e-3)

        def rows(sign: int) -> Labelled:
            x = draw.normal(256, 2)
            label = (sign * x[:, 0] > 0).long()
            return Labelled(x[:, :0], x, label if told else torch.zeros_like(label))

        for _ in range(100):
            loss = domain(rows(1), rows(-1), 0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return told_apart(domain, rows(1), rows(-1))

    assert trained(told=True) > 0.9
    assert trained(told=False) < 0.6


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_without_it_there_is_no_module_and_with_it_nothing_else_begins_otherwise(family: str) -> None:
    off, on = small(family), small(family, domain=0.5)
    plain, more = off.state_dict(), on.state_dict()
    assert plain.keys() == {key for key in more if not key.startswith(module(family))} < more.keys()
    assert all(torch.equal(plain[key], more[key]) for key in plain)
    told, said = losses(off, 5), losses(on, 5)
    if family == "gan":
        assert said["critic"].equal(told["critic"])
    assert said.keys() == told.keys()
    # At the start classes are even to the task's head, and rows to the domain's.
    expected = 2 * math.log(3) + 0.5 * math.log(2)
    more_loss = list(said.values())[-1].item() - list(told.values())[-1].item()
    assert more_loss * (5 if family == "vae" else 1) == pytest.approx(expected, abs=0.35)


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_its_gradients_reach_what_makes_rows_and_neither_the_classifier_nor_the_judge(family: str) -> None:
    off, on = small(family), small(family, domain=1.0, domain_steps=1)
    with torch.no_grad():
        for model in (off, on):  # off the zeros that hold back the gradients of what lies before them
            torch.manual_seed(1)
            for name, p in model.named_parameters():
                if not name.startswith(module(family)):
                    p.add_(0.1 * torch.randn_like(p))
    for model in (off, on):
        list(losses(model, LATE).values())[-1].backward()
    plain, more = (dict(model.named_parameters()) for model in (off, on))
    moved = {
        name
        for name in plain
        if plain[name].grad is not None and not torch.allclose(plain[name].grad, more[name].grad, rtol=1e-3, atol=1e-6)
    }
    makers = {
        "gan": {"generator.noise.weight", "generator.logits.bias", "generator.values.weight"},
        "vae": {"vae.start", "vae.logits.1.bias", "vae.mixtures.head.weight", "vae.ladder.0.enter.weight"},
    }[family]
    assert makers <= moved
    assert not [name for name in moved if ".classifier." in name or name.startswith(("critic.", "vae.encoder."))]
    assert all(p.grad is not None for name, p in more.items() if name.startswith(module(family)))


@pytest.mark.parametrize("family", ["gan", "vae"])
@pytest.mark.parametrize("world", [2, 3])
def test_the_mean_over_workers_is_the_loss_of_the_batch(family: str, world: int) -> None:
    model, rows = small(family, domain=1.0, domain_steps=1), batch(31)
    whole = [loss.item() for loss in losses(model, LATE, rows, Draw("w")).values()]
    parts = []
    for rank in range(world):
        mine = slice(rank, None, world)
        share = Encoded(rows.cells[mine], rows.values[mine])
        found = losses(model, LATE, share, Draw("w", part=mine, total=31))
        parts.append([loss.item() for loss in found.values()])
    assert torch.tensor(parts).mean(0).tolist() == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("family", ["gan", "vae"])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(cells=(COIN,), values=2, target=0),
        Layout(cells=(COIN, COIN), values=0, target=1),
        LAYOUT,
    ],
)
def test_it_trains_and_samples_whatever_a_table_has_beside_its_target(family: str, layout: Layout) -> None:
    model = small(family, layout, domain=1.0, domain_steps=1)
    assert isinstance(model, TableGan | TableVAE)
    rows = batch()
    rows = Encoded(rows.cells[:, :1].repeat(1, len(layout.cells)), rows.values[:, : layout.values])
    for player, loss in model.losses(model.players, rows, Draw(0), LATE):
        loss.backward()
        assert loss.isfinite() and any(p.grad is not None for p in model.players[player].parameters())
    assert model.sample(5, Draw(1)).cells.shape == (5, len(layout.cells))


@pytest.mark.parametrize("family", ["gan", "vae"])
@pytest.mark.parametrize(
    "layout", [VALUES, LAYOUT.model_copy(update={"target": None}), Layout(cells=(COIN,), values=0, target=0)]
)
def test_without_a_class_to_predict_it_is_refused(family: str, layout: Layout) -> None:
    with pytest.raises(UserError, match=r"domain=0.5 needs a target class .* set domain=0"):
        small(family, layout, domain=0.5)
    small(family, layout)
