"""How a budget is spent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.errors import UserError
from synth.training.room import cpus_each
from tuning.plan import FACTOR, plan

HERE = [(2, 0)]


@settings(deadline=None)  # a busy machine
@given(
    st.floats(300, 1e6), st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), min_size=1, max_size=5),
    st.integers(1, 4), st.sampled_from([None, 1, 7, 500]), st.sampled_from([1e6, 1e12]),
)  # fmt: skip
def test_all_fits_into_the_budget_and_on_the_nodes(
    budget: float, nodes: list[tuple[int, int]], workers: int, trials: int | None, size: float
) -> None:
    try:
        found = plan(budget, nodes, workers=workers, trials=trials, size=size)
    except UserError:
        with pytest.raises(UserError, match="the cluster has"):
            cpus_each(nodes, workers)
        return
    assert found.search_s + found.ways_s + found.last_s < budget / 1.5, "most is for the last training"
    assert 1 <= found.long <= found.slots
    assert found.rungs[-1] < found.search_s
    assert found.least_s <= found.search_s + 0.1
    assert all(b / a == pytest.approx(FACTOR, rel=0.02) for a, b in zip(found.rungs, found.rungs[1:], strict=False))
    fit = [
        min(cpus // found.cpus, int(gpus / found.gpus)) if found.gpus else cpus // found.cpus for cpus, gpus in nodes
    ]
    assert sum(fit) >= found.slots * workers, "each worker stays on one node"
    fit = [
        min(cpus // found.long_cpus, round(gpus / found.long_gpus)) if found.long_gpus else cpus // found.long_cpus
        for cpus, gpus in nodes
    ]
    assert sum(fit) >= found.long * workers
    assert found.long_cpus >= found.cpus, "fewer at once have more each"


def test_a_longer_budget_buys_more_trials_and_longer_ones() -> None:
    short, long = plan(600, HERE), plan(36_000, HERE)
    assert long.trials > 2 * short.trials
    assert long.rungs[-1] > 2 * short.rungs[-1]


def test_trials_never_ask_for_more_than_there_is() -> None:
    found = plan(1800, [(16, 4)], workers=2, size=100)
    assert (found.slots, found.cpus, found.gpus) == (2, 4, 1.0)


def test_a_head_without_a_gpu_lends_its_cpus_to_nobody() -> None:
    found = plan(1800, [(8, 0), (3, 1), (3, 1)])
    assert (found.slots, found.cpus) == (2, 3)


def test_trials_on_a_small_table_share_a_gpu() -> None:
    found = plan(1800, [(16, 2)], size=1e6)
    assert (found.slots, found.cpus, found.gpus) == (8, 2, 0.25)
    assert plan(1800, [(16, 2)], size=1e12).slots == 2
    assert plan(1800, [(3, 1)], size=1e6).slots == 3


def test_a_team_that_fits_nowhere_is_refused_before_it_waits() -> None:
    with pytest.raises(UserError, match="--workers 4: the cluster has 2 CPUs"):
        plan(1800, HERE, workers=4)


def test_fewer_trials_are_longer() -> None:
    assert plan(1800, HERE, trials=4).rungs[0] > plan(1800, HERE, trials=20).rungs[0]


@pytest.mark.parametrize("wanted", [20, 40, 80])
def test_as_many_trials_fit_as_are_wanted(wanted: int) -> None:
    assert plan(6 * 3600, HERE, trials=wanted).trials == pytest.approx(wanted, abs=1)


def test_those_that_are_trained_for_longer_have_the_cluster_to_themselves() -> None:
    found = plan(1800, [(16, 0)])
    assert (found.slots, found.cpus, found.long, found.long_cpus) == (16, 1, 3, 5)
    found = plan(1800, [(16, 1)], size=100)
    assert (found.slots, found.long, found.long_gpus) == (4, 3, 1 / 3)
    found = plan(1800, [(16, 4)], size=100)
    assert (found.slots, found.long, found.long_gpus) == (16, 3, 1.0)


def test_a_budget_too_small_says_which_would_do() -> None:
    for cpus in (1, 2, 64):
        with pytest.raises(UserError, match=r"--budget 30s: is too small .* give (\d)m or more") as error:
            plan(30, [(cpus, 0)])
        enough = int(str(error.value).partition("give ")[2].partition("m")[0]) * 60
        found = plan(enough, [(cpus, 0)])
        assert found.slots * found.search_s >= 2 * found.least_s - 0.1
