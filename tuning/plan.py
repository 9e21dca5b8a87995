"""How a budget is spent: how many trials at once, how long each, and what is left for the best.

Of the time that is left beside starts and scores a third goes to the search, and a tenth to ways of sampling what it finds,
once the best recipes and the default are trained side by side for the rest. In the search, trials are stopped early by
successive halving: all get the first rung, a third of them the second, three times as long, and so on. With the first rung
growing as the square root of what there is to spend, a longer budget buys both more trials and longer ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from synth.errors import UserError
from synth.training.room import Node, cpus_each, spread

SEARCH, WAYS = 0.3, 0.1  # shares of the time that is left for trials, and for ways of sampling the trained models
FACTOR = 3  # of one rung to the next, and of the trials that reach one to those that reach the next
RUNGS = 3
GROWTH = 1.4  # of the first rung, in √s
LONGEST = 0.4  # share of the search that one trial takes, at most: the best are trained for longer afterwards anyway
LEAST_LONG, LONG = 2, 3  # recipes that are trained for longer, the default among them; the most where there is room
SHORTEST_S = 8.0  # a first rung below which a trial is mostly its start
START_S, TRIAL_S = 20.0, 10.0  # what the study takes to start, and a trial
MEMBERS, SEGMENTS = 4, 5  # of a population, at least, and of each of its members
LEAST_S = 45.0  # for finalists and certificate
SHARE = 0.1  # of a long budget, for the same
CROWD, SMALL = 4, 1 << 28  # trials that share a GPU where the encoded table has so few bytes
# Of a sample that is scored: as many as a short search can afford to draw, and no more where a longer one could.
ROWS_PER_S, LONG_ROWS_PER_S, FEWEST_ROWS, MOST_ROWS = 2.0, 6.0, 1_000, 10_000


@dataclass(frozen=True)
class Plan:
    """``slots`` trials at once, of ``workers`` workers with ``cpus`` and ``gpus``, or a share of one, each; ``rungs``: seconds
    of training after which a trial is scored, the last of them its end; ``rows`` of each sample that is scored in the search,
    ``long_rows`` of those afterwards; ``search_s`` seconds of search, ``ways_s`` for ways of sampling, ``last_s`` for what
    comes after. ``long`` recipes are trained for longer at once, with ``long_cpus`` and ``long_gpus`` for each worker."""

    slots: int
    workers: int
    cpus: int
    gpus: float
    rungs: tuple[float, ...]
    rows: int
    long_rows: int
    search_s: float
    ways_s: float
    last_s: float
    long: int
    long_cpus: int
    long_gpus: float

    def segments(self) -> tuple[int, float]:
        """Of a population: how many members, and the seconds of training of each of their segments."""
        members = max(MEMBERS, self.slots)
        whole = self.slots * self.search_s / members
        return members, round(max(whole / SEGMENTS - TRIAL_S, SHORTEST_S), 1)

    @property
    def least_s(self) -> float:
        """Seconds in which a trial that begins is sure to reach the first rung."""
        return self.rungs[0] + TRIAL_S

    @property
    def until_s(self) -> float:
        """Seconds after its start that a study searches."""
        return START_S + self.search_s

    @property
    def trials(self) -> int:
        """About how many fit into the search, where each rung keeps its share."""
        mean, kept, before = TRIAL_S, 1.0, 0.0
        for rung in self.rungs:
            mean += kept * (rung - before)
            kept, before = kept / FACTOR, rung
        return max(1, int(self.slots * self.search_s / mean))


def plan(
    budget_s: float, nodes: Sequence[Node], *, workers: int = 1, trials: int | None = None, size: float = math.inf
) -> Plan:
    """A plan for a cluster of ``nodes``, of so many CPUs and GPUs each. ``trials``: about how many to make room for;
    ``size``: bytes of the encoded table.

    Raises UserError where the workers of a trial fit nowhere, and where the budget is too small for one trial beside the
    default recipe, with the least that will do.
    """
    # A small table leaves most of a GPU idle; the workers of a team have one of their own each, as NCCL insists on it.
    crowd = CROWD if size <= SMALL and workers == 1 else 1
    slots, each = spread([(cpus, gpus * crowd) for cpus, gpus in nodes], workers)
    last = max(LEAST_S, SHARE * budget_s)
    left = budget_s - START_S - last
    search, least = SEARCH * left, max(1.0, 2 / slots) * (SHORTEST_S + TRIAL_S)
    if search < least:
        raise UserError(
            f"--budget {budget_s:g}s: is too small for the default recipe and one trial beside it, which is no search; give "
            f"{math.ceil((least / SEARCH + START_S + LEAST_S) / 60)}m or more, or train the default: artesian train"
        )
    first = GROWTH * math.sqrt(slots * search)
    if trials is not None:  # what each of them has on average, less its start, over what a rung costs on average
        first = (slots * search / trials - TRIAL_S) / (1 + (RUNGS - 1) * (FACTOR - 1) / FACTOR)
    first = min(max(first, SHORTEST_S), search - TRIAL_S)
    rungs = [first * FACTOR**k for k in range(RUNGS)]
    fitting = [rung for rung in rungs if rung <= max(LONGEST * search, first)]
    rows, long_rows = (
        min(max(int(each_s * budget_s), FEWEST_ROWS), MOST_ROWS) for each_s in (ROWS_PER_S, LONG_ROWS_PER_S)
    )
    total = sum(gpus for _, gpus in nodes)
    long = min(slots, LONG)
    share = math.ceil(long * workers / total) if total else 1  # of those that are trained for longer, on one GPU
    return Plan(
        slots, workers, each, 1 / crowd if total else 0.0, tuple(round(rung, 1) for rung in fitting), rows, long_rows, search,
        WAYS * left, last, long, cpus_each([(cpus, gpus * share) for cpus, gpus in nodes], long * workers),
        1 / share if total else 0.0,
    )  # fmt: skip
