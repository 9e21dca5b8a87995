"""What the watermark and the log of drawn rows are worth on a release: power, false alarms, survival, harm and cost.

    python benchmarks/watermark.py RELEASE DATA_DIR --scratch DIR [--rows 24576] [--only power …]

DATA_DIR holds train.parquet, test.parquet and schema.json; rows are drawn once, with and without the watermark, into DIR, which
also gets the keys and the log of the benchmark, so that the user's own stay as they are. What is measured is appended to
benchmarks/results/watermark.jsonl, a line a question.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from published_protocol import circumstances, kinds
from scipy.stats import binom, kstest

from synth import release as releases
from synth.data.source import open_source
from synth.evaluation.compare import compare
from synth.marking import mark_of
from synth.provenance import recognition
from synth.provenance.canonical import cells
from synth.provenance.served import Log, logged
from synth.provenance.watermark import SURE, Detector, Mark
from synth.release import Release
from synth.sampling import BLOCK, Sampler

RESULTS = Path(__file__).parent / "results" / "watermark.jsonl"
SEED = 1
KEYS = 10_000  # random keys that false alarms are looked for with


class Bench:
    """A release, its mark, and rows of it drawn with and without."""

    def __init__(self, release: Release, data: Path, scratch: Path, rows: int) -> None:
        self.release, self.mark, self.scratch = release, mark_of(release), scratch
        self.train, self.test = (pq.read_table(data / f"{part}.parquet") for part in ("train", "test"))
        self.told = json.loads((data / "schema.json").read_text())
        self.plain, self.marked = (self._drawn(name, rows) for name in ("plain", "marked"))

    def _drawn(self, name: str, rows: int) -> pa.Table:
        path = self.scratch / f"{name}-{rows}.parquet"
        if not path.exists():
            sampler = Sampler.from_release(self.release, self.mark if name == "marked" else None)
            batches = logged(self.release, sampler.batches(rows, seed=SEED), SEED, None)
            pq.write_table(pa.Table.from_batches(batches), path)
        return pq.read_table(path)


def power(bench: Bench) -> dict[str, Any]:
    """Share of disjoint lots of rows in which the mark is found, and the median p-value."""
    found = {}
    for size in (100, 200, 500, 1_000, 5_000):
        ps = [p_of(bench.mark, lot) for lot in lots(bench.marked, size)]
        found[str(size)] = {"lots": len(ps), "found": share([p < SURE for p in ps]), "p": float(np.median(ps))}
    return {"threshold": SURE, "by_rows": found}


def false_alarms(bench: Bench) -> dict[str, Any]:
    """P-values of rows without a mark, over random keys; KEYS for each table."""
    tables = {
        "synthetic, 1,000 rows": bench.plain.slice(0, 1_000), "real, 1,000 rows": bench.train.slice(0, 1_000),
        "real, 1,000 rows of 250 four times": pa.concat_tables([bench.train.slice(0, 250)] * 4),
        "marked with another key, 1,000 rows": bench.marked.slice(0, 1_000),
    }  # fmt: skip
    draw, found = np.random.default_rng(0), {}
    for name, table in tables.items():
        pairs = np.unique(bench.mark.values(hashes(bench.mark, table)), axis=0)
        ps = []
        for _ in range(KEYS):
            mark = bench.mark.model_copy(update={"key": draw.bytes(16).hex()})
            ps.append(float(binom.sf(int(mark.tossed(pairs).sum()) - 1, mark.tosses(pairs), 0.5)))
        below = {f"{limit:g}": int(np.sum(np.array(ps) < limit)) for limit in (1e-2, 1e-3, 1e-4, SURE)}
        found[name] = {"keys": KEYS, "below": below, "least": min(ps), "uniform_p": float(kstest(ps, "uniform").pvalue)}
    return {"tables": found}


def survival(bench: Bench) -> dict[str, Any]:
    """What becomes of 1,000 marked rows, in each of the lots; and of columns that are left out."""
    draw, names = np.random.default_rng(0), bench.marked.column_names
    shuffled = bench.marked.take(draw.permutation(len(bench.marked)))
    found: dict[str, Any] = {"shuffled subsets of 1,000": told(bench, lots(shuffled, 1_000))}
    found["through CSV"] = told(bench, [through_csv(lot) for lot in lots(shuffled, 1_000)])
    some = lots(bench.marked, 1_000)
    found["without"] = {name: told(bench, [lot.drop_columns([name]) for lot in some]) for name in names}
    for count in (2, len(names) // 2):
        kept = [draw.choice(names, len(names) - count, replace=False).tolist() for _ in some * 4]
        found[f"without {count} at random"] = told(
            bench, [lot.select(k) for lot, k in zip(some * 4, kept, strict=True)]
        )
        large = [bench.marked.slice(0, 5_000).select(k) for k in kept]
        found[f"without {count} at random, 5,000 rows"] = told(bench, large)
    return {"tokens": [[k, *token] for k, token in zip(bench.mark.coins, bench.mark.tokens, strict=True)], **found}


def harm(bench: Bench) -> dict[str, Any]:
    """Each figure of the certificate, with the watermark and without, and whether one lies in the interval of the other."""
    flags = kinds(bench.told)
    columns = {flag[2:]: names.split(",") for flag, names in zip(flags[::2], flags[1::2], strict=True)}
    both = [
        compare(bench.train, rows, bench.test, target=bench.told["target"], seed=0, kinds=columns).certificate.figures
        for rows in (bench.plain, bench.marked)
    ]
    found = {}
    for name, plain in both[0].items():
        marked = both[1][name]
        if None in (plain.value, marked.value, plain.low, plain.high, marked.low, marked.high):
            continue
        apart = marked.low > plain.high or plain.low > marked.high
        found[name] = {
            "plain": [plain.value, plain.low, plain.high], "marked": [marked.value, marked.low, marked.high],
            "difference": marked.value - plain.value, "within": plain.low <= marked.value <= plain.high, "apart": apart,
        }  # fmt: skip
    outside = [name for name, one in found.items() if not one["within"]]
    return {"figures": found, "outside": outside, "apart": [name for name, one in found.items() if one["apart"]]}


def cost(bench: Bench) -> dict[str, Any]:
    """Processor time a row: of choosing between two candidates, of fingerprints, and of looking a table up."""
    first, second = (table.combine_chunks().to_batches()[0] for table in (bench.plain, bench.marked))
    blocks = [(first.slice(k, BLOCK), second.slice(k, BLOCK)) for k in range(0, len(first) - BLOCK + 1, BLOCK)]
    log = Log.of(bench.release)
    assert log is not None
    prints = log.prints
    found = {
        "choosing_ns": spent(lambda: [bench.mark.better(*pair) for pair in blocks], len(blocks) * BLOCK),
        "fingerprints_ns": spent(lambda: [prints(one, 0, None, 0) for one, _ in blocks], len(blocks) * BLOCK),
        "looking_up_ns": spent(lambda: recognition.recognise(open_source(bench.train)), len(bench.train)),
    }
    for name, mark in (("sampling_ns", None), ("marked_sampling_ns", bench.mark)):
        sampler = Sampler.from_release(bench.release, mark)
        found[name] = spent(partial(sampler.table, BLOCK, seed=2), BLOCK)
    return {**found, "log_bytes": log.path.stat().st_size, "rows_logged": len(log.pairs())}


def poisoning(bench: Bench) -> dict[str, Any]:
    """Real rows of which a share are unlabelled samples: how many the log recognises, and what the watermark alone says."""
    found = {}
    for part in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2):
        rows: dict[str, Any] = {}
        for name, made in (("plain", bench.plain), ("marked", bench.marked)):
            count = round(part * len(bench.train))
            columns = bench.train.select(made.column_names).cast(made.schema)
            table = through_csv(pa.concat_tables([columns.slice(count), made.slice(0, count)]))
            seen = recognition.recognise(open_source(table))
            rows[name] = {"drawn": count, "log": sum(one.rows for one in seen.rows), "p": min(m.p for m in seen.marks)}
        found[f"{part:g}"] = rows
    return {"rows": len(bench.train), "by_share": found}


def told(bench: Bench, tables: Sequence[pa.Table]) -> dict[str, Any]:
    ps = [p_of(bench.mark, table) for table in tables]
    return {"lots": len(ps), "found": share([p < SURE for p in ps]), "p": float(np.median(ps)), "worst": max(ps)}


def hashes(mark: Mark, table: pa.Table) -> dict[str, Any]:
    [batch] = table.combine_chunks().to_batches()
    return {c.name: cells(c, batch.column(c.name)) for c in mark.columns if c.name in batch.schema.names}


def p_of(mark: Mark, table: pa.Table) -> float:
    detector = Detector([mark])
    detector.add([hashes(mark, table)])
    return min((one.p for one in detector.found()), default=1.0)


def lots(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(start, size) for start in range(0, len(table) - size + 1, size)]


def through_csv(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pa.csv.write_csv(table, sink)
    return pa.csv.read_csv(io.BytesIO(sink.getvalue()))


def share(met: Sequence[bool]) -> float:
    return sum(met) / len(met)


def spent(work: Callable[[], object], rows: int) -> float:
    """Nanoseconds a row of this process's time, the least of three."""
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return round(1e9 * min(times) / rows, 1)


QUESTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "power": power, "false alarms": false_alarms, "survival": survival, "poisoning": poisoning, "cost": cost, "harm": harm,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("data", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=24 * BLOCK)
    parser.add_argument("--only", nargs="+", default=list(QUESTIONS), choices=list(QUESTIONS))
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "ARTESIAN_CONFIG_DIR": str(options.scratch / "config"),
        "ARTESIAN_STATE_DIR": str(options.scratch / "state"),
    }
    bench = Bench(releases.load(options.release), options.data, options.scratch, options.rows)
    for name in options.only:
        row = {"question": name, "rows_drawn": options.rows, **QUESTIONS[name](bench), **circumstances()}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
