"""Installation: what fails is not taken for done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_a_failed_installation_is_no_installation(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"  # makes an environment whose pip fails
    python.write_text(
        "#!/bin/sh\nmkdir -p .venv/bin\nprintf '#!/bin/sh\\nexit 3\\n' > .venv/bin/python\nchmod +x .venv/bin/python\n"
    )
    python.chmod(0o755)
    # With the flags of make 3.81, which does not know the variable.
    command = ["make", "install", f"PYTHON={python}", ".SHELLFLAGS=-c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stdout
    assert (tmp_path / ".venv" / "bin").exists() and not (tmp_path / ".venv" / ".installed").exists()
