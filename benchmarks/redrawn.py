"""What a table's target keeps a release from teaching: its rows with the target drawn again by boosted trees of the real rows.

    python benchmarks/redrawn.py DATA_DIR RELEASE YARDSTICK.py --yardstick-python PYTHON [--seed 0]
    python benchmarks/redrawn.py --table

DATA_DIR holds train.parquet, test.parquet and schema.json. Boosted trees learn the target from all else of the real train
rows; what they make of rows that they have not seen is known from folds. Scored by the yardstick are the release's rows as
drawn; the same with a target that the trees draw; and the real train rows with one that trees draw which have not seen them.
Of classes the trees know probabilities. Of a number they know the mean, which is scored, too; it is drawn as that and an error
of a real row whose mean is near. Rows go to results/redrawn.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, rows_of, scored

RESULTS = Path(__file__).parent / "results" / "redrawn.jsonl"
NEAR = 200  # real rows on either side, by prediction, one of whose errors a row gets


def measure(data: Path, release: str, yardstick: Path, python: str, seed: int) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    import artesian

    schema = json.loads((data / "schema.json").read_text())
    target, classes = schema["target"], schema["categorical"]
    real = pd.read_parquet(data / "train.parquet")
    drawn = artesian.load(release).sample(len(real), seed=seed)[list(real.columns)]
    codes = {name: {value: k for k, value in enumerate(sorted(real[name].astype(str).unique()))} for name in classes}

    def seen(frame: pd.DataFrame) -> pd.DataFrame:
        as_numbers = {name: frame[name].astype(str).map(codes[name]) for name in classes if name != target}
        return frame.drop(columns=target).assign(**as_numbers).astype(float)

    way = numbers if schema["task"] == "regression" else labels
    ways = {"as drawn": drawn}
    ways |= way(seen(real), real, seen(drawn), drawn, target, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for name, frame in ways.items():
            frame.to_parquet(f"{scratch}/rows.parquet")
            found[name] = scored(data, f"{scratch}/rows.parquet", yardstick, python)["tstr"]
    return {"table": schema["name"], "release": Path(release).name, "seed": seed, "tstr": found, **circumstances()}


def numbers(known: Any, real: Any, shown: Any, drawn: Any, target: str, rng: Any) -> dict[str, Any]:
    """``drawn`` and ``real`` rows with another number, which follows from what is ``known`` of the real and ``shown`` of the
    drawn ones."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    trees = HistGradientBoostingRegressor(max_iter=600, max_leaf_nodes=255, random_state=int(rng.integers(1 << 31)))
    unseen = cross_val_predict(trees, known, real[target])
    order = np.argsort(unseen)
    errors = (real[target].to_numpy() - unseen)[order]

    def near(found: Any) -> Any:
        at = np.searchsorted(unseen[order], found) + rng.integers(-NEAR, NEAR, len(found))
        return np.maximum(found + errors[at.clip(0, len(errors) - 1)], real[target].min())

    mean = trees.fit(known, real[target]).predict(shown)
    return {
        "mean": drawn.assign(**{target: mean}), "redrawn": drawn.assign(**{target: near(mean)}),
        "real, redrawn": real.assign(**{target: near(unseen)}),
    }  # fmt: skip


def labels(known: Any, real: Any, shown: Any, drawn: Any, target: str, rng: Any) -> dict[str, Any]:
    """The same of classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, early_stopping=True, random_state=int(rng.integers(1 << 31))
    )
    unseen = cross_val_predict(trees, known, real[target], cv=StratifiedKFold(5), method="predict_proba")
    trees.fit(known, real[target])

    def by(chances: Any) -> Any:
        at = (chances.cumsum(1)[:, :-1] < rng.random((len(chances), 1))).sum(1)
        return trees.classes_[at]

    return {
        "redrawn": drawn.assign(**{target: by(trees.predict_proba(shown))}),
        "real, redrawn": real.assign(**{target: by(unseen)}),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """AUC on test rows, or of a number RMSE, of models that learn from each, of the last row of each release and seed."""
    last = {(row["release"], row["seed"]): row for row in rows}.values()
    ways = list(dict.fromkeys(way for row in last for way in row["tstr"]))
    lines = ["| release | seed | " + " | ".join(ways) + " |", "|---" * (len(ways) + 2) + "|"]
    for row in last:
        told = [f"{row['tstr'][way]:.4g}" if way in row["tstr"] else "–" for way in ways]
        lines.append(f"| {row['release']} | {row['seed']} | {' | '.join(told)} |")
    return "\n".join(lines)


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
    print(table(rows_of(RESULTS)))


if __name__ == "__main__":
    main()
