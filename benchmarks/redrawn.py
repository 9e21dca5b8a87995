"""What a table's target keeps a release from teaching: its rows with the target drawn again by boosted trees of the real rows.

    python benchmarks/redrawn.py DATA_DIR RELEASE YARDSTICK.py --yardstick-python PYTHON [--seed 0]
    python benchmarks/redrawn.py --table

For a target that is a number (Beijing's). DATA_DIR holds train.parquet, test.parquet and schema.json. Boosted trees learn the
target from all else of the real train rows; what they miss it by is known from folds that they have not seen. Scored by the
yardstick are the release's rows as drawn; the same with the trees' prediction for a target, and with that and an error of a
real row whose prediction is near; and the real train rows with the latter. Rows go to results/redrawn.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, scored

RESULTS = Path(__file__).parent / "results" / "redrawn.jsonl"
NEAR = 200  # real rows on either side, by prediction, one of whose errors a row gets


def measure(data: Path, release: str, yardstick: Path, python: str, seed: int) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    import artesian

    schema = json.loads((data / "schema.json").read_text())
    target, classes = schema["target"], schema["categorical"]
    real = pd.read_parquet(data / "train.parquet")
    drawn = artesian.load(release).sample(len(real), seed=seed)[list(real.columns)]
    codes = {name: {value: k for k, value in enumerate(sorted(real[name].astype(str).unique()))} for name in classes}

    def seen(frame: pd.DataFrame) -> pd.DataFrame:
        as_numbers = {name: frame[name].astype(str).map(codes[name]) for name in classes}
        return frame.drop(columns=target).assign(**as_numbers).astype(float)

    trees = HistGradientBoostingRegressor(max_iter=600, max_leaf_nodes=255, random_state=seed)
    unseen = cross_val_predict(trees, seen(real), real[target])
    order = np.argsort(unseen)
    errors = (real[target].to_numpy() - unseen)[order]
    rng = np.random.default_rng(seed)

    def near(found: Any) -> Any:
        at = np.searchsorted(unseen[order], found) + rng.integers(-NEAR, NEAR, len(found))
        return np.maximum(found + errors[at.clip(0, len(errors) - 1)], real[target].min())

    mean = trees.fit(seen(real), real[target]).predict(seen(drawn))
    ways = {
        "as drawn": drawn, "mean": drawn.assign(**{target: mean}), "redrawn": drawn.assign(**{target: near(mean)}),
        "real, redrawn": real.assign(**{target: near(unseen)}),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for way, frame in ways.items():
            frame.to_parquet(f"{scratch}/rows.parquet")
            found[way] = scored(data, f"{scratch}/rows.parquet", yardstick, python)["tstr"]
    return {
        "table": schema["name"], "release": Path(release).name, "seed": seed, "tstr": found,
        "trees_rmse": round(float(np.sqrt(np.mean(errors**2))), 3), **circumstances(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("release", nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.yardstick is None:
            parser.error("give DATA_DIR, RELEASE and YARDSTICK, or --table")
        row = measure(options.data, options.release, options.yardstick, options.yardstick_python, options.seed)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
    for row in map(json.loads, RESULTS.read_text().splitlines() if RESULTS.exists() else []):
        print(f"{row['release']}, seed {row['seed']}: " + ", ".join(f"{way} {v:.2f}" for way, v in row["tstr"].items()))


if __name__ == "__main__":
    main()
