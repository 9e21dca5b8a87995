"""Randomness is addressed."""

from __future__ import annotations

import torch

from synth.generators.base import Draw


def test_the_same_address_gives_the_same_numbers_and_another_gives_others() -> None:
    assert torch.equal(Draw(1, "a", 2).normal(5, 3), Draw(1, "a", 2).normal(5, 3))
    assert not torch.equal(Draw(1, "a", 2).normal(5, 3), Draw(1, "a", 3).normal(5, 3))
    assert not torch.equal(Draw(1, "a", 2).normal(5, 3), Draw(12, "a").normal(5, 3))


def test_global_random_state_is_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Draw(0).uniform(4, 4)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, Draw(0).uniform(4, 4))


def test_parts_of_a_batch_get_the_noise_that_the_whole_would() -> None:
    whole = Draw(3, "step").normal(12, 2)
    for world in (1, 2, 3):
        for rank in range(world):
            part = slice(rank, None, world)
            assert torch.equal(Draw(3, "step", part=part, total=12).normal(12 // world, 2), whole[part])


def test_local_numbers_are_of_the_device_and_depend_on_the_address_and_no_worker() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = Draw(3, "step", device=device, local=True)
    numbers, kept = whole.normal(12, 2), whole.kept(12, 9, 0.25)
    assert numbers.device.type == kept.device.type == device.type
    assert (device.type == "cpu") == torch.equal(numbers.cpu(), Draw(3, "step").normal(12, 2))
    for rank in range(3):
        part = slice(rank, None, 3)
        mine = Draw(3, "step", device=device, part=part, total=12, local=True)
        assert torch.equal(mine.normal(4, 2), numbers[part]) and torch.equal(mine.kept(4, 9, 0.25), kept[part])


def test_stratified_numbers_fill_every_stratum_once_and_in_no_order() -> None:
    drawn = Draw("strata").stratified(1000, 3)
    assert torch.equal((drawn.double() * 1000).long().sort(0).values, torch.arange(1000)[:, None].expand(-1, 3))
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.1
    assert abs(float(drawn[:-1, 0] @ drawn[1:, 0]) / 999 - 0.25) < 0.02
    many = Draw("many").stratified(2**20, 1)
    assert float(many.min()) > 0 and float(many.max()) < 1  # the ends would be infinite as normal numbers


def test_the_greatest_of_logits_and_gumbel_numbers_is_a_draw_by_them() -> None:
    shares = torch.tensor([0.6, 0.3, 0.1])
    drawn = (shares.log() + Draw("gumbel").gumbel(20_000, 3)).argmax(1)
    torch.testing.assert_close(drawn.bincount() / 20_000, shares, atol=0.01, rtol=0)


def test_dropout_drops_its_share_and_parts_of_a_batch_agree() -> None:
    kept = Draw("kept").kept(400, 101, 0.25)
    assert kept.shape == (400, 101) and kept.dtype == torch.bool
    assert abs(float(kept.float().mean()) - 0.75) < 0.01
    assert Draw("kept").kept(4, 9, 0.0).all()
    assert torch.equal(Draw("kept", part=slice(1, None, 2), total=400).kept(200, 101, 0.25), kept[1::2])
