"""Start the service and end it: settings from what a person names, and Ray Serve around them."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cluster.machine import usable_cores
from cluster.session import connected
from serving.catalogue import Catalogue
from serving.keys import Keys
from serving.listener import listener
from serving.private_file import locked
from serving.settings import Settings, apart, named
from serving.shelf import opened
from synth import release
from synth.errors import ReleaseError, UserError
from synth.provenance.keys import ready

NAME = "artesian"  # of the application
START_S, END_S = 120.0, 60.0


def settings_of(releases: Sequence[str], config: Path | None, given: Mapping[str, Any]) -> Settings:
    """The settings of ``[NAME[@VERSION]=]PLACE`` arguments or of a file, of which what is ``given`` holds instead. UserError
    for what is wrong with them, ReleaseError for a place that holds no release."""
    wanted = dict(given)
    if releases:
        wanted["generators"] = named(releases, _names({apart(text)[1] for text in releases}))
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


def _check_here(settings: Settings) -> None:
    try:
        listener(settings).close()
    except OSError as e:
        raise UserError(str(e)) from e
    if settings.keys is not None:
        Keys.load(settings.keys)
    if settings.watermark:
        ready()  # the service signs with a key of this user's in any case, and makes it where there is none
    if settings.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(settings.certificate, settings.certificate_key, password="")  # and asks for none
        except OSError as e:
            raise UserError(
                f"certificate {settings.certificate} and certificate_key {settings.certificate_key}: cannot be used: {e}; give "
                "PEM files that belong together, the key without a password"
            ) from e
    for version in Catalogue(dict(settings.generators)).versions():
        opened(version, any_signer=settings.any_signer)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """While nobody else serves with this state: two would overwrite each other's quotas and alarms."""
    folder = Path(settings.state)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise UserError(
            f"{folder}: the service's state cannot be kept there ({e.strerror}); choose another --state"
        ) from e
    with locked(
        folder / "service", f"{folder}: another service keeps its state there; give this one its own: --state DIR"
    ):
        yield


@contextmanager
def running(settings: Settings, address: str | None = None) -> Iterator[str]:
    """The service on an embedded Ray, or the cluster at ``address``; its URL. At the end, what is under way ends first.
    UserError for files that cannot be used and ReleaseError for releases: those of a cluster are not here, and it says so
    itself."""
    if address is None:
        _check_here(settings)
    with _alone(settings) if address is None else nullcontext(), connected(address):
        from ray import serve

        from serving.app import build

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        application = build(settings.model_dump(mode="json"))
        serve.start(proxy_location="Disabled")
        try:
            handle = serve.run(application, name=NAME, route_prefix=None)
            host, port = handle.address.remote().result(timeout_s=START_S)
            shown = f"[{host}]" if ":" in host else host
            try:
                yield f"{'http' if settings.certificate is None else 'https'}://{shown}:{port}"
            finally:  # before there are no samplers to draw what is under way
                handle.end.remote().result(timeout_s=END_S)
        finally:
            serve.delete(NAME)
