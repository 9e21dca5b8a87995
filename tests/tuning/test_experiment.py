"""Where Ray Tune keeps what it wants to keep; trials themselves are in tests/integration/test_tune.py."""

from pathlib import Path

import pytest

from cluster import storage
from tuning.experiment import scratch
from tuning.trial import RUNS


def test_one_machine_keeps_it_apart_from_the_study(tmp_path: Path) -> None:
    with scratch(str(tmp_path / "x.study"), embedded=True) as (path, filesystem):
        assert filesystem is None and Path(path).is_dir()
    assert not Path(path).exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("remote", [False, True])
def test_the_nodes_of_a_cluster_see_it_beside_the_runs_and_it_is_taken_away(tmp_path: Path, remote: bool) -> None:
    study = f"memory://experiment/{tmp_path.name}.study" if remote else str(tmp_path / "x.study")
    with scratch(study, embedded=False) as (path, filesystem):
        assert (filesystem is not None) == remote
        assert storage.list_files(storage.join(study, RUNS))
        assert path == storage.resolve(storage.join(study, f"{RUNS}/tune"))[1]
    assert not storage.exists(storage.join(study, f"{RUNS}/tune"))
