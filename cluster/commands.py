"""The ``artesian`` command's words for this room: submit, and jobs with list, status, follow and stop.

Each imports what it needs when it is called: ``artesian --help`` must not wait for Ray.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synth.errors import UserError

if TYPE_CHECKING:
    from cluster.jobs import JobServer

app = typer.Typer()
jobs = typer.Typer(help="List the jobs of a cluster, look at one, follow or stop it.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")

DASHBOARD = "http://127.0.0.1:8265"
# The variable is the one that Ray's own commands read.
Address = Annotated[
    str, typer.Option(metavar="URI", envvar="RAY_API_SERVER_ADDRESS", help="the cluster's dashboard, http://HOST:8265")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="a job's id, as submit printed it")]
UNFIT = ("submit", "jobs", "demo")  # no job: the demo starts a Ray of its own
PLACES = ("data", "real", "synthetic", "release", "test", "recipe", "out", "json_", "report")  # parameters that are one


@app.command(
    "submit", context_settings={"allow_interspersed_args": False},
    epilog="Example: artesian submit -- train s3://bucket/t.parquet --target y --workers 4 --out s3://bucket/t-release",
)  # fmt: skip
def submit_command(
    context: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="after --, any other command with its options")
    ],
    address: Address = DASHBOARD,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="print the job's id and return")] = False,
    name: Annotated[str | None, typer.Option(metavar="ID", help="the job's id [default: one that Ray makes]")] = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="the working tree to run [default: the one that this command runs from, if any]"
        ),
    ] = None,
    wheel: Annotated[Path | None, typer.Option(metavar="FILE", help="a wheel of Artesian to run instead")] = None,
) -> None:
    """Run a command on a cluster as a Ray Job, and follow its log until it ends; Ctrl-C leaves the job running.

    The code that runs there is the working tree, packed without data, releases and what .gitignore names, or a wheel;
    where neither is at hand, it is the Artesian that the cluster has. The packages that Artesian needs are the cluster's
    in any case. Exit status 1 if the job fails.
    """
    arguments, local = _checked(context, command)
    if working_dir and wheel:
        raise UserError("--working-dir and --wheel: give one of them")
    if missing := [path for path in (working_dir, wheel) if path and not path.exists()]:
        raise UserError(f"{missing[0]}: no such file or folder; check the path")

    from cluster.jobs import JobServer
    from cluster.package import checkout

    server = JobServer(address)
    server.check_versions()
    source = working_dir or wheel or checkout()
    job_id = server.submit(arguments, source=source, name=name)
    print(job_id, flush=True)
    _note(f"runs {source or 'the Artesian that the cluster has'}")
    if local:
        _note(f"{', '.join(local)}: on the job's own disk, the head node's, where a relative path goes with the job")
    if no_wait:
        _note(_ways(server, job_id))
    else:
        _follow(server, job_id)


def _checked(context: typer.Context, command: list[str]) -> tuple[list[str], list[str]]:
    """The arguments for the cluster, and the local paths among them; what Artesian would not take is refused here."""
    from cluster.location import carries_credentials, is_remote, without_credentials

    root, (name, *rest) = context.find_root(), command
    group: Any = root.command
    known = [other for other in group.list_commands(root) if other not in UNFIT]
    if name not in known:
        raise UserError(f"{name}: is no command that a job can run; there are {', '.join(known)}")
    for text in rest:
        if carries_credentials(text):
            raise UserError(
                f"{without_credentials(text)}: the credentials in it would be shown in the cluster's dashboard; leave them "
                "out, and give the cluster's nodes a role, or environment variables such as AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
    found = group.get_command(root, name)
    given = found.make_context(name, list(rest), parent=root).params  # exits with its usage where it does not parse
    places = [
        place for place in map(given.get, PLACES) if isinstance(place, str) and place != "-"
    ]  # --json may be a flag
    joins = ["--address", "auto"] if "address" in given and given["address"] is None else []
    return [name, *joins, *rest], [place for place in places if not is_remote(place)]


@jobs.command("list", epilog="Example: artesian jobs list")
def list_command(address: Address = DASHBOARD) -> None:
    """All jobs that were submitted to the cluster, the latest first."""
    from cluster.jobs import JobServer

    for job in JobServer(address).jobs():
        print(f"{job.submission_id}  {job.status:9s}  {_when(job.start_time)}  {_command(job)}")


@jobs.command("status", epilog="Example: artesian jobs status raysubmit_4LamXRuQpYdSMg7J")
def status_command(job_id: JobId, address: Address = DASHBOARD) -> None:
    """How a job stands, when it started and ended, and what it runs."""
    from cluster.jobs import JobServer, outcome

    job = JobServer(address).job(job_id)
    print(f"status   {outcome(job)}\nstarted  {_when(job.start_time)}")
    if job.end_time:
        print(f"ended    {_when(job.end_time)}")
    print(f"command  {_command(job)}")


@jobs.command("follow", epilog="Example: artesian jobs follow raysubmit_4LamXRuQpYdSMg7J")
def follow_command(job_id: JobId, address: Address = DASHBOARD) -> None:
    """Print a job's log, from its beginning and as it grows, until the job ends; exit status 1 if it fails."""
    from cluster.jobs import JobServer

    _follow(JobServer(address), job_id)


@jobs.command("stop", epilog="Example: artesian jobs stop raysubmit_4LamXRuQpYdSMg7J")
def stop_command(job_id: JobId, address: Address = DASHBOARD) -> None:
    """End a job; training saves first, and its command with --resume goes on later."""
    from cluster.jobs import JobServer

    print(f"job {job_id}: {JobServer(address).stop(job_id).status}")


def _follow(server: JobServer, job_id: str) -> None:
    try:
        asyncio.run(server.follow(job_id, lambda lines: print(lines, end="", flush=True)))
    except KeyboardInterrupt as e:
        raise KeyboardInterrupt(f"job {job_id} goes on\n{_ways(server, job_id)}") from e


def _ways(server: JobServer, job_id: str) -> str:
    return "\n".join(server.how_to(verb, job_id) for verb in ("follow", "stop", "status"))


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _when(milliseconds: int | None) -> str:
    return f"{datetime.fromtimestamp((milliseconds or 0) / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _command(job: Any) -> str:
    """What a job runs, as one would type it here; without credentials, which another's may hold."""
    from cluster.location import scrub

    return scrub(job.entrypoint).removeprefix("python -m ")
