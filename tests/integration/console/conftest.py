"""One browser for all tests of the console, and a service for each, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.console.browser import Browser
from tests.integration.console.service import Service, serving
from tests.serving.releases import publish


@pytest.fixture(scope="session", autouse=True)
def ray_session() -> None:
    """Nothing here needs Ray."""


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Two versions, of which the second no longer draws what was certified."""
    folder = tmp_path_factory.mktemp("releases")
    return {1: str(publish(folder / "1")), 2: str(publish(folder / "2", collapsed=True))}


@pytest.fixture
def serve(releases: dict[int, str], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts a service of these settings, which ends with the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serving(releases, tmp_path / "state", **settings))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A page of 1280 by 900 that does not move by itself. Nothing but answers that are problems goes to its console."""
    chromium.size(1280, 900)
    chromium.prefers(color_scheme="light", reduced_motion="reduce")
    chromium.log()
    yield chromium
    # A test's service has ended by now, and its page may have asked it once more.
    usual = ("the server responded with a status of 4", "net::ERR_CONNECTION_REFUSED")
    told = [line for line in chromium.log() if not any(word in line for word in usual)]
    chromium.go("about:blank")
    assert told == []
