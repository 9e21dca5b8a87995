"""``artesian serve`` as a person types it, where there is nothing to serve yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving import launch
from tests.command import run


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(address: str | None) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr(launch, "connected", start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve: what? Give releases"), (["nowhere"], "nowhere"), (["Adult=nowhere"], "nowhere"),
        (["RELEASE", "--replicas", "many"], "--replicas many: give the least and the most, such as 1,4"),
        (["RELEASE", "--replicas", "4,1"], "replicas: 4 to 1: give the least and the most"),
        (["RELEASE", "--policy", "halt"], "policy='halt': Input should be 'warn', 'stop' or 'fallback'"),
        (["RELEASE", "--host", "0.0.0.0"], "host 0.0.0.0: can be reached from other machines"),
        (["RELEASE", "--keys", "none.yaml"], "none.yaml: there is no such keys file"),
        (["RELEASE", "--certificate", "a.pem"], "certificate a.pem: TLS takes"),
        (["--config", "none.yaml"], "none.yaml: cannot be"),
        (["RELEASE", "RELEASE", "people@1=RELEASE"], "people@1 is"), (["RELEASE", "--port", "99999"], "65535"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_status_2_and_a_remedy(
    arguments: list[str],
    message: str,
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [argument.replace("RELEASE", str(people)) for argument in arguments]
    assert run(["serve", *given], monkeypatch) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert message in told and "Traceback" not in told


def test_help_is_quick() -> None:
    code = "import sys, artesian, serving.commands; assert not {'torch', 'ray', 'fastapi'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
