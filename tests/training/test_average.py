"""The averaged weights against their closed form."""

from __future__ import annotations

import pytest
import torch

from synth.training.engine import Average


def test_average_of_a_line_is_what_the_recursion_says() -> None:
    player = torch.nn.Linear(1, 1, bias=False)
    average, expected = Average([player.weight], decay=0.9), player.weight.item()
    for step in range(50):
        with torch.no_grad():
            player.weight.fill_(float(step))
        average.update()
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * step
    assert average.shards[0].item() == pytest.approx(expected, rel=1e-5)
    assert player.weight.item() == 49.0
