"""The two nodes that everything runs on, PostgreSQL and RabbitMQ: given by the environment, or private ones of ours.

    with running_nodes(Path(".local/test")) as nodes:
        nodes.database_url, nodes.amqp_url
        nodes.broker.kill(); nodes.broker.start()      # same port, same data

A state folder has one pair of nodes; two folders never disturb each other, nor anything else on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from services.cli.local.brokers import find_broker
from services.cli.local.failures import LocalError
from services.cli.local.locks import Users, alone
from services.cli.local.postgres import Postgres
from services.cli.local.processes import Processes

ROOT = Path(__file__).resolve().parents[3]
STATE = ROOT / ".local"
TEST_STATE = STATE / "test"
#: The variable that names another folder for the tests' servers.
TEST_STATE_VARIABLE = "LEADLINE_TEST_STATE"


class Node(Protocol):
    """A server that the system needs. All calls return when what they say has happened."""

    is_ours: bool
    """False for one that the environment names: it is only used, never started, stopped or disturbed."""

    @property
    def url(self) -> str:
        """Where clients find it; the same from start to start."""

    def start(self) -> None:
        """Return when it answers; one that runs is left alone."""

    def stop(self) -> None:
        """Stop it cleanly; one that does not run is left alone."""

    def kill(self) -> None:
        """End it as a crash does; `start` brings it back with the same data."""

    def freeze(self) -> None:
        """Stop it in its tracks, its connections open."""

    def thaw(self) -> None:
        """Let it go on."""


class Broker(Node, Protocol):
    """The node that is RabbitMQ."""

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl ARGUMENTS` prints about it."""

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression, without its full stop, gives on the node, as Erlang writes it."""


class External:
    """A server that the environment names and somebody else runs."""

    is_ours = False

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It goes on running."""

    def kill(self) -> None:
        """Refused."""
        raise LocalError("the environment names this server: it is not ours to disturb")

    freeze = thaw = kill

    def ctl(self, *_arguments: str) -> str:
        """Refused."""
        raise LocalError("the environment names this broker: there is no rabbitmqctl for it")

    evaluate = ctl


class Nodes:
    """PostgreSQL and RabbitMQ of one state folder."""

    def __init__(
        self,
        state: Path = STATE,
        *,
        database_url: str | None = None,
        amqp_url: str | None = None,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        """Find out what is there; start nothing. A server whose URL is given is used as it is.

        Raises MissingError when a node cannot be had on this machine.
        """
        self.state = state
        self.processes = Processes(state)
        self.postgres: Node = (
            External(database_url) if database_url else Postgres(state, self.processes, settings=postgres_settings)
        )
        self.broker: Broker = External(amqp_url) if amqp_url else find_broker(state, self.processes, shared=STATE)

    @property
    def database_url(self) -> str:
        """For SQLAlchemy: `postgresql+asyncpg://…/leadline`."""
        return self.postgres.url

    @property
    def amqp_url(self) -> str:
        """For any AMQP client, credentials included."""
        return self.broker.url

    def start(self) -> None:
        """Return when both answer."""
        self.postgres.start()
        self.broker.start()

    def stop(self) -> None:
        """Stop both, leaving no process behind; their data stays."""
        self.broker.stop()
        self.postgres.stop()


@contextmanager
def running_nodes(state: Path = TEST_STATE, *, postgres_settings: Mapping[str, str] | None = None) -> Iterator[Nodes]:
    """Both nodes, running, for tests and benches; whoever leaves last stops them, whatever happened inside.

    `LEADLINE_TEST_DATABASE_URL` and `LEADLINE_TEST_AMQP_URL` name servers to use instead. The variables without TEST
    are not looked at: what they name may hold what is dear to somebody.
    """
    nodes = Nodes(
        state,
        database_url=os.environ.get("LEADLINE_TEST_DATABASE_URL"),
        amqp_url=os.environ.get("LEADLINE_TEST_AMQP_URL"),
        postgres_settings=postgres_settings,
    )
    users = Users(state / "users.lock")
    try:
        with alone(state / "start.lock"):
            users.join()
            nodes.start()
        yield nodes
    finally:
        with alone(state / "start.lock"):
            if users.leave():
                nodes.stop()


def state_of_tests() -> Path:
    """Where the tests' servers are: where the environment says, as `./run test` does, or in this working copy."""
    return Path(os.environ.get(TEST_STATE_VARIABLE, TEST_STATE))


def stop_unused(state: Path) -> None:
    """Stop what a killed user of `running_nodes` has left behind, here and in the state folders inside this one.

    Where somebody else still uses it, it is left alone.
    """
    for records in (state / "run", *state.glob("*/run")):
        folder = records.parent
        users, processes = Users(folder / "users.lock"), Processes(folder)
        with alone(folder / "start.lock"):
            if users.leave():
                processes.stop_together(processes.running())
