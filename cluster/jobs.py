"""Ray Jobs: send an ``artesian`` command to a cluster, follow its log there, stop it."""

from __future__ import annotations

import logging
import os
import platform
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import ray
import requests
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.location import scrub, without_credentials
from cluster.package import pack
from synth.errors import JobError, UserError

# Ray kills a job that has not ended by then: 3 s by its default, in which no training can save.
STOP_S = 60
_TIMEOUTS_S = (5, 60)  # to connect, to answer
_ADDRESS = re.compile(r"https?://[^/?#\s]+[^?#\s]*")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*")


class JobServer(JobSubmissionClient):
    """The job server of a cluster, at the address of its dashboard, ``http://HOST:8265``.

    Whatever it refuses is a UserError or JobError that names the address and the remedy.
    """

    def __init__(self, address: str) -> None:
        """Raises UserError where no job server answers at ``address``, or not to the token that is found here."""
        self.name = without_credentials(address)
        if not _ADDRESS.fullmatch(address):
            raise UserError(f"--address {self.name}: is not the address of a dashboard, such as http://127.0.0.1:8265")
        for module in (SubmissionClient.__module__, JobSubmissionClient.__module__):
            logging.getLogger(module).setLevel(logging.ERROR)
        try:
            # Not through JobSubmissionClient's own, where RAY_ADDRESS, which names another port, overrides --address.
            SubmissionClient.__init__(self, address, headers=_token())
            self._check_connection_and_version()
        except AuthenticationError as e:
            raise UserError(
                f"Ray's token cannot be read: {e.message}; artesian doctor says where it is looked for"
            ) from e
        except (RuntimeError, KeyError, TypeError, requests.RequestException) as e:
            raise UserError(f"what answers at {self.name} is no job server of Ray; check --address") from e

    def check_versions(self) -> None:
        """Raise UserError where the cluster runs another Ray or Python (3.x) than this machine."""
        self._compare("Ray", self._server_ray_version, ray.__version__)
        answer = self._do_request("GET", "/api/v0/cluster_metadata")
        if answer.status_code == requests.codes.ok:  # what the dashboard shows, no promised part of its API
            self._compare("Python", _minor(answer.json()["data"]["pythonVersion"]), _minor(platform.python_version()))

    def _compare(self, what: str, there: str, here: str) -> None:
        if here != there:
            raise UserError(
                f"the cluster at {self.name} runs {what} {there}, this machine {here}: use the same on both; "
                "constraints.txt has what was tested"
            )

    def job(self, job_id: str) -> JobDetails:
        """What is known of a job. Raises UserError where there is none of this id."""
        if not _ID.fullmatch(job_id):
            raise UserError(f"{job_id!r} is no job's id; artesian jobs list shows them")
        return self.get_job_info(job_id)

    def jobs(self) -> list[JobDetails]:
        """All jobs that were submitted to the cluster, the latest first."""
        submitted = [job for job in self.list_jobs() if job.submission_id]
        return sorted(submitted, key=lambda job: job.start_time or 0, reverse=True)

    def submit(self, command: Sequence[str], *, source: Path | None = None, name: str | None = None) -> str:
        """Run ``artesian`` with the arguments ``command`` on the cluster, and return the job's id: ``name``, or Ray's.

        ``source`` is the working tree or wheel to run; without it, the job runs the Artesian that the cluster has.
        Raises UserError where ``name`` is taken, or ``source`` cannot be packed.
        """
        if name is not None and not _ID.fullmatch(name):
            raise UserError(f"--name {name!r}: letters, digits, '.', '_' and '-' make a job's id")
        environment: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}}
        with tempfile.TemporaryDirectory(prefix="artesian-") as folder:
            if source is not None:
                environment["working_dir"] = str(pack(source, Path(folder)))
            entrypoint = shlex.join(["python", "-m", "artesian", *command])
            return str(self.submit_job(entrypoint=entrypoint, runtime_env=environment, submission_id=name))

    async def follow(self, job_id: str, write: Callable[[str], object]) -> None:
        """Give the job's log to ``write``, from its beginning and as it grows, until the job ends.

        Raises JobError where the log breaks off, and where the job failed or was stopped.
        """
        self.job(job_id)
        lost = f"the log of job {job_id} broke off"
        try:
            async for lines in self.tail_job_logs(job_id):
                write(scrub(lines))
        except (aiohttp.ClientError, RuntimeError) as e:
            raise JobError(f"{lost} ({e}); the job may go on: {self.how_to('status', job_id)}") from e
        job = self.job(job_id)
        if not job.status.is_terminal():
            raise JobError(f"{lost}, the job goes on: {self.how_to('follow', job_id)}")
        if job.status != JobStatus.SUCCEEDED:
            raise JobError(f"job {job_id}: {outcome(job)}")

    def stop(self, job_id: str) -> JobDetails:
        """End a job as Ctrl-C would, so that training saves first; return what is known of it when it has ended.

        Raises UserError where it had ended before, JobError where it has not within ``STOP_S`` seconds and a few.
        """
        job = self.job(job_id)
        if job.status.is_terminal():
            raise UserError(f"job {job_id} has already ended: {job.status}")
        self.stop_job(job_id)
        deadline = time.monotonic() + STOP_S + 15
        while time.monotonic() < deadline:
            if (job := self.job(job_id)).status.is_terminal():
                return job
            time.sleep(0.5)
        raise JobError(
            f"job {job_id} was told to stop and is still {job.status}; look again: {self.how_to('status', job_id)}"
        )

    def how_to(self, verb: str, job_id: str) -> str:
        """The command that will follow or stop the job, or say how it stands."""
        return f"artesian jobs {verb} {job_id} --address {self.name}"

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        try:
            return super()._do_request(method, endpoint, timeout=_TIMEOUTS_S, **options)
        except AuthenticationError as e:
            verdict = "refuses the token that is set here" if self._headers else "asks for its token"
            raise UserError(
                f"the Ray cluster at {self.name} {verdict}: set RAY_AUTH_TOKEN, or copy the file ~/.ray/auth_token "
                "from its head node (artesian doctor says what is found here)"
            ) from e
        except requests.RequestException as e:
            raise UserError(
                f"no job server answers at {self.name}; is the cluster up, and its dashboard within reach? For one that "
                "ray up started, ray dashboard ray-cluster.yaml brings it to http://127.0.0.1:8265"
            ) from e

    def _raise_error(self, r: requests.Response) -> NoReturn:
        said = (r.text.strip(" .\n").splitlines() or ["nothing"])[-1]  # of a traceback, what was raised
        if r.status_code == requests.codes.not_found:
            raise UserError(f"{self.name}: {said}; artesian jobs list shows those that do")
        if "already exists" in said:
            raise UserError(f"{self.name} has had a job of this name; choose another --name")
        raise JobError(f"the job server at {self.name} answered {r.status_code}: {said}")


def outcome(job: JobDetails) -> str:
    """How a job stands, and why it failed; without credentials."""
    if job.status != JobStatus.FAILED:
        return str(job.status)
    if job.driver_exit_code is not None:  # its message repeats the log
        return f"{job.status} with exit status {job.driver_exit_code}"
    return scrub(f"{job.status}: {job.message}")


def _token() -> dict[str, str]:
    """The header with the token from where Ray looks for it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Ray's own client sends it only where RAY_AUTH_MODE=token is set on this machine too, though ``ray.init`` does not ask
    for that.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return {}
    return dict(AuthenticationTokenLoader.instance().get_token_for_http_header(ignore_auth_mode=True))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
