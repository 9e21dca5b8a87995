"""What was sent is written down line by line, for the owner alone, in files that do not grow for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving import audit
from serving.audit import KEPT, Audit


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_line_is_there_when_write_returns_with_its_time(tmp_path: Path) -> None:
    written = Audit(tmp_path / "state")
    for k in range(3):
        written.write({"event": "sample", "rows": k, "asked": {"where": "town=Tromsø\n"}})
        found = lines(tmp_path / "state/audit.ndjson")
        assert [line["rows"] for line in found] == list(range(k + 1))
    at = datetime.fromisoformat(str(found[-1]["at"]))
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(seconds=10)
    assert found[-1]["asked"] == {"where": "town=Tromsø\n"}
    written.close()


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    written = Audit(tmp_path / "state")
    written.write({})
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert written.path.stat().st_mode & 0o777 == 0o600
    written.close()


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for k in range(3):
        written = Audit(tmp_path)
        written.write({"k": k})
        written.close()
    assert [line["k"] for line in lines(tmp_path / "audit.ndjson")] == [0, 1, 2]


def test_full_files_are_numbered_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ROLL", 500)
    written = Audit(tmp_path)
    for k in range(400):
        if k % 7 == 0:  # a restart in the middle of a file does not begin to count anew
            written.close()
            written = Audit(tmp_path)
        written.write({"k": k})
    written.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["audit.ndjson", *(f"audit.{k}.ndjson" for k in range(1, KEPT))])
    order = [tmp_path / f"audit.{k}.ndjson" for k in reversed(range(1, KEPT))] + [tmp_path / "audit.ndjson"]
    kept = [line["k"] for path in order for line in lines(path)]
    assert kept == list(range(400 - len(kept), 400)) and len(kept) > 100
    assert all(500 <= path.stat().st_size < 600 for path in order[:-1])
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in order)
