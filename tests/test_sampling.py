"""The one sampler: rows by address, and rows that satisfy the schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from synth.data.codec import Fit
from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import ReleaseError, UserError
from synth.generators.families import build
from synth.recipe import Recipe
from synth.release import Release
from synth.sampling import BLOCK, Sampler


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "age": draw.integers(18, 90, 500),
            "city": draw.choice(["Rome", "Oslo", "Bonn"], 500),
            "pay": pa.array(np.round(draw.lognormal(8, 1, 500), 2), mask=draw.random(500) < 0.2),
            "row_id": np.arange(500),
        }
    )
    recipe = Recipe.read(None, {"diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})
    fit = Fit(infer(open_source(table)))
    for batch in table.to_batches():
        fit.update(batch)
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    for parameter in generator.parameters():  # an untrained head is zero, and would hide what depends on what
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Sampler(generator, codec)


def test_row_i_depends_on_the_seed_and_i_alone(sampler: Sampler) -> None:
    whole = sampler.table(2 * BLOCK + 100, seed=7)
    for first, count in ((0, 5), (BLOCK - 3, 6), (BLOCK + 17, BLOCK), (2 * BLOCK + 99, 1)):
        part = pa.Table.from_batches(sampler.batches(count, seed=7, first=first))
        assert part.equals(whole.slice(first, count).combine_chunks())
    assert not sampler.table(50, seed=8).equals(whole.slice(0, 50))


def test_a_release_is_without_the_players_that_only_judge(sampler: Sampler) -> None:
    recipe = Recipe.check({"family": "gan"})
    trained = build(recipe, sampler.codec.layout).state_dict()  # as a checkpoint holds them
    made = Sampler.of(recipe, sampler.codec, trained)
    published = made.generator.state_dict()
    assert published.keys() == {name for name in trained if name.startswith("generator.")}
    assert Sampler.of(recipe, sampler.codec, published).table(20).equals(made.table(20))
    with pytest.raises(RuntimeError, match=r"generator\.noise\.weight"):
        Sampler.of(recipe, sampler.codec, {n: t for n, t in published.items() if n != "generator.noise.weight"})


def test_rows_satisfy_the_schema(sampler: Sampler) -> None:
    table = sampler.table(3000, seed=1)
    assert table.schema.equals(sampler.schema.arrow())
    frame = table.to_pandas()
    assert set(frame["city"]) <= {"Rome", "Oslo", "Bonn"} and frame["age"].between(18, 89).all()
    assert frame["pay"].isna().any() and (frame["pay"].dropna() > 0).all()
    assert frame["row_id"].tolist() == list(range(3000))


@pytest.mark.parametrize(
    ("changes", "file"),
    [({"codec": {"columns": [{"kind": "magic"}]}}, "codec.json"), ({"tensors": {}}, "weights.safetensors")],
)
def test_a_release_whose_files_do_not_fit_each_other_is_named(
    sampler: Sampler, changes: dict[str, Any], file: str
) -> None:
    release = Release(**{
        "location": "theirs", "manifest": None, "tensors": {}, "schema": sampler.schema, "certificate": None,
        "codec": sampler.codec.model_dump(mode="json"), "recipe": Recipe().model_dump(), "report": None, "signer": None,
    } | changes)  # fmt: skip
    with pytest.raises(ReleaseError, match=f"theirs: {file}: "):
        Sampler.from_release(release)


def test_no_rows_and_negative_rows(sampler: Sampler) -> None:
    assert sampler.table(0).num_rows == 0 and sampler.table(0).schema.equals(sampler.schema.arrow())
    with pytest.raises(UserError, match="-1"):
        list(sampler.batches(-1))
