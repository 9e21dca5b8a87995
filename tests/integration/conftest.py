"""One Ray for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.session import connected


@pytest.fixture(scope="session", autouse=True)
def ray_session() -> Iterator[None]:
    with connected():
        yield
