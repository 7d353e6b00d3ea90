"""Who tells what AMQP does not: the broker's management API; `rabbitmqctl`, where the broker is on this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from services.cli.doctor.management import NoManagementError, management_of
from services.cli.doctor.rabbitmqctl import Rabbitmqctl, installed
from services.cli.doctor.running import control_of
from shared.settings import Settings

T = TypeVar("T")
PORTS = {"amqp": 5672, "amqps": 5671}
LOOPBACK = {None, "localhost", "127.0.0.1", "::1"}


class Teller(Protocol):
    """Tells of one virtual host; raises NoManagementError where it cannot."""

    async def queues(self) -> list[dict[str, Any]]:
        """All queues."""

    async def bindings(self) -> list[dict[str, Any]]:
        """All bindings."""


def tellers_of(settings: Settings) -> list[Teller]:
    """Give those that may know, the management API first."""
    management = management_of(settings.amqp_url, settings.rabbitmq_api_url)
    tellers: list[Teller] = [management]
    parts = urlsplit(settings.amqp_url)
    if parts.hostname in LOOPBACK:
        if (control := control_of(settings.amqp_url)) is not None:
            tellers.append(Rabbitmqctl(control, management.vhost))
        if (control := installed()) is not None:
            tellers.append(Rabbitmqctl(control, management.vhost, parts.port or PORTS[parts.scheme]))
    return tellers


async def first_told(tellers: Sequence[Teller], ask: Callable[[Teller], Awaitable[T]]) -> T:
    """Give the answer of the first that answers.

    Raises:
        NoManagementError: none does; what each said.
    """
    said: list[str] = []
    for teller in tellers:
        try:
            return await ask(teller)
        except NoManagementError as error:
            said.append(str(error))
    raise NoManagementError("; ".join(said))
