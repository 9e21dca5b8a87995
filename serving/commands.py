"""The ``artesian`` command's words for this room: serve."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synth.errors import UserError

if TYPE_CHECKING:
    from serving.settings import Settings

app = typer.Typer()


@app.command(
    "serve", epilog="Example: artesian serve adult-release shop=s3://releases/shop --replicas 1,4 --policy stop",
)  # fmt: skip
def serve_command(
    releases: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]=]RELEASE", help="folders or URIs of releases")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="settings in YAML: versions, aliases, limits")] = None,
    host: Annotated[str | None, typer.Option(help="the address to listen at [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any that is free [default: 8000]")] = None,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="who may draw; see artesian keys")] = None,
    replicas: Annotated[
        str | None, typer.Option(metavar="LEAST,MOST", help="samplers, a core each [default: as many as there are cores]")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="on an alarm: warn, stop or fallback [default: warn]")] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="where quotas, audit and monitors are kept")] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="for TLS, with --certificate-key")] = None,
    certificate_key: Annotated[Path | None, typer.Option(metavar="PEM", help="its private key")] = None,
    any_signer: Annotated[
        bool, typer.Option("--any-signer", help="serve releases of signers who are not known here, too")
    ] = False,
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster to serve on")] = None,
) -> None:  # fmt: skip
    """Serve samples of releases over HTTP, watched for falling diversity, until Ctrl-C.

    Beyond loopback it takes keys: without --keys it does not start there. The page at / shows what is served and draws
    rows; /metrics is for Prometheus, with the rules of serving/alerts.yml.
    """
    given: dict[str, Any] = {
        "host": host, "port": port, "keys": keys and str(keys), "state": state and str(state), "policy": policy,
        "certificate": certificate and str(certificate), "certificate_key": certificate_key and str(certificate_key),
        "replicas": _pair(replicas), "any_signer": any_signer or None,
    }  # fmt: skip
    settings = _settings(releases or [], config, {name: value for name, value in given.items() if value is not None})
    _serve(settings, address)


def _pair(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        least, _, most = text.partition(",")
        return int(least), int(most or least)
    except ValueError as e:
        raise UserError(f"--replicas {text}: give the least and the most, such as 1,4") from e


def _settings(releases: list[str], config: Path | None, given: dict[str, Any]) -> Settings:
    from cluster.machine import usable_cores
    from serving.settings import Settings, named

    if releases:
        given["generators"] = named(releases, _names({text.rpartition("=")[2] for text in releases}))
    if config is not None:
        return Settings.read(config, **given)
    if not releases:
        raise UserError("serve: what? Give releases, such as artesian serve adult-release, or --config FILE")
    # On one machine, a half of each core is left to jobs.
    alone = {"replicas": (1, usable_cores()), "replica_cpus": 0.5}
    return Settings.check(alone | given, where="serve")


def _names(places: set[str]) -> dict[str, str]:
    """Of each release the name that it was published under."""
    from synth import release
    from synth.errors import ReleaseError

    names = {}
    for place in places:
        found = release.verify(place)
        if found.manifest is None:
            raise ReleaseError(str(found))
        names[place] = found.manifest.name
    return names


def _serve(settings: Settings, address: str | None) -> None:
    from rich.console import Console

    from cluster.session import connected

    console = Console(stderr=True)
    stopped = threading.Event()
    with connected(address), console.status("starting") as status:
        from ray import serve

        from serving.app import build

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        application = build(settings.model_dump(mode="json"))
        serve.start(proxy_location="Disabled")
        handle = serve.run(application, name="artesian", route_prefix=None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        host, port = handle.address.remote().result(timeout_s=60)
        status.stop()
        scheme = "http" if settings.certificate is None else "https"
        console.print(f"Serving {', '.join(settings.generators)} at {scheme}://{host}:{port}/ ; Ctrl-C ends it")
        stopped.wait()
        with console.status("ending what is under way"):
            serve.delete("artesian")
