"""The ``artesian`` command's words for this room: serve."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from synth.errors import UserError

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
    grpc_port: Annotated[int | None, typer.Option(min=1, max=65535, help="serve gRPC, too, at this port")] = None,
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
        "host": host, "port": port, "grpc_port": grpc_port, "keys": keys and str(keys),
        "state": state and str(state), "policy": policy,
        "certificate": certificate and str(certificate), "certificate_key": certificate_key and str(certificate_key),
        "replicas": _pair(replicas), "any_signer": any_signer or None,
    }  # fmt: skip
    from rich.console import Console

    from serving.launch import running, settings_of

    settings = settings_of(releases or [], config, {name: value for name, value in given.items() if value is not None})
    console, stopped = Console(stderr=True), threading.Event()
    with ExitStack() as shown:
        starting = shown.enter_context(console.status("starting"))
        with running(settings, address) as url:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            starting.stop()
            console.print(f"Serving {', '.join(settings.generators)} at {url}/ ; Ctrl-C ends it")
            stopped.wait()
            shown.enter_context(console.status("ending what is under way"))


def _pair(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        least, _, most = text.partition(",")
        return int(least), int(most or least)
    except ValueError as e:
        raise UserError(f"--replicas {text}: give the least and the most, such as 1,4") from e
