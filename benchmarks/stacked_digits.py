"""How many of 1,000 modes an image GAN finds, with what keeps it from collapsing and without.

    python benchmarks/stacked_digits.py [--budget 240 | --steps 2500] [--variants cures plain] [--seeds 0]

An image is three of scikit-learn's 1,797 handwritten digits, one in each channel, so that there are 1,000 modes of about
equal weight (Metz et al. 2017, "Unrolled Generative Adversarial Networks", arXiv 1611.02163, section 3.3.1, with smaller
digits). A classifier of single digits says which mode each of 26,000 samples is of. ``cures`` is the family's recipe,
``plain`` the same networks with the non-saturating objective, no penalty and no augmentation. A bare loop trains with the
project's own optimizer, schedule and average. Rows are appended to benchmarks/results/stacked_digits.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training.engine import Average, make_optimizer
from synth.training.schedule import Schedule

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "stacked_digits.jsonl"
SAMPLES, BLOCK = 26_000, 1_000
SURE = 0.8  # probability from which a digit is recognised
LAYOUT = Layout(cells=(), values=3 * 64, image=(3, 8, 8))
VARIANTS: dict[str, dict[str, Any]] = {
    "cures": {},
    "plain": {"objective": "non-saturating", "gamma": 0.0, "augment": []},
}


def train(recipe: Recipe, digits: torch.Tensor) -> tuple[Generator, int]:
    """A generator with averaged weights, and its steps; ``digits`` (n, 64) uint8 are stacked at random."""
    torch.manual_seed(recipe.seed)
    generator, training = build(recipe, LAYOUT), recipe.training
    players, schedule = generator.players, Schedule.of(training)
    optimizers = {name: make_optimizer(player, training, len(digits)) for name, player in players.items()}
    weights = [p for player in players.values() for p in player.parameters()]
    average = Average([p.detach() for p in weights], training.ema)
    step, began = 0, time.monotonic()
    while not schedule.finished(step):
        draw = Draw(recipe.seed, "train", step)
        chosen = (Draw(recipe.seed, "stack", step).uniform(training.batch, 3) * len(digits)).long()
        rows = Encoded(torch.zeros(training.batch, 0, dtype=torch.long), digits[chosen].flatten(1))
        for name, loss in generator.losses(players, rows, draw, step):
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(players[name].parameters(), training.clip)
            for group in optimizers[name].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[name].step()
        average.update()
        step += 1
        schedule.observe(step, time.monotonic() - began)
    with torch.no_grad():
        for weight, mean in zip(weights, average.shards, strict=True):
            weight.copy_(mean)
    return generator, step


def modes(generator: Generator, classifier: MLPClassifier) -> dict[str, float]:
    """Modes found, KL(samples ‖ uniform) in nats, and the share of samples that are recognised at all.

    A sample counts where the classifier is SURE of all three digits: noise is of a thousand modes, and of none.
    """
    blocks = [generator.sample(BLOCK, Draw("modes", block)).values for block in range(SAMPLES // BLOCK)]
    return counted(classifier.predict_proba(torch.cat(blocks).view(-1, 64).numpy() / 255))


def counted(chances: np.ndarray) -> dict[str, float]:
    """The figures from the probabilities of digits (3 · samples, 10)."""
    sure = (chances.max(1).reshape(-1, 3) >= SURE).all(1)
    found = np.bincount(chances.argmax(1).reshape(-1, 3)[sure] @ [100, 10, 1], minlength=1000)
    shares = found[found > 0] / max(sure.sum(), 1)
    return {
        "modes": len(shares),
        "kl": round(float((shares * np.log(shares * 1000)).sum()), 4),
        "recognised": round(float(sure.mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--budget", type=float, default=240, help="seconds of training")
    either.add_argument("--steps", type=int)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    source = load_digits()
    pixels = np.rint(source.data * (255 / 16)).astype(np.uint8)
    classifier = MLPClassifier((256,), random_state=0).fit(pixels / 255, source.target)
    RESULTS.parent.mkdir(exist_ok=True)
    stacks = np.random.default_rng(0).integers(0, len(pixels), 3 * SAMPLES)
    real = counted(classifier.predict_proba(pixels[stacks] / 255))
    print(f"real digits, stacked: {real}", flush=True)
    for seed in options.seeds:
        for variant in options.variants:
            length = {"budget_s": options.budget} if options.steps is None else {"steps": options.steps}
            document = {"family": "gan", "seed": seed, "training": length}
            recipe = Recipe.check(document | {"image": {"gan": VARIANTS[variant]}}).suited(images=True)
            began = time.monotonic()
            generator, steps = train(recipe, torch.from_numpy(pixels))
            row = {
                "variant": variant, "seed": seed, "steps": steps, "seconds": round(time.monotonic() - began, 1),
                **modes(generator, classifier), "samples": SAMPLES, "real": real, "recipe": recipe.image.gan.model_dump(),
                **circumstances(),
            }  # fmt: skip
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
