"""Start the service and end it: settings from what a person names, and Ray Serve around them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.machine import usable_cores
from cluster.session import connected
from serving.settings import Settings, named
from synth import release
from synth.errors import ReleaseError, UserError

NAME = "artesian"  # of the application
START_S = 120.0


def settings_of(releases: Sequence[str], config: Path | None, given: Mapping[str, Any]) -> Settings:
    """The settings of ``[NAME[@VERSION]=]PLACE`` arguments or of a file, of which what is ``given`` holds instead. UserError
    for what is wrong with them, ReleaseError for a place that holds no release."""
    wanted = dict(given)
    if releases:
        wanted["generators"] = named(releases, _names({text.rpartition("=")[2] for text in releases}))
    if config is not None:
        return Settings.read(config, **wanted)
    if not releases:
        raise UserError("serve: what? Give releases, such as artesian serve adult-release, or --config FILE")
    # On one machine, a half of each core is left to jobs.
    alone = {"replicas": (1, usable_cores()), "replica_cpus": 0.5}
    return Settings.check(alone | wanted, where="serve")


def _names(places: set[str]) -> dict[str, str]:
    """Of each release the name that it was published under."""
    names = {}
    for place in places:
        found = release.verify(place)
        if found.manifest is None:
            raise ReleaseError(str(found))
        names[place] = found.manifest.name
    return names


@contextmanager
def running(settings: Settings, address: str | None = None) -> Iterator[str]:
    """The service on an embedded Ray, or the cluster at ``address``; its URL. At the end, what is under way ends first."""
    with connected(address):
        from ray import serve

        from serving.app import build

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        application = build(settings.model_dump(mode="json"))
        serve.start(proxy_location="Disabled")
        try:
            handle = serve.run(application, name=NAME, route_prefix=None)
            host, port = handle.address.remote().result(timeout_s=START_S)
            shown = f"[{host}]" if ":" in host else host
            yield f"{'http' if settings.certificate is None else 'https'}://{shown}:{port}"
        finally:
            serve.delete(NAME)
