from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from cluster import doctor
from synth.provenance import keys


def authentication() -> doctor.Check:
    return doctor._ray_authentication()


@pytest.fixture(autouse=True)
def no_ray_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.integration  # not beside others: it is timed
def test_this_machine_is_diagnosed_quickly_and_changes_nothing(tmp_path: Path, config_dir: Path) -> None:
    import torch  # noqa: F401  (its import is counted in the command, and not what is measured here)

    before, started = sorted(tmp_path.rglob("*")), time.perf_counter()
    checks = doctor.diagnose(key_file=keys.key_file(), folder=tmp_path)
    assert time.perf_counter() - started < 5
    assert sorted(tmp_path.rglob("*")) == before
    assert not config_dir.exists()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) == 11
    assert all((check.status == "ok") or check.remedy for check in checks)
    assert json.loads(json.dumps([dataclasses.asdict(check) for check in checks]))[0]["name"] == "python"


def test_the_device_is_measured() -> None:
    check = doctor._device()
    assert check.status in ("ok", "warn")
    assert "times as fast as float32" in check.detail


def test_authentication_modes(monkeypatch: pytest.MonkeyPatch, no_ray_settings: Path) -> None:
    assert authentication().status == "ok"
    assert "a fresh one" in authentication().detail

    file = no_ray_settings / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("s3cr3t")
    file.chmod(0o644)
    assert authentication().status == "warn"
    assert authentication().remedy == f"chmod 600 {file}"
    file.chmod(0o600)
    assert authentication().status == "ok"
    assert str(file) in authentication().detail

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(no_ray_settings / "none"))
    assert authentication().status == "fail"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cr3t")
    assert authentication().status == "ok"
    assert "s3cr3t" not in str(authentication())
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert authentication().status == "warn"
    monkeypatch.setenv("RAY_AUTH_MODE", "k8s")
    assert authentication().status == "fail"


def test_the_signing_key(config_dir: Path) -> None:
    assert "none yet" in doctor._signing_key(keys.key_file()).detail
    keys.signing_key()
    assert doctor._signing_key(keys.key_file()).status == "ok"
    keys.key_file().chmod(0o644)
    check = doctor._signing_key(keys.key_file())
    assert check.status == "fail"
    assert check.remedy == f"chmod 600 {keys.key_file()}"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    check = doctor._disk("disk for output", tmp_path / "nothing")
    assert check.status == "fail"
    assert str(tmp_path / "nothing") in check.detail
    assert doctor._disk("disk for output", tmp_path).status in ("ok", "warn")


def test_packages_are_compared_with_what_was_tested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# tested\nray==0.1\ntorch==2.13.0\nno-such-package==1\n")
    monkeypatch.setattr(doctor, "_ROOT", tmp_path)
    assert [(name, tested) for name, _, tested in doctor._pins()] == [("ray", "0.1"), ("torch", "2.13.0")]


def test_a_clock_in_the_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "doctor.py"
    copy.write_text("")
    assert doctor._clock().status == "ok"
    os.utime(copy, (time.time() + 1e6, time.time() + 1e6))
    monkeypatch.setattr(doctor, "__file__", str(copy))
    assert doctor._clock().status == "warn"
