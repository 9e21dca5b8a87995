"""What a job runs: the working tree or a wheel of Artesian, as the one archive that Ray unpacks on every node."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE
from ray._private.runtime_env.packaging import create_package

from synth.errors import UserError

# Beside what .gitignore and .rayignore name. Patterns are git's; the demo's table belongs to the package.
EXCLUDED = [
    *(".git", ".venv", "venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist"),
    *("runs", "releases", "*-release", "*.run"),
    *("*.parquet", "*.csv", "*.csv.*", "*.arrow", "*.feather", "*.orc", "*.ndjson", "*.jsonl", "!synth/data/demo/*"),
]
_MODULE = "artesian.py"
_MIB = 1 << 20


def checkout() -> Path | None:
    """The working tree that this code runs from; None where it is installed without one."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


def pack(source: Path, folder: Path) -> Path:
    """Make an archive of ``source``, a working tree or a wheel, in ``folder``: what is at its root can be imported.

    A wheel of Python alone is such an archive already. Ray would take one as a py_module too, but install it with pip,
    and with it every package that it needs, Ray and torch among them, beside those that the cluster has.

    Raises UserError where ``source`` holds no Artesian, or more than Ray's job server takes.
    """
    archive = folder / "artesian.zip"
    try:
        if source.is_dir():
            logging.getLogger(create_package.__module__).setLevel(logging.ERROR)
            create_package(str(source), archive, include_gitignore=True, excludes=EXCLUDED)
        else:
            shutil.copyfile(source, archive)
        with ZipFile(archive) as packed:
            files = packed.infolist()
    except BadZipFile as e:
        raise UserError(f"{source}: is no wheel; build one with: pip wheel --no-deps .") from e
    except OSError as e:
        raise UserError(f"{e.filename or source}: cannot be packed: {e.strerror or e}") from e
    if all(file.filename != _MODULE for file in files):
        raise UserError(f"{source}: holds no {_MODULE}: give the root of a working tree, or a wheel of Artesian")
    if (size := archive.stat().st_size) >= DASHBOARD_CLIENT_MAX_SIZE:
        entries = Counter[str]()
        for file in files:
            entries["/".join(file.filename.split("/")[:2])] += file.compress_size
        largest = ", ".join(f"{name} ({count / _MIB:.1f} MiB)" for name, count in entries.most_common(5))
        raise UserError(
            f"{source}: is {size / _MIB:.1f} MiB when packed, and Ray's job server takes less than "
            f"{DASHBOARD_CLIENT_MAX_SIZE / _MIB:.0f}; name what the job does not need in .rayignore; the largest: {largest}"
        )
    return archive
