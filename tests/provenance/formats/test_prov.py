"""What is written is PROV-JSON, as an independent library reads it, and leads from the rows back to real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prov.model import PROV_LABEL, ProvDerivation, ProvDocument, ProvUsage

from synth.provenance import keys, lineage


def read(text: str) -> ProvDocument:
    document = ProvDocument.deserialize(content=text, format="json")
    assert ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document
    return document


def test_rows_are_followed_back_to_real_ones(made: Path, written: Callable[..., str]) -> None:
    document = read(written(made / "rows2.parquet", "prov"))
    labels = {
        str(record.identifier): next(iter(record.get_attribute(PROV_LABEL)), None)
        for record in document.get_records() if record.identifier is not None
    }  # fmt: skip
    from_ = {}
    for record in document.get_records(ProvDerivation):
        made_of, of, activity, *_ = (str(value) for _, value in record.formal_attributes)
        from_[labels[made_of]] = (labels[of], activity.partition(":")[0])
    assert from_ == {
        "rows2.parquet": ("g1", "drawing"), "g1": ("rows1.csv", "training"), "rows1.csv": ("g0", "drawing"),
        "g0": ("real.parquet", "training"),
    }  # fmt: skip
    own = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
    assert [labels[str(one.identifier)] for one in document.get_records() if one.get_provn().startswith("agent(")] == [
        own
    ]
    used = [record for record in document.get_records(ProvUsage) if "test" in record.get_provn()]
    assert len(used) == 1  # g1 was certified on test rows, and comes from none


def test_names_are_those_of_the_walk(made: Path, written: Callable[..., str]) -> None:
    document = read(written(made / "rows2.parquet", "prov"))
    names = {one.identifier.uri for one in document.get_records() if one.get_provn().startswith("entity(")}
    walked = {f"urn:artesian:{one.kind}:{one.sha256}" for one in lineage.walk(str(made / "rows2.parquet")).all()}
    assert names == walked


def test_what_is_broken_is_told(made: Path, written: Callable[..., str]) -> None:
    (made / "g0" / "recipe.yaml").write_text("seed: 9")
    assert "recipe.yaml: altered" in read(written(made / "g1", "prov", status=1)).get_provn()
