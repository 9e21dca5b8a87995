"""A folder of images as a table."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from synth.data import image_files
from synth.data.images import png
from synth.data.source import open_source
from synth.errors import UserError
from tests.data.images import encoded, grey


def write(folder: Path, names: list[str]) -> dict[str, bytes]:
    """An image of its own in each of these files, and the bytes by name."""
    files = {name: encoded(grey(4, 4, seed)) for seed, name in enumerate(names)}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return files


def test_the_class_is_the_folder(tmp_path: Path) -> None:
    files = write(
        tmp_path, ["cat/1.png", "cat/2.PNG", "dog/1.jpeg", "dog/old/1.webp", "_hidden/1.png", ".thumbs/1.png"]
    )
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"?")
    source = open_source(tmp_path)
    found = source.table().to_pydict()
    assert found["label"] == ["cat", "cat", "dog", "dog/old"]
    assert found["image"] == list(files.values())[:4]
    assert source.rows() == 4 and source.schema == pa.schema([("image", pa.binary()), ("label", pa.string())])
    assert source.place(2) == str(tmp_path / "dog" / "1.jpeg")
    assert any("Thumbs.db" in note for note in source.notes)
    assert source.only(["label"]).table().to_pydict() == {"label": found["label"]}
    assert open_source(str(tmp_path / "[cd]*" / "1.*")).table()["label"].to_pylist() == ["cat", "dog"]


def test_images_in_one_folder_have_no_class(tmp_path: Path) -> None:
    write(tmp_path / "all", ["1.png", "2.png"])
    for location in (tmp_path / "all", str(tmp_path / "all" / "*.png"), [tmp_path / "all" / "1.png"]):
        assert open_source(location).schema.names == ["image"]
    assert open_source(tmp_path).table()["label"].to_pylist() == ["all", "all"]
    write(tmp_path, ["stray.png"])
    stray = open_source(tmp_path)
    assert stray.table()["label"].to_pylist() == ["all", "all", None] and "1 images lie in no" in stray.notes[0]


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv"])
def test_a_csv_file_names_images_and_classes(tmp_path: Path, name: str) -> None:
    files = write(tmp_path, ["b.png", "a.png", "more/c.png", "spare.png"])
    (tmp_path / name).write_text("kind,file_name\n3,more/c.png\n1,./a.png\n3,b.png\n1,a.png\n")
    source = open_source(tmp_path)
    assert source.table().to_pydict() == {
        "image": [files[n] for n in ("more/c.png", "a.png", "b.png", "a.png")],
        "kind": [3, 1, 3, 1],
    }
    assert source.place(0).endswith("more/c.png") and "1 images of the folder are not in it" in source.notes[0]
    assert source.notes[1] == f"{tmp_path / name}: 1 lines name an image again, which counts as often, such as 'a.png'"
    assert open_source(tmp_path, as_text=["kind"]).table()["kind"].to_pylist() == ["3", "1", "3", "1"]
    before = source.fingerprint()
    (tmp_path / name).write_text("kind,file_name\n3,more/c.png\n1,a.png\n2,b.png\n1,a.png\n")
    assert open_source(tmp_path).fingerprint() != before


def test_a_csv_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a.png"])
    (tmp_path / "labels.csv").write_text("file,kind\na.png,x\ngone.png,y\n")
    with pytest.raises(UserError, match=r"labels\.csv: column 'file' names 1 images that are not there \(gone\.png\)"):
        open_source(tmp_path)
    (tmp_path / "labels.csv").write_text("kind,n\nx,1\n")
    with pytest.raises(UserError, match=r"labels\.csv: no column names the images, such as 'a\.png'"):
        open_source(tmp_path)
    (tmp_path / "labels.csv").write_text("file,kind\n,x\na.png,y\n")
    with pytest.raises(UserError, match=r"names 1 images that are not there \(an empty cell\)"):
        open_source(tmp_path)
    (tmp_path / "labels.csv").write_text("file,kind\na.png,x\n./a.png,y\n")
    with pytest.raises(UserError, match=r"labels\.csv: gives 'a\.png' two classes, 'x' and 'y'"):
        open_source(tmp_path)
    (tmp_path / "labels.csv").write_text("a.png,x\na.png,x\n")
    with pytest.raises(UserError, match=r"labels\.csv: its first line names an image \(a\.png\) and no columns"):
        open_source(tmp_path)
    (tmp_path / "metadata.csv").write_text("file,kind\na.png,x\n")
    with pytest.raises(UserError, match="leave one of them"):
        open_source(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "metadata.csv").write_text("file,image\na.png,x\n")
    with pytest.raises(UserError, match="both named 'image'"):
        open_source(tmp_path)
    (tmp_path / "table.csv").write_text("x\n1\n")
    with pytest.raises(UserError, match="mixes formats"):
        open_source(tmp_path)


def test_a_folder_on_storage() -> None:
    with fsspec.open("memory://images/one/a.png", "wb") as file:
        file.write(encoded(grey()))
    with fsspec.open("memory://images/two/b.png", "wb") as file:
        file.write(encoded(grey(seed=1)))
    source = open_source("memory://images")
    assert source.table().to_pydict() == {"image": [encoded(grey()), encoded(grey(seed=1))], "label": ["one", "two"]}
    assert source.place(1) == "memory:///images/two/b.png"


def test_batches_are_bounded_and_pieces_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{k % 3}/{k:03}.png" for k in range(30)]
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(np.full((2, 2, 1), seed, np.uint8)))
    source = open_source(tmp_path, batch_rows=8)
    assert [b.num_rows for b in source.batches()] == [8, 8, 8, 6]
    size = (tmp_path / names[0]).stat().st_size
    monkeypatch.setattr(image_files, "BATCH", 5 * size)
    assert max(b.num_rows for b in source.batches()) <= 6
    pieces = source.pieces(7)
    assert len(pieces) == 5 and pieces[2].first == 14
    parts = [batch for piece in pieces for _, batch in piece.batches()]
    assert pa.Table.from_batches(parts).combine_chunks() == source.table().combine_chunks()
    assert source.values == 2**14 + 1


def test_a_file_that_is_too_large_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(bytes(1000))
    (tmp_path / "b.png").write_bytes(b"")
    monkeypatch.setattr(image_files, "MOST_BYTES", 10)
    assert [len(data) for data in open_source(tmp_path).table()["image"].to_pylist()] == [11, 0]
