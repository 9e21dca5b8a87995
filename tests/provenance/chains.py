"""Releases that learn from each other's rows, and what breaks a chain of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cluster import storage
from synth import release as releases
from synth.data.source import open_source
from synth.provenance import keys, lineage
from synth.provenance.lineage import Node
from synth.provenance.manifest import DataEntry, Training
from synth.release import Release


def made(like: Release, name: str, *tables: str, seed: int) -> None:
    """A release with the files of another, that says that it has learnt from these tables."""
    data = []
    for source in map(open_source, tables):
        claims = lineage.claims(source)
        depth = max(claim.depth for claim in claims)
        data.append(
            DataEntry(
                location=source.location, sha256=source.fingerprint(), rows=source.rows(), role="train",
                real=not depth, depth=depth,
                releases=[claim.origin.release for claim in claims if claim.origin is not None],
            )
        )  # fmt: skip
    with storage.staged_directory(name) as folder:
        releases.save(
            folder, tensors=like.tensors, codec=like.codec, schema=like.schema, recipe=like.recipe | {"seed": seed},
            certificate=None, report=None, name=name, parents=[id for entry in data for id in entry.releases],
            real_fraction=float(not max(entry.depth for entry in data)), seed=seed, data=data,
            training=Training(steps=1, seconds=1.0, workers=1, zero=0, devices=["cpu"]),
        )  # fmt: skip


def told(node: Node) -> str:
    return "\n".join(f"{one.name}: {text}" for one in node.all() for text in [*one.problems, *one.strangers, *one.gaps])


def swap(chain: Path) -> None:
    shutil.copy(chain / "g2" / "recipe.yaml", chain / "g0" / "recipe.yaml")


def strangers(chain: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.key_file().write_bytes(pem)


def retell(chain: Path) -> None:
    """The origin of rows3 says that they are nearer to real ones."""
    table = pq.read_table(chain / "rows3.parquet")
    metadata = dict(table.schema.metadata)
    metadata[b"artesian.origin"] = metadata[b"artesian.origin"].replace(b'"depth":3', b'"depth":1')
    pq.write_table(table.replace_schema_metadata(metadata), chain / "rows3.parquet")


def own_copy(once: tuple[Path, bytes], to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that was made ``once``, copied to be broken and made the current one, and the key that signed what is there."""
    folder, key = once
    keys.config_dir().mkdir(parents=True, exist_ok=True)
    keys.key_file().write_bytes(key)
    keys.key_file().chmod(0o600)
    shutil.copytree(folder, to)
    monkeypatch.chdir(to)
    return to
