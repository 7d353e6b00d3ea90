"""What the management API tells, by `rabbitmqctl`: for a broker on this machine that has no such API."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from services.cli.doctor.management import NoManagementError

ANSWERS_WITHIN_S = 30.0
QUEUE_COLUMNS = (
    *("name", "type", "arguments", "policy", "state", "leader", "online"),
    *("messages", "messages_ready", "messages_unacknowledged", "message_bytes"),
)
BINDING_COLUMNS = ("source_name", "routing_key", "destination_name", "arguments")

#: Runs `rabbitmqctl` with these arguments and gives what it prints. Raises NoManagementError.
Control = Callable[..., str]


class Rabbitmqctl:
    """The tool of a broker on this machine, for one virtual host.

    `port`: where the broker that is meant listens; None: the tool is known to be that one's.
    """

    def __init__(self, control: Control, vhost: str, port: int | None = None) -> None:
        self._control = control
        self._vhost = vhost
        self._port = port

    async def queues(self) -> list[dict[str, Any]]:
        """All queues of the virtual host. Raises NoManagementError."""
        rows = await self._list("list_queues", *QUEUE_COLUMNS)
        policies = await self._policies() if any(row["policy"] for row in rows) else {}
        return [
            {
                **row,
                "arguments": _table(row["arguments"]),
                "effective_policy_definition": policies.get(row["policy"], {}),
            }
            for row in rows
        ]

    async def _policies(self) -> dict[str, dict[str, Any]]:
        rows = await self._list("list_policies")
        return {row["name"]: _definition(row["definition"]) for row in rows}

    async def bindings(self) -> list[dict[str, Any]]:
        """All bindings of the virtual host. Raises NoManagementError."""
        rows = await self._list("list_bindings", *BINDING_COLUMNS)
        return [
            {
                "source": row["source_name"],
                "routing_key": row["routing_key"],
                "destination": row["destination_name"],
                "arguments": _table(row["arguments"]),
            }
            for row in rows
        ]

    async def _list(self, what: str, *columns: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._rows, what, columns)

    def _rows(self, what: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        if self._port is not None:
            listeners = self._read("status", "--formatter", "json")["listeners"]
            if self._port not in {listener["port"] for listener in listeners}:
                raise NoManagementError(f"rabbitmqctl tells of another broker: none that listens on port {self._port}")
            self._port = None
        rows: list[dict[str, Any]] = self._read(what, "-p", self._vhost, "--formatter", "json", *columns)
        return rows

    def _read(self, *arguments: str) -> Any:
        said = self._control(*arguments)
        try:
            return json.loads(said)
        except ValueError as error:
            raise NoManagementError(f"rabbitmqctl {arguments[0]}: {said.strip()[:200]!r} is no JSON") from error


def installed() -> Control | None:
    """Give the tool that is installed on this machine, if any. It works for root and for the broker's own user."""
    program = shutil.which("rabbitmqctl")
    return None if program is None else lambda *arguments: _run(program, *arguments)


def _run(program: str, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [program, "--quiet", *arguments], check=False, capture_output=True, text=True, timeout=ANSWERS_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoManagementError(f"rabbitmqctl: {error}") from error
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise NoManagementError(f"rabbitmqctl: {said[0] if said else f'exit code {answer.returncode}'}")
    return answer.stdout


def _table(arguments: Any) -> dict[str, Any]:
    """Arguments as the API gives them, whatever the tool's version makes of an AMQP table."""
    if isinstance(arguments, dict):
        return arguments
    return {str(each[0]): each[-1] for each in arguments or ()}


def _definition(said: Any) -> dict[str, Any]:
    """A policy's definition, which some versions give as JSON in JSON."""
    definition: dict[str, Any] = json.loads(said) if isinstance(said, str) else said
    return definition
