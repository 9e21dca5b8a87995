"""More rows than one process should draw: a folder of Parquet parts, drawn side by side by the workers of a Ray cluster.

Part *k* holds rows ``k · PART`` … of the same endless table that the sampler draws in one piece, so it matters to nobody
who drew which, when, or how often: a part is written again until its footer says that it is whole.

Which rows a part has, for the log of drawn rows, its worker writes beside it, before the part is whole; who hands out the parts
logs that and removes it, at the next call if this one is cut. It says nothing to others (see ``synth.provenance.served``).
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from cluster import storage
from cluster.session import connected, impatient, result, terminable
from synth.data import image_sink, sink
from synth.errors import JobError, UserError
from synth.provenance import served
from synth.provenance.served import Log, LogOf, Prints
from synth.sampling import BLOCK, Sampler

if TYPE_CHECKING:
    from synth.asking import Request
    from synth.data.schema import Schema
    from synth.provenance.origin import Signed
    from synth.provenance.watermark import Mark
    from synth.release import Release

PART = 256 * BLOCK
PART_PIXELS = 256 << 20
AHEAD = 2  # parts for each core of the cluster, that wait or are drawn
SHOWN, SHOWN_BYTES = 8, 32 << 20  # blocks of a part, evenly spread, and bytes, that ``show`` is shown at most
LOOK_S = 1.0  # between two calls of ``progress`` at most: it may stop the drawing
MARKER = "_artesian.json"  # readers of folders pass over names that begin with an underscore

logger = logging.getLogger(__name__)

Show = Callable[[int, pa.RecordBatch, float], None]
"""Is shown rows, the number of the first of them, and the seconds of sampling that they stand for."""


def sample(
    release: Release, rows: int, out: str, *, seed: int, request: Request | None = None,
    signed: Callable[[int, int], Signed] | None = None, address: str | None = None,
    overwrite: bool = False, progress: Callable[[int], None] = lambda rows: None, show: Show | None = None,
    mark: Mark | None = None, log_of: LogOf = Log.of,
) -> int:  # fmt: skip
    """Draw ``rows`` rows, as ``request`` asks and with the watermark ``mark``, into the folder ``out``, and log them (see
    ``synth.provenance.served``); whole parts of the same request that are there are kept. ``signed`` gives the origin of
    so many rows from one of them on, for the metadata of each part.

    ``progress`` is told how many rows are there, and ``show`` is shown some blocks of each part that is drawn now, before
    pixels become files. Returns the number of parts drawn now. Raises UserError where ``out`` holds something else, and for
    what cannot be written, a log too where that is of ``Log.of``; JobError where workers failed.
    """
    out = out if storage.is_remote(out) else storage.resolve(out)[1]  # workers have a working directory of their own
    part = _part(release.schema)
    firsts = range(0, max(rows, 1), part)  # of no rows, a part all the same: it has the columns
    parts = {f"part-{k:06}.parquet": (first, min(part, rows - first)) for k, first in enumerate(firsts)}
    claim = {"release": release.manifest.id, "seed": seed, "rows": rows, "part": part}
    asked = ({} if request is None else {"asked": request.key}) | ({} if mark is None else {"watermark": mark.id})
    _claim(out, claim | asked, overwrite=overwrite)
    there = storage.list_files(out)
    missing = {name: part for name, part in parts.items() if name not in there or _rows(out, name) != part[1]}
    done = rows - sum(count for _, count in missing.values())
    progress(done)
    log, besides = log_of(release), dict[str, str]()
    if log is not None:
        besides = {name: f"_{name}.{log.head.key}{served.ENDING}" for name in parts}
        for name in besides.values() & there.keys():
            _log(log, storage.join(out, name))
    if not missing:
        return 0
    prints = None if log is None else log.prints
    with connected(address) as ray, terminable():
        gpus = ray.cluster_resources().get("GPU", 0)
        draw = ray.remote(num_cpus=1, num_gpus=int(gpus > 0), max_retries=3)(_draw)
        held = ray.put(release)
        todo, pending, room = (
            iter(missing.items()),
            dict[Any, str](),
            AHEAD * max(1, int(ray.cluster_resources()["CPU"])),
        )
        try:
            while True:
                for name, rows_of in itertools.islice(todo, room - len(pending)):
                    place = storage.join(out, name)
                    origin = None if signed is None else signed(*rows_of)
                    known = None if prints is None else (prints, storage.join(out, besides[name]))
                    task = draw.remote(held, seed, request, *rows_of, place, origin, show is not None, mark, known)
                    pending[task] = name
                if not pending:
                    break
                ready, _ = ray.wait(list(pending), timeout=LOOK_S)
                for one in ready:
                    name = pending.pop(one)
                    rows_there, blocks = result(one, name)
                    if log is not None:
                        _log(log, storage.join(out, besides[name]))
                    done += rows_there
                    for block in blocks:
                        assert show is not None
                        show(*block)
                progress(done)
        finally:
            for one in pending:  # whoever stops, by an error or a Ctrl-C, wants the cores back
                ray.cancel(one, force=True)
    if lost := parts.keys() - storage.list_files(out).keys():
        raise JobError(
            f"{storage.without_credentials(out)}: {len(lost)} parts were written where this machine does not see them;"
            " give --out a URI that all nodes share"
        )
    return len(missing)


def _draw(
    release: Release,
    seed: int,
    request: Request | None,
    first: int,
    rows: int,
    out: str,
    origin: Signed | None,
    show: bool,
    mark: Mark | None,
    known: tuple[Prints, str] | None,
) -> tuple[int, list[tuple[int, pa.RecordBatch, float]]]:
    """Write a part and, where they are wanted, its fingerprints; how many rows it has, and what is to be shown of it."""
    import torch

    impatient()
    torch.set_num_threads(1)  # everywhere: another number of threads may round otherwise
    sampler = Sampler.from_release(release, mark)
    drawn = sampler.arrow(request)
    kept, seconds = list[tuple[int, pa.RecordBatch]](), 0.0
    prints, key = [np.empty((0, 2), np.uint64)], None if request is None else request.key
    every = max(1, math.ceil(rows / (BLOCK * SHOWN)))

    def blocks() -> Iterator[pa.RecordBatch]:
        nonlocal seconds
        began = time.perf_counter()
        for k, block in enumerate(sampler.batches(rows, seed=seed, first=first, request=request)):
            seconds += time.perf_counter() - began
            room = SHOWN_BYTES - sum(part.nbytes for _, part in kept)
            if show and k % every == 0 and 0 < block.nbytes <= room:
                kept.append((first + k * BLOCK, block.cast(drawn)))
            if known is not None:
                prints.append(known[0](block, seed, key, first + k * BLOCK))
            yield block
            began = time.perf_counter()
        if known is not None:
            storage.write_bytes(known[1], served.packed(np.concatenate(prints)))

    arrow = image_sink.file_schema(drawn, sampler.schema)
    arrow = arrow if origin is None else origin.into(arrow)
    written = sink.write(image_sink.encoded(blocks(), sampler.schema, first), arrow, out, "parquet")
    return written, [(at, block, seconds / len(kept)) for at, block in kept]


def _log(log: Log, place: str) -> None:
    """Log the rows of a part by what its worker has left beside it, which has then done its duty."""
    if storage.is_file(place):  # else it is on a disk of the worker's own, as the part is, which will be missed
        log.add_if_possible(served.unpacked(storage.read_bytes(place)))
        filesystem, path = storage.resolve(place)
        try:
            filesystem.delete_file(path)
        except OSError as e:  # a store that lets nobody delete: no reason to lose the rows
            logger.warning("%s: is logged and can be removed (%s)", storage.without_credentials(place), e)


def _part(schema: Schema) -> int:
    """Rows of a part: whole blocks, and of images as many as their pixels leave room for."""
    shape = schema[schema.image].shape if schema.image is not None else None
    return min(PART, max(1, PART_PIXELS // (BLOCK * math.prod(shape))) * BLOCK) if shape else PART


def _rows(out: str, name: str) -> int | None:
    """How many rows a part's footer counts; None where it has none."""
    filesystem, path = storage.resolve(storage.join(out, name))
    try:
        return int(pq.read_metadata(path, filesystem=filesystem).num_rows)
    except ArrowInvalid:
        return None


def _claim(out: str, request: dict[str, Any], *, overwrite: bool) -> None:
    """Take the folder for a request, unless it is already; UserError where it holds something else."""
    marker = storage.join(out, MARKER)
    place = storage.without_credentials(out)
    if storage.exists(marker):
        try:
            found = dict(json.loads(storage.read_bytes(marker)))
        except (ValueError, TypeError):  # damaged: nobody's request
            found = {}
        if found == request:
            return
        keys = dict.fromkeys([*request, *found])
        other = ", ".join(f"{key} {found.get(key)}" for key in keys if found.get(key) != request.get(key))
        if not overwrite:
            raise UserError(
                f"{place}: holds parts of another request ({other}); choose another --out, or replace them with --overwrite"
            )
        filesystem, folder = storage.resolve(out)
        for name in storage.list_files(out):
            if re.fullmatch(rf"part-\d+\.parquet|_part-\d+\.parquet\.[0-9a-f]+{re.escape(served.ENDING)}", name):
                filesystem.delete_file(f"{folder}/{name}")
    elif storage.exists(out) and storage.list_files(out):
        raise UserError(f"{place}: holds other files; choose an empty folder for the parts")
    storage.write_bytes(marker, json.dumps(request).encode())
