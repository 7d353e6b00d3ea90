"""Ports of this machine's loopback.

Nodes get ports below the kernel's ephemeral range: a client that keeps reconnecting to a stopped node on an ephemeral
port can be given that very port as its source, connects to itself, and the node can never bind it again.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 20_000, 31_999
_TRIES = 500


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(*, besides: Collection[int] = ()) -> int:
    """A loopback port that nobody uses now and that is not one of `besides`."""
    for port in (random.randint(_LOWEST, _HIGHEST) for _ in range(_TRIES)):
        if port not in besides and is_free(port):
            return port
    msg = f"no free port between {_LOWEST} and {_HIGHEST}"
    raise OSError(msg)
