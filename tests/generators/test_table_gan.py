"""The table GAN: its losses, its conditions and packs, its sampler, and that it learns what depends on what."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from synth.errors import UserError
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.spectral import Spectral
from synth.generators.states import Segments
from synth.generators.table_gan import TableGan, importance
from synth.recipe import Recipe

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)
LAYOUTS = [
    MIXED,
    Layout(cells=MIXED.cells, values=2, target=0),
    Layout(cells=MIXED.cells, values=0, target=2),
    Layout(cells=MIXED.cells[:1], values=2, target=0),  # nothing to ask for
    Layout(cells=MIXED.cells[:1], values=0, target=0),  # nothing to predict it from
    Layout(cells=(), values=3),
]
OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"pac": 3},
    {"objective": "non-saturating", "gamma": 0.0},
    {"objective": "wasserstein", "gamma": 10.0},
    {"objective": "wasserstein", "gamma": 0.0, "spectral": True},
]


def small(layout: Layout, **gan: Any) -> TableGan:
    torch.manual_seed(0)
    made = build(Recipe.check({"family": "gan", "gan": {"width": 32, "noise": 8} | gan}), layout)
    assert isinstance(made, TableGan)
    return made


def batch(layout: Layout, rows: int = 64) -> Encoded:
    draw = Draw("batch")
    cells = [(draw.uniform(rows, 1)[:, 0] * size).long() for size in layout.sizes]
    return Encoded(
        torch.stack(cells, 1) if cells else torch.zeros(rows, 0, dtype=torch.long), draw.normal(rows, layout.values)
    )


def step(model: TableGan, rows: Encoded, number: int, rate: float = 1e-3) -> dict[str, float]:
    """One step of each player by plain gradient descent, and its losses."""
    losses = {}
    for player, loss in model.losses(model.players, rows, Draw("step", number), number):
        for p in model.players[player].parameters():
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in model.players[player].parameters():
                if p.grad is not None:
                    p -= rate * p.grad
        losses[player] = loss.item()
    return losses


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gan", OBJECTIVES, ids=str)
def test_both_players_learn_and_samples_fit_the_layout(layout: Layout, gan: dict[str, Any]) -> None:
    model = small(layout, **gan)
    losses = [step(model, batch(layout), number) for number in range(3)]  # the first moves blocks off the identity
    assert all(list(each) == ["critic", "generator"] for each in losses)
    assert all(torch.tensor(list(each.values())).isfinite().all() for each in losses)
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    if len(layout.cells) != 1:  # of which all is known, or asked for, and nothing is left to the generator
        assert {n for n in idle if "curve" not in n and "smooth" not in n and "values" not in n} == set()
    drawn = model.sample(10, Draw(2))
    assert drawn.cells.shape == (10, len(layout.cells)) and drawn.values.shape == (10, layout.values)
    assert all(
        0 <= int(drawn.cells[:, c].min()) <= int(drawn.cells[:, c].max()) < s for c, s in enumerate(layout.sizes)
    )


def test_the_generators_step_leaves_the_critic_without_gradients() -> None:
    model = small(MIXED)
    pending = model.losses(model.players, batch(MIXED), Draw(0), 0)
    next(pending)
    _, loss = next(pending)
    loss.backward()
    assert all(p.grad is None for p in model.critic.parameters())
    assert next(pending, None) is None and all(p.requires_grad for p in model.critic.parameters())


@pytest.mark.parametrize("world", [2, 3])
def test_the_mean_over_workers_is_the_loss_of_the_batch(world: int) -> None:
    layout = LAYOUTS[1]
    model, rows = small(layout), batch(layout, 31)
    whole = [float(loss) for _, loss in model.losses(model.players, rows, Draw("w"), 0)]
    parts = []
    for rank in range(world):
        mine = slice(rank, None, world)
        share = Encoded(rows.cells[mine], rows.values[mine])
        draw = Draw("w", part=mine, total=31)
        parts.append([float(loss) for _, loss in model.losses(model.players, share, draw, 0)])
    assert torch.tensor(parts).mean(0).tolist() == pytest.approx(whole, rel=1e-5)


def test_each_row_leads_a_pack_whatever_their_number() -> None:
    packs = small(MIXED, pac=3).critic.packed(torch.arange(4))
    assert packs.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]


def test_a_packed_critic_looks_at_all_rows_of_a_pack() -> None:
    model = small(MIXED, pac=2)
    for number in range(2):
        step(model, batch(MIXED), number)
    packs = torch.randn(5, 2, 26, requires_grad=True)
    scores, _ = model.critic(packs, torch.zeros(5, 2, dtype=torch.long))
    (gradient,) = torch.autograd.grad(scores[0], packs)
    assert gradient[0].abs().sum(1).min() > 0 and not gradient[1:].any()


def test_conditions_count_between_frequency_and_its_logarithm() -> None:
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.9, 0.0, 0.01, 0.09))), values=0)
    segments, shares = Segments(layout), torch.tensor([0.5, 0.5, 0.9, 0.0, 0.01, 0.09])
    assert importance(shares, segments, 0.0)[shares > 0].tolist() == pytest.approx([1.0] * 5)
    full = importance(shares, segments, 1.0)
    logs = torch.tensor([91.0, 2.0, 10.0]).log()  # as often as the rarest: 90, 1 and 9 times
    expected = logs / logs.sum()
    torch.testing.assert_close((full * shares)[[2, 4, 5]], expected)
    half = importance(shares, segments, 0.5) * shares
    torch.testing.assert_close(half[[2, 4, 5]], (expected + shares[[2, 4, 5]]) / 2)


def test_rows_are_asked_for_in_the_tables_shares_and_have_what_was_asked_for() -> None:
    layout = Layout(cells=(Cell(shares=(0.1, 0.2, 0.7)), Cell(shares=(0.5, 0.5))), values=1, target=1)
    model = small(layout, emphasis=1.0)
    with torch.no_grad():
        model.generator.logits.bias[:3] = torch.tensor([30.0, 0.0, 0.0])  # what it would say by itself
    drawn = model.sample(1000, Draw(0))  # the only cell that can be asked for always is
    assert torch.bincount(drawn.cells[:, 0]).tolist() == pytest.approx([100, 200, 700], abs=2)


def test_what_depends_on_what_is_learnt() -> None:
    # A value that says which of two cells' states agree, and a class that follows from both.
    layout = Layout(
        cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5))), values=1, target=2
    )
    draw = Draw("table")
    cells = (draw.uniform(4096, 2) > 0.5).long()
    agree = (cells[:, :1] == cells[:, 1:]).long()
    values = 2.0 * agree - 1 + 0.1 * draw.normal(4096, 1)
    rows = Encoded(torch.cat([cells, agree], 1), values)
    model = small(layout)
    optimizers = {k: torch.optim.AdamW(p.parameters(), lr=2e-3, betas=(0.0, 0.99)) for k, p in model.players.items()}
    for number in range(350):
        mine = slice(number * 64 % 4096, number * 64 % 4096 + 64)
        part = Encoded(rows.cells[mine], rows.values[mine])
        for player, loss in model.losses(model.players, part, Draw("fit", number), number):
            optimizers[player].zero_grad()
            loss.backward()
            optimizers[player].step()
    drawn = model.sample(2000, Draw("s"))
    same = drawn.cells[:, 0] == drawn.cells[:, 1]
    assert 0.4 < float(same.float().mean()) < 0.6
    assert float(((drawn.values[:, 0] > 0) == same).float().mean()) > 0.9
    assert float((drawn.cells[:, 2] == same).float().mean()) > 0.9


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (1, 7)])
def test_spectral_normalisation_divides_by_the_greatest_singular_value(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    weight = torch.randn(shape, requires_grad=True)
    found = Spectral(*shape)(weight)
    assert float(torch.linalg.matrix_norm(found.detach(), 2)) == pytest.approx(1.0, abs=0.03)
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    assert float((gradient * weight.detach()).sum()) == pytest.approx(0.0, abs=1e-3)  # its scale does not matter
    assert not Spectral(*shape).state_dict()


@pytest.mark.parametrize(("key", "value", "instead"), [("zero", 3, 2), ("recompute", True, False)])
def test_what_gradient_penalties_rule_out_is_refused_by_name(key: str, value: object, instead: object) -> None:
    training = {key: value, "steps": 1}
    recipe = Recipe.check({"family": "gan", "training": training})
    wanted = f"training.{key}={value}: .*gan.objective=relativistic, gan.gamma=.*set training.{key}={instead}"
    with pytest.raises(UserError, match=wanted):
        recipe.suited(images=False)
    Recipe.check({"family": "gan", "gan": {"gamma": 0}, "training": training}).suited(images=False)
    Recipe.check({"training": training}).suited(images=False)
