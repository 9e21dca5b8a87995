"""What every test relies on: no test sees, makes or uses the user's own key, or what Artesian remembers of the user's rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A check that decides what lands must not depend on chance; people's own runs go on looking for new examples.
slow = [hypothesis.HealthCheck.too_slow]  # the machine may be busy: no fault of what is tested
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=slow)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True, scope="session")
def shared_config_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for fixtures that serve several tests, which are set up before ``config_dir`` is."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(tmp_path_factory.mktemp("config") / "shared"))
        monkeypatch.setenv("ARTESIAN_STATE_DIR", str(tmp_path_factory.mktemp("state") / "shared"))
        yield


@pytest.fixture(autouse=True)
def config_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder, for this test and the processes that it starts."""
    folder = tmp_path_factory.mktemp("config") / "artesian"
    monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(folder))
    monkeypatch.setenv("ARTESIAN_STATE_DIR", str(folder / "state"))
    return folder
