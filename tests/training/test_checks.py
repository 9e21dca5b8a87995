"""When a run is looked at, on how many rows, and what is kept of it; alone, a worker needs no cluster for that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from synth.generators.base import Draw, Generator
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training.checks import Checks
from synth.training.engine import Average
from synth.training.shards import Fragment

LAYOUT, CPU = Layout(cells=(), values=2), torch.device("cpu")


class Gaussian(Generator):
    """Draws what real rows are at a ``spread`` of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1, bias=False)
        self.said = ["one thing"]
        self.drawn: list[int] = []

    @property
    def players(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net}

    def sample(self, rows: int, draw: Draw) -> Encoded:
        assert not self.training
        self.drawn.append(rows)
        values = draw.normal(rows, 2) * self.net.weight.detach().item()
        return Encoded(torch.zeros(rows, 0, dtype=torch.long), values)

    def losses(self, call: Any, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, torch.Tensor]]:
        """The distance of what is drawn at the ``spread`` from the real spread, and what rows and noise add to it."""
        assert not torch.is_grad_enabled() and len(batch.values) > 1
        noise = draw.normal(len(batch.values), 2).mean() + batch.values.mean()
        yield "net", (self.net.weight.squeeze() - 1).abs() + noise

    def remarks(self, batch: Encoded) -> list[str]:
        assert batch.cells.dtype == torch.long and batch.values.dtype == torch.float32
        return self.said


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = tmp_path_factory.mktemp("dist") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def checks(rows: int = 2000, rank: int = 0, **training: Any) -> Checks:
    values = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    halves = [Encoded(np.empty((rows // 2, 0), np.int32), half) for half in np.split(values, 2)]
    watched = {"count": rows, "rows": halves, "part": "select", "left_out": 7}
    recipe = Recipe.model_validate({"training": {"steps": 100, "warmup": 5, **training}})
    return Checks(recipe, Gaussian(), LAYOUT, watched, CPU, rank, 1)


def look(found: Checks, step: int, spread: float, elapsed: float = 1e6) -> Any:
    """A check with an averaged weight of ``spread``."""
    found.add(1 / step, 1)
    weight = torch.full((1, 1), spread)
    fragment = Fragment("weight", weight.shape, 0, weight, slice(0, 1), weight)
    return found.look(step, step / 100, elapsed, {"net": [fragment]}, {"net": Average([weight.view(-1)], 0.9)})


@pytest.mark.parametrize(("total", "number"), [(100, 10), (7, 3), (5, 10), (29, 100), (1000, 7)])
def test_checks_lie_evenly_and_the_last_at_the_end(total: int, number: int) -> None:
    found, step, steps = checks(checks=number), 0, list[int]()
    while step < total:
        step = found.until(step + 4, total)
        if found.due(step / total):
            while found.due(step / total):
                found.passed += 1
            steps.append(step)
    assert steps == sorted({-(-total * (i + 1) // number) for i in range(number)})


@pytest.mark.parametrize("found", [checks(checks=0), checks(rows=18), checks(rank=1, checks=0)])
def test_nothing_is_looked_at_without_checks_or_rows(found: Checks) -> None:
    assert not found.due(1.0) and found.until(50, 60) == 50 and found.generator is None
    assert found.coverage is None and found.state()["watched"] is None


def test_what_is_found_is_kept_and_told_at_the_end() -> None:
    found = checks()
    first = look(found, 10, 1.0)
    assert first.at_best and first.collapse is None and first.notes == []
    assert found.coverage == pytest.approx(1, abs=0.03)
    resumed = checks()
    resumed.restore(json.loads(json.dumps(found.state())))
    assert resumed.state() == found.state()
    for run in (found, resumed):  # the same real rows, and the same address of the noise
        second = look(run, 20, 0.5)
        assert not second.at_best and second.notes == []
    assert resumed.state() == found.state()
    [one, two] = found.state()["watched"]["checks"]
    assert (one["step"], two["step"], two["loss"]) == (10, 20, 0.05) and two["coverage"] < 0.9 * one["coverage"]
    assert found.state()["watched"]["left_out"] == 7
    third, fourth = look(found, 30, 0.5), look(found, 40, 0.5)
    assert third.collapse is None and third.notes == []
    assert fourth.collapse is not None and fourth.collapse.startswith("collapse at step 40: coverage")
    assert fourth.notes == ["step 40: one thing"]  # where a run ends


def test_rows_are_as_many_as_the_time_allows() -> None:
    plenty, little = checks(), checks()
    look(plenty, 10, 1.0)
    look(little, 10, 1.0, elapsed=1e-9)
    assert [run.state()["watched"]["rows"] for run in (plenty, little)] == [1000, 100]
    few = checks(rows=60, batch=16)
    look(few, 10, 1.0)
    assert few.state()["watched"]["rows"] == 30
    assert isinstance(few.generator, Gaussian) and few.generator.drawn[-2:] == [16, 14]  # blocks as large as a batch


def test_what_initial_weights_cover_is_no_best_to_fall_from() -> None:
    found = checks(warmup=20)
    assert [look(found, step, 1.0).at_best for step in (10, 20)] == [False, False] and found.collapse.best is None
    assert look(found, 30, 0.5).at_best and len(found.state()["watched"]["checks"]) == 3


def test_a_run_that_ends_with_little_says_so() -> None:
    assert look(checks(checks=1), 100, 1.0).notes == ["step 100: one thing"]
    [_, told] = look(checks(checks=1), 100, 0.1).notes
    assert told.startswith("step 100: samples cover 0.") and told.endswith("a collapse onto few modes")
    [_, wide] = look(checks(checks=1), 100, 30.0).notes  # far out
    assert wide.startswith("step 100: samples cover 0.") and wide.endswith("most was not learnt")
    found = checks()
    look(found, 10, 1.0)
    [*_, fewer] = look(found, 100, 0.3).notes
    assert fewer.endswith("a collapse, since they had 100% of the modes at step 10")


def test_a_run_that_keeps_to_few_modes_from_the_start_is_ended() -> None:
    found = checks()
    looks = [look(found, step, 0.05) for step in range(10, 101, 10)]
    ended = [one.collapse is not None for one in looks]
    assert ended == [False] * 7 + [True] * 3  # the first after half of it, and three more
    assert looks[7].collapse is not None
    assert looks[7].collapse.startswith("collapse at step 80: samples cover 0.")
    assert looks[7].collapse.endswith("and neither has risen since step 50")
    resumed = checks()
    resumed.restore(json.loads(json.dumps(found.state())))
    assert resumed.modes == found.modes and resumed.modes.stuck == 5


def test_other_random_numbers_are_left_alone() -> None:
    found, before = checks(), torch.get_rng_state()
    look(found, 10, 1.0)
    assert torch.equal(torch.get_rng_state(), before)


def timed(**training: Any) -> Checks:
    """Of a run of 100 s."""
    return checks(**{"steps": None, "budget_s": 100.0, "early": True} | training)


def course(found: Checks, spreads: Sequence[float]) -> list[Any]:
    """What looks found, each after 5 % of the training at a constant rate of the learning."""
    said = []
    for k, spread in enumerate(spreads, 1):
        found.add(1 / k, 1)
        weight = torch.full((1, 1), spread)
        fragment = Fragment("weight", weight.shape, 0, weight, slice(0, 1), weight)
        said.append(found.look(100 * k, k / 20, 5.0 * k, {"net": [fragment]}, {"net": Average([weight.view(-1)], 0.9)}))
    return said


def test_the_loss_on_other_rows_says_when_more_time_buys_nothing() -> None:
    found = timed()
    said = course(found, [1.4, 1.2, 1.1, 1.15, 1.2, 1.25])
    assert [one.enough is None for one in said] == [True] * 5 + [False]
    told = said[-1].enough
    assert told is not None and told.startswith("step 600: the loss on ") and " rows of select has risen: " in told
    assert told.endswith("so the learning rate begins to fall, and about 25 of 100 s will be left")
    assert found.passed == 8 and [one.at_best is None for one in said] == [True, False] * 3
    losses = found.state()["watched"]["losses"]
    assert [look["step"] for look in losses] == [100, 200, 300, 400, 500, 600]
    assert losses[2]["loss"] == pytest.approx(losses[0]["loss"] - 0.3) and 0 < losses[0]["error"] < 0.1
    resumed = timed()
    resumed.restore(json.loads(json.dumps(found.state())))
    assert resumed.state() == found.state() and resumed.held is not None
    assert found.held is not None and resumed.held.size == found.held.size


def test_where_the_rate_falls_what_is_left_is_halved() -> None:
    found = timed()
    course(found, [1.4, 1.2, 1.1, 1.1, 1.1, 1.1])
    assert found.early.acted == 1  # it falls no longer
    weights = [torch.full((1, 1), spread) for spread in (1.2, 1.3, 1.4)]
    for k, weight in enumerate(weights):
        fragment = Fragment("weight", weight.shape, 0, weight, slice(0, 1), weight)
        average = {"net": Average([weight.view(-1)], 0.9)}
        found.add(1.0, 1)
        said = found.look(700 + 100 * k, 0.5 + k / 10, 35.0 + 5 * k, {"net": [fragment]}, average, falling=True)
    assert said.enough is not None and said.enough.endswith(
        "so half of what was left is left out, and about 45 of 100 s will be left"
    )
    assert found.passed == 16  # of 20, as 900 of 1,093 steps are done


@pytest.mark.parametrize("found", [timed(early=False), timed(checks=0), checks(), checks(early=True), timed(rows=38)])
def test_the_loss_is_left_alone_where_it_decides_nothing(found: Checks) -> None:
    assert found.every == 1 and found.held is None


def test_what_was_learnt_from_and_what_is_only_judged_say_nothing() -> None:
    recipe = Recipe.model_validate({"training": {"budget_s": 100, "early": True}})
    values = np.zeros((400, 2), np.float32)
    for part, judges, every in (("select", (), 2), ("train", (), 1), ("select", ("critic",), 1)):
        model = Gaussian()
        model.judges = judges  # type: ignore[misc]
        watched = {"count": 400, "rows": [Encoded(np.empty((400, 0), np.int32), values)], "part": part, "left_out": 0}
        assert Checks(recipe, model, LAYOUT, watched, CPU, 0, 1).every == every
