"""Does a generator help where one class is rare? Downstream models on real rows with and without synthetic ones.

    python benchmarks/minority.py DATA_DIR [--seeds 0 1 2 3 4] [--steps 1500] [--family diffusion] [--keep FOLDER]
    python benchmarks/minority.py DATA_DIR --rehearse --seeds 101 102 …

DATA_DIR holds a binary table: train.parquet, test.parquet and schema.json. For each seed the rarer class of the train rows
is cut to 1 % of them, ``artesian train`` learns from what is left, and ``artesian sample`` draws from it. Each contender
trains the same downstream models, at the same settings, on the same real rows and on what it adds to them:

- ``real``: nothing; ``real, even classes``: nothing, but both classes weigh the same in all;
- ``smote, even classes``: SMOTENC (imbalanced-learn) rows of the rare class, until both classes have as many rows;
- ``synthetic``: 10,000 drawn rows, half of each class (``--balance``); ``rare only``: those of the rare class;
- ``smote``: SMOTENC rows until the rare class has the share that it has in ``synthetic``;
- ``light``: the same rows, each of those added counting for a tenth of a real one; ``by _weight``: for its ``_weight``.

All are judged on the untouched test rows, where the class is as frequent as it ever was, by how they rank them: recall of
the rare class at precisions of 0.5 to 0.8, read off the precision-recall curve, their mean, and average precision. So no
contender gains by the threshold that its class shares lead to (moving the threshold is what ``real`` does at each
precision), and the shift of class shares from train to test rows is the same for all. Nothing is chosen on test rows: the
contenders above and their shares were settled in rehearsals, which cut a fifth of the commoner class's train rows off, and
judge on these and on the rare rows that were cut away, weighed to the class shares of the train rows.

The rows of results/minority.jsonl hold the figures of a seed; ``--table`` prints the means over seeds, and the paired
differences with their standard errors, which are over the seeds (draws of real rows, trainings and samples) at one set of
test rows. imbalanced-learn is no dependency of this project: ``pip install imbalanced-learn``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from published_protocol import circumstances
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

try:
    from imblearn.over_sampling import SMOTENC
except ImportError:
    sys.exit("this benchmark compares with SMOTE: pip install imbalanced-learn")

RESULTS = Path(__file__).parent / "results" / "minority.jsonl"
SHARE = 0.01  # of the rare class among the real rows
DRAWN = 10_000
PRECISIONS = (0.5, 0.6, 0.7, 0.8)
LIGHT = 0.1  # weight of an added row beside a real one in ``light``
OURS = "synthetic, light"
# Boosting at scikit-learn's defaults; the small trees are what the real rows alone are best served with.
LEARNERS: Mapping[str, dict[str, Any]] = {"boosting": {}, "small trees": {"max_leaf_nodes": 4}, "linear": {}}


class Task:
    """A binary table: its real rows with one class cut, the rows to judge on, and how both are shown to learners."""

    def __init__(self, folder: Path, seed: int, *, rehearse: bool) -> None:
        self.schema = json.loads((folder / "schema.json").read_text())
        self.target = str(self.schema["target"])
        train = pd.read_parquet(folder / "train.parquet")
        counts = train[self.target].value_counts()
        self.rare, self.share = str(counts.index[-1]), float(counts.iloc[-1] / counts.sum())
        draw = np.random.default_rng(seed)
        common, rare = (draw.permutation(np.flatnonzero(train[self.target] == v)) for v in counts.index)
        kept = round(0.8 * len(common)) if rehearse else len(common)
        few = round(kept * SHARE / (1 - SHARE))
        self.real = train.iloc[np.sort(np.concatenate([common[:kept], rare[:few]]))]
        rest = np.sort(np.concatenate([common[kept:], rare[few:]]))
        self.test = train.iloc[rest] if rehearse else pd.read_parquet(folder / "test.parquet")
        self.categories = {name: sorted(train[name].dropna().unique()) for name in self.schema["categorical"]}

    def shown(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) float64, categories as codes from 0 and missing ones as one of them; (n) bool, who is of the rare class."""
        columns = [*self.categories, *self.schema["numerical"]]
        coded = {n: pd.Categorical(frame[n], values).codes + 1 for n, values in self.categories.items()}
        return frame.assign(**coded)[columns].to_numpy(float), (frame[self.target] == self.rare).to_numpy()

    @property
    def is_category(self) -> np.ndarray:
        return np.arange(len(self.categories) + len(self.schema["numerical"])) < len(self.categories)


def contenders(task: Task, drawn: pd.DataFrame, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows (n, d), classes (n) and weights (n) that each trains on."""
    x, y = task.shown(task.real)
    more, classes = task.shown(drawn)

    def smote(share: float) -> tuple[np.ndarray, np.ndarray]:
        """What SMOTENC adds to the real rows to bring the rare class to this share."""
        sampler = SMOTENC(list(task.is_category), sampling_strategy=share / (1 - share), random_state=seed)
        rows, of = sampler.fit_resample(x, y)
        return rows[len(x) :], of[len(x) :]

    def beside(
        rows: np.ndarray, of: np.ndarray, weights: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real rows, which weigh 1, and these."""
        return (
            np.concatenate([x, rows]), np.concatenate([y, of]),
            np.concatenate([np.ones(len(x)), np.broadcast_to(weights, len(rows))]),
        )  # fmt: skip

    even, same = smote(0.5), smote((y.sum() + classes.sum()) / (len(x) + len(more)))
    return {
        "real": (x, y, np.ones(len(y))),
        "real, even classes": (x, y, np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))),
        "smote, even classes": beside(*even, 1.0),
        "smote": beside(*same, 1.0),
        "smote, light": beside(*same, LIGHT),
        "synthetic, rare only": beside(more[classes], classes[classes], 1.0),
        "synthetic": beside(more, classes, 1.0),
        "synthetic, light": beside(more, classes, LIGHT),
        "synthetic, by _weight": beside(more, classes, drawn["_weight"].to_numpy()),
    }


def judged(task: Task, learner: str, x: np.ndarray, y: np.ndarray, weights: np.ndarray, seed: int) -> dict[str, float]:
    if learner == "linear":
        encode = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), task.is_category), (StandardScaler(), ~task.is_category)
        )
        model = make_pipeline(encode, LogisticRegression(max_iter=1000))
        model.fit(x, y, logisticregression__sample_weight=weights)
    else:
        model = HistGradientBoostingClassifier(
            categorical_features=task.is_category, early_stopping=False, random_state=seed, **LEARNERS[learner]
        ).fit(x, y, weights)
    rows, truth = task.shown(task.test)
    score = model.predict_proba(rows)[:, 1]
    # Test rows have these shares already, but for a thousandth; those of a rehearsal have not.
    even = np.where(truth, task.share / truth.mean(), (1 - task.share) / (1 - truth.mean()))
    precision, recall, _ = precision_recall_curve(truth, score, sample_weight=even)
    recalls = {f"recall at {p}": float(recall[precision >= p].max()) for p in PRECISIONS}
    return {
        **recalls, "mean recall": float(np.mean(list(recalls.values()))),
        "average precision": float(average_precision_score(truth, score, sample_weight=even)),
    }  # fmt: skip


def draw(task: Task, folder: Path, seed: int, options: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What is drawn, and the manifest of the release that it is drawn from, trained unless it is there."""
    command, release, rows = [sys.executable, "-m", "artesian"], folder / "release", folder / "rows.parquet"
    train, test = (folder / f"{part}.parquet" for part in ("train", "test"))
    task.real.to_parquet(train, index=False)
    task.test.to_parquet(test, index=False)
    kinds = ["--categorical", ",".join([*task.schema["categorical"], task.target])]
    if task.schema["numerical"]:
        kinds += ["--numerical", ",".join(task.schema["numerical"])]
    if not release.exists():
        subprocess.run(
            [*command, "train", str(train), "--target", task.target, "--split", "1,0,0", "--test", str(test),
             "--seed", str(seed), "--out", str(release), *kinds, *options],
            check=True,
        )  # fmt: skip
    subprocess.run(
        [*command, "sample", str(release), "-n", str(DRAWN), "--balance", task.target, "--seed", str(seed),
         "--out", str(rows), "--overwrite"],
        check=True,
    )  # fmt: skip
    return pd.read_parquet(rows), json.loads((release / "manifest.json").read_text())


def measure(
    folder: Path, seed: int, family: str, options: list[str], keep: Path | None, rehearse: bool
) -> dict[str, Any]:
    task = Task(folder, seed, rehearse=rehearse)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory())) if keep is None else keep / f"{family}-{seed}"
        place.mkdir(parents=True, exist_ok=True)
        drawn, manifest = draw(task, place, seed, ["--family", family, *options])
    found = {
        learner: {name: judged(task, learner, *rows, seed) for name, rows in contenders(task, drawn, seed).items()}
        for learner in LEARNERS
    }
    return {
        "table": task.schema["name"], "rehearsal": rehearse, "family": family, "seed": seed,
        "steps": manifest["training"]["steps"], "release": manifest["id"][:12], "real_rows": len(task.real),
        "rare_rows": round(len(task.real) * SHARE), "figures": found, **circumstances(),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Of the newest commit's seeds, for each learner and contender the means; and what OURS is ahead of each, as Markdown."""
    rows = list(
        {r["seed"]: r for r in rows if all(r[k] == rows[-1][k] for k in ("commit", "family", "steps"))}.values()
    )
    shown = [*(f"recall at {p}" for p in PRECISIONS), "mean recall", "average precision"]
    lines = [f"{rows[-1]['family']}, {rows[-1]['steps']} steps, seeds " + ", ".join(str(r["seed"]) for r in rows), ""]
    lines += [
        "| learner | trained on | " + " | ".join(shown) + f" | mean recall: {OURS} is ahead by |",
        "|---" * (len(shown) + 3) + "|",
    ]
    for learner in LEARNERS:
        for name in rows[-1]["figures"][learner]:
            found = [[r["figures"][learner][name][k] for k in shown] for r in rows]
            ahead = [
                r["figures"][learner][OURS]["mean recall"] - r["figures"][learner][name]["mean recall"] for r in rows
            ]
            error = np.std(ahead, ddof=1) / len(ahead) ** 0.5 if len(ahead) > 1 else np.nan
            last = (
                ""
                if name == OURS
                else f"{np.mean(ahead):+.3f} ± {error:.3f} ({sum(a > 0 for a in ahead)} of {len(ahead)})"
            )
            lines.append(
                f"| {learner} | {name} | " + " | ".join(f"{v:.3f}" for v in np.mean(found, 0)) + f" | {last} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--family", default="diffusion")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the recipe")
    parser.add_argument(
        "--rehearse", action="store_true", help="judge on train rows that are left out; nothing is written"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the releases, which are trained unless they are there")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if options.table else []
    if options.data is None and not options.table:
        parser.error("give DATA_DIR, or --table")
    for seed in options.seeds if not options.table else ():
        length = ["--steps", str(options.steps), *(word for key in options.set for word in ("--set", key))]
        row = measure(options.data, seed, options.family, length, options.keep, options.rehearse)
        rows.append(row)
        print(json.dumps(row), flush=True)
        if not options.rehearse:
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
