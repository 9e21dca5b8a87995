"""A release that is made in a moment, and a backend that draws from it in this process: the real sampler and monitor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cluster import storage
from serving.catalogue import Version
from serving.replica import Loaded, Task, drawn
from serving.stream import Drawn, Piece
from synth import release as releases
from synth.data.codec import Fit
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.source import open_source
from synth.evaluation.gist import Gist
from synth.generators.families import build
from synth.generators.student import Student
from synth.generators.table_diffusion import TableDiffusion
from synth.provenance.manifest import Training
from synth.recipe import Recipe
from synth.sampling import Sampler

COLLAPSED = {"temperature": 0.4, "target_temperature": 0.4, "noise": 0.4}  # of what is drawn


def people(rows: int = 600) -> pa.Table:
    draw = np.random.default_rng(0)
    return pa.table(
        {
            "age": draw.integers(18, 90, rows),
            "city": draw.choice(["Rome", "Oslo", "Bonn"], rows),
            "pay": pa.array(np.round(draw.lognormal(8, 1, rows), 2), mask=draw.random(rows) < 0.2),
            "member": draw.random(rows) < 0.3,
        }
    )


def publish(
    out: Path,
    *,
    seed: int = 0,
    name: str = "people",
    collapsed: bool = False,
    family: str = "diffusion",
    taught: bool = False,
) -> Path:
    """An untrained generator of ``people``, whose columns depend on each other all the same, published as it would be; with
    rows as they were certified, which one that is ``collapsed`` no longer draws; if ``taught``, with a student."""
    settings = {"target": "member", "diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4, "gan.width": 32}
    return _publish(
        out, people(), Recipe.read(None, settings | {"seed": seed, "family": family}), name, collapsed=collapsed, taught=taught
    )  # fmt: skip


def publish_images(out: Path, *, label: bool = True) -> Path:
    """An untrained generator of tiny images, of two classes or of none."""
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {"image": draw.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)}
    columns |= {"label": ["cat", "dog"] * 20} if label else {}
    recipe = Recipe.read(None, {"family": "vae", "image.vae.width": 16} | ({"target": "label"} if label else {}))
    return _publish(out, columns, recipe, "pets")


def _publish(out: Path, data: Any, recipe: Recipe, name: str, *, collapsed: bool = False, taught: bool = False) -> Path:
    source = open_source(data)
    schema = infer(source, target=recipe.target)
    recipe, fit = recipe.suited(images=schema.image is not None), Fit(schema)
    for batch in source.batches():
        fit.update(conform(batch, schema))
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(recipe.seed)
    generator = build(recipe, codec.layout)
    if taught:
        assert isinstance(generator, TableDiffusion)
        generator.student = Student(codec.layout)
    for parameter in generator.parameters():  # an untrained head is zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    training = Training(steps=1, seconds=1.0, workers=1, zero=0, devices=["cpu"])
    reference = Gist(schema)(Sampler(generator, codec).table(4_096, seed=1))
    if collapsed:
        recipe = Recipe.check(recipe.model_dump() | {"diffusion": recipe.diffusion.model_dump() | COLLAPSED})
    with storage.staged_directory(str(out)) as folder:
        releases.save(
            folder, tensors=generator.state_dict(), codec=codec.model_dump(exclude={"table"}), schema=schema,
            recipe=recipe.model_dump(), certificate=None, report=None, name=name, data=[], parents=[], real_fraction=1.0,
            seed=recipe.seed, training=training, reference=reference,
        )  # fmt: skip
    return out


class LocalBackend:
    """Draws in this process, one piece at a time, each of which is waited for ``slow`` seconds longer."""

    def __init__(self) -> None:
        self.models: dict[str, Loaded] = {}
        self.slow, self.drawn, self.at_once = 0.0, 0, False
        self.watched: list[tuple[str, Piece, int]] = []

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        if release not in self.models:
            self.models[release] = Loaded(version.place, release)
        await asyncio.sleep(self.slow)
        self.drawn += piece.rows
        found = drawn([Task(self.models[release], piece, asyncio.get_running_loop().create_future())])[0]
        return replace(found, at_once=self.at_once)

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        self.watched.append((str(version), piece, drawn.batch.num_rows))

    def watch_anew(self, version: Version) -> None:
        self.watched.clear()

    async def ready(self) -> bool:
        return True
