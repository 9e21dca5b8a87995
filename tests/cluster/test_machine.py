"""A container's limits, as the kernel writes them down in control groups of either version."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from cluster.machine import JOB, usable_cores, usable_memory, usable_threads

GIB = 1 << 30
V1_UNLIMITED = {"memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "1"}


def written(root: Path, said: str, files: dict[str, dict[str, str]]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(said)
    for folder, contents in files.items():
        (root / "sys/fs/cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (root / "sys/fs/cgroup" / folder / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("said", "files", "total", "free"),
    [
        # v2, as a container sees its own group; files that were read are no loss
        ("0::/", {"": {"memory.max": f"{GIB}", "memory.current": f"{GIB - 100}",
                       "memory.stat": "anon 70\ninactive_file 40\nactive_file 9"}}, GIB, 140),
        # v2, as a batch job sees it: the limit of a group further out counts
        ("0::/jobs/7", {"jobs": {"memory.max": f"{GIB}", "memory.current": "24"},
                        "jobs/7": {"memory.max": "max", "memory.current": "20"}}, GIB, GIB - 24),
        # v1: each controller a tree, and an outer group without a limit
        ("5:devices:/\n4:memory:/jobs/7\n0::/", {
            "memory": V1_UNLIMITED,
            "memory/jobs/7": {"memory.limit_in_bytes": f"{GIB}", "memory.usage_in_bytes": "500",
                              "memory.stat": "inactive_file 30\ntotal_inactive_file 200"}}, GIB, GIB - 300),
        # v1, where the path is the host's and the container's own group is mounted as the root
        ("4:cpu,memory:/docker/0a1b", {"memory": {"memory.limit_in_bytes": f"{GIB}", "memory.usage_in_bytes": "9"}},
         GIB, GIB - 9),
        # more in use than allowed
        ("0::/", {"": {"memory.max": "100", "memory.current": "130"}}, 100, 0),
    ],
)  # fmt: skip
def test_memory_within_a_limit(
    tmp_path: Path, said: str, files: dict[str, dict[str, str]], total: int, free: int
) -> None:
    assert usable_memory(written(tmp_path, said, files)) == (total, free)


@pytest.mark.parametrize(
    ("said", "files"),
    [
        ("0::/", {"": {"memory.max": "max", "memory.current": "5"}}),
        ("4:memory:/", {"memory": V1_UNLIMITED}),
        ("0::/../other", {"": {}}),
    ],
)
def test_memory_without_a_limit(tmp_path: Path, said: str, files: dict[str, dict[str, str]]) -> None:
    total, free = usable_memory(written(tmp_path, said, files))
    assert total == psutil.virtual_memory().total and GIB / 100 < free < total


def test_without_control_groups(tmp_path: Path) -> None:
    assert usable_memory(tmp_path)[0] == psutil.virtual_memory().total
    assert usable_cores(tmp_path) >= 1


@pytest.mark.skipif(usable_cores(Path("/nowhere")) < 2, reason="needs two cores")
@pytest.mark.parametrize(
    ("said", "files", "limited"),
    [
        ("0::/", {"": {"cpu.max": "150000 100000"}}, True),  # a core and a half is one to be kept busy
        ("0::/", {"": {"cpu.max": "50000 100000"}}, True),
        ("0::/", {"": {"cpu.max": "max 100000"}}, False),
        ("3:cpu,cpuacct:/", {"cpu": {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}}, True),
        ("3:cpu,cpuacct:/", {"cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}}, False),
    ],
)
def test_cores(tmp_path: Path, said: str, files: dict[str, dict[str, str]], limited: bool) -> None:
    assert (usable_cores(written(tmp_path, said, files)) == 1) == limited


def test_threads_are_those_that_the_user_says_else_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB, raising=False)
    for said, threads in (("7", 7), ("", usable_cores()), ("0", usable_cores()), ("4,2", usable_cores())):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert usable_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", str(usable_cores() + 1))
    monkeypatch.setenv(JOB, "{}")
    assert usable_threads() == usable_cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv(JOB)
    assert usable_threads() == usable_cores()
