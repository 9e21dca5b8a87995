"""Peers beside Artesian on the published tables: the same machine, threads and limit, scored by an outside yardstick.

    python benchmarks/peers.py --prepare ENVIRONMENTS
    python benchmarks/peers.py ENVIRONMENTS DATA_DIR YARDSTICK.py --yardstick-python PYTHON [--tables adult …] [--seeds 0 1 2]
        [--who TabularARGN CTGAN …] [--families diffusion gan vae] [--seconds 240] [--threads 2]
    python benchmarks/peers.py --table

ENVIRONMENTS is a folder such as runs/peers, in which each peer gets a virtual environment of its own with the versions of
``peer_requirements/``: none is a dependency of this project, some have licences that forbid what it does. (On Linux the torch
of the package index brings gigabytes of CUDA along; PIP_EXTRA_INDEX_URL with PyTorch's index of CPU builds spares them.)
synthcity is not among them: see benchmarks/README.md.

Artesian is the command that a person would type. A peer is fitted by ``peer.py``, at its defaults, with the limit told to it
where it knows one. Limits are of training alone, for all; ``fit_s`` is what one waits: for Artesian the whole command, with
Ray's start and the certificate, for a peer its call of fit without the imports. ``rows_per_s`` is of drawing as many rows as
the train table has, in a process that has the model: for Artesian by ``sampling_speed.py``. What takes more
than three times the limit (``--patience``) in all is ended, with everything that it started. It, and what fails, gets a row
that says so.
Rows are appended to results/peers.jsonl as they come.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
import sampling_speed
from published_protocol import circumstances, kinds, rows_of, scored, shown

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.jsonl"
ENVIRONMENTS = {"mostlyai-engine": ["mostlyai-engine", "torch"], "sdv": ["sdv", "ctgan", "torch", "pyarrow"]}
# Which of them each peer lives in.
PEERS = {"TabularARGN": "mostlyai-engine", "CTGAN": "sdv", "TVAE": "sdv", "GaussianCopula": "sdv"}
SHOWN = ("shape_error", "trend_error", "tstr", "c2st_auc", "exact_copies", "fit_s", "rows_per_s")


class FailedError(Exception):
    """A generator that came to no samples, and why."""


def python_of(environments: Path, peer: str) -> Path:
    return environments / PEERS[peer] / ".venv" / "bin" / "python"


def prepare(environments: Path, peers: list[str]) -> None:
    for name in dict.fromkeys(PEERS[peer] for peer in peers):
        folder, versions = environments / name / ".venv", HERE / "peer_requirements" / f"{name}.txt"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(versions)]
        subprocess.run([*install, *ENVIRONMENTS[name]], check=True)
        # Asked for by one of them and not needed: builds for another torch than the CPU's keep it from being imported.
        subprocess.run([*install[:3], "uninstall", "--quiet", "--yes", "torchvision", "torchaudio"], check=True)


def bounded(command: list[str], end: float, threads: int) -> str:
    """What a command prints; raises FailedError with its last line on the standard error, or when the clock is at ``end``."""
    environment = os.environ | {f"{n}_NUM_THREADS": str(threads) for n in ("OMP", "MKL", "OPENBLAS")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            out, said = process.communicate(timeout=max(end - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired as e:
            raise FailedError("was not done in time") from e
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        raise FailedError(f"ended with {process.returncode}: {last.strip()[:300]}")
    return out


def artesian(
    family: str, folder: Path, seed: int, end: float, options: argparse.Namespace, scratch: str
) -> dict[str, Any]:
    schema = json.loads((folder / "schema.json").read_text())
    rows = pq.read_metadata(folder / "train.parquet").num_rows
    command, release = str(Path(sys.executable).parent / "artesian"), f"{scratch}/release"

    def timed(*words: str) -> float:
        began = time.monotonic()
        bounded([command, *words], end, options.threads)
        return time.monotonic() - began

    fit = timed(
        "train", str(folder / "train.parquet"), "--target", schema["target"], "--split", "1,0,0",
        "--test", str(folder / "test.parquet"), "--family", family, "--budget", f"{options.seconds:g}s",
        "--seed", str(seed), "--out", release, *kinds(schema),
    )  # fmt: skip
    training = json.loads(Path(release, "manifest.json").read_text())["training"]
    drawn = timed("sample", release, "-n", str(rows), "--seed", str(seed + 1), "--out", f"{scratch}/samples.parquet")
    measure = sampling_speed.command(release, threads=options.threads, rows=rows)
    speed = json.loads(bounded(measure, end, options.threads).splitlines()[-1])
    return {
        "version": f"artesian {version('artesian')}", "fit_s": round(fit, 1), "training_s": round(training["seconds"], 1),
        "steps": training["steps"], "sample_command_s": round(drawn, 2), "rows_per_s": speed["rows_per_s"],
    }  # fmt: skip


def peer(who: str, folder: Path, seed: int, end: float, options: argparse.Namespace, scratch: str) -> dict[str, Any]:
    command = [
        str(python_of(options.environments, who)), str(HERE / "peer.py"), who, str(folder), f"{scratch}/samples.parquet",
        "--seconds", str(options.seconds), "--seed", str(seed),
    ]  # fmt: skip
    told = json.loads(bounded(command, end, options.threads).splitlines()[-1])
    return told | {"rows_per_s": round(told["rows"] / told["sample_s"])}


def measured(who: str, folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    end = time.monotonic() + options.patience * options.seconds
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run, name = (peer, who) if who in PEERS else (artesian, who.removeprefix("Artesian, "))
            found = run(name, folder, seed, end, options, scratch)
            return found | scored(folder, f"{scratch}/samples.parquet", options.yardstick, options.yardstick_python)
        except FailedError as e:
            return {"failed": str(e).replace(scratch, "").replace(str(options.environments.resolve()), "")}
        except subprocess.CalledProcessError as e:
            return {**found, "failed": f"the yardstick does not take its samples: {e.stderr.strip()[-300:]}"}


def hold_to(threads: int) -> None:
    """This process, and all that it starts, to so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def table(rows: list[dict[str, Any]]) -> str:
    """Medians over the seeds of the newest commit of each generator and table, and their range, as Markdown."""
    lines = ["| table | generator | seeds | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 3) + "|"]
    for name, who in dict.fromkeys((r["table"], r["who"]) for r in rows):
        mine = newest([r for r in rows if (r["table"], r["who"]) == (name, who)])
        told = [shown([r.get(key) for r in mine]) for key in SHOWN]
        why = "".join(f", {r['failed']}" for r in mine if "failed" in r).replace("|", "/")
        lines.append(f"| {name} | {who} | {len(mine)}{why} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the commit of the last one, the last of each seed."""
    return list({r["seed"]: r for r in rows if r["commit"] == rows[-1]["commit"]}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--tables", nargs="+", default=["adult", "default", "shoppers", "magic", "beijing"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--who", nargs="*", choices=PEERS, default=list(PEERS), help="peers; none: Artesian alone")
    parser.add_argument("--families", nargs="*", default=["diffusion"], help="of Artesian")
    parser.add_argument("--seconds", type=float, default=240.0, help="limit of training")
    parser.add_argument("--patience", type=float, default=3.0, help="limits after which what is not done is ended")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--prepare", action="store_true", help="only make the environments of the peers")
    parser.add_argument("--table", action="store_true", help="only print the medians of what was measured")
    options = parser.parse_args()
    if options.prepare and options.environments is not None:
        prepare(options.environments, options.who)
    elif not options.table:
        if options.yardstick is None:
            parser.error("give ENVIRONMENTS, DATA_DIR and YARDSTICK, or --table, or --prepare ENVIRONMENTS")
        for who in options.who:
            if not (python := python_of(options.environments, who)).exists():
                parser.error(f"{who}: there is no {python}: run --prepare {options.environments} first")
        hold_to(options.threads)
        for name in options.tables:
            for seed in options.seeds:
                for who in [*(f"Artesian, {family}" for family in options.families), *options.who]:
                    row = {
                        "who": who,
                        "table": name,
                        "seed": seed,
                        "limit_s": options.seconds,
                        "threads": options.threads,
                    }
                    row |= measured(who, options.data / name, seed, options) | circumstances()
                    with options.results.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
    if not options.prepare:
        print(table(rows_of(options.results)))


if __name__ == "__main__":
    main()
