"""Who is a finalist, and which one is chosen."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from synth.data.codec import Fit
from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError
from synth.generators.families import build
from synth.recipe import Recipe
from tests.tuning.test_halving import trial
from tests.tuning.test_search import study
from tuning import finalists, insight
from tuning.finalists import Found, choose, compared
from tuning.kept import MODELS, Kept
from tuning.objective import Objective, Score


def found(number: int, *values: float, rows: float = 0.0) -> Found:
    """A finalist whose draws have these values; ``rows``: how far its own resamples of the rows are off."""
    noise = rows * np.random.default_rng(number).normal(size=200)
    scores = [Score(v, 0.01, 1.0, 0.0, v + noise) for v in values]
    return Found(trial(number, 0.5), Kept({}, None, {"step": 7, "elapsed_s": 9.0, "cpu_s": 8.0}), scores)  # type: ignore[arg-type]


def test_the_best_five_are_finalists_and_the_default_always() -> None:
    of = study()
    of.trials = [trial(k, 0.1 * k) for k in range(8)] + [trial(8)]
    assert [t.number for t in finalists.of(of)] == [0, 7, 6, 5, 4]
    of.trials[7].state = "failed"
    assert [t.number for t in finalists.of(of)] == [0, 6, 5, 4, 3]
    of.trials[0].state = "failed"
    assert [t.number for t in finalists.of(of)] == [0, 6, 5, 4, 3], "as far as it came"
    of.trials[0].curve = []
    assert [t.number for t in finalists.of(of)] == [6, 5, 4, 3, 2]


def test_of_several_objectives_those_on_the_front_come_first() -> None:
    of = study("utility", "coverage")
    of.trials = [trial(k, 0.1 * k) for k in range(8)]
    for number, coverage in ((1, 0.9), (2, 0.8)):  # less useful than others, and of all they cover the most
        of.trials[number].curve[-1].score.coverage = coverage
    for number in (0, 3, 4, 5, 6, 7):
        of.trials[number].curve[-1].score.coverage = 0.5
    assert [t.number for t in finalists.of(of)] == [0, 7, 2, 1, 6]


def test_what_was_trained_for_longer_comes_first_with_the_best_way_to_sample_each() -> None:
    of = study()
    of.trials = [trial(k, 0.1 * k) for k in range(4)]
    for parent, origin, value in (
        (0, "longer", 0.5), (3, "longer", 0.6), (4, "sampling", 0.61), (4, "sampling", 0.7), (5, "sampling", 0.65),
    ):  # fmt: skip
        number = len(of.trials)
        of.trials.append(trial(number, value).model_copy(update={"origin": origin, "parent": parent}))
    assert [t.number for t in finalists.of(of)] == [4, 5, 7, 8, 3]
    default = insight.default(of)
    assert default is not None and default.number == 4
    of.trials[4].state = "failed"
    assert finalists.of(of)[0].number == 0, "the default as far as the search trained it"


def test_a_recipe_that_is_better_by_more_than_its_error_is_chosen() -> None:
    listed = compared([found(0, 0.90, 0.90, 0.91), found(1, 0.95, 0.95, 0.95), found(2, 0.80, 0.81, 0.80)])
    assert [f.trial for f in listed] == [1, 0, 2]
    assert listed[1].behind == pytest.approx(0.95 - 0.9033, abs=1e-3)
    chosen = choose(listed, 0)
    assert (chosen.trial, chosen.released) == (1, True)
    assert "above the default recipe" in chosen.why


def test_what_is_chosen_without_the_default_is_not_called_it() -> None:
    chosen = choose(compared([found(1, 0.95, 0.95, 0.95), found(2, 0.80, 0.81, 0.80)]), None)
    assert chosen.why == "the best of 2 finalists on confirm; of the default recipe there is no score"


@pytest.mark.parametrize(("draws", "rows"), [(0.05, 0.0), (0.0, 0.03)])
def test_the_default_is_chosen_where_the_difference_may_be_chance(draws: float, rows: float) -> None:
    values = [np.array([0.9, 0.9 + draws, 0.9 - draws]) + shift for shift in (0.0, 0.01)]
    listed = compared([found(0, *values[0], rows=rows), found(1, *values[1], rows=rows)])
    assert choose(listed, 0).trial == 0
    assert not listed[0].released


def test_rows_that_are_hard_for_all_do_not_make_a_difference_unsure() -> None:
    shared = 0.1 * np.random.default_rng(0).normal(size=200)
    pair = [
        f._replace(scores=[Score(s.utility, 0.1, 1.0, 0.0, s.utility + shared) for s in f.scores])
        for f in (found(0, 0.90, 0.90, 0.90), found(1, 0.91, 0.91, 0.91))
    ]
    listed = compared(pair)
    assert listed[1].behind_error == pytest.approx(0, abs=1e-9)
    assert listed[1].error > 0.05
    assert choose(listed, 0).trial == 1


def planted() -> tuple[Objective, Objective, list[tuple[Recipe, Kept]]]:
    """A table; what select says of it, poisoned by rows whose class means the reverse, and what confirm says; and two models
    of the table, of which one has learnt that reverse."""
    rng = np.random.default_rng(0)

    def rows(count: int, sign: int) -> pa.Table:
        x = rng.normal(size=count).clip(-2, 2)
        return pa.table({"x": x, "y": pa.array(np.where(sign * x + 0.3 * rng.normal(size=count) > 0, "up", "down"))})

    real = pa.concat_tables([rows(800, 1), pa.table({"x": [-2.0, 2.0], "y": ["down", "up"]})])
    schema = infer(open_source(real), target="y")
    fit = Fit(schema)
    fit.update(real.combine_chunks().to_batches()[0])
    recipe = Recipe.check({"target": "y", "diffusion": {"width": 32, "blocks": 1, "steps": 4, "dropout": 0.0}})
    codec = fit.finish(**recipe.codec.model_dump())
    models = []
    for sign in (1, -1):
        torch.manual_seed(0)
        model = build(recipe, codec.layout)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        encoded = codec.encode(rows(800, sign).combine_chunks().to_batches()[0])
        batch = type(encoded)(torch.from_numpy(encoded.cells).long(), torch.from_numpy(encoded.values).float())
        from synth.generators.base import Draw

        for step in range(60):
            for _, loss in model.losses(model.players, batch, Draw(0, "train", step), step):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        models.append((recipe, Kept(model.state_dict(), codec, {"step": 60, "elapsed_s": 1.0, "cpu_s": 1.0})))
    poisoned = Objective(schema, rows(800, -1), rows(400, -1), part="select", seed=0)
    honest = Objective(schema, real, rows(400, 1), part="confirm", seed=0)
    return poisoned, honest, models


def test_a_bad_recipe_that_wins_on_a_poisoned_select_is_not_released() -> None:
    poisoned, honest, models = planted()
    on_select = [poisoned(finalists_sample(*m), 0).value for m in models]
    assert on_select[1] > on_select[0] + 0.3, "the search would have picked it"
    scores = [[finalists.score(recipe, kept, honest, seed, 800, 1) for seed in range(3)] for recipe, kept in models]
    listed = compared([Found(trial(k, on_select[k]), kept, scores[k]) for k, (_, kept) in enumerate(models)])
    assert choose(listed, 0).trial == 0
    assert listed[-1].trial == 1
    assert listed[-1].value < 0.7


def finalists_sample(recipe: Recipe, kept: Kept) -> pa.Table:
    from synth.sampling import Sampler

    return Sampler.of(recipe, kept.codec, kept.weights).table(800, seed=5)


def test_a_kept_model_comes_back_whole(tmp_path: Path) -> None:
    _, kept = planted()[2][0]
    kept.save(str(tmp_path), "a")
    back = Kept.load(str(tmp_path), "a", kept.codec.table)
    assert back.codec == kept.codec
    assert back.facts == kept.facts
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in kept.weights.items())
    file = tmp_path / MODELS / "a.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.safetensors: is damaged"):
        Kept.load(str(tmp_path), "a", kept.codec.table)
