"""RabbitMQ in a container, where a Docker or podman engine answers: the last rung of the ladder."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path

from services.cli.local.failures import LocalError
from services.cli.local.folders import short_name
from services.cli.local.ports import LOOPBACK, free_port
from services.cli.local.rabbitmq import START_WITHIN_S, USER, greets
from services.cli.local.records import read_record, write_record
from services.cli.local.waiting import wait_until

IMAGE = "rabbitmq:4"
_ENGINE_ANSWERS_WITHIN_S = 10.0


def container_engine() -> str | None:
    """The first of docker and podman whose engine answers."""
    for engine in ("docker", "podman"):
        if (program := shutil.which(engine)) is not None and _answers(program):
            return program
    return None


def _record(state: Path) -> Path:
    return state / "rabbitmq" / "container.json"


def _answers(program: str) -> bool:
    command = [program, "ps", "--quiet"]
    try:
        return (
            subprocess.run(command, check=False, capture_output=True, timeout=_ENGINE_ANSWERS_WITHIN_S).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


class ContainerBroker:
    """The RabbitMQ container of one state folder; the container keeps port, password and data until it is removed."""

    is_ours = True

    def __init__(self, state: Path, engine: str) -> None:
        self._engine = engine
        self._name = f"leadline-{short_name(state)}"
        self._record = _record(state)

    @staticmethod
    def has_been_used(state: Path) -> bool:
        """Whether this state folder has ever had its broker in a container."""
        return _record(state).exists()

    @property
    def url(self) -> str:
        """The broker's AMQP address; known once the container has been started."""
        access = read_record(self._record)
        if access is None:
            raise LocalError("RabbitMQ has never been started here")
        return f"amqp://{USER}:{access['password']}@{LOOPBACK}:{access['port']}/"

    def start(self) -> None:
        """Return when the broker accepts AMQP connections; a running container is left alone."""
        if self._run("ps", "--all", "--quiet", "--filter", f"name=^{self._name}$").strip():
            self._run("start", self._name)
        else:
            self._create()
        access = read_record(self._record) or {}
        wait_until(
            lambda: greets(int(access["port"])),
            within_s=START_WITHIN_S,
            otherwise=f"RabbitMQ does not answer: see {self._engine} logs {self._name}",
        )

    def stop(self) -> None:
        """Stop the container; its data stays."""
        if self._run("ps", "--quiet", "--filter", f"name=^{self._name}$").strip():
            self._run("stop", self._name)

    def kill(self) -> None:
        """`kill -9` of the broker, as in a crash."""
        self._run("kill", self._name)

    def freeze(self) -> None:
        """Freeze the broker: connections stay open and nothing answers."""
        self._run("pause", self._name)

    def thaw(self) -> None:
        """Let go what `freeze` has stopped."""
        self._run("unpause", self._name)

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl ARGUMENTS` prints about this broker."""
        return self._run("exec", self._name, "rabbitmqctl", "--quiet", *arguments)

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression gives on this node."""
        return self.ctl("eval", f"{expression}.")

    def _create(self) -> None:
        port, password = free_port(), secrets.token_hex(16)
        write_record(self._record, {"port": port, "password": password})
        settings = {"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": password}
        variables = [part for key, value in settings.items() for part in ("--env", f"{key}={value}")]
        # A fixed host name: RabbitMQ finds its data by the node's name, which holds it.
        place = ["--name", self._name, "--hostname", self._name, "--publish", f"{LOOPBACK}:{port}:5672"]
        self._run("run", "--detach", *place, *variables, IMAGE)

    def _run(self, *arguments: str) -> str:
        result = subprocess.run([self._engine, *arguments], check=False, capture_output=True, text=True)
        if result.returncode != 0:
            raise LocalError(f"{Path(self._engine).name} {arguments[0]} failed: {result.stderr.strip()}")
        return result.stdout
