"""Jobs: samples that are too many to be waited for."""

from __future__ import annotations

import re
import secrets
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from cluster import storage
from serving import documented
from serving.access import Who, desk_of
from serving.asked import CHOSEN, Job
from serving.formats import FORMATS
from serving.jobs import Jobs, Record
from serving.limited import Limited
from serving.problems import Problem
from serving.stream import Piece, drawn

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
PART = r"part-[0-9]{6}\.parquet"
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


class Wanted(Job):
    """A job, and the generator that it draws from."""

    generator: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(@[0-9]{1,9}|:[a-z0-9][a-z0-9._-]{0,63})?$")


class Listed(BaseModel):
    jobs: list[Record]


class Parts(BaseModel):
    """Bytes by file."""

    parts: dict[str, int]


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def _mine(request: Request, id: Id, who: Who) -> Record:
    """A job of this caller; whether others have one of this name is not told."""
    record = _jobs(request).records.get(id)
    if record is None or not (who.rules or (who.key is not None and record.key == who.key.id)):
        raise Problem(404, "There is no such job", f"{id}: is no job of this key", "/problems/unknown-job")
    return record


Mine = Annotated[Record, Depends(_mine)]


@router.post("", status_code=202)
async def start(request: Request, wanted: Wanted, who: Who) -> Record:
    """Draw many rows into a folder of Parquet files, in the background. Where to is the service's own folder, or with an
    admin's key any that the service may write. The key's quota is charged once, now: to go on with a job costs nothing."""
    desk, backend = desk_of(request), request.app.state.backend
    who.must(wanted.generator)
    if wanted.out is not None:
        who.must_rule("*")
    if wanted.first:
        raise Problem(
            422, "A job begins with row 0", f"first={wanted.first}", "/problems/no-first", "/first", "leave it out"
        )
    if wanted.n > desk.settings.limits.job_rows:
        raise Problem(
            413, "More rows than one job has", f"n={wanted.n:,}: a job has at most {desk.settings.limits.job_rows:,} rows",
            "/problems/too-many-rows", "/n", "ask for fewer",
        )  # fmt: skip
    wanted.check(desk.settings.limits)
    seed = secrets.randbelow(CHOSEN) if wanted.seed is None else wanted.seed
    key = None if who.key is None else who.key.id
    shelf = desk.sound(wanted.generator, seed)
    _jobs(request).enter()
    if wanted.text:
        desk.admission.enter(0)
    desk.charge(who.key, shelf, seed, wanted.n, wanted.words)
    try:
        if wanted.text:  # what cannot be asked is said now, and not by a job that has failed
            first = drawn(
                backend, desk.admission, shelf.version, shelf.manifest.id, [Piece(seed, 0, 1, wanted.text)], alone=True
            )  # fmt: skip
            async with aclosing(first):
                await anext(first)
        return await run_in_threadpool(
            _jobs(request).start, shelf.version, shelf.manifest.id, key=key, seed=seed, rows=wanted.n,
            asked=wanted.words, out=wanted.out,
        )  # fmt: skip
    except Exception:  # whatever it was, there is no job
        desk.give_back(who.key, wanted.n)
        raise


@router.get("")
async def listed(request: Request, who: Who) -> Listed:
    """This caller's jobs, the latest first."""
    records = [r for r in _jobs(request).records.values() if who.rules or (who.key is not None and r.key == who.key.id)]
    return Listed(jobs=sorted(records, key=lambda r: r.created, reverse=True))


@router.get("/{id}")
async def status(record: Mine) -> Record:
    """How far a job is."""
    return record


@router.get("/{id}/parts")
def parts(record: Mine) -> Parts:
    """The Parquet files that there are of a job's rows, in their order. Each is there when it is whole; in a store that shows
    what is still being written, when the job is done."""
    return Parts(parts={name: size for name, size in sorted(_files(record).items()) if re.fullmatch(PART, name)})


@router.get("/{id}/parts/{name}", response_class=StreamingResponse, responses=documented.PART)
def part(request: Request, record: Mine, name: Annotated[str, Path(pattern=f"^{PART}$")]) -> Response:
    """One of these files."""
    if (size := _files(record).get(name)) is None:
        raise Problem(
            404, "There is no such part", f"{name}: is not there, or not yet", "/problems/unknown-part",
            remedy="look at the list of them: GET /v1/jobs/{id}/parts",
        )  # fmt: skip
    headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{record.id}-{name}"'}
    chunks = storage.read_chunks(storage.join(record.out, name))
    most_s = desk_of(request).settings.limits.answer_s
    return Limited(chunks, most_s, headers=headers, media_type=FORMATS["parquet"].media_type)


def _files(record: Record) -> dict[str, int]:
    """Of a job that has not begun to write there are none."""
    return storage.list_files(record.out) if storage.exists(record.out) else {}


@router.delete("/{id}")
async def cancel(request: Request, record: Mine) -> Record:
    """Stop a job; what it has drawn stays, and it can go on."""
    return await run_in_threadpool(_jobs(request).cancel, record)


@router.post("/{id}/resume", status_code=202)
async def resume(request: Request, record: Mine) -> Record:
    """Go on with a job that was cut."""
    desk = desk_of(request)
    if record.version not in desk.shelves:
        raise Problem(409, "Its release is gone", f"{record.version}: is no longer served", "/problems/gone")
    shelf = desk.sound(record.version, record.seed)
    _jobs(request).enter()
    return await run_in_threadpool(_jobs(request).resume, record, shelf.version)
