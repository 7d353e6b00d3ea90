"""The way to the mail server: one connection for many mails, one mail at a time, an answer for each recipient.

What the server says about a mail or a recipient is a value. Only a server that is not there is an exception: it says
nothing about the mail, which can be tried again as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from ssl import SSLContext

from aiosmtplib import SMTP, SMTPDataError, SMTPException, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.email import flatten_message, parse_address

_DONE = 250
_GO_AHEAD = 354
_CLOSING = 421
_BAD_ADDRESS = 553
_LONGEST_TEXT = 500
#: A connection that has answered so lately is not asked again whether it is there.
_FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class MailServer:
    """How to reach it. `starttls` None: if it offers that; `data_timeout_s`: for the answer to the final dot."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: bool | None = None
    timeout_s: float = 30
    data_timeout_s: float = 300
    #: Which certificates are taken; None: those that the system trusts.
    tls_context: SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has taken the mail for this recipient."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: try this recipient again later."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Not ever: trying again is of no use."""

    code: int
    text: str


Answer = Accepted | Deferred | Refused


#: Raises if the mail must not go after all.
LastLook = Callable[[], Awaitable[None]]


async def _no_look() -> None:
    """Nothing can keep the mail."""


class MailServerGoneError(Exception):
    """The server cannot be reached, lets nobody in, or went away before it had answered.

    Attributes:
        may_have_arrived: the content had begun to be sent, so the server may have taken the mail all the same.
    """

    def __init__(self, reason: str, *, may_have_arrived: bool = False) -> None:
        super().__init__(reason)
        self.may_have_arrived = may_have_arrived


class Mailer:
    """Sends mail over one connection that it opens when needed and again when the server has closed it."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._connection: SMTP | None = None
        self._one_at_a_time = asyncio.Lock()
        self._answered_at = 0.0

    async def send(
        self, message: EmailMessage, sender: str, recipients: Sequence[str], *, last_look: LastLook = _no_look
    ) -> dict[str, Answer]:
        """Hand the mail over for these recipients; what the server said, for each.

        The sender may have a name, recipients are addresses alone. `last_look` is asked when the server waits for the
        content: what it raises is raised here, and the server has no mail.

        Raises:
            MailServerGoneError: before the final dot was answered. No recipient has an answer.
        """
        async with self._one_at_a_time:
            try:
                return await self._send(message, sender, list(dict.fromkeys(recipients)), last_look)
            except BaseException:
                self._disconnect()
                raise

    async def size_limit(self) -> int | None:
        """How many bytes a mail may have, as the server says; None: it names no limit.

        Raises:
            MailServerGoneError: it does not say.
        """
        async with self._one_at_a_time:
            try:
                connection = await self._connected()
            except BaseException:
                self._disconnect()
                raise
            said = connection.esmtp_extensions.get("size", "")
            return int(said) or None if said.isdecimal() else None

    async def probe(self) -> bool:
        """Whether the server answers, and lets us in."""
        async with self._one_at_a_time:
            try:
                await self._ready()
            except MailServerGoneError:
                return False
            except BaseException:
                self._disconnect()
                raise
            return True

    async def close(self) -> None:
        """Take leave of the server."""
        async with self._one_at_a_time:
            try:
                if self._connection is not None and self._connection.is_connected:
                    await self._connection.quit()
            except (SMTPException, OSError):
                pass
            finally:
                self._disconnect()

    async def _send(
        self, message: EmailMessage, sender: str, recipients: list[str], last_look: LastLook
    ) -> dict[str, Answer]:
        """As `send`; on a connection that has just answered at once, and on another if it turns out to be gone."""
        is_fresh = self._connection is not None and self._clock() - self._answered_at < _FRESH_S
        try:
            connection = await (self._connected() if is_fresh else self._ready())
            return await self._send_on(connection, message, sender, recipients, last_look)
        except MailServerGoneError as gone:
            if not is_fresh or gone.may_have_arrived:
                raise
            self._disconnect()
        return await self._send_on(await self._ready(), message, sender, recipients, last_look)

    async def _send_on(
        self, connection: SMTP, message: EmailMessage, sender: str, recipients: list[str], last_look: LastLook
    ) -> dict[str, Answer]:
        international = _is_international(sender, recipients) and connection.supports_extension("smtputf8")
        envelope = _Envelope(connection, self._server.data_timeout_s, international, last_look)
        try:
            content = flatten_message(message, utf8=international, cte_type="7bit")
            answers = await envelope.send(content, sender, recipients)
        except (MessageError, ValueError) as error:
            return await self._after(dict.fromkeys(recipients, Refused(_BAD_ADDRESS, str(error))))
        except (SMTPException, OSError) as error:
            raise MailServerGoneError(_said(error), may_have_arrived=envelope.is_content_sent) from error
        return await self._after(answers)

    async def _after(self, answers: dict[str, Answer]) -> dict[str, Answer]:
        """Leave a connection that the next mail can use."""
        self._answered_at = self._clock()
        if not any(isinstance(answer, Accepted) for answer in answers.values()) and self._connection is not None:
            try:
                await self._connection.rset()
            except (SMTPException, OSError):
                self._disconnect()
        return answers

    async def _ready(self) -> SMTP:
        """A connection that answers: servers close those that were idle for some minutes."""
        if self._connection is not None:
            try:
                await self._connection.noop()
            except (SMTPException, OSError):
                self._disconnect()
        return await self._connected()

    async def _connected(self) -> SMTP:
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        server = self._server
        connection = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            use_tls=server.tls,
            start_tls=False if server.tls else server.starttls,
            timeout=server.timeout_s,
            tls_context=server.tls_context,
        )
        try:
            await connection.connect()
            await connection.noop()
        except (SMTPException, OSError) as error:
            connection.close()
            raise MailServerGoneError(f"{server.host}:{server.port}: {_said(error)}") from error
        self._connection = connection
        return connection

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Envelope:
    """One mail on a connection: MAIL, RCPT for each, DATA. A server that says 421 is as good as gone."""

    def __init__(self, connection: SMTP, data_timeout_s: float, international: bool, last_look: LastLook) -> None:
        self._connection = connection
        self._last_look = last_look
        self._data_timeout_s = data_timeout_s
        self._international = international
        self._encoding = "utf-8" if international else "ascii"
        self.is_content_sent = False

    async def send(self, content: bytes, sender: str, recipients: list[str]) -> dict[str, Answer]:
        if not sender.isprintable():
            raise ValueError(f"{sender!r} has control characters")
        options = ["SMTPUTF8"] if self._international else []
        if self._connection.supports_extension("size"):
            options.append(f"SIZE={len(content)}")
        try:
            await self._connection.mail(parse_address(sender), options=options, encoding=self._encoding)
        except SMTPResponseException as error:
            return dict.fromkeys(recipients, _answer(error))
        answers = {recipient: await self._ask_for(recipient) for recipient in recipients}
        taken = [recipient for recipient, answer in answers.items() if isinstance(answer, Accepted)]
        return answers | dict.fromkeys(taken, await self._deliver(content)) if taken else answers

    async def _ask_for(self, recipient: str) -> Answer:
        try:
            if parse_address(recipient) != recipient:
                return Refused(_BAD_ADDRESS, f"{recipient!r} is more than an address")
            response = await self._connection.rcpt(recipient, encoding=self._encoding)
        except SMTPResponseException as error:
            return _answer(error)
        except ValueError as error:
            return Refused(_BAD_ADDRESS, str(error))
        return Accepted(response.code, _shortened(response.message))

    async def _deliver(self, content: bytes) -> Answer:
        start = await self._connection.execute_command(b"DATA")
        if start.code != _GO_AHEAD:
            return _answer(SMTPDataError(start.code, start.message), is_final=True)
        await self._last_look()
        # Not the client's own `data`: it leaves no moment between the go-ahead and the final dot.
        protocol = self._connection.protocol
        if protocol is None:
            raise SMTPServerDisconnected("the connection was lost")
        self.is_content_sent = True
        protocol.write(_dotted(content))
        response = await protocol.read_response(timeout=self._data_timeout_s)
        if response.code != _DONE:
            return _answer(SMTPDataError(response.code, response.message), is_final=True)
        return Accepted(response.code, _shortened(response.message))


def _dotted(content: bytes) -> bytes:
    """The content as it goes over the wire, the final dot included (RFC 5321 §4.5.2)."""
    ends = content.count(b"\r\n")
    if ends == content.count(b"\n") == content.count(b"\r") and content.endswith(b"\r\n"):
        return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in content.splitlines()) + b".\r\n"


def _answer(error: SMTPResponseException, *, is_final: bool = False) -> Answer:
    if error.code < 400 or (error.code == _CLOSING and not is_final):
        raise error
    answer = Deferred if error.code < 500 else Refused
    return answer(error.code, _shortened(error.message))


def _is_international(sender: str, recipients: Sequence[str]) -> bool:
    return not all(address.isascii() for address in (sender, *recipients))


def _said(error: Exception) -> str:
    return _shortened(f"{type(error).__name__}: {error}")


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_TEXT]
