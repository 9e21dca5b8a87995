"""Where workers fit, and would if nodes were started."""

from __future__ import annotations

import pytest

from cluster.autoscaler import NodeType
from synth.errors import UserError
from synth.training.room import cpus_each


@pytest.mark.parametrize(
    ("nodes", "workers", "each"),
    [
        ([(2, 0)], 1, 2),
        ([(8, 0), (8, 0)], 3, 4),
        ([(3, 0), (5, 0)], 2, 3),
        ([(64, 0), (8, 1)], 1, 8),  # the head has no GPU, so none of its CPUs counts
        ([(16, 0), (8, 2), (8, 2)], 4, 4),
        ([(4, 8)], 4, 1),
        ([(0, 0), (6, 0)], 4, 1),
    ],
)
def test_workers_get_the_most_that_fits_on_nodes(nodes: list[tuple[int, int]], workers: int, each: int) -> None:
    assert cpus_each(nodes, workers) == each


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([(3, 0), (5, 0)], "8 CPUs and 0 GPUs on 2 node.*room for 8 .*--workers 8 or fewer"),
        ([(64, 0), (2, 4)], "66 CPUs and 4 GPUs on 2 node.*room for 2 .*GPU.*--workers 2 or fewer"),
        ([(8, 0), (0, 2)], "room for 0 .*add nodes"),
        ([], "0 CPUs.*add nodes"),
    ],
)
def test_workers_that_fit_nowhere_are_refused(nodes: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(UserError, match=f"--workers 9: .*{message}"):
        cpus_each(nodes, 9)


def test_nodes_to_be_started_count() -> None:
    head, gpu = (0, 0), NodeType("gpu", 8, 1, most=2)
    assert cpus_each([head], 2, [gpu]) == 8
    with pytest.raises(
        UserError,
        match=r"--workers 3: the cluster has 0 CPUs and 0 GPUs on 1 node\(s\) and can start up to "
        r"2 × gpu \(8 CPUs, 1 GPUs\), room for 2 workers of a CPU and a GPU each; give --workers 2 or fewer",
    ):
        cpus_each([head], 3, [gpu])
