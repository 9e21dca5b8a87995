"""How many of 1,000 modes an image GAN finds, with what keeps it from collapsing and without.

    python benchmarks/stacked_digits.py [--budget 240 | --steps 2500] [--variants cures plain] [--seeds 0]

An image is three of scikit-learn's 1,797 handwritten digits, one in each channel, so that there are 1,000 modes of about
equal weight (Metz et al. 2017, "Unrolled Generative Adversarial Networks", arXiv 1611.02163, section 3.3.1, with smaller
digits). A classifier of single digits says which mode each of 26,000 samples is of. ``cures`` is the family's recipe,
``plain`` the same networks with the non-saturating objective, no penalty and no augmentation. ``collapse`` and ``notes`` are
what the training watch says; in the product, a collapse ends the run. The loop is a bare one. Rows are appended to
benchmarks/results/stacked_digits.jsonl.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import bare
import numpy as np
import torch
from published_protocol import circumstances
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from synth.generators.base import Draw, Generator
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "stacked_digits.jsonl"
SAMPLES, BLOCK = 26_000, 1_000
SELECT = 2000  # images that samples are held against on the way
SURE = 0.8  # probability from which a digit is recognised
LAYOUT = Layout(cells=(), values=3 * 64, image=(3, 8, 8))
VARIANTS: dict[str, dict[str, Any]] = {
    "cures": {},
    "plain": {"objective": "non-saturating", "gamma": 0.0, "augment": []},
}


def stacked(digits: torch.Tensor, draw: Draw, count: int) -> Encoded:
    """So many images of three of the ``digits`` (n, 64) uint8, drawn at random."""
    chosen = (draw.uniform(count, 3) * len(digits)).long()
    return Encoded(torch.zeros(count, 0, dtype=torch.long), digits[chosen].flatten(1))


def stacks_of(digits: torch.Tensor, seed: int, batch: int, step: int) -> Encoded:
    return stacked(digits, Draw(seed, "stack", step), batch)


def modes(generator: Generator, classifier: MLPClassifier) -> dict[str, float]:
    """Modes found, KL(samples ‖ uniform) in nats, and the share of samples that are recognised at all.

    A sample counts where the classifier is SURE of all three digits: noise is of a thousand modes, and of none. The paper
    counts every sample by its likeliest digits, which is ``modes_any`` and ``kl_any``.
    """
    blocks = [generator.sample(BLOCK, Draw("modes", block)).values for block in range(SAMPLES // BLOCK)]
    return counted(classifier.predict_proba(torch.cat(blocks).view(-1, 64).numpy() / 255))


def counted(chances: np.ndarray) -> dict[str, float]:
    """The figures from the probabilities of digits (3 · samples, 10)."""
    sure = (chances.max(1).reshape(-1, 3) >= SURE).all(1)
    mode = chances.argmax(1).reshape(-1, 3) @ [100, 10, 1]
    (modes, kl), (modes_any, kl_any) = spread(mode[sure]), spread(mode)
    return {
        "modes": modes, "kl": kl, "recognised": round(float(sure.mean()), 4), "modes_any": modes_any, "kl_any": kl_any,
    }  # fmt: skip


def spread(mode: np.ndarray) -> tuple[int, float]:
    """How many modes there are among some samples, and their KL from equal shares in nats."""
    found = np.bincount(mode, minlength=1000)
    shares = found[found > 0] / max(len(mode), 1)
    return len(shares), round(float((shares * np.log(shares * 1000)).sum()), 4)


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
    digits = torch.from_numpy(pixels)
    RESULTS.parent.mkdir(exist_ok=True)
    stacks = np.random.default_rng(0).integers(0, len(pixels), 3 * SAMPLES)
    real = counted(classifier.predict_proba(pixels[stacks] / 255))
    print(f"real digits, stacked: {real}", flush=True)
    for seed in options.seeds:
        for variant in options.variants:
            length = {"budget_s": options.budget} if options.steps is None else {"steps": options.steps}
            document = {"family": "gan", "seed": seed, "training": length}
            recipe = Recipe.check(document | {"image": {"gan": VARIANTS[variant]}}).suited(images=True)
            batch = partial(stacks_of, digits, seed, recipe.training.batch)
            generator, told = bare.train(
                recipe, LAYOUT, batch, len(digits), bare.as_arrays(stacked(digits, Draw(seed, "select"), SELECT))
            )
            row = {
                "variant": variant, "seed": seed, **told, **modes(generator, classifier), "samples": SAMPLES,
                "real": real, "recipe": recipe.image.gan.model_dump(), **circumstances(),
            }  # fmt: skip
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    with bare.alone():
        main()
