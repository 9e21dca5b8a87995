"""Networks whose weights stand still say what the networks say, of each row the same among any number of others."""

from __future__ import annotations

import pytest
import torch

from synth.generators import noise
from synth.generators.layout import Layout
from synth.generators.partial import Partial
from synth.generators.still import FEWEST, Still
from tests.generators.test_table_diffusion import MIXED, small

LAYOUT = Layout(cells=MIXED.cells, values=2, target=0)
CROSSED = LAYOUT.model_copy(update={"crosses": ((1, 2), (0, 1, 2))})
ROWS = 400


@pytest.fixture(scope="module", params=[LAYOUT, CROSSED], ids=["plain", "crossed"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    model = small(request.param)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def rows() -> Partial:
    source = torch.Generator().manual_seed(2)
    cells = torch.stack([torch.randint(0, size, (ROWS,), generator=source) for size in LAYOUT.sizes], 1)
    hidden = torch.rand(ROWS, len(LAYOUT.cells), generator=source) < 0.5
    shown = torch.rand(ROWS, 2, generator=source) < 0.3
    return Partial(cells, hidden, torch.randn(ROWS, 2, generator=source), shown)


@pytest.mark.parametrize("smooth", [False, True])
def test_logits_are_the_networks(model: torch.nn.Module, rows: Partial, smooth: bool) -> None:
    net, none = model.denoiser, torch.zeros(0, 2)
    first = ROWS if smooth else 0
    expected = net(rows.cells, rows.hidden, none, none[:, :1], smooth=first, evidence=rows.evidence())[0]
    for dtype, off in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        still = Still(net, model.layout, dtype)
        x = still.masked(still.shown(rows, smooth=smooth))
        found = torch.cat([still.logits(x, cell) for cell in range(len(LAYOUT.cells))], 1)
        torch.testing.assert_close(found, expected, rtol=0, atol=off)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 80.0])
def test_denoised_values_are_the_networks(model: torch.nn.Module, rows: Partial, sigma: float) -> None:
    noisy = sigma * torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(3))
    level = torch.full((ROWS, 1), sigma)
    raw = model.denoiser(rows.cells, rows.hidden[:0], noisy, level, evidence=rows.evidence())[1]
    seen = Partial(rows.cells, torch.zeros_like(rows.hidden), rows.values, rows.shown)
    for dtype, off in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        still = Still(model.denoiser, model.layout, dtype)
        found = still.denoised(still.shown(seen), noisy, sigma)
        torch.testing.assert_close(found, noise.denoised(raw, noisy, level), rtol=0, atol=off)


def test_a_cell_that_turns_out_is_added_to_what_is_shown(model: torch.nn.Module, rows: Partial) -> None:
    still = Still(model.denoiser, model.layout)
    partial = Partial(rows.cells, rows.hidden.clone(), rows.values, rows.shown)
    shown = still.shown(partial)
    for cell in (0, 2, 1):
        mine = partial.hidden[:, cell].nonzero()[:, 0]
        partial.hidden[mine, cell] = False
        still.reveal(shown, partial, mine, torch.full_like(mine, cell))
        torch.testing.assert_close(shown, still.shown(partial))
    assert not bool(partial.hidden.any())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_row_comes_out_the_same_among_any_number_of_others(
    model: torch.nn.Module, rows: Partial, dtype: torch.dtype, threads: int
) -> None:
    still, usual = Still(model.denoiser, model.layout, dtype), torch.get_num_threads()
    noisy = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(3))
    torch.set_num_threads(threads)
    try:
        whole = still.masked(still.shown(rows)), still.denoised(still.shown(rows), noisy, 0.5)
        logits = still.logits(whole[0], 1)
        for count in [*range(FEWEST, 40), 63, 100, 128, 129, 256, 391]:
            part = slice(5, 5 + count)
            few, shown = whole[0][part], still.shown(rows.take(torch.arange(5, 5 + count)))
            assert torch.equal(still.masked(shown), few), count
            assert torch.equal(still.denoised(shown, noisy[part], 0.5), whole[1][part]), count
            assert torch.equal(still.logits(few, 1), logits[part]), count
    finally:
        torch.set_num_threads(usual)
