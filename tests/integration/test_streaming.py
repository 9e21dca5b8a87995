"""Tables that no worker holds: read piece by piece on the cluster, streamed from the run's storage."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from ray.data import DataContext

from synth.data.passes import Pass, here, on_cluster
from synth.data.source import Piece, open_source
from synth.errors import JobError, UserError
from synth.recipe import Recipe
from synth.training import beacon, prepare, run, workers
from synth.training.stored import Reader, Stored

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
SMALL = {"target": "income", "training.steps": 40, "training.batch": 128, "diffusion.width": 32, "diffusion.blocks": 1,
         "diffusion.steps": 4, "training.precision": "fp32", "training.hold_mib": 0}  # fmt: skip


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small table in two files of five row groups each."""
    place, whole = tmp_path_factory.mktemp("pieces"), pq.read_table(table)
    for index in range(2):
        pq.write_table(whole.slice(index * 450, 450), place / f"{index}.parquet", row_group_size=90)
    return place


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> tuple[Pass, list[tuple[str, float]]]:
    monkeypatch.setattr("synth.data.passes.PIECE", 90 * 15)  # a row group of the table above
    told = list[tuple[str, float]]()
    return on_cluster(lambda what, done: told.append((what, done))), told


def recipe(**keys: Any) -> Recipe:
    settings = SMALL | {key.replace("__", "."): value for key, value in keys.items()}
    return Recipe.read(None, settings).resolved(test_apart=False)


def prepared(folder: Path, store: Path | None, over: Pass = here, **keys: Any) -> prepare.Prepared:
    source = prepare.open_train(str(folder), None, recipe(**keys))
    sources, schema = prepare.describe(source, None, recipe(**keys), over)
    return prepare.prepare(sources, schema, recipe(**keys), store=store and str(store), over=over)


def test_passes_on_the_cluster_find_what_one_process_finds(
    folder: Path, tmp_path: Path, passes: tuple[Pass, list[tuple[str, float]]]
) -> None:
    over, told = passes
    mine, theirs = prepared(folder, None), prepared(folder, tmp_path / "rows", over)
    phases = ("inferring the schema", "fitting the codec", "encoding the rows")
    assert told == [(phase, n / 10) for phase in phases for n in range(11)]
    assert theirs.schema == mine.schema and theirs.codec == mine.codec and theirs.rows == mine.rows
    assert theirs.real.equals(mine.real) and theirs.test.equals(mine.test)
    assert isinstance(mine.encoded, list) and isinstance(theirs.encoded, Stored) and len(theirs.encoded.parts) == 10
    rows = Reader(theirs.encoded).read(0, theirs.rows["train"])
    for kind, of in (("cells", [p.cells for p in mine.encoded]), ("values", [p.values for p in mine.encoded])):
        assert (rows[kind] == torch.cat([torch.from_numpy(part) for part in of]).numpy()).all()
    assert [k for block in theirs.keys.blocks() for k in block] == [k for block in mine.keys.blocks() for k in block]


def test_a_task_that_fails_is_a_failure_of_the_job_and_ray_data_is_left_as_it_was(
    folder: Path, passes: tuple[Pass, list[tuple[str, float]]]
) -> None:
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.execution_options.preserve_order, context.enable_progress_bars, logger.level

    def fail(piece: Piece) -> None:
        raise RuntimeError(f"at row {piece.first}")

    with pytest.raises(JobError, match=r"pieces.*: counting failed on the cluster\nthe whole story is in ") as failed:
        list(passes[0]("counting", fail, open_source(folder)))
    assert "RuntimeError: at row " in Path(str(failed.value).rpartition(" ")[2]).read_text()
    after = DataContext.get_current()
    assert after is context
    assert before == (context.execution_options.preserve_order, context.enable_progress_bars, logger.level)


def test_what_is_wrong_with_a_piece_is_said_as_ever(
    folder: Path, tmp_path: Path, passes: tuple[Pass, list[tuple[str, float]]]
) -> None:
    whole = pq.read_table(folder)
    worse = whole.set_column(0, "age", pa.array([*range(700), float("inf"), *range(199)]))
    pq.write_table(worse, tmp_path / "t.parquet", row_group_size=90)
    with pytest.raises(UserError, match=r"t.parquet, row 701: column 'age' is inf"):
        prepared(tmp_path, tmp_path / "rows", passes[0])


def test_two_workers_that_stream_learn_what_one_learns(folder: Path, tmp_path: Path) -> None:
    def fit(count: int) -> dict[str, torch.Tensor]:
        table = prepared(folder, tmp_path / f"{count}.run" / "encoded", training__workers=count)
        place = str(tmp_path / f"{count}.run")
        found = workers.fit(
            ray, recipe(training__workers=count), table, place, lambda phase, done, facts: None, embedded=True
        )
        weights: dict[str, torch.Tensor] = found["weights"]
        return weights

    one, two = fit(1), fit(2)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_streamed_run_says_so_is_resumed_and_ends_as_if_never_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, out = list[str](), tmp_path / "stopped"
    expected = run.train(str(folder), recipe(), str(tmp_path / "whole"))
    monkeypatch.setattr(workers, "LOOK_S", 0.05)

    def stop(phase: str, done: float, facts: dict[str, Any]) -> None:
        told.extend(facts.get("told", ()))
        if phase == "training" and facts["step"] >= 10:
            beacon.ask_to_stop(str(out) + ".run")

    with pytest.raises(run.Interrupted, match="--resume goes on"):
        run.train(str(folder), recipe(), str(out), progress=stop)
    assert any("900 rows × 15 columns" in line and "streamed from the run's storage" in line for line in told)
    assert list((out.parent / "stopped.run" / "encoded").glob("*.npy"))
    again = run.train(str(folder), recipe(), str(out), resume=True)
    assert again.manifest.id == expected.manifest.id
    assert not (out.parent / "stopped.run").exists()
