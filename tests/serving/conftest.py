"""A table that is quickly drawn, and its schema: what a service serves, as far as its monitor can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from serving.monitor.view import View
from synth.data.schema import Column, Schema

if TYPE_CHECKING:
    from synth.sampling import Sampler
    from tests.serving.service import Service


@pytest.fixture(scope="session")
def draw() -> Callable[..., pa.Table]:
    """``draw(rows, seed, width=1, towns=10)``: people of ten towns; a ``width`` below 1 draws numbers from their middle."""

    def draw(rows: int, seed: int, width: float = 1.0, towns: int = 10) -> pa.Table:
        rng = np.random.default_rng(seed)
        shares = np.array([40, 20, 10, 10, 8, 6, 3, 2, 0.6, 0.4])[:towns]
        town = rng.choice(towns, rows, p=shares / shares.sum())
        age = np.round(50 + 15 * width * rng.normal(size=rows))
        income = np.round(np.exp(2 + age / 60 + town / 10 + 0.5 * width * rng.normal(size=rows)), 2)
        bought = rng.random(rows) < 1 / (1 + np.exp(-(age - 50) / 8))
        return pa.table({
            "age": age, "income": pa.array(np.where(rng.random(rows) < 0.1, np.nan, income), from_pandas=True),
            "town": pa.array([f"town {t}" for t in town]), "bought": bought,
        })  # fmt: skip

    return draw


@pytest.fixture(scope="session")
def schema() -> Schema:
    return Schema(
        columns=[
            Column(name="age", kind="numerical", dtype="double", decimals=0),
            Column(name="income", kind="numerical", dtype="double", nullable=True, decimals=2),
            Column(name="town", kind="categorical", dtype="string"),
            Column(name="bought", kind="boolean", dtype="bool"),
        ],
        target="bought",
    )


@pytest.fixture(scope="session")
def view(schema: Schema, draw: Callable[..., pa.Table]) -> View:
    return View(schema, draw(8_192, 0))


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> Path:
    """A release of people."""
    from tests.serving.releases import publish

    return publish(tmp_path_factory.mktemp("releases") / "people")


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> Path:
    """One that has a student."""
    from tests.serving.releases import publish

    return publish(tmp_path_factory.mktemp("releases") / "taught", taught=True)


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> Path:
    """Another one of the same table, whose rows are others."""
    from tests.serving.releases import publish

    return publish(tmp_path_factory.mktemp("releases") / "others", seed=1)


@pytest.fixture(scope="session")
def steady(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> Path:
    """A release of people whose rows are independent of each other, as a monitor takes them to be."""
    from tests.serving.releases import publish

    return publish(tmp_path_factory.mktemp("releases") / "steady", family="gan")


@pytest.fixture(scope="session")
def steady_sampler(steady: Path) -> Sampler:
    """Of the release ``steady``."""
    from synth import release as releases
    from synth.sampling import Sampler

    return Sampler.from_release(releases.load(str(steady)))


@pytest.fixture(scope="session")
def sampler(people: Path) -> Sampler:
    """Of the release ``people``."""
    from synth import release as releases
    from synth.sampling import Sampler

    return Sampler.from_release(releases.load(str(people)))


@pytest.fixture
def serve(people: Path, others: Path, tmp_path: Path) -> Callable[..., Service]:
    """``serve(**settings)``: a service of ``people`` in two versions, of which the first is the default, and of ``others``."""
    from tests.serving.service import Service

    def serve(state: str = "state", **settings: Any) -> Service:
        versions = {"versions": {1: str(people), 2: str(others)}, "aliases": {"production": {1: 1}}}
        generators = {"people": versions, "others": {"versions": {1: str(others)}}}
        return Service.of(**{"generators": generators, "state": tmp_path / state} | settings)

    return serve
