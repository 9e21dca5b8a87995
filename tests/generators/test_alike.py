"""Rows that are alike are found, for as long as enough of them are."""

from __future__ import annotations

import torch

from synth.generators.alike import Alike
from synth.generators.partial import Partial
from tests.generators.test_table_diffusion import MIXED


def test_rows_are_alike_while_the_same_is_known_of_them() -> None:
    alike = Alike.of(Partial.blank(MIXED, 6, torch.device("cpu")))
    assert alike is not None and alike.first.tolist() == [0] and not alike.group.any()
    # The first cell of two rows, the second of the others; the state 1 of one is not that of the other.
    after = alike.after(torch.tensor([0, 0, 1, 1, 1, 1]), torch.tensor([1, 1, 1, 7, 7, 1]))
    assert after is not None and len(after.first) == 3
    assert after.group[0] == after.group[1] and after.group[2] == after.group[5] and after.group[3] == after.group[4]
    assert torch.equal(after.group[after.first], torch.arange(3))
    assert after.after(torch.tensor([1, 1, 0, 0, 0, 0]), torch.tensor([0, 1, 0, 0, 1, 1])) is None, "all differ"


def test_rows_of_which_something_is_known_may_not_be() -> None:
    for name in ("hidden", "shown"):
        partial = Partial.blank(MIXED, 6, torch.device("cpu"))
        getattr(partial, name)[3, 1] = name == "shown"
        assert Alike.of(partial) is None
    assert Alike.of(Partial.blank(MIXED, 0, torch.device("cpu"))) is None
