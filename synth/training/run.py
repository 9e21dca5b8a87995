"""The main job: a table in, a certified release out.

    open, infer  ──►  split, fit, encode  ──►  Ray Train × DeepSpeed  ──►  sample, certify  ──►  publish
                      (while Ray starts)

Nothing appears at ``out`` until the release is complete. Until then the run lives beside it, at ``<out>.run``: its
checkpoints, and a marker that says which recipe and data it belongs to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster import storage
from cluster.session import connected
from synth.errors import JobError, UserError
from synth.evaluation.certificate import Certificate
from synth.provenance.manifest import Manifest
from synth.recipe import Recipe
from synth.training import prepare as preparing
from synth.training.prepare import Prepared

Progress = Callable[[str, float, dict[str, Any]], None]
"""Called with the phase, the share of it that is done, and what else is known (step, loss, rows, elapsed_s)."""

SAMPLED = 50_000  # most synthetic rows that are drawn for the certificate
LOOK_S = 0.25


@dataclass(frozen=True)
class Trained:
    """What a run published, and where."""

    location: str
    manifest: Manifest
    certificate: Certificate
    notes: list[str]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the checkpoint was kept; the message says how to resume."""


def train(
    data: object,
    recipe: Recipe,
    out: str,
    *,
    test: object | None = None,
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = lambda phase, done, facts: None,
) -> Trained:
    """Train a generator on ``data`` (see ``synth.data.source.open_source``) and publish its release at ``out``.

    Raises UserError for anything wrong with the data, the recipe or the place, before Ray starts where it can be known
    then; Interrupted on Ctrl-C.
    """
    recipe = recipe.resolved(test_apart=test is not None)
    location = out if "://" in out else str(Path(out).resolve())
    if storage.exists(location) and not overwrite:
        raise UserError(f"{out}: exists; choose another --out, or replace it with --overwrite")
    run = f"{location.rstrip('/')}.run"
    progress("reading the table", 0.0, {})
    sources, schema = preparing.open_sources(data, test, recipe)
    claim = {"recipe": recipe.sha256(), "data": {name: s.fingerprint() for name, s in sources.items()}}
    _claim(run, claim, resume=resume, overwrite=overwrite)

    try:
        with ThreadPoolExecutor(1) as background:
            prepared = background.submit(preparing.prepare, sources, schema, recipe)
            progress("starting Ray", 0.0, {})
            with connected(address) as ray:
                table = prepared.result()
                facts = _fit(ray, recipe, table, run, progress)
                weights = facts.pop("weights")
    except BaseException:
        if not any("checkpoint_" in name for name in storage.list_files(run)):
            storage.remove_tree(run)  # nothing to resume
        raise
    if facts["stopped"]:
        raise Interrupted(f"stopped at step {facts['step']}; nothing is lost: the same command with --resume goes on")
    resolved = recipe.training.model_copy(update={"steps": facts["step"], "budget_s": None})
    recipe = recipe.model_copy(update={"training": resolved})
    published = _publish(recipe, table, weights, facts, location, overwrite, progress)
    storage.remove_tree(run)
    return published


def _claim(run: str, claim: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Take ``run`` for this recipe and data. An unfinished run is only ever continued on request, and only its own."""
    marker = storage.join(run, storage.RUN_MARKER)
    if storage.exists(run) and not resume:
        if not overwrite:
            raise UserError(f"{run}: holds an unfinished run; go on with --resume, or start anew with --overwrite")
        storage.remove_tree(run)
    if resume:
        if not storage.exists(marker):
            raise UserError(f"{run}: there is no run to resume; leave --resume out to start one")
        found = json.loads(storage.read_bytes(marker))
        for what in claim:
            if found.get(what) != claim[what]:
                raise UserError(
                    f"{run}: was started with another {what}; repeat its command, or start anew with --overwrite"
                )
        return
    storage.write_bytes(marker, json.dumps(claim).encode())


def _fit(ray: Any, recipe: Recipe, table: Prepared, run: str, progress: Progress) -> dict[str, Any]:
    """Run the workers; where the last checkpoint stands, and under "weights" the averaged weights in it."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from safetensors.torch import load_file

    from synth.training import beacon
    from synth.training.checkpoint import PROGRESS, WEIGHTS
    from synth.training.loop import train_worker

    scaling, backend = _scaling(ray, recipe.training.workers)
    parent, _, name = run.rpartition("/")
    job = {
        "recipe": recipe.model_dump(),
        "layout": table.codec.layout.model_dump(),
        "parts": [ray.put(tuple(part)) for part in table.encoded],
        "run": run,
    }
    beacon.clear(run)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=job,
        torch_config=TorchConfig(backend=backend),
        scaling_config=scaling,
        run_config=RunConfig(
            name=name,
            storage_path=parent,
            failure_config=FailureConfig(max_failures=2, controller_failure_limit=2),
            checkpoint_config=CheckpointConfig(num_to_keep=recipe.training.keep),
        ),
    )
    with ThreadPoolExecutor(1) as thread:  # not the main thread: Ctrl-C then reaches us, and the workers save first
        fit = thread.submit(trainer.fit)
        _follow(fit, run, progress)
    seen = beacon.look(run) or {}
    if "failure" in seen:
        raise UserError(seen["failure"])
    try:
        result = fit.result()
    except TrainingFailedError as e:
        raise JobError(
            f"the workers failed: {e}\nwhat was saved is kept: the same command with --resume goes on"
        ) from e
    with result.checkpoint.as_directory() as folder:
        facts: dict[str, Any] = json.loads((Path(folder) / PROGRESS).read_text())
        return facts | {"weights": load_file(Path(folder) / WEIGHTS)}


def _scaling(ray: Any, workers: int) -> tuple[Any, str]:
    """A worker a GPU where there are enough, else the CPUs shared evenly; and the backend that goes with it."""
    from ray.train import ScalingConfig

    total = ray.cluster_resources()
    cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
    if gpus and gpus < workers:
        raise UserError(f"--workers {workers}: the cluster has {gpus} GPUs; give --workers {gpus} or fewer")
    if workers > cpus:
        raise UserError(f"--workers {workers}: the cluster has {cpus} CPUs; give --workers {cpus} or fewer")
    widest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    each = {"CPU": max(1, min(cpus // workers, widest))}
    scaling = ScalingConfig(
        num_workers=workers, use_gpu=gpus > 0, resources_per_worker=each | ({"GPU": 1} if gpus else {})
    )
    return scaling, "nccl" if gpus else "gloo"


def _follow(fit: Future[Any], run: str, progress: Progress) -> None:
    """Show where the workers are until they end. The first Ctrl-C asks them to save and stop, the second gives up."""
    from synth.training import beacon

    began, asked = time.monotonic(), False
    while not fit.done():
        try:
            wait([fit], timeout=LOOK_S)
            seen = beacon.look(run)
            if asked:
                progress("saving before the stop", 0.0, {})
            elif seen is None:
                progress("starting the workers", 0.0, {"waited_s": time.monotonic() - began})
            elif "failure" not in seen:
                progress("training", seen["fraction"], seen)
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            beacon.ask_to_stop(run)


def _publish(
    recipe: Recipe,
    table: Prepared,
    weights: dict[str, Any],
    facts: dict[str, Any],
    out: str,
    overwrite: bool,
    progress: Progress,
) -> Trained:
    """Draw rows, certify them against the real ones, and write the signed release."""
    import torch

    from synth import release
    from synth.evaluation.certificate import evaluate
    from synth.evaluation.report import render
    from synth.provenance.manifest import DataEntry, Training
    from synth.sampling import Sampler

    torch.set_num_threads(os.cpu_count() or 1)
    sampler = Sampler.of(recipe, table.codec, weights)
    rows, drawn = min(table.rows["train"], SAMPLED), []
    for batch in sampler.batches(rows, seed=recipe.seed):
        drawn.append(batch)
        progress("sampling", sum(b.num_rows for b in drawn) / rows, {})
    synthetic = pa.Table.from_batches(drawn)
    certificate = evaluate(
        table.real, synthetic, table.test, table.schema, seed=recipe.seed,
        progress=lambda what, done: progress(f"certifying: {what}", done, {}),
    )  # fmt: skip
    name = out.rstrip("/").rpartition("/")[2]
    data = [
        DataEntry(location=s.location, sha256=s.fingerprint(), rows=s.rows(), role=role)
        for role, s in table.sources.items()
    ]
    details = {
        "data": storage.without_credentials(table.sources["train"].location),
        "rows": ", ".join(f"{count:,} {part}" for part, count in table.rows.items() if count),
        "family": recipe.family,
        "training": f"{facts['step']:,} steps of {recipe.training.batch:,} rows in {facts['elapsed_s']:.0f} s, "
        f"{recipe.training.workers} worker(s), ZeRO {recipe.training.zero}, {facts['precision']} on {facts['device']}",
        "seed": str(recipe.seed),
    }
    progress("writing the report", 0.0, {})
    report = render(certificate, title=name, real=table.real, synthetic=synthetic, schema=table.schema, details=details)
    with storage.staged_directory(out, overwrite=overwrite) as folder:
        manifest = release.save(
            folder,
            tensors=weights,
            codec=table.codec.model_dump(mode="json"),
            schema=table.schema,
            recipe=recipe.model_dump(),
            certificate=certificate.model_dump(mode="json"),
            report=report,
            name=name,
            data=data,
            parents=[],
            real_fraction=1.0,
            seed=recipe.seed,
            training=Training(
                steps=facts["step"], seconds=facts["elapsed_s"], workers=recipe.training.workers,
                zero=recipe.training.zero, devices=[facts["device"]],
            ),
        )  # fmt: skip
    return Trained(out, manifest, certificate, table.notes)
