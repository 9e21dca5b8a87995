"""The README's results are what the page makes of the committed rows, and the pictures, too."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/page.py, which is a script and in no package."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds the folder that it lies in
    spec = importlib.util.spec_from_file_location("page", ROOT / "benchmarks" / "page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peers(generator: str, table: str, seeds: int, **figures: Any) -> list[dict[str, Any]]:
    row = {
        "who": generator, "table": table, "limit_s": 240.0, "commit": "c", "date": "2027-01-01", "machine": "2 cores",
        "task": "regression" if table == "beijing" else "classification", "trtr": 0.9, "tstr": 0.8, "c2st_auc": 0.6,
        "shape_error": 1.0, "trend_error": 2.0, "exact_copies": 0.0, "fit_s": 100.0, "rows_per_s": 20_000,
    }  # fmt: skip
    return [row | figures | {"seed": seed} for seed in range(seeds)]


def test_the_results_in_the_readme_are_those_of_the_committed_rows(page: ModuleType) -> None:
    found = page.read()
    for file, content in page.readmes(found).items():
        assert file.read_text() == content, "run make page, and commit what it writes"
    pictures = page.pictures(found)
    assert {file.stem for file in page.PLOTS.glob("*.svg")} == set(pictures) and set(pictures) == set(page.PICTURES)
    for name, content in pictures.items():
        assert (page.PLOTS / f"{name}.svg").read_text() == content, "run make page, and commit what it writes"
        assert f"](benchmarks/plots/{name}.svg)" in page.section(found)


def test_every_figure_is_a_median_of_its_newest_commit(page: ModuleType, tmp_path: Path) -> None:
    page.HERE = tmp_path
    (tmp_path / "results").mkdir()
    rows = [
        *peers("CTGAN", "adult", 3, commit="old", date="2026-01-01", tstr=0.5),
        *(peers("CTGAN", "adult", 3)[n] | {"tstr": value} for n, value in enumerate((0.81, 0.85, 0.82))),
        *peers("TVAE", "adult", 1, limit_s=20.0),  # of another limit, so of another table
        peers("TVAE", "adult", 1)[0] | {"failed": "took more than three times the limit"},
    ]
    del rows[-1]["shape_error"]
    (tmp_path / "results" / "peers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = page.read()
    assert {of: len(mine) for of, mine in found.items()} == {("adult", "CTGAN"): 3, ("adult", "TVAE"): 1}
    section = page.section(found)
    assert "| adult | CTGAN | 3 | 1 | 2 | 0.82 (0.81 to 0.85) | 0.6 | 0 | 100 | 20,000 |" in section
    assert "| adult | TVAE | 0 of 1 | took more than three times the limit | – |" in section
    assert not page.pictures(found)["rows"].count("TVAE"), "what failed has no place in the pictures"


def test_rows_of_the_protocol_come_before_those_of_one_seed_and_their_speed_from_a_process_of_its_own(
    page: ModuleType, tmp_path: Path
) -> None:
    page.HERE = tmp_path
    (tmp_path / "results").mkdir()
    [own] = peers("Artesian, diffusion", "adult", 1, date="2027-02-02", commit="later", tstr=0.5)
    mine = own | {
        "family": "diffusion", "budget": "4m", "commit": "c", "rows": 1000, "train_command_s": 300.0, "sample_command_s": 10.0,
        "fast": {"tstr": 0.7, "rows": 1000, "sample_command_s": 5.0},
    }  # fmt: skip
    speed = {"release": "adult-diffusion-4m-0", "threads": 2, "quality": "best", "commit": "c", "rows_per_s": 6000}
    speeds = [speed, speed | {"quality": "fast", "commit": "older"}, speed | {"threads": 1, "rows_per_s": 1}]
    [argn] = peers("TabularARGN", "adult", 1)
    for name, rows in {"published_protocol": [mine], "peers": [own, argn], "sampling_speed": speeds}.items():
        (tmp_path / "results" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {
        who: [(row["commit"], row["rows_per_s"], row["tstr"]) for row in rows] for (_, who), rows in page.read().items()
    }
    assert found == {
        "Artesian, diffusion": [("c", 6000, 0.5)], "Artesian, diffusion, fast": [("c", 200, 0.7)],
        "TabularARGN": [("c", 20_000, 0.8)],
    }  # fmt: skip


def test_words_in_the_pictures_do_not_run_into_each_other(page: ModuleType, tmp_path: Path) -> None:
    page.HERE = tmp_path
    (tmp_path / "results").mkdir()
    rows = [
        row
        for n, generator in enumerate(page.GENERATORS)
        for table in page.TABLES
        for row in peers(generator, table, 2, tstr=0.9 - 0.1 * n, fit_s=11.0 * 2**n, rows_per_s=10 ** (2 + n / 2))
    ]
    (tmp_path / "results" / "peers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in page.pictures(page.read()).items():
        tree = ElementTree.fromstring(content)
        width, height = (float(size) for size in tree.attrib["viewBox"].split()[2:])
        boxes = list(words(tree, 0.0, 0.0))
        assert len(boxes) > 15
        for n, (text, left, right, base) in enumerate(boxes):
            assert left >= 0 and right <= width and 10 <= base <= height, (name, text)
            for other, from_, to, at in boxes[:n]:
                assert abs(at - base) >= 11 or right <= from_ or to <= left, (name, text, other)


def words(element: ElementTree.Element, x: float, y: float) -> Any:
    """(text, left, right, base line) of all texts, at 6.6 units a character."""
    if moved := re.fullmatch(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", "")):
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag.endswith("}text") and element.text:
        size, at = 6.6 * len(element.text), x + float(element.attrib["x"])
        left = at - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]] * size
        yield element.text, left, left + size, y + float(element.attrib["y"])
    for inside in element:
        yield from words(inside, x, y)
