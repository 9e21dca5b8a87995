from __future__ import annotations

import base64
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cluster import storage
from synth import release
from synth.data.schema import Column, Schema
from synth.errors import ReleaseError, UserError
from synth.provenance import keys, manifest
from synth.provenance.manifest import DataEntry, Training

FILES = [
    "certificate.json",
    "codec.json",
    "manifest.json",
    "manifest.sig",
    "recipe.yaml",
    "reference.parquet",
    "report.html",
    "schema.yaml",
    "weights.safetensors",
]
TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "b": torch.ones(4, dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
}
CODEC = {"z": 1, "a": {"y": 2, "b": 3}, "columns": [{"name": "año", "edges": [0.1, 1e-300, 2**60]}]}
RECIPE = {"family": "diffusion", "lr": 1e-05, "no": "yes", "data": "s3://key:s3cr3t@bucket/adult.parquet?token=s3cr3t"}
REFERENCE = pa.table({"año": pa.array([3, None, 2**60], pa.int64()), "1": ["ü", "", "b"]})
SCHEMA = Schema(
    columns=[
        Column(name="año", kind="numerical", dtype="int64", decimals=0),
        Column(name="1", kind="text", dtype="string"),
    ],
    target="año",
    excluded=["1"],
)


def save(folder: Path, **changes: Any) -> manifest.Manifest:
    fields: dict[str, Any] = {
        "tensors": TENSORS,
        "codec": CODEC,
        "schema": SCHEMA,
        "recipe": RECIPE,
        "certificate": {"auc": 0.9, "real": "s3://key:s3cr3t@bucket/test.parquet"},
        "report": "<p>ünïcode</p>\r\n",
        "name": "adult",
        "data": [DataEntry(location="s3://key:s3cr3t@bucket/adult", sha256="0" * 64, rows=5, role="train")],
        "parents": [],
        "real_fraction": 1.0,
        "seed": 7,
        "training": Training(steps=1, seconds=0.1, workers=1, zero=2, devices=["CPU"]),
        "reference": REFERENCE,
    }
    return release.save(folder, **{**fields, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with storage.staged_directory(tmp_path / "adult") as folder:
        save(folder)
    return tmp_path / "adult"


@pytest.fixture
def remote(saved: Path) -> Iterator[str]:
    location = f"memory://{saved.parent.name}"
    for name in FILES:
        storage.write_bytes(storage.join(location, name), (saved / name).read_bytes())
    yield location
    fsspec.filesystem("memory").rm(f"/{saved.parent.name}", recursive=True)


def test_round_trip(saved: Path) -> None:
    assert list(storage.list_files(saved)) == FILES
    loaded = release.load(saved)
    assert loaded.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    assert loaded.codec == CODEC
    assert list(loaded.codec) == list(CODEC)
    assert loaded.schema == SCHEMA
    assert loaded.recipe == {**RECIPE, "data": "s3://bucket/adult.parquet"}
    assert loaded.certificate == {"auc": 0.9, "real": "s3://bucket/test.parquet"}
    assert loaded.report == "<p>ünïcode</p>\r\n"
    assert loaded.reference is not None and loaded.reference.equals(REFERENCE)
    assert loaded.signer is not None
    assert loaded.signer.kind == "own"
    assert loaded.manifest.seed == 7
    assert loaded.manifest.generation_depth == 0


def test_a_remote_release_is_the_same(saved: Path, remote: str) -> None:
    assert release.verify(remote).whole
    here, there = release.load(saved), release.load(remote)
    assert here.manifest == there.manifest
    assert all(torch.equal(here.tensors[name], there.tensors[name]) for name in TENSORS)


def test_no_secret_is_in_any_file(tmp_path: Path) -> None:
    notes = ["'x' in s3://key:s3cr3t@bucket/adult.parquet?token=s3cr3t was taken as an id"]
    save(tmp_path, schema=SCHEMA.model_copy(update={"notes": notes}))
    for name in FILES:
        assert b"s3cr3t" not in (tmp_path / name).read_bytes()
        assert keys.signing_key().private_bytes_raw() not in (tmp_path / name).read_bytes()
    assert "s3://bucket/adult.parquet was taken as an id" in (tmp_path / "schema.yaml").read_text()


def test_not_a_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for changes in ({"codec": {"mean": float("nan")}}, {"certificate": {"auc": float("inf")}}):
        with pytest.raises(ValueError, match="JSON"):
            save(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = texts | st.integers() | st.floats(allow_nan=False) | st.none()


@given(st.dictionaries(texts, plain | st.booleans() | st.lists(plain)))
def test_any_recipe_comes_back(recipe: dict[str, Any]) -> None:
    assert release._from_yaml(release._to_yaml(recipe)) == recipe


def test_certificate_report_and_reference_may_be_absent(tmp_path: Path) -> None:
    save(tmp_path, certificate=None, report=None, reference=None)
    loaded = release.load(tmp_path)
    assert loaded.certificate is None
    assert loaded.report is None and loaded.reference is None


def test_the_same_generator_has_the_same_id(tmp_path: Path) -> None:
    ids = []
    for number, changes in enumerate([{}, {"report": None, "name": "other"}, {"codec": {}}]):
        (tmp_path / str(number)).mkdir()
        ids.append(save(tmp_path / str(number), **changes).id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("position", [0, 0.5, -1])
@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_found_and_the_file_named(saved: Path, remote: str, name: str, position: float) -> None:
    content = bytearray((saved / name).read_bytes())
    content[int(position * len(content)) if position >= 0 else -1] ^= 1
    (saved / name).write_bytes(content)
    storage.write_bytes(storage.join(remote, name), bytes(content))
    for location in (saved, remote):
        found = release.verify(location)
        assert not found.whole
        assert name in found.problems
        # A byte of the manifest may be one of another file's name there.
        assert name == "manifest.json" or set(found.problems) <= {name, "manifest.json", "manifest.sig"}
        with pytest.raises(ReleaseError, match=name):
            release.load(location)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ReleaseError, match=f"{name}: missing"):
        release.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_and_an_empty_file_are_named(saved: Path, name: str) -> None:
    for content in ((saved / name).read_bytes()[:-1], b""):
        (saved / name).write_bytes(content)
        with pytest.raises(ReleaseError, match=name):
            release.load(saved)


@pytest.mark.parametrize("name", ["weights.pkl", "sub/extra.json", ".hidden"])
def test_an_added_file_is_named(saved: Path, name: str) -> None:
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("x")
    found = release.verify(saved)
    assert list(found.problems) == [name]
    assert found.signer is not None
    with pytest.raises(ReleaseError, match=name):
        release.load(saved)


def test_a_pickle_is_never_opened(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "fired",))

    (saved / "weights.pt").write_bytes(pickle.dumps(Bomb()))
    (saved / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ReleaseError, match=r"weights\.safetensors"):
        release.load(saved)
    with pytest.raises(ReleaseError, match=r"weights\.safetensors: cannot be read"):
        release.load(saved, verify=False)
    assert not (tmp_path / "fired").exists()


def test_another_keys_signature_is_not_taken_for_ours(saved: Path) -> None:
    content = (saved / "manifest.json").read_bytes()
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes_raw()
    (saved / "manifest.sig").write_bytes(manifest._signature_file(other.sign(content), public))
    found = release.verify(saved)
    assert found.whole
    assert found.signer == keys.Signer("unknown", keys.fingerprint(public))
    assert keys.fingerprint(public) in str(found)
    keys.trust_file().write_text(f"{keys.fingerprint(public)} Ana\n")
    assert str(release.verify(saved)).endswith(f"whole, signed by Ana ({keys.fingerprint(public)})")


def test_a_signature_under_a_borrowed_name_is_refused(saved: Path) -> None:
    content = (saved / "manifest.json").read_bytes()
    forged = Ed25519PrivateKey.generate().sign(content)
    own = keys.signing_key().public_key().public_bytes_raw()
    (saved / "manifest.sig").write_bytes(manifest._signature_file(forged, own))
    assert release.verify(saved).signer is None
    with pytest.raises(ReleaseError, match=r"manifest\.sig"):
        release.load(saved)


def test_a_signature_of_another_release_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    save(tmp_path / "other", seed=8)
    shutil.copy(tmp_path / "other" / "manifest.sig", saved / "manifest.sig")
    with pytest.raises(ReleaseError, match=r"manifest\.sig: not the signature of manifest\.json"):
        release.load(saved)


def test_files_of_another_release_are_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    save(tmp_path / "other", tensors={"a.weight": torch.zeros(3, 2)})
    shutil.copy(tmp_path / "other" / "weights.safetensors", saved / "weights.safetensors")
    assert list(release.verify(saved).problems) == ["weights.safetensors"]


def test_a_damaged_release_can_be_looked_into_on_purpose(saved: Path) -> None:
    (saved / "report.html").write_text("edited")
    (saved / "manifest.sig").unlink()
    loaded = release.load(saved, verify=False)
    assert loaded.report == "edited"
    assert loaded.signer is None


def test_a_signed_manifest_that_lists_too_little_is_refused(saved: Path) -> None:
    record = release.load(saved).manifest
    files = {name: entry for name, entry in record.files.items() if name != "recipe.yaml"}
    content = record.model_copy(update={"files": files, "id": manifest.release_id(files)}).canonical()
    (saved / "manifest.json").write_bytes(content)
    (saved / "manifest.sig").write_bytes(manifest.sign(content))
    with pytest.raises(ReleaseError, match=r"recipe\.yaml"):
        release.load(saved)


def test_what_is_no_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"manifest\.json: missing, so this is not a release"):
        release.load(tmp_path)
    with pytest.raises(UserError, match="nothing: no such"):
        release.verify(tmp_path / "nothing")


def test_a_key_open_to_others_signs_nothing(tmp_path: Path) -> None:
    keys.signing_key()
    keys.key_file().chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"), storage.staged_directory(tmp_path / "out") as folder:
        save(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_signature_file_is_readable_by_other_tools(saved: Path) -> None:
    import json

    fields = json.loads((saved / "manifest.sig").read_bytes())
    assert fields["algorithm"] == "ed25519"
    assert len(base64.b64decode(fields["signature"])) == 64
    assert len(base64.b64decode(fields["public_key"])) == 32


def test_importing_is_light() -> None:
    code = (
        "import sys, synth.release; print(sorted({'torch', 'ray', 'pandas', 'safetensors.torch'} & set(sys.modules)))"
    )
    root = Path(release.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
