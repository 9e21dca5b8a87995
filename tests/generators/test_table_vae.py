"""The table VAE: its bound against numerical integration, its samples, and that its collapse is seen."""

from __future__ import annotations

import pytest
import torch

from synth.family import VaeRecipe
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.latent import divergence
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.likelihood import log_density
from synth.generators.table_vae import TableVAE
from synth.recipe import Recipe

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)
COIN = Cell(shares=(0.5, 0.5))
LAYOUTS = [
    MIXED,
    Layout(cells=MIXED.cells, values=2, target=0),
    Layout(cells=MIXED.cells, values=0, target=1),
    Layout(cells=(), values=3),
    Layout(cells=(COIN,), values=0, target=0),
    Layout(cells=(COIN,), values=2, target=0),
]


def small(layout: Layout, **options: object) -> TableVAE:
    torch.manual_seed(0)
    settings = {"width": 32, "blocks": 1, "rungs": 3, "units": 2, "components": 3, "period": 20, "dropout": 0.1}
    return TableVAE(layout, **VaeRecipe.model_validate(settings | options).model_dump())


def batch(layout: Layout, rows: int = 64) -> Encoded:
    draw = Draw("batch")
    cells = [(draw.uniform(rows, 1)[:, 0] * size).long() for size in layout.sizes]
    return Encoded(
        torch.stack(cells, 1) if cells else torch.zeros(rows, 0, dtype=torch.long), draw.normal(rows, layout.values)
    )


def fit(model: TableVAE, rows: Encoded, steps: int, first: int = 0) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(first, first + steps):
        _, loss = next(model.losses(model.players, rows, Draw("fit", step), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def coins(rows: int) -> Encoded:
    """Two cells that are always equal, and a value near 1 or −1 that follows them."""
    coin = (Draw("coin").uniform(rows, 1) < 0.5).long()
    return Encoded(torch.cat([coin, coin], 1), 2.0 * coin - 1 + 0.1 * Draw("spread").normal(rows, 1))


@pytest.fixture(scope="module")
def healthy() -> TableVAE:
    model = small(Layout(cells=(COIN, COIN), values=1))
    fit(model, coins(512), 300)
    return model


def test_a_recipe_builds_it_and_trains_it_as_suits() -> None:
    recipe = Recipe.read(None, {"family": "vae", "vae.rungs": 2, "vae.units": 3, "training.learning_rate": 0.5})
    model = build(recipe, MIXED)
    assert isinstance(model, TableVAE) and model.prior(5, Draw(1)).shape == (5, 6)
    training = recipe.suited(images=False).training
    assert (training.batch, training.learning_rate) == (VaeRecipe.TRAINING["batch"], 0.5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_takes_part_in_the_loss_and_samples_fit_the_layout(layout: Layout) -> None:
    model = small(layout)
    fit(model, batch(layout), 4)  # the first steps move heads off zero, which hold back the rest
    (_, loss), *rest = model.losses(model.players, batch(layout), Draw(1), 4)
    assert not rest and loss.ndim == 0
    loss.backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {n for n in idle if not n.endswith((".curve", ".linear"))} == set()  # no ordered cells, no vectors of theirs
    drawn = model.sample(10, Draw(2))
    assert drawn.cells.shape == (10, len(layout.cells)) and drawn.values.shape == (10, layout.values)
    assert drawn.cells.dtype == torch.int64 and drawn.values.dtype == torch.float32
    assert ((drawn.cells >= 0) & (drawn.cells < torch.tensor(layout.sizes, dtype=torch.long))).all()


def test_the_loss_is_the_evidence_lower_bound_by_numerical_integration() -> None:
    # For one latent unit all of it can be integrated: ELBO(x) = log p(x) − KL(q(z|x) ‖ p(z|x)).
    model = small(Layout(cells=(), values=2), rungs=1, units=1, cycles=0)
    line = Draw("line").normal(256, 1)
    fit(model, Encoded(torch.zeros(256, 0, dtype=torch.long), torch.cat([line, -line], 1)), 100)
    x = torch.tensor([[0.7, -0.5]])
    z = torch.linspace(-8, 8, 16_001)[:, None]
    with torch.no_grad():
        said = model.vae.of_values(model.vae.decode(z), torch.zeros(len(z), 0, dtype=torch.long))
        joint = (
            log_density(said, x.expand(len(z), -1)).sum(1) - z[:, 0] ** 2 / 2 - 0.5 * torch.tensor(2 * torch.pi).log()
        )
        evidence = torch.trapezoid(joint.exp(), z[:, 0]).log()
        _, mean, log_variance = model.vae.infer(torch.zeros(1, 0, dtype=torch.long), x, torch.zeros(1, 1))
        q = torch.distributions.Normal(mean[0], (log_variance[0] / 2).exp()).log_prob(z)[:, 0]
        gap = torch.trapezoid(q.exp() * (q - (joint - evidence)), z[:, 0])
        rows = 100_000
        same = Encoded(torch.zeros(rows, 0, dtype=torch.long), x.expand(rows, -1))
        _, loss = next(model.losses(model.players, same, Draw("rows"), 0))
    assert gap > 0 and divergence(mean, log_variance).sum() > 0.5  # a posterior that says something, and not all
    assert -2 * float(loss) == pytest.approx(float(evidence - gap), abs=0.02)


def test_free_bits_and_the_schedule_enter_the_loss() -> None:
    rows = batch(MIXED)

    def loss(step: int, **options: object) -> float:
        model = small(MIXED, **options)
        with torch.no_grad():
            for posterior in model.vae.posteriors:
                posterior.head.weight.zero_()
                posterior.head.bias.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))  # KL of each unit: 1/2
            return float(next(model.losses(model.players, rows, Draw(1), step))[1]) * 5

    units, free = 6, loss(0, cycles=1)
    assert loss(5, cycles=1) - free == pytest.approx(units / 4, abs=1e-4)  # half-way up the ramp of 20 · 0.5 steps
    assert loss(20, cycles=1) - free == pytest.approx(units / 2, abs=1e-4)
    assert loss(20, cycles=2) == pytest.approx(free, abs=1e-4)
    assert loss(20, beta=3.0) - free == pytest.approx(3 * units / 2, abs=1e-4)
    assert loss(20, free_bits=0.7) - free == pytest.approx(0.7 * units, abs=1e-4)


@pytest.mark.parametrize("workers", [2, 3])
def test_unequal_shares_of_a_batch_have_the_loss_of_all_as_their_mean(workers: int) -> None:
    layout = Layout(cells=MIXED.cells, values=2, target=0)
    model, rows = small(layout), batch(layout, 7)
    fit(model, rows, 3)
    _, whole = next(model.losses(model.players, rows, Draw(9), 40))
    shares = []
    for rank in range(workers):
        mine = slice(rank, None, workers)
        draw = Draw(9, part=mine, total=7)
        shares.append(next(model.losses(model.players, Encoded(rows.cells[mine], rows.values[mine]), draw, 40))[1])
    torch.testing.assert_close(torch.stack(shares).mean(), whole)


def test_samples_depend_on_weights_and_draw_alone(healthy: TableVAE) -> None:
    again = small(healthy.layout)
    again.load_state_dict(healthy.state_dict())
    first, same, other = healthy.sample(8, Draw(5)), again.sample(8, Draw(5)), again.sample(8, Draw(6))
    assert torch.equal(first.cells, same.cells) and torch.equal(first.values, same.values)
    assert not torch.equal(first.values, other.values)


def test_what_depends_on_each_other_does_so_in_samples(healthy: TableVAE) -> None:
    drawn = healthy.sample(2000, Draw(0))
    coin = drawn.cells[:, 0]
    assert (coin == drawn.cells[:, 1]).float().mean() > 0.97  # two coins, drawn apart given z alone
    assert abs(coin.float().mean() - 0.5) < 0.1
    for state, place in ((0, -1.0), (1, 1.0)):
        values = drawn.values[coin == state]
        assert abs(values.mean() - place) < 0.1 and values.std() < 0.25


def test_a_healthy_model_says_how_many_units_are_active_and_a_collapsed_one_its_name(healthy: TableVAE) -> None:
    (said,) = healthy.remarks(coins(500))
    assert "of 6 latent units are active" in said and "collapse" not in said and not said.startswith("0 ")
    assert healthy.remarks(coins(500)) == [said]
    collapsed = small(healthy.layout, beta=100.0, cycles=0)
    fit(collapsed, coins(512), 100)
    (named,) = collapsed.remarks(coins(500))
    assert named.startswith("posterior collapse: 0 of 6 latent units are active")


def test_the_target_is_drawn_from_the_row_and_is_no_matter_to_the_rest() -> None:
    layout = Layout(cells=MIXED.cells, values=1, target=0)
    model = small(layout)
    number = (Draw("number").uniform(1024, 1) * 20).long()
    value = Draw("value").normal(1024, 1)
    rows = Encoded(torch.cat([((number >= 10) ^ (value > 0)).long(), number, number % 2], 1), value)
    fit(model, rows, 200)
    drawn = model.sample(2000, Draw(0))
    assert ((drawn.cells[:, 1] >= 10) ^ (drawn.values[:, 0] > 0) == (drawn.cells[:, 0] == 1)).float().mean() > 0.9
    flipped = Encoded(torch.cat([1 - rows.cells[:, :1], rows.cells[:, 1:]], 1), value)
    assert model.remarks(flipped) == model.remarks(rows)
