"""The table diffusion model: its losses, its sampler, and that it learns joint distributions it must not factorise."""

from __future__ import annotations

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.table_diffusion import TableDiffusion, balance

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)
LAYOUTS = [
    MIXED,
    Layout(cells=MIXED.cells, values=2, target=0),
    Layout(cells=MIXED.cells, values=0),
    Layout(cells=(), values=3),
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


def test_cross_entropy_equals_torch_cell_by_cell() -> None:
    model = small(MIXED)
    rows = batch(MIXED)
    logits = torch.randn(64, sum(MIXED.sizes))
    expected = [
        torch.nn.functional.cross_entropy(part, rows.cells[:, c], reduction="none")
        for c, part in enumerate(logits.split(MIXED.sizes, 1))
    ]
    torch.testing.assert_close(model._cross_entropy(logits, rows.cells), torch.stack(expected, 1))


def test_the_target_is_seen_by_no_other_cell_and_the_others_alone_decide_on_it() -> None:
    layout = Layout(cells=MIXED.cells, values=2, target=0)
    model = small(layout)
    hidden = model._hide(Draw(3), 500, 3)
    others = hidden[:, 1:].sum(1)
    assert not hidden[:, 0].any() and int(others.min()) == 1 and int(others.max()) == 2
    sign = Draw("sign").uniform(1024, 1)
    number = (sign * 20).long()
    rows = Encoded(torch.cat([(number >= 10).long(), number, (sign < 0.3).long()], 1), torch.zeros(1024, 2))
    fit(model, rows, 200)
    drawn = model.sample(2000, Draw(0)).cells
    assert ((drawn[:, 1] >= 10) == (drawn[:, 0] == 1)).float().mean() > 0.95


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
