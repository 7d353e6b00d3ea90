"""The whole system as real processes on a test's own database, virtual host, mailbox and folder of sheets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import smtplib
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import asyncpg

from services.cli.local.nodes import ROOT, Nodes
from services.cli.local.ports import LOOPBACK, free_port
from shared import sheetstore
from shared.messaging import broker, topology
from tests.nursery import COMMAND, OWNER, nursery
from tests.replica import Replica
from tests.waiting import eventually

CONSUMED = {
    "ingest": "ingest",
    "assigner": "assigner",
    "documents": "documents",
    "notifier": "notifier",
    "deadletters": "dead",
}
CONSUMERS = ("ingest", "assigner", "documents", "notifier")
ALL = (*CONSUMERS, "deadletters")
MAILBOX = "mailbox"
HEALTH_PORT = "LEADLINE_HEALTH_PORT"
START_WITHIN_S = 60.0
LOG_SHOWN_LINES = 40
_OTHERS_VARIABLES = ("LEADLINE_", "POSTGRES_", "SIMULATION_", "LEADS_", "CHECK_INTERVAL", "MAX_LEADS_")


class Stack:
    """Services, mailbox, and what an outsider sees of them: rows, files, mails, queues.

    A supervisor starts again what dies, as an operator's would.
    """

    def __init__(self, folder: Path, nodes: Nodes, database_url: str, amqp_url: str) -> None:
        self.folder, self.nodes = folder, nodes
        self.database_url, self.amqp_url = database_url, amqp_url
        self.sheets, self.mail, self.logs = folder / "sheets", folder / "mail", folder / "log"
        self.smtp_port = free_port()
        self.replicas: list[Replica] = []
        self.extra: dict[str, str] = {}
        self._rows: asyncpg.Connection[Any] | None = None
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._connections = AsyncExitStack()
        self._is_over = threading.Event()
        self._attending = threading.Lock()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")

    # Processes.

    @property
    def environment(self) -> dict[str, str]:
        """By which services and the command line find this stack, and nothing of the developer's own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS_VARIABLES)}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            OWNER: str(os.getpid()),
            "LEADLINE_DATABASE_URL": self.database_url,
            "LEADLINE_AMQP_URL": self.amqp_url,
            "LEADLINE_SMTP_PORT": str(self.smtp_port),
            "LEADLINE_SHEETS_DIR": str(self.sheets),
            "LEADLINE_SHEET_WORKERS": "1",
            **self.extra,
        }

    async def lay_out(self) -> None:
        """Declare the topology, start the mailbox and the supervisor."""
        self.logs.mkdir(parents=True)
        async with self.channel() as channel:
            await topology.declare(channel)
        mailbox = ["services.cli.local.mailbox", "--port", str(self.smtp_port), "--directory", str(self.mail)]
        self._launch(MAILBOX, 0, mailbox)
        self._supervisor.start()

    async def start(self, *names: str, replicas: int = 1) -> None:
        """Start services, and the mailbox with the first; return when they consume."""
        for name in names:
            self._launch_all(name, [f"services.{name}"], replicas)
        await eventually(lambda: self._all_consume(names, replicas), within=START_WITHIN_S)
        await eventually(self.takes_mail, within=START_WITHIN_S)

    async def start_as(self, name: str, module: Sequence[str], *, replicas: int = 1) -> None:
        """Start a module with its arguments in the place of a service; return when it consumes."""
        self._launch_all(name, module, replicas)
        await eventually(lambda: self._all_consume([name], replicas), within=START_WITHIN_S)

    def of(self, name: str) -> list[Replica]:
        return [replica for replica in self.replicas if replica.name == name]

    def one(self, name: str) -> Replica:
        """The only replica of a service, or the mailbox."""
        (replica,) = self.of(name)
        return replica

    @property
    def pids(self) -> list[int]:
        return [replica.pid for replica in self.replicas]

    @contextmanager
    def unattended(self, replica: Replica) -> Iterator[None]:
        """If it dies inside, it stays dead until the end of the block."""
        with self._attending:
            replica.is_wanted = False
        try:
            yield
        finally:
            replica.is_wanted = True

    def end(self) -> None:
        """Leave no process behind."""
        self._is_over.set()
        self._supervisor.join()
        for replica in self.replicas:
            replica.kill()

    def takes_mail(self) -> bool:
        try:
            with smtplib.SMTP(LOOPBACK, self.smtp_port, timeout=5):
                return True
        except OSError:
            return False

    async def run(self, *arguments: str, within: float = 60, **variables: str) -> Ran:
        """Run `leadline ARGUMENTS` to its end."""
        return await asyncio.to_thread(self._run, [COMMAND, *arguments], {**self.environment, **variables}, within)

    def _run(self, command: Sequence[str], environment: Mapping[str, str], within: float) -> Ran:
        with TemporaryFile() as output, TemporaryFile() as errors:
            child = nursery().start(command, environment, self.folder, output, errors)
            try:
                code = child.wait(within)
            finally:
                child.send_signal(signal.SIGKILL)
            for file in (output, errors):
                file.seek(0)
            return Ran(code, output.read().decode(), errors.read().decode())

    async def probe(self, replica: Replica, page: str = "readyz") -> tuple[int, str]:
        """What a service answers to a probe: the status and the text; 0 if it does not answer."""
        port = self.health_port(replica)
        return await asyncio.to_thread(_read, f"http://{LOOPBACK}:{port}/{page}") if port else (0, "")

    def health_port(self, replica: Replica) -> int:
        """The port that a replica said last it answers probes at; 0 before it has said so."""
        told = [entry["port"] for entry in self._log(replica.log) if entry["event"] == "health.listening"]
        return int(told[-1]) if told else 0

    def log_tails(self) -> list[tuple[str, str]]:
        """The end of each process's log, for a test that has failed."""
        paths = sorted(self.logs.glob("*.log"))
        return [
            (path.name, "\n".join(path.read_text(errors="replace").splitlines()[-LOG_SHOWN_LINES:])) for path in paths
        ]

    def logged(self, name: str, event: str) -> list[dict[str, Any]]:
        """A service's log entries of one event, of all its replicas."""
        entries = [entry for path in self.logs.glob(f"{name}-*.log") for entry in self._log(path)]
        return [entry for entry in entries if entry["event"] == event]

    @staticmethod
    def _log(path: Path) -> list[dict[str, Any]]:
        """A log's entries: what is no JSON is a traceback, or the half line of who was killed."""
        entries = []
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                entries.append(json.loads(line))
        return [entry for entry in entries if isinstance(entry, dict)]

    async def start_anew(self, replica: Replica, module: Sequence[str]) -> None:
        """Start another program in the place of one that has ended; return when it consumes."""
        replica.command = module
        replica.is_wanted = True
        await eventually(lambda: self._all_consume([replica.name], 1), within=START_WITHIN_S)

    def _launch_all(self, name: str, module: Sequence[str], replicas: int) -> None:
        for number in range(replicas):
            self._launch(name, number, module)

    def _launch(self, name: str, number: int, module: Sequence[str]) -> None:
        log = self.logs / f"{name}-{number}.log"
        environment = {**self.environment, HEALTH_PORT: "0"}
        replica = Replica(name, number, module, environment, log)
        replica.start()
        self.replicas.append(replica)

    def _supervise(self) -> None:
        while not self._is_over.wait(0.1):
            with self._attending:
                for replica in list(self.replicas):
                    if replica.is_wanted and not replica.is_running:
                        replica.start()

    async def _all_consume(self, names: Iterable[str], replicas: int) -> bool:
        for replica in self.replicas:
            assert replica.is_running, f"{replica.name} ended: see {replica.log}"
        queues = [CONSUMED[name] for name in names if name in CONSUMED]
        async with self.channel() as channel:
            counts = [(await channel.declare_queue(queue, passive=True)).declaration_result for queue in queues]
        return all((count.consumer_count or 0) >= replicas for count in counts)

    # What an outsider sees: the database.

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        """The rows of one statement; again on a new connection where the old one is gone."""
        if self._rows is None or self._rows.is_closed():
            self._rows = await asyncpg.connect(self.database_url.replace("+asyncpg", ""), timeout=10)
        return list(await self._rows.fetch(statement, *arguments))

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the only row."""
        ((value, *_),) = await self.rows(statement, *arguments)
        return value

    async def count(self, what: str) -> int:
        """How many rows `TABLE WHERE …` has."""
        return int(await self.value(f"SELECT count(*) FROM {what}"))

    async def disconnect(self) -> None:
        await self._connections.aclose()
        if self._rows is not None:
            self._rows.terminate()

    # What an outsider sees: the broker.

    @property
    def vhost(self) -> str:
        return urlsplit(self.amqp_url).path[1:] or "/"

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """A channel of the outsider's connection, which is opened again where it is gone."""
        channel = await self._channel_of_old() or await self._channel_of_new()
        try:
            yield channel
            await channel.close()
        except BaseException:
            self._connection = None
            raise

    async def _channel_of_old(self) -> aio_pika.abc.AbstractChannel | None:
        if self._connection is not None:
            with suppress(*broker.BROKER_ERRORS, RuntimeError), broker._speaking():
                async with asyncio.timeout(broker.CONNECT_TIMEOUT_S):
                    return await self._connection.channel()
        return None

    async def _channel_of_new(self) -> aio_pika.abc.AbstractChannel:
        self._connection = await self._connections.enter_async_context(broker.connect(self.amqp_url, "outsider"))
        return await self._connection.channel()

    async def publish(self, routing_key: str, *bodies: object, exchange: str = "leads", **properties: object) -> None:
        """Publish with confirms: bytes as they are, all else as JSON. A broker that goes away is tried again."""
        left = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        for start in range(0, len(left), 200):
            chunk = left[start : start + 200]
            await eventually(partial(self._published, exchange, routing_key, chunk, properties), within=60)

    async def _published(self, exchange: str, key: str, bodies: Sequence[bytes], properties: dict[str, object]) -> bool:
        persistent = aio_pika.DeliveryMode.PERSISTENT
        # On a connection of its own: a broker short of disk stops reading from who publishes.
        try:
            async with (
                broker.connect(self.amqp_url, "publishing outsider") as connection,
                connection.channel() as channel,
            ):
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                messages = [aio_pika.Message(body, delivery_mode=persistent, **properties) for body in bodies]  # type: ignore[arg-type]
                await asyncio.gather(*(target.publish(message, key) for message in messages))
        except (aio_pika.exceptions.AMQPError, OSError, RuntimeError):
            return False
        return True

    async def listen(self, queue: str, *bindings: tuple[str, str]) -> None:
        """Bind an outsider's durable queue to exchanges by keys."""
        async with self.channel() as channel:
            declared = await channel.declare_queue(queue, durable=True)
            for exchange, key in bindings:
                await declared.bind(exchange, key)

    async def heard(self, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
        """Take all that is ready off an outsider's queue."""
        async with self.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            messages = []
            while (message := await declared.get(fail=False)) is not None:
                await message.ack()
                messages.append(message)
        return messages

    async def ready(self, *queues: str) -> dict[str, int]:
        """How many messages are ready, in queues that have any."""
        async with self.channel() as channel:
            found = {queue: await channel.declare_queue(queue, passive=True) for queue in queues}
        return {queue: count for queue, each in found.items() if (count := each.declaration_result.message_count)}

    # What an outsider sees: the disk and the mailbox.

    def sheet_files(self) -> dict[str, str]:
        """SHA-256 by path in the store, of whole files."""
        left = self.leftovers()
        paths = [path for path in self.sheets.rglob("*") if path.is_file() and path not in left]
        return {str(path.relative_to(self.sheets)): sha256(path.read_bytes()).hexdigest() for path in paths}

    def leftovers(self) -> list[Path]:
        """What writers that were killed before they could give it its name have left in the store."""
        return list(self.sheets.rglob(f"{sheetstore._TEMPORARY}*"))

    def mails(self) -> list[EmailMessage]:
        """What the mailbox has accepted, in order."""
        parse = message_from_bytes
        return [parse(path.read_bytes(), policy=policy.default) for path in sorted(self.mail.glob("*.eml"))]

    def mails_by_id(self) -> dict[str, int]:
        """How often each Message-ID was accepted."""
        counts: dict[str, int] = {}
        for path in self.mail.glob("*.eml"):
            head = path.read_bytes().partition(b"\r\n\r\n")[0]
            message_id = str(message_from_bytes(head)["Message-ID"]).strip()
            counts[message_id] = counts.get(message_id, 0) + 1
        return counts


def _read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.errors
        return json.loads(self.output)
