"""Peak memory and rows a second of ``artesian sample`` as the number of rows grows.

python benchmarks/sampling_memory.py RELEASE [--rows 1000 10000 100000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "sampling_memory.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for rows in sorted(options.rows):  # ascending: the peak of all children so far is then the latest one's
        with tempfile.TemporaryDirectory() as scratch:
            command = [str(Path(sys.executable).parent / "artesian"), "sample", options.release, "-n", str(rows)]
            began = time.monotonic()
            subprocess.run([*command, "--out", f"{scratch}/rows.parquet"], check=True)
            seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        row = {
            "rows": rows, "peak_mib": round(peak), "seconds": round(seconds, 1), "rows_per_s": round(rows / seconds),
            **circumstances(),
        }  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
