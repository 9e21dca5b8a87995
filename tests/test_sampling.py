"""The one sampler: rows by address, and rows that satisfy the schema."""

from __future__ import annotations

import copy
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
from synth.generators.student import Student
from synth.provenance.watermark import Mark
from synth.recipe import Recipe
from synth.release import Release
from synth.sampling import BLOCK, LONG, SMALL, Sampler
from tests.untrained import untrained


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
    return untrained(table, 0.1)


def test_row_i_depends_on_the_seed_and_i_alone(sampler: Sampler) -> None:
    whole = sampler.table(2 * BLOCK + 100, seed=7)
    for first, count in ((0, 5), (BLOCK - 3, 6), (BLOCK + 17, BLOCK), (2 * BLOCK + 99, 1)):
        part = pa.Table.from_batches(sampler.batches(count, seed=7, first=first))
        assert part.equals(whole.slice(first, count).combine_chunks())
    assert not sampler.table(50, seed=8).equals(whole.slice(0, 50))


def test_few_rows_are_as_among_many(sampler: Sampler) -> None:
    """Whether a block, a part of one, or a long table is computed at once."""
    whole = sampler.table(LONG * SMALL + 3 * SMALL, seed=7)
    for first, count in ((0, 1), (127, 1), (130, 20), (255, 2), (LONG * SMALL - 1, 1), (LONG * SMALL - 5, 2 * SMALL)):
        part = pa.Table.from_batches(sampler.batches(count, seed=7, first=first))
        assert part.equals(whole.slice(first, count).combine_chunks()), (first, count)
    sizes = [batch.num_rows for batch in sampler.batches(LONG * SMALL, seed=7, first=100)]
    assert sizes == [BLOCK - 100, *[BLOCK] * (LONG * SMALL // BLOCK - 1), 100], "batches end where they always do"


@pytest.fixture(scope="module")
def taught(sampler: Sampler) -> Sampler:
    """The same with a student."""
    generator = copy.deepcopy(sampler.generator)
    torch.manual_seed(1)
    generator.student = Student(sampler.codec.layout)
    for parameter in generator.student.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Sampler(generator, sampler.codec)


def test_fast_rows_are_the_students_and_depend_on_the_seed_and_their_number_alone(taught: Sampler) -> None:
    fast = taught.ask(quality="fast")
    whole = taught.table(2 * BLOCK + 100, seed=7, request=fast)
    for first, count in ((0, 5), (BLOCK - 3, 6), (BLOCK + 17, BLOCK), (2 * BLOCK + 99, 1)):
        part = pa.Table.from_batches(taught.batches(count, seed=7, first=first, request=fast))
        assert part.equals(whole.slice(first, count).combine_chunks())
    assert not whole.slice(0, 100).equals(taught.table(100, seed=7))
    assert taught.ask(quality="best") is None


def test_a_student_comes_with_the_weights(taught: Sampler) -> None:
    recipe = Recipe.read(None, {"diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})
    again = Sampler.of(recipe, taught.codec, taught.generator.state_dict())
    fast = taught.ask(quality="fast")
    assert again.table(100, seed=3, request=fast).equals(taught.table(100, seed=3, request=fast))


def test_fast_rows_are_refused_where_more_is_asked_and_where_there_is_no_student(
    sampler: Sampler, taught: Sampler
) -> None:
    with pytest.raises(UserError, match="ask for some of them with --quality best"):
        taught.ask(where="age>=30", quality="fast")
    with pytest.raises(UserError, match=r"has no student.*draw with --quality best"):
        sampler.ask(quality="fast")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_blocks_that_a_gpu_computes_together_are_as_if_alone(sampler: Sampler) -> None:
    there = Sampler(copy.deepcopy(sampler.generator), sampler.codec, "cuda")
    whole = there.table(64 * SMALL, seed=7)
    for number in range(64):
        beside, batch = there.together([(number, 3), (7, number)])
        assert batch.equals(there.together([(7, number)])[0])
        assert batch.equals(whole.slice(number * SMALL, SMALL).combine_chunks().to_batches()[0])
        assert beside.equals(there.together([(number, 3)])[0])


def test_blocks_that_are_computed_together_are_as_if_alone(sampler: Sampler) -> None:
    """Whoever else asks at the same time, and for what place in which table."""
    blocks = [(7, 0), (7, 1), (9, 3), (7, 130), (2**63 - 1, 7)]
    drawn = sampler.together(blocks)
    for (seed, number), batch in zip(blocks, drawn, strict=True):
        assert batch.num_rows == SMALL
        assert batch.equals(sampler.together([(seed, number)])[0])
        alone = sampler.table(number * SMALL % 10_000 + SMALL, seed=seed).slice(number * SMALL) if number < 8 else None
        assert alone is None or batch.equals(alone.combine_chunks().to_batches()[0])


@pytest.mark.parametrize("asked", [None, "age>=30", ["age>=30", "city!=Rome", "pay is not missing"]], ids=str)
def test_rows_of_a_block_have_nothing_in_common(sampler: Sampler, asked: str | list[str] | None) -> None:
    """Shares of a category differ from block to block no more than those of independent rows do, though this model's
    conditionals contradict each other, so that the order in which cells are drawn decides on them."""
    request, rows = None if asked is None else sampler.ask(where=asked), SMALL if asked is None else BLOCK
    blocks = 64 if asked is None else 12
    city = np.array(sampler.table(blocks * rows, seed=5, request=request)["city"].to_pylist()).reshape(blocks, rows)
    shares = np.stack([(city == name).mean(axis=1) for name in ("Rome", "Oslo", "Bonn") if name in city])
    mean = shares.mean(axis=1)
    assert (shares.var(axis=1) < 1.6 * mean * (1 - mean) / rows).all(), shares.var(axis=1) / (mean * (1 - mean) / rows)


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_so_are_those_of_other_families(sampler: Sampler, family: str) -> None:
    torch.manual_seed(0)
    other = Sampler(build(Recipe.check({"family": family}), sampler.codec.layout), sampler.codec)
    [_, second, _] = other.together([(1, 0), (2, 5), (3, 1)])
    assert second.equals(other.together([(2, 5)])[0])


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


def constrained(*constraints: str) -> Sampler:
    draw = np.random.default_rng(0)
    x = draw.random(2000)
    table = pa.table({"x": x, "y": x + draw.random(2000), "row_id": [f"K{i:04}" for i in range(2000)]})
    recipe = Recipe.read(None, {"diffusion.width": 16, "diffusion.blocks": 1, "diffusion.steps": 8})
    fit = Fit(infer(open_source(table), constraints=constraints))
    fit.update(table.to_batches()[0].cast(fit.schema.arrow()))
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(0)
    return Sampler(build(recipe, codec.layout), codec)


def test_rows_that_break_a_constraint_are_drawn_anew_in_their_places() -> None:
    sampler, free = constrained("x + y <= 2.2", r"row_id ~ [A-Z]\d{4}"), constrained(r"row_id ~ [A-Z]\d{4}")
    whole, without = sampler.table(BLOCK + 50, seed=3), free.table(BLOCK + 50, seed=3)
    total = np.add(*(whole[name].to_numpy() for name in ("x", "y")))
    would = np.add(*(without[name].to_numpy() for name in ("x", "y")))
    assert (total <= 2.2).all() and (would > 2.2).sum() > 20
    assert sampler.redrawn >= (would > 2.2).sum() and free.redrawn == 0
    kept = pa.array(would <= 2.2)
    assert whole.filter(kept).equals(without.filter(kept))
    ids = whole["row_id"].to_pylist()
    assert len(set(ids)) == len(ids) and ids == without["row_id"].to_pylist()
    part = pa.Table.from_batches(sampler.batches(30, seed=3, first=BLOCK + 10))
    assert part.equals(whole.slice(BLOCK + 10, 30).combine_chunks())


def test_a_constraint_that_is_hardly_ever_met_ends_with_its_name() -> None:
    hardly = constrained("x + y <= 0.01")
    with pytest.raises(
        UserError, match=r"rows drawn 64 times each, .* break 'x \+ y <= 0\.01': .*train the generator longer"
    ):
        hardly.table(1)
    hardly.generator.student = Student(hardly.codec.layout)
    with pytest.raises(UserError, match=r"break 'x \+ y <= 0\.01': .*draw with --quality best"):
        hardly.table(1, request=hardly.ask(quality="fast"))


class TestMarked:
    @pytest.fixture
    def marked(self, sampler: Sampler) -> Sampler:
        """The same sampler, whose rows carry a watermark."""
        columns = list(sampler.schema.learnt)
        marked = Sampler(sampler.generator, sampler.codec)
        marked.mark = Mark(
            release="ab" * 32, name="people", key="cd" * 16, columns=columns, tokens=[["age", "pay"], ["city", "pay"]],
            coins=[8, 8],
        )  # fmt: skip
        return marked

    def test_row_i_depends_on_the_seed_i_and_the_mark_alone(self, sampler: Sampler, marked: Sampler) -> None:
        whole = marked.table(BLOCK + 300, seed=7)
        for first, count in ((0, 5), (BLOCK - 3, 6), (BLOCK + 17, 200)):
            part = pa.Table.from_batches(marked.batches(count, seed=7, first=first))
            assert part.equals(whole.slice(first, count).combine_chunks())
        blocks = [(7, 1), (9, 3), (7, 9)]
        for (seed, number), batch in zip(blocks, marked.together(blocks), strict=True):
            assert batch.equals(marked.together([(seed, number)])[0]), (seed, number)
        plain = sampler.table(BLOCK + 300, seed=7)
        same = [a == b for a, b in zip(whole.to_pylist(), plain.to_pylist(), strict=True)]
        assert 0.5 < np.mean(same) < 0.8  # of two candidates the first where the key likes it, or likes both as well
        assert whole["row_id"].equals(plain["row_id"])

    def test_the_key_likes_its_rows(self, sampler: Sampler, marked: Sampler) -> None:
        assert marked.mark is not None
        heads = [np.mean([marked.mark.heads(b) for b in s.batches(BLOCK, seed=2)]) for s in (sampler, marked)]
        assert abs(heads[0] - 8) < 0.4 and heads[1] > 8.7

    def test_what_is_asked_holds(self, sampler: Sampler, marked: Sampler) -> None:
        request = marked.ask(where="age>=40")
        rows = marked.table(300, seed=7, request=request)
        assert min(rows["age"].to_pylist()) >= 40
        assert not rows.equals(sampler.table(300, seed=7, request=request))
        rare = marked.ask(rare="city=Rome", boost=1.5)
        weights = np.array(marked.table(BLOCK, seed=7, request=rare)["_weight"].to_pylist())
        assert np.array_equal(np.unique(weights).round(6), np.unique(np.asarray(rare.weights).round(6)))  # type: ignore[union-attr]
