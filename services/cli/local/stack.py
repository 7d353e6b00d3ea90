"""The whole system in the background on this machine: nodes, mailbox, services.

`up` brings up what does not run, or leaves everything as it was before; `down` leaves no process behind.
"""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelClosed

from services.cli.local import httpapi, postgres, rabbitmq
from services.cli.local.container import ContainerBroker, container_engine
from services.cli.local.endpoints import Endpoints, given
from services.cli.local.failures import LocalError
from services.cli.local.health import forget_ports, give_ports
from services.cli.local.locks import alone
from services.cli.local.nodes import ROOT, STATE, Nodes
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.processes import Processes
from services.cli.local.records import read_record, write_record
from services.cli.local.waiting import wait_until

SERVICES: Final = (
    "ingest",
    "assigner",
    "documents",
    "notifier",
    "deadletters",
    "scheduler",
    "receiver",
    "webhooks",
    "api",
)
# `up` returns when each of these services consumes its queue.
CONSUMED: Final = {
    "ingest": "ingest",
    "assigner": "assigner",
    "documents": "documents",
    "notifier": "notifier",
    "deadletters": "dead",
    "webhooks": "webhooks",
}
# `leadline …` commands to run once the nodes answer: at every `up`, and after them at the first one only.
SETUP: Final = (("setup",),)
FIRST_START: Final = (("config", "apply", "examples/start.yaml"),)

MAILBOX = "mailbox"
_NODES = (rabbitmq.NAME, rabbitmq.EPMD, postgres.NAME)
_SERVICES_WITHIN_S = 60.0
_MAILBOX_WITHIN_S = 15.0


def up(state: Path = STATE, *, services: Sequence[str] = SERVICES) -> Endpoints:
    """Start what does not run and return when the services consume; a second `up` at the same time waits for the first.

    When it fails or is interrupted, what it has started is stopped again.
    """
    with alone(state / "up.lock"):
        processes = Processes(state)
        with _as_before_on_failure(state, processes):
            endpoints = _start_below(state, processes)
            before = Endpoints.of(state)
            if before is not None and before.below != endpoints:
                processes.stop_together(services)  # they still use the old ones
            environment = endpoints.environment()
            for command in SETUP:
                leadline(*command, environment=environment)
            _apply_once(state, environment)
            if httpapi.API in services:
                endpoints = httpapi.opened(state, processes, endpoints)
                environment = endpoints.environment()
            for name, port in give_ports(state, processes, services).items():
                probed = {**environment, "LEADLINE_HEALTH_PORT": str(port)}
                processes.start(name, [sys.executable, "-m", f"services.{name}"], environment=probed, folder=ROOT)
            wait_until(
                lambda: not _waiting_for(processes, services, endpoints),
                within_s=_SERVICES_WITHIN_S,
                otherwise=f"not all services have started consuming: see {state / 'log'}",
            )
            endpoints.publish(state)
        return endpoints


def down(state: Path = STATE) -> None:
    """Stop the services, then the mailbox, then the nodes; data stays."""
    with alone(state / "up.lock"):
        processes = Processes(state)
        _stop(state, processes, [process.name for process in processes.all()])
        Endpoints.withdraw(state)
        forget_ports(state)


def leadline(*arguments: str, environment: Mapping[str, str]) -> str:
    """What `leadline ARGUMENTS` prints; LocalError with its last words when it fails."""
    program = Path(sys.executable).with_name("leadline")
    result = subprocess.run(
        [program, *arguments], check=False, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    if result.returncode != 0:
        last_words = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise LocalError(f"leadline {' '.join(arguments)} failed: {last_words}")
    return result.stdout


def _start_below(state: Path, processes: Processes) -> Endpoints:
    """Start nodes and mailbox; those that the user names are used as they are."""
    nodes = Nodes(state, database_url=given("LEADLINE_DATABASE_URL"), amqp_url=given("LEADLINE_AMQP_URL"))
    nodes.start()
    mail, sheets = (state / "mail").resolve(), (state / "reports").resolve()
    if host := given("LEADLINE_SMTP_HOST"):
        port = int(given("LEADLINE_SMTP_PORT") or smtplib.SMTP_PORT)
    else:
        host, port = LOOPBACK, _start_mailbox(state, processes, mail)
    sheets.mkdir(parents=True, exist_ok=True)
    return Endpoints(
        amqp_url=nodes.amqp_url,
        database_url=nodes.database_url,
        api_url=None,
        api_key=None,
        smtp_host=host,
        smtp_port=port,
        mail_dir=str(mail),
        sheets_dir=str(sheets),
        drop_dir=given("LEADLINE_DROP_DIR") or str((state / "drop").resolve()),
    )


def _start_mailbox(state: Path, processes: Processes, directory: Path) -> int:
    """The port on which the mailbox answers."""
    kept = read_record(state / "mailbox.json")
    port = int(kept["port"]) if kept else free_port()
    if not processes.is_running(MAILBOX):
        port = port if is_free(port) else free_port()
        write_record(state / "mailbox.json", {"port": port})
        module = "services.cli.local.mailbox"
        command = [sys.executable, "-m", module, "--port", str(port), "--directory", str(directory)]
        processes.start(MAILBOX, command, folder=ROOT)
    wait_until(
        lambda: _takes_mail(port) or not processes.is_running(MAILBOX),
        within_s=_MAILBOX_WITHIN_S,
        otherwise=f"the mailbox does not answer: see {processes.log_of(MAILBOX)}",
    )
    if not processes.is_running(MAILBOX):
        raise LocalError(f"the mailbox did not start: see {processes.log_of(MAILBOX)}")
    return port


def _takes_mail(port: int) -> bool:
    try:
        with smtplib.SMTP(LOOPBACK, port, timeout=5):
            return True
    except OSError:
        return False


def _apply_once(state: Path, environment: Mapping[str, str]) -> None:
    """The configuration to begin with; what people change later is not undone by the next `up`."""
    marker = state / "started.json"
    if not marker.exists():
        for command in FIRST_START:
            leadline(*command, environment=environment)
        write_record(marker, {"applied": [list(command) for command in FIRST_START]})


def _waiting_for(processes: Processes, services: Sequence[str], endpoints: Endpoints) -> list[str]:
    """The services that do not consume or answer yet; LocalError when one has died."""
    for name in services:
        if not processes.is_running(name):
            raise LocalError(f"{name} ended as soon as it was started: see {processes.log_of(name)}")
    consumers = [name for name in services if name in CONSUMED]
    silent = [httpapi.API] if httpapi.API in services and not httpapi.answers(endpoints) else []
    return silent or (asyncio.run(_idle(endpoints.amqp_url, consumers)) if consumers else [])


async def _idle(amqp_url: str, services: Sequence[str]) -> list[str]:
    """Those of the services whose queue nobody consumes."""
    idle = []
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        for name in services:
            with suppress(ChannelClosed):  # no such queue yet
                queue = await (await connection.channel()).declare_queue(CONSUMED[name], passive=True)
                if queue.declaration_result.consumer_count:
                    continue
            idle.append(name)
    return idle


@contextmanager
def _as_before_on_failure(state: Path, processes: Processes) -> Iterator[None]:
    """Stop what was started inside, if it ends by any exception, Ctrl-C included."""
    before = set(processes.running())
    try:
        yield
    except AMQPError as error:
        _stop(state, processes, [name for name in processes.running() if name not in before])
        raise LocalError(f"RabbitMQ: {error}") from error
    except BaseException:
        _stop(state, processes, [name for name in processes.running() if name not in before])
        raise


def _stop(state: Path, processes: Processes, names: Sequence[str]) -> None:
    """Stop these, consumers before what they consume from."""
    processes.stop_together([name for name in names if name not in (*_NODES, MAILBOX)])
    for name in (MAILBOX, *_NODES):
        if name in names:
            processes.stop(name)
    if ContainerBroker.has_been_used(state) and (engine := container_engine()) is not None:
        ContainerBroker(state, engine).stop()
