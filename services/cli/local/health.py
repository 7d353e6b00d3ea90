"""Where the services of a running stack answer probes: `.local/health.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.cli.local.ports import LOOPBACK, free_port
from services.cli.local.processes import Processes
from services.cli.local.records import read_record, write_record

_FILE = "health.json"


def give_ports(state: Path, processes: Processes, services: Sequence[str]) -> dict[str, int]:
    """Give each service a port, one that runs the port that it has; written down for who asks."""
    kept = {name: int(url.rpartition(":")[2]) for name, url in (read_record(state / _FILE) or {}).items()}
    ports = {name: kept[name] for name in services if name in kept and processes.is_running(name)}
    for name in services:
        if name not in ports:
            ports[name] = free_port(besides=list(ports.values()))
    write_record(state / _FILE, {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()})
    return ports


def forget_ports(state: Path) -> None:
    """No service answers any more."""
    (state / _FILE).unlink(missing_ok=True)
