"""A real SMTP server in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

#: What the server says to a recipient whose name begins so.
REFUSALS = {
    "full": "450 4.2.2 Mailbox full",
    "gone": "550 5.1.1 No such user",
    "closing": "421 4.3.2 Closing",
    "many": "452 4.5.3 Too many recipients",
}


@dataclass
class Server:
    """A mail server that keeps what it gets, and fails where it is told to."""

    port: int = 0
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    connections: list[Session] = field(default_factory=list)
    protocols: list[SMTP] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    mail_answer: str = ""
    data_answer: str = "250 2.0.0 Kept"
    before_the_dot_is_answered: Callable[[SMTP], None] = lambda _smtp: None
    at_data: Callable[[SMTP], Awaitable[bool]] | None = None
    #: Each answer takes so long, the greeting too.
    answers_after_s: float = 0
    #: Instead of a greeting; then it hangs up.
    turned_away_by: str = ""

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name)
        self, _smtp: SMTP, session: Session, _envelope: Envelope, name: str, answer: list[str]
    ) -> list[str]:
        """A connection begins."""
        session.host_name = name
        self.connections.append(session)
        return answer

    async def handle_MAIL(  # noqa: N802 (aiosmtpd's name)
        self, _smtp: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """The sender."""
        self.commands.append("MAIL")
        if self.mail_answer:
            return self.mail_answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _smtp: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Each recipient by its name."""
        self.commands.append("RCPT")
        for begin, refusal in REFUSALS.items():
            if address.startswith(begin):
                return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, smtp: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """The content is here; whether it is kept is not said yet."""
        if self.data_answer.startswith("250"):
            content = envelope.original_content or b""
            self.mails.append((envelope.mail_from or "", list(envelope.rcpt_tos), content))
        self.before_the_dot_is_answered(smtp)
        return self.data_answer

    async def handle_RSET(self, _smtp: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """The envelope is thrown away."""
        self.commands.append("RSET")
        return "250 OK"


class Protocol(SMTP):
    """aiosmtpd's, with places to be slow, to be full, and to fail at DATA."""

    async def push(self, status: Any) -> None:
        """Answer, when and as told to."""
        server: Server = self.event_handler
        is_last_line = str(status)[3:4] != "-"
        await asyncio.sleep(server.answers_after_s if is_last_line else 0)
        if server.turned_away_by and str(status).startswith("220"):
            await super().push(server.turned_away_by)
            hang_up(self)
            return
        await super().push(status)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 (aiosmtpd's name)
        """Count it, and go away if told to."""
        self.event_handler.commands.append("DATA")
        if self.event_handler.at_data is None or await self.event_handler.at_data(self):
            await super().smtp_DATA(arg)


@asynccontextmanager
async def running(server: Server, **options: Any) -> AsyncIterator[Server]:
    """The server on a port of its own."""
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        server.protocols.append(Protocol(server, hostname="mail.example.com", loop=loop, **options))
        return server.protocols[-1]

    listener = await loop.create_server(connected, "127.0.0.1", server.port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for protocol in server.protocols:
            hang_up(protocol)


def hang_up(smtp: SMTP) -> None:
    """Close the connection without a word."""
    if isinstance(smtp.transport, asyncio.WriteTransport):
        smtp.transport.abort()
