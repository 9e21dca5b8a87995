"""Wide and long tables: seconds, memory and bytes of each phase, from the table to rows drawn, as columns or rows grow.

    python benchmarks/wide.py columns [--sizes 10 100 1000]            # 5,000 rows
    python benchmarks/wide.py categories [--sizes 100000]              # of one column, 200,000 rows
    python benchmarks/wide.py rows [--sizes 1e5 1e6 1e7]               # 10 columns

    python benchmarks/wide.py columns --rooms                          # without training, in minutes

Tables are made anew from a seed, a block of rows at a time. ``artesian train``, ``verify`` and ``sample`` are then run as
a person would, with few steps: what a step costs is another question. A phase lasts from the line that begins it to the
next; beside its seconds stand those of processors, which tell more where others compute, too. Its memory is the most that
the command and all processes under it had together (proportional set size, so that what they share counts once). Rows
are appended to benchmarks/results/wide.jsonl; ``--table`` prints them.

``--rooms`` leaves out what training and drawing cost, which is all but everything of a wide table on a CPU: a process of
its own infers, prepares, writes and reads the codec, certifies, reports and sets up the monitor; a third of the columns of
training rows, exchanged between rows, stand in for a sample. Memory is the most that the process has held until then.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "wide.jsonl"
VALUES = 1 << 22  # of a block that is made at once: rows × columns
LATENT = 8  # what columns have in common
LOOK_S = 1.0
SIZES = {"columns": [10, 100, 1_000], "categories": [100_000], "rows": [100_000, 1_000_000, 10_000_000]}
ROWS = {"columns": 5_000, "categories": 200_000}
COLUMNS = {"categories": 10, "rows": 10}
NAMES = {  # of the phases, by how the lines begin that the command prints
    "reading the table": "inference", "inferring the schema": "inference", "fitting the codec": "codec",
    "encoding the rows": "encoding", "starting Ray": "preparation and Ray", "starting the workers": "workers",
    "training": "steps", "raking": "finishing", "teaching": "finishing",
    "sampling": "sampling", "certifying": "certificate", "writing the report": "report and release",
}  # fmt: skip


def block(first: int, rows: int, columns: int, categories: int = 0) -> pa.Table:
    """Rows ``first`` … of the table: a class, and in turns a smooth number, money with gaps, a count, a category and a
    category with gaps, each following one of few latent factors. With ``categories``, the second column has so many."""
    loadings = np.random.default_rng(0)  # the same for each block
    draw = np.random.default_rng([1, first])
    hidden = draw.normal(size=(rows, LATENT)).astype(np.float32)
    found: dict[str, Any] = {"class": np.where(hidden[:, 0] + draw.normal(size=rows) > 0, "yes", "no")}
    for i in range(1, columns):
        mixed = hidden @ loadings.normal(size=LATENT).astype(np.float32) + draw.normal(size=rows).astype(np.float32)
        states, gaps = int(loadings.integers(2, 30)), draw.random(rows) < 0.05
        if categories and i == 1:
            found["code"] = _codes(first, rows, categories, mixed)
            continue
        match i % 5:
            case 1:
                found[f"smooth_{i}"] = mixed.round(4).astype(np.float64)
            case 2:
                found[f"money_{i}"] = pa.array(np.exp(mixed / 2).round(2).astype(np.float64), mask=gaps)
            case 3:
                found[f"count_{i}"] = draw.poisson(np.exp((mixed / 3).clip(max=4))).astype(np.int32)
            case kind:
                code = np.minimum(np.exp(mixed / 2) * states / 4, states - 1).astype(np.int32)
                words = pa.array([f"{i}-{state}" for state in range(states)])
                code = pa.array(code, mask=gaps if kind == 4 else None)
                found[f"category_{i}"] = pa.DictionaryArray.from_arrays(code, words)
    return pa.table(found)


def _codes(first: int, rows: int, categories: int, mixed: np.ndarray) -> pa.Array:
    """Each category once in the first rows, and then by the cube of a rank, so that few are common and most are rare."""
    rank = 1 / (1 + np.exp(-mixed.astype(np.float64)))
    code = np.minimum(rank**3 * categories, categories - 1).astype(np.int64)
    at = np.arange(first, first + rows)
    # A permutation of them: those that stand side by side in the file have nothing in common.
    code = np.where(at < categories, at * 7_919 % categories, code)
    return pa.array([f"code {c:06}" for c in code])


def make(path: Path, rows: int, columns: int, categories: int = 0) -> None:
    """The table as a Parquet file, in memory that depends on neither rows nor columns."""
    step = max(1_000, VALUES // columns)
    with pq.ParquetWriter(path, block(0, 1, columns, categories).schema) as writer:
        for first in range(0, rows, step):
            writer.write_table(block(first, min(step, rows - first), columns, categories))


class Watched:
    """A command as it runs: ``phases`` by name, (seconds, seconds of processors, most MiB) of all its processes together."""

    def __init__(self, command: list[str], log: IO[str]) -> None:
        self.phases: dict[str, tuple[float, float, int]] = {}
        self.log, self.name, self.most = log, "start", 0
        self.began, self.before, self.computed = time.monotonic(), 0.0, 0.0
        environment = os.environ | {"ARTESIAN_ROW_LOG": "off"}  # what else was drawn on this machine is no matter
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            self._follow(psutil.Process(process.pid), process.stdout)
        self._end("")
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}; see {log.name}")

    def _follow(self, process: psutil.Process, output: IO[str]) -> None:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def read() -> None:
            for line in output:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=LOOK_S)
            except queue.Empty:
                self._look(process)
                continue
            if line is None:
                return
            self.log.write(line)
            name = next((name for begins, name in NAMES.items() if line.startswith(begins)), self.name)
            if name != self.name:
                self._look(process)
                self._end(name)

    def _look(self, process: psutil.Process) -> None:
        computed, held = taken(process)
        # What a process took that nobody waited for is gone with it.
        self.computed, self.most = max(self.computed, computed), max(self.most, held)

    def _end(self, following: str) -> None:
        """Of a phase; one that comes again has its seconds added."""
        now = time.monotonic()
        seconds, computed, most = self.phases.get(self.name, (0.0, 0.0, 0))
        self.phases[self.name] = (
            round(seconds + now - self.began, 2), round(computed + self.computed - self.before, 2), max(most, self.most),
        )  # fmt: skip
        self.name, self.began, self.before, self.most = following, now, self.computed, 0


def taken(process: psutil.Process) -> tuple[float, int]:
    """Seconds of processors that a process and all under it took, and MiB that they hold, what they share counted once."""
    computed, held = 0.0, 0
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return computed, held
    for one in tree:
        try:
            computed += sum(one.cpu_times()[:4])
            held += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # over since it was listed
            continue
    return computed, round(held / 2**20)


def made(kind: str, size: int, path: Path) -> dict[str, Any]:
    """Make the table of a size, and what is to be said of it."""
    rows, columns = ROWS.get(kind, size), COLUMNS.get(kind, size)
    categories = size if kind == "categories" else 0
    make(path, rows, columns, categories)
    return {"kind": kind, "rows": rows, "columns": columns, "categories": categories}


class Clock:
    """``phases`` by name: seconds of processors, and the most MiB that this process has held until their end."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        began, computed = time.monotonic(), time.process_time()
        found = work()
        self.phases[name] = {
            "seconds": round(time.monotonic() - began, 2), "cpu_s": round(time.process_time() - computed, 2),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }  # fmt: skip
        print(name, self.phases[name], file=sys.stderr, flush=True)
        return found


def rooms(kind: str, size: int, certify: bool, scratch: Path) -> dict[str, Any]:
    """What stands around the training of the table of that size took, in this process."""
    from serving.monitor.view import View
    from synth.data.codec import Codec
    from synth.evaluation.certificate import evaluate
    from synth.evaluation.report import render
    from synth.generators.layout import Encoded
    from synth.recipe import Recipe
    from synth.training import prepare, publish

    data, clock = scratch / "table.parquet", Clock()
    about = made(kind, size, data)
    recipe = Recipe.read(None, {"target": "class"}).resolved(test_apart=False)
    sources, schema = clock("inference", lambda: prepare.open_sources(str(data), None, recipe))
    found = clock("preparation", lambda: prepare.prepare(sources, schema, recipe))
    codec = clock("codec written", lambda: json.dumps(found.codec.model_dump(mode="json"), separators=(",", ":")))
    clock("codec read", lambda: Codec.model_validate(json.loads(codec) | {"table": schema}))
    sizes = {"codec.json": len(codec)}

    def sample() -> pa.Table:
        rows = Encoded(*(np.concatenate(parts) for parts in zip(*found.encoded, strict=True)))
        draw = np.random.default_rng(0)
        at = draw.permutation(len(rows.cells))[: publish.most_sampled(schema)]
        one, other = (Encoded(*(part[order] for part in rows)) for order in (at, draw.permutation(at)))
        for mine, theirs in zip(one, other, strict=True):
            mine[:, ::3] = theirs[:, ::3]
        return pa.table(found.codec.decode(one))

    if certify:
        drawn = clock("decoding", sample)
        certificate = clock(
            "certificate", lambda: evaluate(found.real, drawn, found.test, schema, train_keys=found.keys)
        )
        sizes["certificate.json"] = len(json.dumps(certificate.model_dump(mode="json"), separators=(",", ":")))
        page = clock("report", lambda: render(certificate, title="", real=found.real, synthetic=drawn, schema=schema))
        sizes["report.html"] = len(page)
        clock("monitor", lambda: View(schema, drawn.slice(0, publish.REFERENCE)))
    phases = clock.phases
    return about | {
        "command": "rooms", "seconds": round(sum(phase["seconds"] for phase in phases.values()), 1),
        "cpu_s": round(sum(phase["cpu_s"] for phase in phases.values()), 1),
        "peak_mib": max(phase["peak_mib"] for phase in phases.values()), "phases": phases, "bytes": sizes,
    }  # fmt: skip


def measure(kind: str, size: int, steps: int, sampled: list[int], settings: list[str], scratch: Path) -> Iterator[Any]:
    """What each command took on the table of that size, as it ends."""
    data, release, log = scratch / "table.parquet", scratch / "release", scratch / "log.txt"
    about = made(kind, size, data)
    artesian = [sys.executable, "-c", "import artesian; artesian.main()"]
    said = [word for setting in settings for word in ("--set", setting)]
    train = ["train", str(data), "--target", "class", "--steps", str(steps), "--out", str(release), *said]
    commands = {"train": train, "verify": ["verify", str(release)]}
    for count in sampled:
        commands[f"sample {count:,}"] = [
            "sample",
            str(release),
            "-n",
            str(count),
            "--out",
            str(scratch / f"{count}.parquet"),
        ]
    for name, words in commands.items():
        with log.open("a", buffering=1) as file:
            began = time.monotonic()
            phases = Watched([*artesian, *words], file).phases
        found = about | {
            "command": name, "steps": steps, "settings": settings, "seconds": round(time.monotonic() - began, 1),
            "cpu_s": round(sum(cpu for _, cpu, _ in phases.values()), 1),
            "peak_mib": max(most for _, _, most in phases.values()), "table_bytes": data.stat().st_size,
        }  # fmt: skip
        if name == "train":
            found["phases"] = {
                phase: {"seconds": s, "cpu_s": cpu, "peak_mib": most} for phase, (s, cpu, most) in phases.items()
            }
            found["bytes"] = {file.name: file.stat().st_size for file in sorted(release.iterdir())}
        yield found | circumstances()


def table(rows: list[dict[str, Any]]) -> str:
    """The newest row of each command and size, as Markdown."""
    newest = {(r["kind"], r["rows"], r["columns"], r["categories"], r["command"]): r for r in rows}
    lines = [
        "| rows × columns | command | seconds | of processors | MiB | seconds of processors by phase | largest files |",
        "|---" * 7 + "|",
    ]
    for row in sorted(newest.values(), key=lambda r: (r["kind"], r["command"] != "rooms", r["rows"], r["columns"])):
        of = f"{row['rows']:,} × {row['columns']:,}" + (
            f", {row['categories']:,} categories" if row["categories"] else ""
        )
        phases = [
            f"{name} {phase['cpu_s']:.1f}" for name, phase in row.get("phases", {}).items() if phase["cpu_s"] >= 0.05
        ]
        large = sorted(row.get("bytes", {}).items(), key=lambda item: -item[1])[:3]
        cells = [
            of, row["command"], f"{row['seconds']:.1f}", f"{row['cpu_s']:.1f}", f"{row['peak_mib']:,}", ", ".join(phases),
            ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in large),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(SIZES), nargs="?", default="columns")
    parser.add_argument("--sizes", nargs="+", type=float)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sampled", nargs="*", type=int, default=[1_000, 10_000])
    parser.add_argument("--set", nargs="*", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--scratch", type=Path, help="where tables and releases are kept; by default nowhere")
    parser.add_argument("--rooms", action="store_true", help="what stands around training and drawing, without these")
    parser.add_argument("--no-certificate", action="store_true", help="with --rooms: inference and preparation alone")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        RESULTS.parent.mkdir(exist_ok=True)
        for size in map(int, options.sizes or SIZES[options.kind]):
            with tempfile.TemporaryDirectory() as folder:
                scratch = Path(folder) if options.scratch is None else options.scratch / f"{options.kind}-{size}"
                scratch.mkdir(parents=True, exist_ok=True)
                if options.rooms:
                    with get_context("spawn").Pool(1) as alone:  # whose memory is that of this size
                        found = alone.apply(rooms, (options.kind, size, not options.no_certificate, scratch))
                    rows = iter([found | circumstances()])
                else:
                    rows = measure(options.kind, size, options.steps, options.sampled, options.settings, scratch)
                for row in rows:
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


if __name__ == "__main__":
    main()
