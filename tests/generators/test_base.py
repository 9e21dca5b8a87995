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
