"""Refining a release: a blunt one gains and names its parent, and what cannot be refined is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import artesian
from synth import release as releases
from synth.errors import UserError
from synth.evaluation.intervals import Estimate
from synth.evaluation.utility import Utility
from synth.generators.families import build
from synth.provenance.manifest import Training
from synth.recipe import Recipe, TrainingRecipe
from synth.sampling import Sampler
from synth.training.prepare import open_sources, prepare
from synth.training.refine import refine
from synth.training.refining import feedback
from synth.training.refining.feedback import Feedback
from synth.training.refining.ground import Cure, Ground
from synth.training.refining.neon import Neon
from synth.training.run import Interrupted
from synth.training.run import train as run_train
from synth.training.selected import Measured

SMALL = {
    "target": "kind",
    "diffusion.width": 64,
    "diffusion.blocks": 2,
    "diffusion.steps": 12,
    "diffusion.target_shown": 1,
}


def rows(count: int = 2500, seed: int = 0) -> pa.Table:
    """Two kinds of rows, which all three columns tell apart."""
    draw = np.random.default_rng(seed)
    kind = draw.integers(0, 2, count)
    return pa.table(
        {
            "size": np.where(kind == 1, 1.0, -1.0) + draw.normal(size=count),
            "colour": np.where(draw.random(count) < 0.9, np.array(["red", "blue"])[kind], "green"),
            "kind": np.array(["a", "b"])[kind],
        }
    )


def release(data: Path, out: Path, **keys: Any) -> Path:
    """A release of a generator that has learnt the marginals and nothing else, as each has before its first step."""
    recipe = Recipe.read(None, SMALL | keys).resolved(test_apart=False)
    test = None if recipe.split is not None and len(recipe.split) == 4 else str(data)
    sources, schema = open_sources(str(data), test, recipe)
    codec = prepare(sources, schema, recipe).codec
    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    out.mkdir()
    releases.save(
        out, tensors=generator.state_dict(), codec=codec.model_dump(mode="json"), schema=schema,
        recipe=recipe.model_dump(), certificate=None, report=None, name=out.name, data=[], parents=[], real_fraction=1.0,
        seed=0, training=Training(steps=0, seconds=0, workers=1, zero=0, devices=[]),
    )  # fmt: skip
    return out


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of networks as small as these wait for each other more than they compute."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(rows(), path)
    return path


@pytest.fixture(scope="module")
def blunt(data: Path) -> Path:
    return release(data, data.with_name("blunt"))


def test_a_blunt_release_gains_and_is_published_with_its_parent(data: Path, blunt: Path, tmp_path: Path) -> None:
    model = artesian.refine(blunt, str(data), out=tmp_path / "refined", steps=300)
    refined, parent = model.release, releases.load(blunt)
    assert releases.verify(str(tmp_path / "refined")).whole
    assert refined.manifest.parents == [parent.manifest.id] and refined.manifest.id != parent.manifest.id
    assert (refined.manifest.generation_depth, refined.manifest.real_fraction) == (0, 1.0)
    assert refined.manifest.training.steps == 300
    (note,) = refined.manifest.training.notes
    assert "refined by a discriminator of weight" in note and note in model.certificate.preparation
    assert parent.tensors.keys() < refined.tensors.keys()
    assert all(torch.equal(refined.tensors[name], tensor) for name, tensor in parent.tensors.items())
    before, after = (artesian.load(place).sample(1500, seed=3) for place in (blunt, tmp_path / "refined"))

    def agree(frame: Any) -> float:
        return float(((frame["size"] > 0) == (frame["kind"] == "b")).mean())

    assert agree(before) < 0.6 and agree(after) > 0.65
    asked = model.sample(300, where="kind=b")
    assert set(asked["kind"]) == {"b"} and agree(asked) > 0.65
    with pytest.raises(UserError, match=rf"was refined already .*{parent.manifest.id[:12]}, with a longer --budget"):
        refine(str(tmp_path / "refined"), str(data), str(tmp_path / "twice"))


def test_a_discriminator_that_does_not_help_is_not_published(data: Path, blunt: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nothing was published(.|\n)*weight 0: C2ST 0\.\d+ ± .*coverage(.|\n)*weight 2:"
    ):
        refine(str(blunt), str(data), str(tmp_path / "refined"), steps=1)
    assert list(tmp_path.iterdir()) == []


def test_feedback_of_a_model_is_learnt_from_and_confirmed(
    data: Path, blunt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "SLOWER", 1.0)  # a blunt one has all to learn
    model = artesian.refine(blunt, str(data), out=tmp_path / "fed", feedback="train", criteria=["targets"], steps=400)
    assert model.release.manifest.parents == [releases.load(blunt).manifest.id]
    assert model.release.manifest.real_fraction == 0.5, "the parent has learnt from none"
    assert model.release.recipe["refined"].startswith("feedback: targets to the power")
    (note,) = model.release.manifest.training.notes
    assert "refined by feedback of targets to the power" in note and "confirm rows: utility went from" in note

    def agree(frame: Any) -> float:
        told = frame[frame["colour"] != "green"]
        return float(((told["colour"] == "blue") == (told["kind"] == "b")).mean())

    assert agree(artesian.load(blunt).sample(1500, seed=3)) < 0.6 and agree(model.sample(1500, seed=3)) > 0.9
    with pytest.raises(
        UserError,
        match=r"nothing was published, since feedback (.|\n)* better on (select|confirm)(.|\n)*as it is: utility",
    ):
        refine(str(blunt), str(data), str(tmp_path / "none"), cure=Feedback(criteria=["entropy"]), steps=1)
    assert not (tmp_path / "none").exists()


def test_neon_goes_the_other_way_than_self_training(data: Path, blunt: Path) -> None:
    parent = releases.load(blunt)
    recipe = Recipe.check(parent.recipe)
    sources, schema = open_sources(str(data), None, recipe)
    plain = Sampler.from_release(parent)
    ground = Ground(parent, recipe, prepare(sources, schema, recipe), plain)
    before = {name: tensor.clone() for name, tensor in plain.generator.state_dict().items()}
    offers = Neon().offers(ground, TrainingRecipe(steps=20, batch=256), lambda *_: None)
    half, one, two = (offer.weights for offer in offers.found)
    assert {offer.steps for offer in offers.found} == {20}
    for name, tensor in before.items():
        assert torch.equal(tensor, plain.generator.state_dict()[name]), "the release is as it was"
        torch.testing.assert_close(two[name] - one[name], one[name] - tensor, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one[name] - half[name], half[name] - tensor, rtol=1e-3, atol=1e-5)
    assert any(not torch.equal(one[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("cure", "said"), [(Neon(), "cannot learn from its own rows"), (Feedback(), "cannot learn any more")]
)
def test_a_gan_learns_no_more_without_its_critic(cure: Cure, said: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"is of the family gan, whose critic is not in its release, so that it {said}"):
        refine(str(release(data, tmp_path / "gan", family="gan")), str(data), str(tmp_path / "out"), cure=cure)


def test_recall_and_coverage_are_held_and_utility_is_compared_row_by_row() -> None:
    def measured(recall: float, gain: float) -> Measured:
        resampled = np.random.default_rng(0).normal(0.9, 0.05, 200) + gain
        useful = Utility({}, {}, Estimate(0.9 + gain, 0.8, 1.0), resampled)
        return Measured(Estimate(0.8, 0.77, 0.83), 0.9, 300, recall, useful)

    assert not measured(0.9, 0.01).lacks(measured(0.9, 0.0), useful=True), (
        "each resample gains, though they spread far more"
    )
    assert measured(0.9, -0.01).lacks(measured(0.9, 0.0), useful=True)
    assert measured(0.8, 0.01).lacks(measured(0.9, 0.0), useful=True, recall=True) == ["recall lower"]
    assert not measured(0.8, 0.01).lacks(measured(0.9, 0.0), useful=True), "where recall is not held"


@pytest.mark.parametrize(
    ("c2st", "coverage", "improves"),
    [(0.7, 0.9, True), (0.78, 0.9, False), (0.9, 0.9, False), (0.7, 0.86, True), (0.7, 0.8, False)],
)
def test_what_counts_as_an_improvement(c2st: float, coverage: float, improves: bool) -> None:
    def measured(value: float, covered: float) -> Measured:
        return Measured(Estimate(value, value - 0.03, value + 0.03), covered, 300)

    assert (not measured(c2st, coverage).lacks(measured(0.8, 0.9), useful=False)) is improves


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns("colour"), r"is not the table that .*blunt has learnt from: it lacks 'colour'"),
        (lambda t: t.append_column("more", t["colour"]), r"other columns, or of another kind: 'more'"),
        (lambda t: t.set_column(0, "size", pa.array(["x", "y"] * 1250)), r"of another kind: 'size'"),
        (lambda t: t.set_column(0, "size", rows(seed=1)["size"]), r"other values in 'size'"),
        (lambda t: t.slice(0, 2000), r"other values in 'size', 'colour', 'kind'"),
    ],
)
def test_another_table_is_refused_by_the_columns_that_differ(
    change: Callable[[pa.Table], pa.Table], said: str, blunt: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        refine(str(blunt), change(rows()), str(tmp_path / "refined"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"family": "gan"}, "is of the family gan, and a discriminator guides the diffusion of tables alone"),
        ({"split": [0.5, 0.04, 0.0, 0.46]}, r"leaves \d+ select rows, and it takes 200"),
        ({"split": [0.8, 0.1, 0.1]}, "certified on test rows of their own.*--test FILE"),
    ],
)
def test_a_release_that_cannot_be_refined_is_refused(
    keys: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        refine(str(release(data, tmp_path / "release", **keys)), str(data), str(tmp_path / "refined"))


def test_an_interruption_leaves_nothing(data: Path, blunt: Path, tmp_path: Path) -> None:
    def stop(phase: str, done: float, facts: dict[str, Any]) -> None:
        if "loss" in facts:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped; nothing was published"):
        refine(str(blunt), str(data), str(tmp_path / "refined"), steps=20, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_guidance_is_not_a_way_to_train(data: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(None, SMALL | {"diffusion.guidance": 1.0})
    with pytest.raises(UserError, match=r"diffusion.guidance=1: .* artesian refine"):
        run_train(str(data), recipe, str(tmp_path / "out"))
