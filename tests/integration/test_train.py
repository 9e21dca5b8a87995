"""The main job from a table to a certified release, and what happens when it is stopped."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import artesian
from synth import parts
from synth import release as releases
from synth.data.source import open_source
from synth.errors import ReleaseError, UserError
from synth.recipe import Recipe
from synth.sampling import BLOCK, Sampler
from synth.training import beacon, run
from synth.training.allowed import Rules
from synth.training.checkpoint import PROGRESS, sealed
from synth.training.mixing import Given, golden

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SMALL = {"target": "income", "training.steps": 40, "training.batch": 128, "diffusion.width": 64, "diffusion.blocks": 1,
         "diffusion.steps": 6, "training.precision": "fp32"}  # fmt: skip


@pytest.fixture(scope="module")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> run.Trained:
    return run.train(str(table), Recipe.read(None, SMALL), str(tmp_path_factory.mktemp("out") / "release"))


def said_besides(notes: list[str]) -> list[str]:
    """Without what the last check says of a model of forty steps, which covers about half of the real rows: how many rows a
    check draws is a matter of time."""
    return [note for note in notes if "samples cover" not in note]


def test_a_release_is_whole_certified_and_draws_the_same_rows_again(finished: run.Trained, table: Path) -> None:
    assert releases.verify(finished.location).whole
    assert {p.name for p in Path(finished.location).iterdir()} == {
        "weights.safetensors", "codec.json", "schema.yaml", "recipe.yaml", "certificate.json", "report.html",
        "reference.parquet", "manifest.json", "manifest.sig",
    }  # fmt: skip
    assert not Path(f"{finished.location}.run").exists()
    model = artesian.load(finished.location)
    assert model.certificate.figures and finished.manifest.training.steps == 40
    assert said_besides(finished.manifest.training.notes) == []
    watched = finished.manifest.training.watched
    assert watched is not None and [check.step for check in watched.checks] == list(range(4, 41, 4))
    assert "During training" in (Path(finished.location) / "report.html").read_text()
    first = model.sample(300, seed=4)
    assert first.equals(artesian.load(finished.location).sample(300, seed=4))
    real = pq.read_table(table).to_pandas()
    for column in ("education", "income", "age"):
        assert set(first[column].dropna()) <= set(real[column].dropna())


def test_parts_drawn_side_by_side_are_the_rows_that_one_process_draws(
    finished: run.Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 2 * BLOCK)
    release, out, seen = releases.load(finished.location), tmp_path / "rows", list[int]()
    shown = list[tuple[int, pa.RecordBatch, float]]()
    told = {"progress": seen.append, "show": lambda *block: shown.append(block)}
    assert parts.sample(release, 5000, str(out), seed=7, **told) == 3
    assert seen[0] == 0 and sorted(seen) == seen and seen[-1] == 5000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = Sampler.from_release(release).table(5000, seed=7)
    torch.set_num_threads(threads)
    assert pq.read_table(out).equals(expected)
    assert sorted(first for first, _, _ in shown) == list(
        range(0, 5000, BLOCK)
    )  # parts of so few blocks are shown whole
    for first, block, seconds in shown:
        assert block.equals(expected.slice(first, BLOCK).combine_chunks().to_batches()[0]) and seconds > 0
    second = out / "part-000001.parquet"
    second.write_bytes(second.read_bytes()[:1000])
    assert parts.sample(release, 5000, str(out), seed=7) == 1
    assert pq.read_table(out).equals(expected)


def test_synthetic_rows_take_part_with_the_golden_weight_and_are_written_down(
    finished: run.Trained, table: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "synthetic.parquet"
    pq.write_table(artesian.load(finished.location).table(500, seed=1), rows)
    ways = {"verify": 0.8, "finetune": 0.25}
    rules = Rules.read(None, [str(Path(finished.location).parent)])  # where the release is that the rows say drew them
    trained = run.train(
        str(table), Recipe.read(None, SMALL | ways), str(tmp_path / "out"), synthetic=[Given(str(rows))], rules=rules
    )
    manifest, count = trained.manifest, finished.manifest
    [kept] = [int(n.split(": ")[1].split()[0]) for n in trained.notes if "passed judges of real rows" in n]
    assert 400 <= kept <= 420, "four fifths, rounded up in each class"
    real = golden(trained_rows(finished) / kept)
    steps = manifest.training.steps
    assert manifest.real_fraction == pytest.approx(1 - (1 - real) * (1 - (steps - math.ceil(0.75 * steps)) / steps))
    assert manifest.generation_depth == 1 and count.generation_depth == 0
    entry = next(entry for entry in manifest.data if not entry.real)
    assert (entry.rows, entry.role, entry.depth) == (500, "train", 1) and entry.location.endswith("synthetic.parquet")
    assert any(f"of each batch {real:.1%} are real rows" in note for note in trained.notes)


def trained_rows(trained: run.Trained) -> int:
    """Real rows that it learnt from."""
    return trained.certificate.rows["train"]


def test_the_command_draws_and_verifies(
    finished: run.Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def artesian_command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["artesian", *arguments])
        with pytest.raises(SystemExit) as stopped:
            artesian.main()
        return int(stopped.value.code or 0)

    for name in ("s.parquet", "s.csv", "s.ndjson", "s.arrow"):
        assert artesian_command("sample", finished.location, "-n", "120", "--out", str(tmp_path / name)) == 0
    frames = [open_source(tmp_path / name).table() for name in ("s.parquet", "s.csv", "s.ndjson", "s.arrow")]
    assert {(f.num_rows, tuple(f["age"].to_pylist())) for f in frames} == {(120, tuple(frames[0]["age"].to_pylist()))}
    capfd.readouterr()
    assert artesian_command("sample", finished.location, "-n", "3", "--format", "csv", "--out", "-") == 0
    assert len(capfd.readouterr().out.splitlines()) == 4
    assert artesian_command("verify", finished.location) == 0
    assert "whole, signed by" in capfd.readouterr().out
    shutil.copytree(finished.location, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").write_text("better")
    assert artesian_command("verify", str(tmp_path / "copy")) == 1
    assert "report.html: altered" in capfd.readouterr().out


def test_a_tampered_release_is_not_loaded(finished: run.Trained, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.location, copy)
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ReleaseError, match=r"weights\.safetensors"):
        artesian.load(copy)


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_stopped(
    finished: run.Trained, table: Path, tmp_path: Path
) -> None:
    out, recipe = tmp_path / "release", Recipe.read(None, SMALL)

    def stop(phase: str, done: float, facts: dict[str, Any]) -> None:
        if phase == "starting the workers":
            beacon.ask_to_stop(f"{out}.run")

    with pytest.raises(run.Interrupted, match="--resume"):
        run.train(str(table), recipe, str(out), progress=stop)
    assert not out.exists() and Path(f"{out}.run").exists()
    with pytest.raises(UserError, match="unfinished run"):
        run.train(str(table), recipe, str(out))
    with pytest.raises(UserError, match="another recipe"):
        run.train(str(table), Recipe.read(None, SMALL | {"seed": 9}), str(out), resume=True)
    *_, progress = sorted(Path(f"{out}.run").glob(f"checkpoint_*/{PROGRESS}"))
    saved = json.loads(progress.read_text())
    progress.write_text(sealed(saved | {"elapsed_s": 1000.0}))
    (Path(f"{out}.run") / run.CHECKPOINTS).write_bytes(b'{"ray_version": ')  # as a killed driver leaves it
    resumed = run.train(str(table), recipe, str(out), resume=True)
    assert saved["step"] < 40 and resumed.manifest.training.seconds > 1000  # the checkpoint was not ignored
    told = f"{run.CHECKPOINTS} was damaged: went on from {progress.parent.name}, at step {saved['step']}"
    notes = resumed.manifest.training.notes
    assert said_besides(notes) == [told] and told in resumed.notes
    assert releases.load(resumed.location).manifest.training.notes == notes
    expected = releases.load(finished.location).tensors
    for key, tensor in releases.load(resumed.location).tensors.items():
        torch.testing.assert_close(tensor, expected[key])


def test_a_release_s_recipe_gives_it_again_and_what_was_not_published_is_without_training_again(
    finished: run.Trained, table: Path, tmp_path: Path
) -> None:
    def interrupt(phase: str, done: float, facts: dict[str, Any]) -> None:
        if phase == "sampling":
            (Path(f"{out}.run") / run.CHECKPOINTS).unlink()
            raise KeyboardInterrupt

    out, recipe = str(tmp_path / "release"), Recipe.check(releases.load(finished.location).recipe)
    with pytest.raises(run.Interrupted, match=r"trained, not yet published.*--resume"):
        run.train(str(table), recipe, out, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["release.run"]
    steps: list[int] = []
    resumed = run.train(
        str(table), recipe, out, resume=True, progress=lambda p, d, facts: steps.append(facts.get("step", 0))
    )
    assert not any(steps) and resumed.manifest.id == finished.manifest.id
    [note] = said_besides(resumed.manifest.training.notes)
    assert note.startswith(f"{run.CHECKPOINTS} was missing: went on from ") and note.endswith("at step 40")


def test_what_cannot_be_done_is_said_before_ray_is_asked(table: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="--overwrite"):
        run.train(str(table), Recipe.read(None, SMALL), str(tmp_path / "taken"))
    with pytest.raises(UserError, match="no run to resume"):
        run.train(str(table), Recipe.read(None, SMALL), str(tmp_path / "new"), resume=True)
    with pytest.raises(UserError, match=r"500.* CPUs"):
        run.train(
            str(table),
            Recipe.read(None, SMALL | {"training.workers": 500, "training.batch": 1000}),
            str(tmp_path / "many"),
        )


def test_divergence_is_named_with_its_remedy(table: Path, tmp_path: Path) -> None:
    wild = Recipe.read(None, SMALL | {"training.learning_rate": 1e30, "training.warmup": 1})
    said = r"step \d+: the loss.* was .*; lower training.learning_rate \(1e\+30\)"
    with pytest.raises(UserError, match=said):
        run.train(str(table), wild, str(tmp_path / "wild"))
    assert list(tmp_path.iterdir()) == []  # no checkpoint, so nothing to resume
