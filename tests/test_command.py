"""The command: quick to answer, and every mistake a person can make gets one message, exit status 2 and no traceback."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artesian
from synth.data.codec import Fit
from synth.data.conform import conform
from synth.data.demo import adult
from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from synth.evaluation import summary
from synth.generators.base import Draw, Generator
from synth.generators.given import Given
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training import run as training
from synth.training.workers import Progress


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["artesian", *arguments])
    with pytest.raises(SystemExit) as stopped:
        artesian.main()
    return int(stopped.value.code or 0)


def frame(rows: int = 200) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": draw.normal(size=rows).round(3), "k": draw.choice(["a", "b"], rows), "y": draw.integers(0, 2, rows)}
    )


def text(content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "t.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def table(change: Callable[[pd.DataFrame], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = frame(41_000)
        change(data)
        data.to_csv(folder / "t.csv", index=False)
        return folder / "t.csv"

    return make


def truncated(folder: Path) -> Path:
    whole = adult().read_bytes()
    (folder / "t.parquet").write_bytes(whole[: len(whole) // 2])
    return folder / "t.parquet"


def set_cell(column: str, row: int, value: object) -> Callable[[pd.DataFrame], None]:
    def change(data: pd.DataFrame) -> None:
        data[column] = data[column].astype(object)
        data.loc[row, column] = value

    return change


GOOD = "x,y\n" + "".join(f"{i / 7:.2f},{i % 2}\n" for i in range(60))
BAD = {
    "empty file": (text(""), "empty"),
    "header only": (text("x,y\n"), "no rows"),
    "one row": (text("x,y\n1,2\n"), "1 row"),
    "duplicate names": (text(GOOD.replace("x,y", "y,y")), "'y'"),
    "empty name": (text(GOOD.replace("x,y", ",y")), "name"),
    "text in row 40,000": (table(set_cell("x", 39_999, "oops")), "(?s)row 40,?000.*'?x'?.*oops|'?x'?.*row 40,?000"),
    "infinity": (table(set_cell("x", 7, "-inf")), "x"),
    "integers too far apart": (text("x,y\n" + "".join(f"{(-1) ** i * (2**62 + i)},{i % 2}\n" for i in range(60))), "x"),
    "no such target": (table(lambda data: data.rename(columns={"y": "yy"}, inplace=True)), "'y'.*'yy'"),
    "constant target": (table(lambda data: data.__setitem__("y", 1)), "every row has the value '1'"),
    "not UTF-8": (text(GOOD.encode() + b"\xff\xfe,1\n"), "UTF-8"),
    "truncated Parquet": (truncated, "t.parquet"),
    "missing path": (lambda folder: folder / "nowhere.csv", "nowhere.csv"),
    "free text": (table(lambda data: data.__setitem__("note", [f"client {i} said at length" for i in data.index])), "note"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[name]
    status = run(
        ["train", str(make(tmp_path)), "--target", "y", "--steps", "1", "--out", str(tmp_path / "out")], monkeypatch
    )
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "trainin.steps=5"], "did you mean 'training'"),
        (["--set", "diffusion.wdth=5"], "did you mean 'width'"),
        (["--set", "target=[a"], "not YAML"),
        (["--set", "seed="], "'seed='"),
        (["--budget", "soon"], "length of time"),
        (["--budget", ""], "length of time"),
        (["--split", ""], "split.0=''"),
        (["--split", "0.5,0.1,0.1,0.1"], "sum"),
        (["--split", "most,0.1"], "split.0='most'"),
        (["--split", "1,0,0"], "--test"),
        (["--categorical", "sx"], "'sx'"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run(
        ["train", str(adult()), "--target", "income", "--steps", "1", "--out", str(tmp_path / "out"), *arguments],
        monkeypatch,
    )
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said and message in said


class AskedError(Exception):
    """Raised in place of the work, with what was asked of it."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(data: object, recipe: Recipe, out: str, **options: object) -> None:
        raise AskedError(recipe, options)

    monkeypatch.setattr(training, "train", work)


KEYS = {
    "seed": 7, "target": "income", "training.steps": 5, "training.budget_s": 30.0, "training.workers": 2,
    "training.zero": 3, "split": [0.5, 0.2, 0.2, 0.1], "family": "diffusion", "categorical": ["age"],
}  # fmt: skip


def at(recipe: Recipe, key: str) -> object:
    return functools.reduce(getattr, key.split("."), recipe)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_has_a_flag_can_be_set_by_name_too(key: str, asked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["artesian", "train", "t.csv", "--out", "o", "--set", f"{key}={KEYS[key]}"])
    with pytest.raises(AskedError) as command:
        artesian.main()
    with pytest.raises(AskedError) as python:
        artesian.train("t.csv", out="o", **{key.replace(".", "__"): KEYS[key]})
    assert at(command.value.args[0], key) == at(python.value.args[0], key) == KEYS[key]


def test_a_flag_and_a_setting_of_the_same_key_are_refused(
    asked: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "t.csv", "--out", "o", "--seed", "1", "--set", "seed=2"], monkeypatch) == 2
    assert "seed: given twice, as 2 and as 1" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"training.budget_s: given twice"):
        artesian.train("t.csv", out="o", budget="4m", training__budget_s=5)


@pytest.mark.parametrize("message", ["stopped at step 9: --resume goes on with s3://bucket/x", ""])
def test_ctrl_c_says_how_to_go_on(
    message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise training.Interrupted(message.replace("bucket", "key:s3cr3t@bucket"))

    monkeypatch.setattr(training, "train", stopped)
    assert run(["train", "t.csv", "--out", "o"], monkeypatch) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (message or "interrupted")


def test_an_existing_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert run(["train", str(adult()), "--target", "income", "--out", str(tmp_path)], monkeypatch) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_what_is_not_ours_is_kept_before_any_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    monkeypatch.setattr(training, "connected", None)  # nothing starts
    for out in (tmp_path, tmp_path / "mine.txt"):
        for command in (["train", str(adult()), "--target", "income"], ["demo"]):
            assert run([*command, "--out", str(out), "--overwrite"], monkeypatch) == 2
            assert str(out) in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_the_demo_replaces_only_its_own_release(asked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, replaces in (([], True), (["--out", "mine"], False), (["--out", "mine", "--overwrite"], True)):
        monkeypatch.setattr(sys, "argv", ["artesian", "demo", *arguments])
        with pytest.raises(AskedError) as demo:
            artesian.main()
        assert demo.value.args[1]["overwrite"] is replaces


def test_samples_do_not_replace_a_file_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "real.csv"
    file.write_text("precious")
    assert run(["sample", str(tmp_path), "-n", "5", "--out", str(file)], monkeypatch) == 2
    assert f"{file}: exists; choose another --out, or replace it with --overwrite" in capsys.readouterr().err
    assert run(["sample", str(tmp_path), "-n", "5", "--out", str(file), "--overwrite"], monkeypatch) == 2
    assert "manifest.json" in capsys.readouterr().err  # past that, to the folder that is no release
    assert run(["sample", str(tmp_path), "-n", "5", "--out", file.as_uri()], monkeypatch) == 2
    assert "real.csv: exists; choose another --out" in capsys.readouterr().err
    assert file.read_text() == "precious"


def test_the_end_of_a_run_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = ["column 'weight [kg]' :a: 'a [/b]'"]

    def finished(data: object, recipe: Recipe, out: str, *, progress: Progress, **options: object) -> training.Trained:
        progress("certifying: a [/b]", 0.5, {})
        location = "s3://key:s3cr3t@bucket/x?region=eu"
        return training.Trained(location, SimpleNamespace(id="f" * 64), None, notes)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "train", finished)
    monkeypatch.setattr(summary, "figures_table", lambda certificate: "the figures")
    assert run(["train", "t.csv", "--out", "o"], monkeypatch) == 0
    said = capsys.readouterr().err
    assert "certifying: a [/b]" in said and f"note: {notes[0]}\n" in said
    assert "s3://bucket/x?region=eu\nreport  s3://bucket/x/report.html?region=eu\n" in said


@pytest.mark.parametrize(("certificate", "message"), [(None, "without one"), ({"auc": 1}, "another version or shape")])
def test_a_release_without_a_certificate_that_can_be_read_is_named(
    certificate: dict[str, int] | None, message: str
) -> None:
    model = artesian.Model.__new__(artesian.Model)
    model.release = SimpleNamespace(location="theirs", certificate=certificate)  # type: ignore[assignment]
    with pytest.raises(UserError, match=rf"theirs: certificate\.json: .*{message}"):
        _ = model.certificate


def test_whole_numbers_with_gaps_stay_exact_in_pandas() -> None:
    table = pa.table({"big": [2**60 + 1, None], "tiny": pa.array([255, None], pa.uint8()), "full": [1, 2]})
    model = artesian.Model.__new__(artesian.Model)
    sampler = SimpleNamespace(
        ask=lambda **options: None, table=lambda rows, seed, request: table, schema=Schema(columns=[])
    )
    model._sampler = sampler  # type: ignore[assignment]
    frame = model.sample(2)
    assert frame["big"][0] == 2**60 + 1 and frame["big"].isna()[1]
    assert str(frame["tiny"].dtype) == "UInt8" and frame["full"].tolist() == [1, 2]


def test_an_unknown_option_of_evaluate_is_refused() -> None:
    with pytest.raises(TypeError, match="exlude"):
        artesian.evaluate("r.csv", "s.csv", test="t.csv", exlude=["a"])  # type: ignore[call-arg]


def test_one_column_needs_no_list() -> None:
    with pytest.raises(UserError, match=r"--categorical zip: .* has no column 'zip'"):
        artesian.evaluate(str(adult()), "s.csv", test="t.csv", categorical="zip")


def test_evaluate_scores_any_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = pq.read_table(adult())
    for name, first, rows in (("real", 0, 600), ("test", 600, 300), ("theirs", 900, 500)):
        pq.write_table(real.slice(first, rows), tmp_path / f"{name}.parquet")
    paths = [str(tmp_path / f"{name}.parquet") for name in ("real", "theirs", "test")]
    found, page = tmp_path / "c.json", tmp_path / "r.html"
    options = ["--test", paths[2], "--target", "income", "--json", str(found), "--report", str(page)]
    assert run(["evaluate", *paths[:2], *options], monkeypatch) == 0
    figures = json.loads(found.read_text())["figures"]
    assert 0 < figures["shape_error"]["value"] < 10 and "<svg" in page.read_text()


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_where_evaluate_cannot_write_is_known_before_the_work(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "nowhere.csv", "s.csv", "--test", "t.csv", option, str(tmp_path / "no" / "x")]
    assert run(arguments, monkeypatch) == 2
    assert f"{tmp_path / 'no' / 'x'}: cannot be written" in capsys.readouterr().err


def test_verify_and_sample_refuse_what_is_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["verify", str(tmp_path)], ["sample", str(tmp_path), "-n", "5", "--out", str(tmp_path / "s.csv")]):
        assert run(command, monkeypatch) == 2
        assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_answers_without_loading_the_heavy_packages() -> None:
    program = (
        "import sys, artesian\nsys.argv = ['artesian', '--help']\ntry: artesian.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pandas', 'sklearn', 'deepspeed', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("train", "sample", "fill", "evaluate", "verify", "doctor", "demo", "submit", "jobs"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "many", "--out", "x.csv"], "'many' is no number of rows: write 5000 or 1e9"),
        (["-n", "2.5", "--out", "x.csv"], "'2.5' is no number of rows"),
        (["-n", "5", "--out", "x/", "--format", "csv"], "a folder gets Parquet parts"),
        (["-n", "5", "--out", "x.csv", "--address", "auto"], "a cluster draws into a folder; write --out x.csv/"),
        (["-n", "5", "--out", "x.csv", "--boost", "20"], "--rare and --boost belong together"),
    ],
)
def test_samples_that_cannot_be_had_are_explained(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", "release", *options], monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", "").split())


class Confetti(Generator):
    """Draws images 3 × 2 in colour of two classes, every pixel by chance."""

    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        return Encoded((draw.uniform(rows, 1) * 2).long(), (draw.uniform(rows, 18) * 256).byte())


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    """What is drawn from any release; and what loads one is not asked."""
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 2, 3), dtype=np.uint8)
    source = open_source({"image": x, "label": ["cat", "dog"] * 15})
    schema = infer(source)
    fit = Fit(schema)
    for batch in source.batches():
        fit.update(conform(batch, schema))
    sampler = Sampler(Confetti(), fit.finish(ordered_up_to=256, atom_share=0.0025, bins=32))
    monkeypatch.setattr("synth.release.load", lambda location: SimpleNamespace(location=location, schema=schema))
    monkeypatch.setattr(Sampler, "from_release", lambda release: sampler)
    return sampler


def test_images_are_drawn_as_files_and_read_back(
    images: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tmp_path / "t.parquet", tmp_path / "drawn"
    assert run(["sample", "release", "-n", "1030", "--seed", "5", "--out", str(table)], monkeypatch) == 0
    options = ["--seed", "5", "--format", "png", "--out", f"{folder}/"]
    assert run(["sample", "release", "-n", "64", *options], monkeypatch) == 0
    assert "64 images are in" in capsys.readouterr().err
    drawn = images.table(1030, seed=5)
    [batch, *_] = open_source(table).batches()
    assert conform(batch, images.schema).to_pylist() == drawn.to_pylist()[: batch.num_rows]
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in files] == drawn["label"].to_pylist()[:64]
    source = open_source(folder)
    found = [row for part in source.batches() for row in conform(part, images.schema).to_pylist()]
    places = [Path(source.place(row)) for row in range(64)]
    assert [found[places.index(path)] for path in files] == drawn.to_pylist()[:64]
    assert run(["sample", "release", "-n", "64", "--overwrite", *options], monkeypatch) == 2
    assert f"{folder}/: exists, and a folder of images is not replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "t.csv"], "--format csv: images are not written as text; write parquet"),
        (["--out", "-", "--format", "ndjson"], "--format ndjson: images are not written as text"),
        (["--out", "-", "--format", "png"], "--format png: draws here, into a folder"),
        (["--out", "x/", "--format", "png", "--address", "h:1"], "for a cluster or standard output write parquet"),
    ],
)
def test_ways_in_which_images_are_not_written(
    options: list[str],
    message: str,
    images: Sampler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["sample", "release", "-n", "5", *options], monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_in_a_data_frame_are_arrays_that_can_be_learnt_from(images: Sampler) -> None:
    model = artesian.Model(SimpleNamespace(location="release"))  # type: ignore[arg-type]
    frame = model.sample(50, seed=3)
    assert np.stack(frame["image"]).shape == (50, 3, 2, 3) and frame["image"][0].dtype == np.uint8
    source = open_source(frame)
    assert infer(source) == images.schema
    [batch] = source.batches()
    assert pa.Table.from_batches([conform(batch, images.schema)]) == model.table(50, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "four"], "--workers 'four': write a number, such as 4, or the least and the most, such as 1,4"),
        (["--workers", "4,1"], "workers=4,1: the least come first, as in 1,4"),
        (["--workers", "0"], "training.workers"),
        (["--zero", "4"], "training.zero"),
    ],
)
def test_workers_and_stages_that_cannot_be_are_explained(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "t.csv", "--out", "o", *options], monkeypatch) == 2
    assert message in capsys.readouterr().err
