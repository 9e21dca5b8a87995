"""Images come as files, whatever the format: the same that are written into files and folders."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.monitor.monitor import Monitor
from serving.monitor.watch import Alarm
from serving.stream import Piece
from serving.watcher import Watcher
from synth import release as releases
from synth.data.image_columns import column_of, pixels
from synth.data.image_sink import encoded
from synth.data.source import open_source
from synth.sampling import BLOCK, Sampler
from tests.serving.releases import publish_images
from tests.serving.service import Service

ROWS, FIRST = 1_100, 90
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module", params=[True, False], ids=["classes", "none"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_images(tmp_path_factory.mktemp("images") / "pets", label=request.param)


@pytest.fixture(scope="module")
def service(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service.of({"pets": {"versions": {1: str(place)}}}, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def wanted(place: Path) -> pa.Table:
    sampler = Sampler.from_release(releases.load(str(place)))
    return pa.Table.from_batches(encoded(sampler.batches(ROWS, seed=5, first=FIRST), sampler.schema, FIRST))


def draw(service: Service, **asked: Any) -> Any:
    answer = service.draw("pets", **({"n": ROWS, "first": FIRST, "seed": 5} | asked))
    assert answer.status_code == 200, answer.text
    return answer


def test_binary_formats_have_them_in_a_column_of_files(service: Service, wanted: pa.Table, tmp_path: Path) -> None:
    content = draw(service, format="arrow").content
    assert (
        pa.ipc.open_stream(io.BytesIO(content)).read_all().replace_schema_metadata().to_pylist() == wanted.to_pylist()
    )
    (tmp_path / "pets.parquet").write_bytes(draw(service, format="parquet").content)
    assert pq.read_table(tmp_path / "pets.parquet").to_pylist() == wanted.to_pylist()
    assert wanted["image"][0].as_py()["path"] == f"{FIRST:06}.png"
    source = open_source(str(tmp_path / "pets.parquet"))  # and it is a source again
    assert sum(batch.num_rows for batch in source.batches()) == ROWS


@pytest.mark.parametrize("format", ["json", "ndjson", "csv"])
def test_text_has_them_in_base64(service: Service, wanted: pa.Table, format: str) -> None:
    answer = draw(service, format=format)
    if format == "csv":
        column = wanted.schema.names.index("image")
        found = [line.split(",")[column].strip('"') for line in answer.text.splitlines()[1:]]
    else:
        rows = answer.json() if format == "json" else [json.loads(line) for line in answer.text.splitlines()]
        found = [row["image"] for row in rows]
    assert [base64.b64decode(text) for text in found] == [row["bytes"] for row in wanted["image"].to_pylist()]


def test_blocks_are_drawn_whole_and_the_monitor_sees_pixels(service: Service, place: Path, tmp_path: Path) -> None:
    shelf = service.desk.shelves["pets@1"]
    service.backend.watched.clear()
    draw(service)
    assert not shelf.joins and [rows for _, _, rows in service.backend.watched] == [1_024 - FIRST, ROWS - 1_024 + FIRST]
    watcher = Watcher({"pets@1": (shelf.manifest.id, str(place))}, str(tmp_path), any_signer=True)
    sampler = Sampler.from_release(releases.load(str(place)))
    [batch] = sampler.batches(50, seed=5)
    from serving.stream import Drawn

    watcher._see("pets@1", Piece(5, 0, 50, ""), Drawn(batch, 0.1, None))
    reports, alarms = watcher._report()
    assert alarms == {} and {name: report.rows for name, report in reports.items()} == {"pets@1": 50}


def test_images_that_change_raise_an_alarm_that_says_what_about_them(place: Path, tmp_path: Path) -> None:
    release = releases.load(str(place))
    sampler = Sampler.from_release(release)

    def see(name: str, change: Callable[[Pixels], Pixels]) -> Alarm | None:
        monitor = Monitor(sampler, release.manifest.id, tmp_path / name, release.reference)
        for batch in sampler.batches(4 * BLOCK, seed=5):
            images = change(pixels(batch["image"], (8, 8, 3)))
            at = batch.schema.get_field_index("image")
            if (alarm := monitor.see(batch.set_column(at, "image", column_of(images)), "", 10.0)) is not None:
                return alarm
        return None

    assert see("as they are", lambda images: images) is None
    alarm = see("darker", lambda images: (images * 0.9).astype(np.uint8))
    assert alarm is not None and any("image: brightness at row" in change.kind for change in alarm.changes)
    blurred = see(
        "flat", lambda images: np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape).astype(np.uint8)
    )
    assert blurred is not None
