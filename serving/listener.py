"""The socket that the service listens at, taken before anything is started behind it."""

from __future__ import annotations

import socket

from serving.settings import Settings

BACKLOG = 2_048


def listener(settings: Settings) -> socket.socket:
    """Bound, and listening. OSError, with the address and what to do, where that cannot be."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as e:
        raise OSError(
            f"host {host}, port {port}: cannot be listened at ({e.strerror or e}); give another --port, or --port 0 for any "
            "that is free"
        ) from e
