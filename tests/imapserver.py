"""A real IMAP server (pymap, in a process of its own) behind TLS with a certificate of the test's own."""

from __future__ import annotations

import asyncio
import ssl
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import trustme
from imap_tools.mailbox import MailBox
from imap_tools.message import MailMessage

from services.cli.local.ports import LOOPBACK, free_port
from services.receiver.mailbox import Account
from tests.waiting import eventually

USER, PASSWORD = "replies", "a password"


@dataclass(frozen=True)
class ImapServer:
    """Where it is, and what a mail program does with it."""

    account: Account
    context: ssl.SSLContext

    async def deliver(self, *sheets: bytes, name: str = "sheet.pdf", kind: str = "pdf") -> None:
        """Put a mail with these attachments into the mailbox."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Asha <asha@example.com>", "leads@example.com", "Re: Leads"
        mail.set_content("Here it is.")
        for sheet in sheets:
            mail.add_attachment(sheet, maintype="application", subtype=kind, filename=name)
        await asyncio.to_thread(self._append, mail.as_bytes())

    async def mails(self) -> list[MailMessage]:
        """All mails, with their flags, none of them touched."""
        return await asyncio.to_thread(self._fetch)

    def _append(self, mail: bytes) -> None:
        with self._box() as box:
            box.append(mail, "INBOX")

    def _fetch(self) -> list[MailMessage]:
        with self._box() as box:
            return list(box.fetch(mark_seen=False))

    def _box(self) -> MailBox:
        account = self.account
        box = MailBox(account.host, account.port, timeout=10, ssl_context=self.context)
        box.login(account.username, account.password)
        return box


@asynccontextmanager
async def running_imap() -> AsyncIterator[ImapServer]:
    """Give a server; it is gone afterwards."""
    plain = free_port()
    command = ["--host", LOOPBACK, "--port", str(plain), "--no-tls", "dict", "--demo-user", USER]
    program = Path(sys.executable).with_name("pymap")
    process = await asyncio.create_subprocess_exec(
        program, *command, "--demo-password", PASSWORD, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        await eventually(lambda: _answers(plain), within=20)
        authority = trustme.CA()
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(LOOPBACK).configure_cert(served)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with await asyncio.start_server(lambda r, w: _forward(r, w, plain), LOOPBACK, 0, ssl=served) as front:
            port = front.sockets[0].getsockname()[1]
            yield ImapServer(Account(LOOPBACK, port, USER, PASSWORD), trusting)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def _forward(reader: StreamReader, writer: StreamWriter, port: int) -> None:
    """Between the client's TLS connection and the server's plain one, until either ends."""
    behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, port)
    pumps = [asyncio.create_task(_pump(reader, behind_writer)), asyncio.create_task(_pump(behind_reader, writer))]
    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in pumps:
        pump.cancel()
    for each in (writer, behind_writer):
        each.close()


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
