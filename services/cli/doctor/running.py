"""Where the services of a stack that runs on this machine tell whether they are ready: what `./run up` has written."""

from __future__ import annotations

from pathlib import Path

from services.cli.local.records import read_record

#: Not taken from the modules that start the nodes: they need what a production machine has not.
STATE = Path(__file__).resolve().parents[3] / ".local"


def ready_urls(amqp_url: str, state: Path = STATE) -> dict[str, str]:
    """Give each service's address; none if the stack that is up here is not the one of this broker."""
    endpoints = read_record(state / "endpoints.json")
    if endpoints is None or endpoints["amqp_url"] != amqp_url:
        return {}
    return {name: str(url) for name, url in (read_record(state / "health.json") or {}).items()}
