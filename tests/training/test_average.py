"""The averaged weights against their closed form."""

from __future__ import annotations

import pytest
import torch

from synth.training.engine import Average


def test_average_of_a_line_is_what_the_recursion_says() -> None:
    player = torch.nn.Linear(1, 1, bias=False)
    average, expected = Average(player, decay=0.9), float(player.weight)
    for step in range(50):
        with torch.no_grad():
            player.weight.fill_(float(step))
        average.update()
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * step
    assert average.shards[0].item() == pytest.approx(expected, rel=1e-5)
    assert float(player.weight) == 49.0


def test_state_survives_a_round_trip() -> None:
    first, second = (Average(torch.nn.Linear(3, 2), decay=0.99) for _ in range(2))
    for _ in range(4):
        first.update()
    second.load_state_dict(first.state_dict())
    assert second.steps == 4 and all(torch.equal(a, b) for a, b in zip(first.shards, second.shards, strict=True))
