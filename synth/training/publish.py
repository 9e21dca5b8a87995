"""What ends every way of making a generator: rows drawn, certified against real ones, and a signed release written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster import storage
from cluster.machine import usable_threads
from synth.data.schema import Schema
from synth.data.source import Source
from synth.evaluation.certificate import Certificate
from synth.evaluation.frame import MAX_CELLS
from synth.evaluation.gist import Gist
from synth.provenance import announce, lineage
from synth.provenance.manifest import DataEntry, Manifest, Training
from synth.recipe import Recipe
from synth.training import mixing
from synth.training.prepare import Prepared
from synth.training.workers import Progress

REFERENCE = 8_192  # of them, rows that are published for those to be compared with that are served
SAMPLED = 50_000  # most synthetic rows that are drawn for the certificate; of images, as many as it looks at


@dataclass(frozen=True)
class Trained:
    """What a run published, and where."""

    location: str
    manifest: Manifest
    certificate: Certificate
    notes: list[str]


def publish(
    recipe: Recipe,
    table: Prepared,
    weights: Mapping[str, Any],
    out: str,
    *,
    training: Training,
    took: str,
    overwrite: bool,
    progress: Progress,
    parents: Sequence[str] = (),
    real_fraction: float = 1.0,
) -> Trained:
    """Finish the model (``synth.training.finishing``), draw rows, certify them against the real ones, write the signed
    release, and tell of it who is to be told.

    ``training`` is what the manifest keeps of how the weights came about, ``took`` the same in a line of the report;
    ``parents`` are the ids of releases that they come from, ``real_fraction`` the share of real rows in what they saw.
    """
    import torch

    from synth import release
    from synth.evaluation.certificate import evaluate
    from synth.evaluation.image_rows import most_measured
    from synth.evaluation.report import render
    from synth.sampling import Sampler
    from synth.training.finishing import finish

    torch.set_num_threads(usable_threads())
    sampler = Sampler.of(recipe, table.codec, {n: t for n, t in weights.items() if not n.startswith("student.")})
    recipe = finish(sampler.generator, recipe, table.notes, progress)
    most = most_sampled(table.schema) if table.schema.image is None else most_measured(table.schema)
    rows, drawn, count = min(table.rows["train"], most), [], 0
    for batch in sampler.batches(rows, seed=recipe.seed):
        drawn.append(batch)
        count += batch.num_rows
        progress("sampling", count / rows, {})
    synthetic = pa.Table.from_batches(drawn)
    if table.schema.constraints:
        table.notes.append(
            f"all of {rows:,} rows drawn satisfy the {len(table.schema.constraints)} constraint(s); "
            f"{sampler.redrawn:,} were drawn anew for that ({sampler.redrawn / rows:.2%}), none was corrected"
        )
    certificate = evaluate(
        table.real, synthetic, table.test, table.schema, seed=recipe.seed,
        train_keys=table.keys, preparation=table.notes, network=recipe.image.features,
        progress=lambda what, done: progress(f"certifying: {what}", done, {}),
    )  # fmt: skip
    title = storage.resolve(out)[1].rpartition("/")[2]
    data = [_entry(name, source) for name, source in table.sources.items()]
    parents = list(dict.fromkeys([*parents, *(id for entry in data for id in entry.releases)]))
    details = {
        "data": storage.without_credentials(table.sources["train"].location),
        "rows": ", ".join(f"{count:,} {part}" for part, count in table.rows.items() if count),
        "family": recipe.family,
        "training": took,
        "seed": str(recipe.seed),
    }
    progress("writing the report", 0.0, {})
    report = render(
        certificate, title=title, real=table.real, synthetic=synthetic, schema=table.schema, details=details,
        watched=training.watched,
    )  # fmt: skip
    with storage.staged_directory(out, overwrite=overwrite) as folder:
        manifest = release.save(
            folder,
            tensors=sampler.generator.state_dict(),
            codec=table.codec.model_dump(mode="json"),
            schema=table.schema,
            recipe=recipe.model_dump(),
            certificate=certificate.model_dump(mode="json"),
            report=report,
            name=title,
            data=data,
            parents=parents,
            real_fraction=real_fraction,
            seed=recipe.seed,
            training=training,
            reference=Gist(table.schema)(synthetic.slice(0, REFERENCE)),
        )
    return Trained(out, manifest, certificate, [*table.notes, *announce.announce(manifest)])


def most_sampled(schema: Schema) -> int:
    """Rows of a table that are drawn for the certificate, at most: it reads no more values of them, and rows of a thousand
    columns are long in drawing."""
    return min(SAMPLED, max(REFERENCE, MAX_CELLS // len(schema.columns)))


def _entry(name: str, source: Source) -> DataEntry:
    """What the manifest says of a table that took part; synthetic rows of which nothing is known are the first generation's."""
    claims = lineage.claims(source)
    drawn = [claim.origin.release for claim in claims if claim.origin is not None]
    depth = max([int(name.startswith(mixing.NAME)), *(claim.depth for claim in claims)])
    return DataEntry(
        location=source.location, sha256=source.fingerprint(), rows=source.rows(), role="test" if name == "test" else "train",
        real=not depth, depth=depth, releases=list(dict.fromkeys(drawn)),
    )  # fmt: skip
