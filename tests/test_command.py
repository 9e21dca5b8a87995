"""The command train and what all commands share: quick to answer, keys and flags, what is kept, how a run ends."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import artesian
from synth.data.demo import adult
from synth.errors import UserError
from synth.evaluation import summary
from synth.recipe import Recipe
from synth.training import run as training
from synth.training.workers import Progress
from tests.command import run


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
