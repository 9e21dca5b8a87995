"""The service on a real Ray Serve: its rows, its replicas' deaths, a change of versions under load, too much load, an alarm."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx2
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import serving
from serving import sampling_pb2 as messages
from synth import release as releases
from synth.provenance.origin import Origin
from synth.sampling import BLOCK, Sampler
from tests.serving.releases import publish

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


GRPC_PORT = free_port()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("releases")
    return {
        "first": publish(folder / "first"),
        "second": publish(folder / "second", seed=1),
        "collapsed": publish(folder / "collapsed", seed=2, collapsed=True),
    }


@pytest.fixture(scope="module")
def service(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    from ray import serve

    from serving.app import build

    generators = {
        "people": {"versions": {1: str(places["first"]), 2: str(places["second"])}, "aliases": {"production": {1: 1}}},
        "ill": {"versions": {1: str(places["collapsed"])}},
    }
    state = tmp_path_factory.mktemp("state")
    serve.start(proxy_location="Disabled")
    settings = {
        "generators": generators, "port": 0, "grpc_port": GRPC_PORT, "state": str(state), "replicas": (2, 2),
        "replica_cpus": 0.5,
    }  # fmt: skip
    handle = serve.run(build(settings), name="artesian", route_prefix=None)
    host, port = handle.address.remote().result(timeout_s=60)
    with httpx2.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.2)
        yield client
    serve.delete("artesian")
    serve.shutdown()


@pytest.fixture(scope="module")
def sampler(places: dict[str, Path]) -> Sampler:
    return Sampler.from_release(releases.load(str(places["first"])))


def draw(client: httpx2.Client, name: str = "people", **asked: Any) -> httpx2.Response:
    return client.post(f"/v1/generators/{name}/samples", json={"format": "arrow", "n": 100} | asked)


def rows(answer: httpx2.Response) -> pa.Table:
    return pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().replace_schema_metadata()


def replicas() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "ServeReplica:artesian:Replica" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.parametrize("asked", [{}, {"where": "age>=40"}, {"balance": "member"}], ids=str)
def test_rows_are_the_sampler_s_own(service: httpx2.Client, sampler: Sampler, asked: dict[str, Any]) -> None:
    answer = draw(service, n=BLOCK + 300, first=50, seed=5, **asked)
    request = sampler.ask(**asked) if asked else None
    expected = pa.Table.from_batches(sampler.batches(BLOCK + 300, seed=5, first=50, request=request))
    assert answer.status_code == 200 and rows(answer).equals(expected)
    origin, _ = Origin.read(dict(answer.headers))
    assert (origin.seed, origin.first, origin.rows, origin.version) == (5, 50, BLOCK + 300, "people@1")


def test_grpc_gives_the_same_rows(service: httpx2.Client, sampler: Sampler) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}") as channel:
        draw = channel.unary_stream(
            "/artesian.v1.Sampling/Draw", messages.DrawRequest.SerializeToString, messages.Part.FromString
        )
        parts = [part.arrow for part in draw(messages.DrawRequest(generator="people", n=BLOCK, seed=3))]
    found = pa.ipc.open_stream(b"".join(parts)).read_all().replace_schema_metadata()
    assert found.equals(sampler.table(BLOCK, seed=3))


def test_callers_at_the_same_time_get_what_each_would_alone(service: httpx2.Client, sampler: Sampler) -> None:
    def ask(seed: int) -> pa.Table:
        while (answer := draw(service, seed=seed)).status_code == 503:
            time.sleep(0.05)
        return rows(answer)

    with ThreadPoolExecutor(8) as pool:
        for seed, found in enumerate(pool.map(ask, range(24))):
            assert found.equals(sampler.table(100, seed=seed).combine_chunks()), seed


class Load:
    """Callers that ask one after the other for as long as the block lasts, and what they were answered."""

    def __init__(self, client: httpx2.Client, callers: int) -> None:
        self.client, self.over, self.answers = client, threading.Event(), list[tuple[int, str, float]]()
        self.threads = [threading.Thread(target=self._ask, args=(k,)) for k in range(callers)]

    def _ask(self, caller: int) -> None:
        seed = 10_000 * caller
        while not self.over.is_set():
            seed += 1
            began = time.monotonic()
            answer = draw(self.client, seed=seed)
            version = Origin.read(dict(answer.headers))[0].version if answer.status_code == 200 else ""
            self.answers.append((answer.status_code, version, time.monotonic() - began))

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def test_no_answer_fails_where_replicas_die(service: httpx2.Client) -> None:
    with Load(service, 2) as load:
        for _ in range(3):
            before = {p.pid for p in replicas()}
            assert len(before) == 2
            os.kill(min(before), signal.SIGKILL)
            deadline = time.monotonic() + 60
            while len({p.pid for p in replicas()} - {min(before)}) < 2 and time.monotonic() < deadline:
                time.sleep(0.2)
    assert len(load.answers) > 10
    assert {status for status, _, _ in load.answers} == {200}


def test_no_answer_fails_where_another_version_is_promoted_and_back(service: httpx2.Client) -> None:
    with Load(service, 2) as load:
        for shares in ({2: 1}, {1: 0.5, 2: 0.5}, {1: 1}):
            answer = service.put("/v1/generators/people/aliases/production", json={"shares": shares})
            assert answer.status_code == 200
            time.sleep(1.0)
        service.post("/v1/generators/people/aliases/production/rollback")
        service.post("/v1/generators/people/aliases/production/rollback")
        time.sleep(0.5)
        assert service.get("/v1/generators/people").json()["aliases"]["production"] == {"2": 1.0}
        service.put("/v1/generators/people/aliases/production", json={"shares": {1: 1}})
    assert {status for status, _, _ in load.answers} == {200}
    assert {version for _, version, _ in load.answers} == {"people@1", "people@2"}


def test_too_much_load_is_told_to_come_again_and_what_is_let_in_ends(service: httpx2.Client) -> None:
    def ask(seed: int) -> httpx2.Response:
        return draw(service, seed=seed, n=3 * BLOCK)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(64)))
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) == {200, 503} and counted[200] >= 2, counted
    for answer in answers:
        if answer.status_code == 200:
            assert rows(answer).num_rows == 3 * BLOCK
        else:
            assert int(answer.headers["retry-after"]) >= 1 and answer.json()["type"] == "/problems/busy"


def until(met: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.3)
    return met()


def test_a_release_that_no_longer_draws_what_was_certified_raises_an_alarm(service: httpx2.Client) -> None:
    def health(name: str) -> dict[str, Any]:
        [version] = [v for v in service.get(f"/v1/generators/{name}").json()["versions"] if v["version"] == 1]
        return dict(version)

    for seed in range(3):
        assert draw(service, "ill", n=1_000, seed=seed).status_code == 200
        assert draw(service, "people", n=1_000, seed=seed).status_code == 200
    assert until(lambda: not health("ill")["healthy"], 60)
    assert any("pay" in change for change in health("ill")["alarm"]["changes"])  # which differs most, whatever the seed
    assert health("people")["healthy"]
    found = service.get("/metrics").text
    assert 'artesian_healthy{release="ill@1"} 0.0' in found and 'artesian_healthy{release="people@1"} 1.0' in found


@pytest.fixture
def alertmanager(service: httpx2.Client, tmp_path: Path) -> Iterator[httpx2.Client]:
    """Prometheus and Alertmanager with the settings that are shipped, but for ports and who is woken."""
    programs = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
    if None in programs:
        pytest.skip("prometheus and prometheus-alertmanager are not installed")
    shipped = Path(serving.__file__).parent
    ports = {"9090": free_port(), "9093": free_port(), "8000": service.base_url.port}
    for name in ("prometheus.yml", "alertmanager.yml", "alerts.yml"):
        text = (shipped / name).read_text()
        for port in ("8000", "9093"):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[port]}")
        (tmp_path / name).write_text(text)
    commands = [
        [
            programs[0], f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{ports['9090']}",
        ],
        [
            programs[1], f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/am",
            f"--web.listen-address=127.0.0.1:{ports['9093']}", "--cluster.listen-address=",
        ],
    ]  # fmt: skip
    with ExitStack() as running:
        for command in commands:
            process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(process.wait)
            running.callback(process.terminate)
        yield running.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{ports['9093']}"))


def test_prometheus_pages_for_the_release_that_has_collapsed_and_for_no_other(alertmanager: httpx2.Client) -> None:
    """After the alarm of the test above."""

    def fired() -> set[tuple[str, str]]:
        try:
            alerts = alertmanager.get("/api/v2/alerts").json()
        except httpx2.TransportError:  # it is starting
            return set()
        return {(a["labels"]["alertname"], a["labels"].get("release", "")) for a in alerts}

    began = time.monotonic()
    assert until(lambda: ("ArtesianDiversityFalling", "ill@1") in fired(), 120)
    print(f"paged {time.monotonic() - began:.0f} s after Prometheus began to start")
    assert not [release for _, release in fired() if release.startswith("people")]


def test_a_job_writes_a_folder_of_the_same_rows_which_are_watched(service: httpx2.Client, sampler: Sampler) -> None:
    def watched() -> float:
        series = r'^artesian_monitor_(?:skipped_)?rows_total\{release="people@1"\} (\S+)$'
        return sum(map(float, re.findall(series, service.get("/metrics").text, re.MULTILINE)))

    def known() -> bool:
        return any(version["trends"] for version in service.get("/v1/generators/people").json()["versions"])

    assert draw(service, n=600, seed=90_088).status_code == 200
    assert until(known, 60), "what comes after the monitor's first report is counted"
    before = watched()  # of a seed that no other test draws from: rows that come again are no news
    started = service.post("/v1/jobs", json={"generator": "people", "n": 2_500, "seed": 90_009})
    assert started.status_code == 202, started.text
    place = f"/v1/jobs/{started.json()['id']}"
    assert until(lambda: service.get(place).json()["state"] != "running", 60)
    job = service.get(place).json()
    assert (job["state"], job["drawn"]) == ("done", 2_500), job
    drawn = pq.read_table(job["out"]).replace_schema_metadata()
    assert drawn.combine_chunks().equals(sampler.table(2_500, seed=90_009).combine_chunks())
    assert service.post(f"{place}/resume").status_code == 422
    assert until(lambda: watched() - before >= 2_500, 30)


def test_what_is_under_way_ends_before_the_service_does(service: httpx2.Client, tmp_path: Path) -> None:
    """The last of all: it is gone then."""
    from ray import serve

    handle = serve.get_app_handle("artesian")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(draw, service, seed=seed, n=100 * BLOCK) for seed in (1, 2)]
        time.sleep(0.5)
        handle.end.remote().result(timeout_s=60)
        answers = [answer.result() for answer in asked]
    assert [rows(answer).num_rows for answer in answers] == [100 * BLOCK] * 2
    with pytest.raises(httpx2.TransportError):
        service.get("/healthz")
