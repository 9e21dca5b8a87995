"""The table diffusion model: its losses, its sampler, and that it learns joint distributions it must not factorise."""

from __future__ import annotations

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.given import Given
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.masks import hide, show
from synth.generators.table_diffusion import TableDiffusion, balance

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)
CROSSED = Layout(cells=MIXED.cells, values=2, target=0, crosses=((1, 2),))
LAYOUTS = [
    MIXED,
    Layout(cells=MIXED.cells, values=2, target=0),
    Layout(cells=MIXED.cells, values=0),
    Layout(cells=(), values=3),
    CROSSED,
]


def small(layout: Layout, **options: object) -> TableDiffusion:
    torch.manual_seed(0)
    settings = {
        "width": 64,
        "blocks": 2,
        "expansion": 2,
        "cell_share": 0.5,
        "target_share": 0.25,
        "target_shown": 0.25,
        "evidence": 0.25,
        "sigma_mean": -0.8,
        "sigma_deviation": 1.4,
        "dropout": 0.0,
        "steps": 16,
    }
    return TableDiffusion(layout, **(settings | options))


def batch(layout: Layout, rows: int = 64) -> Encoded:
    draw = Draw("batch")
    cells = [(draw.uniform(rows, 1)[:, 0] * size).long() for size in layout.sizes]
    return Encoded(
        torch.stack(cells, 1) if cells else torch.zeros(rows, 0, dtype=torch.long), draw.normal(rows, layout.values)
    )


def fit(model: TableDiffusion, rows: Encoded, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        _, loss = next(model.losses(model.players, rows, Draw("fit", step), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_takes_part_in_the_loss_and_samples_fit_the_layout(layout: Layout) -> None:
    model = small(layout)
    fit(model, batch(layout), 2)  # the first step moves the heads off zero, which hold back the rest
    (_, loss), *rest = model.losses(model.players, batch(layout), Draw(1), 0)
    assert not rest and loss.ndim == 0
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    absent = {"denoiser.absent"} if not layout.cells else set()  # unused where no rows are masked
    values_only = {n for n in idle if ".level." in n} if not layout.values else set()
    small_cells = {n for n in idle if n.endswith("curve")} if not layout.cells else set()
    assert set(idle) <= absent | values_only | small_cells
    drawn = model.sample(10, Draw(2))
    assert drawn.cells.shape == (10, len(layout.cells)) and drawn.values.shape == (10, layout.values)
    assert all(
        0 <= int(drawn.cells[:, c].min()) <= int(drawn.cells[:, c].max()) < s for c, s in enumerate(layout.sizes)
    )


@pytest.mark.parametrize(
    ("cells", "values", "share"), [(12, 2, 1 - 4 / 14), (14, 1, 0.75), (18, 7, 0.5), (3, 10, 0.5), (4, 0, 0.75)]
)
def test_rows_are_shared_as_the_variables_are(cells: int, values: int, share: float) -> None:
    layout = Layout(cells=MIXED.cells[:1] * cells, values=values)
    assert balance(layout) == pytest.approx(share)
    seen = []

    def denoiser(
        states: torch.Tensor, hidden: torch.Tensor, noisy: torch.Tensor, *_: object
    ) -> tuple[torch.Tensor, ...]:
        seen.append((len(hidden), len(noisy)))
        return torch.zeros(len(hidden), 2 * cells), torch.zeros(len(noisy), values)

    next(small(layout, cell_share=None).losses({"denoiser": denoiser}, batch(layout, 1000), Draw(1), 0))
    masked = round(1000 * share) if values else 1000  # without values, all rows learn cells
    assert seen == [(masked, 1000 - masked)]


def test_samples_depend_on_the_draw_alone() -> None:
    model = small(MIXED)
    fit(model, batch(MIXED), 3)
    first, again, other = model.sample(8, Draw(5)), model.sample(8, Draw(5)), model.sample(8, Draw(6))
    assert torch.equal(first.cells, again.cells) and torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)


def test_the_target_is_seen_by_no_other_cell_and_the_others_alone_decide_on_it() -> None:
    layout = Layout(cells=MIXED.cells, values=2, target=0)
    model = small(layout)
    draw = Draw(3)
    hidden, learnt = hide(
        draw.uniform(500, 3), draw.uniform(500, 1), torch.ones(500, 1), 50, model.target, model.target_shown,
        model.segments.rank == 0,
    )  # fmt: skip
    others = hidden[50:, 1:].sum(1)
    assert bool(hidden[:, 0].all()) and int(others.min()) == 1 and int(others.max()) == 2
    assert not hidden[:50, 1:].any() and torch.equal(learnt[:50], hidden[:50]) and not learnt[50:, 0].any()
    sign = Draw("sign").uniform(1024, 1)
    number = (sign * 20).long()
    rows = Encoded(torch.cat([(number >= 10).long(), number, (sign < 0.3).long()], 1), torch.zeros(1024, 2))
    fit(model, rows, 200)
    drawn = model.sample(2000, Draw(0)).cells
    assert ((drawn[:, 1] >= 10) == (drawn[:, 0] == 1)).float().mean() > 0.95


def test_to_a_share_of_the_rows_the_target_is_a_cell_like_any_other() -> None:
    model = small(Layout(cells=MIXED.cells, values=2, target=0), target_shown=0.25)
    draw = Draw(3)
    hidden, learnt = hide(
        draw.uniform(4000, 3), draw.uniform(4000, 1), draw.uniform(4000, 1), 0, model.target, model.target_shown,
        model.segments.rank == 0,
    )  # fmt: skip
    seen = ~hidden[:, 0]
    assert float(seen.float().mean()) == pytest.approx(0.25 / 3, abs=0.02)  # none, one or two of three are seen
    assert torch.equal(learnt[:, 1:], hidden[:, 1:]) and bool(learnt.any(1).all())
    assert float(learnt[:, 0].float().mean()) == pytest.approx(0.25 * 2 / 3, abs=0.03)


@pytest.mark.parametrize("target", [None, 3])
def test_cells_of_crosses_are_the_last_to_be_hidden_and_the_first_to_be_drawn(target: int | None) -> None:
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)),) * 5, values=0, crosses=((1, 4),), target=target)
    model, draw, leading = small(layout), Draw(3), torch.tensor([False, True, False, False, True])
    assert model.segments.rank.tolist() == [1, 0, 1, 1 if target is None else 2, 0]
    others = [k for k in (0, 2, 3) if k != target]
    for apart in (True, False):
        share = torch.full((2000, 1), float(apart))
        hidden, learnt = hide(
            draw.uniform(2000, 5), draw.uniform(2000, 1), share, 0, model.target, 0.25, model.segments.rank == 0
        )
        some = hidden[:, leading].any(1)
        assert bool(hidden[some][:, others].all()) == apart and bool(learnt.any(1).all())
        assert 0 < float(some.float().mean()) < 1
    orders = model.unmasking()._orders(draw, 500, 5)
    assert torch.equal(orders.sort(1).values, torch.arange(5).expand(500, 5))
    assert bool(leading[orders[:, :2]].all()) and len(orders[:, 0].unique()) == 2
    assert target is None or bool((orders[:, -1] == target).all())


def test_what_two_cells_say_together_is_soon_learnt() -> None:
    draw = Draw("table")
    first, second = ((draw.uniform(4096, 1) * n).long() for n in (20, 40))
    table = (draw.uniform(800, 1)[:, 0] * 16).long()
    rows = Encoded(torch.cat([first, second, table[first * 40 + second]], 1), torch.zeros(4096, 0))
    right = []
    for crosses in ((), ((0, 1),)):
        cells = tuple(Cell(shares=(1 / n,) * n) for n in (20, 40, 16))
        model = small(Layout(cells=cells, values=0, crosses=crosses))
        fit(model, rows, 80)
        drawn = model.sample(2048, Draw(0)).cells
        right.append((drawn[:, 2] == table[drawn[:, 0] * 40 + drawn[:, 1]]).float().mean().item())
    assert right[1] > 0.8 and right[0] < 0.6


def test_rows_are_shown_some_of_their_values_and_never_all_that_they_learn() -> None:
    model = small(MIXED, evidence=0.5)
    shown = show(Draw(1).uniform(4000, 1), Draw(2).uniform(4000, 2), 2000, model.evidence)
    number = shown.sum(1)
    counts = [torch.bincount(part, minlength=3) / 2000 for part in (number[:2000], number[2000:])]
    torch.testing.assert_close(counts[0], torch.tensor([0.5 + 0.5 / 3, 0.5 / 3, 0.5 / 3]), atol=0.03, rtol=0)
    torch.testing.assert_close(counts[1], torch.tensor([0.75, 0.25, 0.0]), atol=0.03, rtol=0)
    assert not show(Draw(1).uniform(9, 1), Draw(2).uniform(9, 2), 4, 0.0).any()


def test_a_small_batch_still_learns_the_target() -> None:
    model = small(Layout(cells=MIXED.cells, values=2, target=0), target_share=0.125)
    _, loss = next(model.losses(model.players, batch(MIXED, 6), Draw(1), 0))  # an eighth of 3 rows rounds to none
    loss.backward()
    bias = model.denoiser.logits.bias.grad
    assert bias is not None and bias[:2].any() and bias[2:].any()


def test_equal_cells_stay_equal_in_samples() -> None:
    # Two copies of one fair coin: a sampler that draws both in one step gets half of the rows wrong.
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5))), values=0)
    model = small(layout)
    coin = (Draw("coin").uniform(512, 1) < 0.5).long()
    fit(model, Encoded(torch.cat([coin, coin], 1), torch.zeros(512, 0)), 150)
    drawn = model.sample(2000, Draw(0)).cells
    assert (drawn[:, 0] == drawn[:, 1]).float().mean() > 0.99
    assert abs(drawn[:, 0].float().mean() - coin.float().mean()) < 0.1  # 150 steps at a constant rate


def test_values_follow_their_cell() -> None:
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)),), values=1)
    model = small(layout)
    coin = (Draw("coin").uniform(1024, 1) < 0.5).long()
    value = torch.where(coin == 1, 1.0, -1.0) + 0.1 * Draw("spread").normal(1024, 1)
    fit(model, Encoded(coin, value), 400)
    drawn = model.sample(2000, Draw(0))
    means = [float(drawn.values[drawn.cells[:, 0] == s].mean()) for s in (0, 1)]
    assert abs(means[0] + 1) < 0.1 and abs(means[1] - 1) < 0.1
    assert float(drawn.values[drawn.cells[:, 0] == 1].std()) < 0.25


@pytest.fixture(scope="module")
def chain() -> TableDiffusion:
    """One hidden number s on [0, 1] decides on all: the target says s >= 0.5, the number 20 s, the third cell s < 0.3, the
    first value is its normal score; the second value is noise."""
    model = small(Layout(cells=MIXED.cells, values=2, target=0))
    s = Draw("s").stratified(1024, 1)
    cells = torch.cat([(s >= 0.5).long(), (s * 20).long(), (s < 0.3).long()], 1)
    fit(model, Encoded(cells, torch.cat([torch.special.ndtri(s), Draw("noise").normal(1024, 1)], 1)), 300)
    return model


def asked(rows: int, **states: list[int]) -> Given:
    """Rows that may take the named states of the cells ``target``, ``number`` and ``third``, and any of the others."""
    parts = []
    for size, name in zip(MIXED.sizes, ("target", "number", "third"), strict=True):
        allowed = torch.zeros(size)
        allowed[states.get(name, list(range(size)))] = 1
        parts.append(allowed)
    free = torch.full((rows, 2), torch.inf)
    return Given(torch.cat(parts).expand(rows, -1).clone(), -free, free)


def test_cells_are_as_asked_and_the_others_follow(chain: TableDiffusion) -> None:
    drawn = chain.sample(500, Draw(1), asked(500, target=[1])).cells
    assert bool((drawn[:, 0] == 1).all())
    assert float((drawn[:, 1] >= 10).float().mean()) > 0.95 and float(drawn[:, 2].float().mean()) < 0.05
    drawn = chain.sample(500, Draw(2), asked(500, number=[2, 3, 17])).cells
    assert set(drawn[:, 1].tolist()) == {2, 3, 17}
    assert float((drawn[:, 0] == (drawn[:, 1] == 17)).float().mean()) > 0.95


def test_cells_that_are_restricted_together_are_drawn_from_their_joint(chain: TableDiffusion) -> None:
    # Alone, 0 … 5 and 10 … 15 are as likely; with the third cell, only the first six are.
    given = asked(1000, number=[0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15], third=[1])
    drawn = chain.sample(1000, Draw(3), given).cells
    assert bool((drawn[:, 2] == 1).all()) and float((drawn[:, 1] < 6).float().mean()) > 0.95
    several = asked(1000, number=list(range(8)), target=[0])  # both known and restricted
    assert float(chain.sample(1000, Draw(4), several).cells[:, 1].float().mean()) == pytest.approx(3.5, abs=0.5)


def test_the_chance_of_a_condition_is_that_of_the_models_own_rows(chain: TableDiffusion) -> None:
    own = chain.sample(4000, Draw(5))
    low = torch.special.ndtri(torch.tensor(0.2))
    bounded = asked(400, third=[1])
    bounded.low[:, 0] = low
    number, third = own.cells[:, 1], own.cells[:, 2] == 1
    for given, met in (
        (asked(400, target=[1], third=[1]), third & (own.cells[:, 0] == 1)),
        (asked(400, number=[0, 1, 2, 3]), number < 4),
        (asked(400, number=[0, 1, 2, 3, 10, 11], third=[1]), third & ((number < 4) | (number == 10) | (number == 11))),
        (bounded, third & (own.values[:, 0] >= low)),
    ):
        chance = chain.log_chances(Draw(6), given).exp()
        assert float(chance.mean()) == pytest.approx(float(met.float().mean()), abs=0.04)
    assert not chain.log_chances(Draw(6), asked(4)).any()


def test_known_values_are_kept_and_the_cells_follow_them(chain: TableDiffusion) -> None:
    given = asked(400)
    s = Draw(7).uniform(400, 1)[:, 0]
    given.low[:, 0] = given.high[:, 0] = torch.special.ndtri(s.clamp(0.01, 0.99))
    drawn = chain.sample(400, Draw(8), given)
    assert torch.equal(drawn.values[:, 0], given.low[:, 0])
    assert float((drawn.cells[:, 1] - 20 * s).abs().mean()) < 2.5  # of 7 if they knew nothing of each other
    assert float(((s >= 0.5) == (drawn.cells[:, 0] == 1)).float().mean()) > 0.85
    assert float(drawn.values[:, 1].std()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("layout", [LAYOUTS[2], LAYOUTS[3]])
def test_tables_of_cells_alone_or_values_alone_can_be_asked_too(layout: Layout) -> None:
    free = torch.full((50, layout.values), torch.inf)
    given = Given(torch.ones(50, sum(layout.sizes)), -free, free)
    given.states[:, 1:2] = 0
    given.low[:, :1], given.low[:, 1:2], given.high[:, 1:2] = 1.5, 0.25, 0.25
    drawn = small(layout).sample(50, Draw(1), given)
    assert not drawn.cells[:, :1].any() and bool((drawn.values[:, :1] >= 1.5).all())
    assert bool((drawn.values[:, 1:2] == 0.25).all())
    chance = small(layout).log_chances(Draw(1), given).exp()
    expected = 0.5 if layout.cells else 0.0668
    torch.testing.assert_close(chance, torch.full((50,), expected), atol=1e-3, rtol=0)


def test_values_stay_within_bounds_and_rows_differ_in_what_is_asked(chain: TableDiffusion) -> None:
    given = asked(600)
    given.low[:300, 0] = 0.8
    given.states[300:450, 2:22] = 0
    given.states[300:450, 2 + 4] = 1
    drawn = chain.sample(600, Draw(9), given)
    assert float(drawn.values[:300, 0].min()) >= 0.8 and float((drawn.cells[:300, 0] == 1).float().mean()) > 0.9
    assert bool((drawn.cells[300:450, 1] == 4).all())
    free = drawn.cells[450:]
    assert float(free[:, 0].float().mean()) == pytest.approx(0.5, abs=0.15)
    again = chain.sample(600, Draw(9), given)
    assert torch.equal(again.cells, drawn.cells) and torch.equal(again.values, drawn.values)


def test_rows_of_a_rare_class_are_those_that_are_drawn_unasked() -> None:
    # No conditional of a network of random weights agrees with any other: from the class, the other cells would not follow.
    layout = Layout(
        cells=(Cell(shares=(0.92, 0.08)), Cell(shares=(0.4, 0.3, 0.2, 0.1)), Cell(shares=(0.6, 0.4))),
        values=0,
        target=0,
    )
    model = small(layout)
    for parameter in model.parameters():
        parameter.data += 0.12 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))

    assert model.denoiser.logits is not None
    model.denoiser.logits.bias.data[1] += 2.0  # else too few rows of the class are drawn unasked

    def shares(cells: torch.Tensor) -> torch.Tensor:
        return torch.bincount(cells[:, 1] * 2 + cells[:, 2], minlength=8) / len(cells)

    blocks = [model.sample(8192, Draw("unasked", block)).cells for block in range(8)]
    unasked = torch.cat(blocks)
    rare = shares(unasked[unasked[:, 0] == 1])
    states = torch.ones(4096, 8)
    states[:, 0] = 0
    none = torch.zeros(4096, 0)
    asked = model.sample(4096, Draw("asked"), Given(states, none, none)).cells
    assert bool((asked[:, 0] == 1).all())
    assert float((shares(asked) - rare).abs().sum() / 2) < 0.1  # 0.4 where one is drawn a row


def test_several_rare_classes_are_drawn_in_proportion() -> None:
    layout = Layout(cells=(Cell(shares=(0.93, 0.05, 0.02)), Cell(shares=(0.6, 0.4))), values=0, target=0)
    states = torch.ones(4096, 5)
    states[:, 0] = 0
    none = torch.zeros(4096, 0)
    drawn = small(layout).sample(4096, Draw("several"), Given(states, none, none)).cells[:, 0]
    assert float((drawn == 2).float().mean()) == pytest.approx(2 / 7, abs=0.03)  # 4 / 29 if their shares counted twice
