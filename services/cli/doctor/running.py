"""A stack that `./run up` has started on this machine: where its services tell whether they are ready, its broker."""

from __future__ import annotations

from pathlib import Path

from services.cli.doctor.management import NoManagementError
from services.cli.doctor.rabbitmqctl import Control
from services.cli.local.records import read_record

#: Not taken from the modules that start the nodes: they need what a production machine has not. Where a stack is up,
#: the machine has it.
STATE = Path(__file__).resolve().parents[3] / ".local"


def ready_urls(amqp_url: str, state: Path = STATE) -> dict[str, str]:
    """Give each service's address; none if the stack that is up here is not the one of this broker."""
    if not _is_of(amqp_url, state):
        return {}
    return {name: str(url) for name, url in (read_record(state / "health.json") or {}).items()}


def control_of(amqp_url: str, state: Path = STATE) -> Control | None:
    """Give `rabbitmqctl` for the private broker of the stack that is up here; None if that is not this broker."""
    if not _is_of(amqp_url, state):
        return None
    from services.cli.local.failures import LocalError  # noqa: PLC0415
    from services.cli.local.nodes import Nodes  # noqa: PLC0415

    def control(*arguments: str) -> str:
        try:
            return Nodes(state).broker.ctl(*arguments)
        except LocalError as error:
            raise NoManagementError(str(error)) from error

    return control


def _is_of(amqp_url: str, state: Path) -> bool:
    endpoints = read_record(state / "endpoints.json")
    return endpoints is not None and endpoints["amqp_url"] == amqp_url
