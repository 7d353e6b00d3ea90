"""A store's mails of a lot: documents and notifiers driven by hand, and the mails as the other side reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import PurePosixPath
from typing import Any

from services.notifier.consumer import MailSheets
from services.notifier.mailer import Mailer, MailServer
from services.notifier.pacing import Pace
from services.notifier.posting import Links, Post
from services.notifier.templating import Templates
from services.scheduler.mails import ask_for_mails
from shared.db.session import Database
from shared.events import BY_TYPE, DocumentReady, Event, LeadAssigned
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, of, rows, scalar
from tests.mailserver import Server

SENDER = "Leads <leads@example.com>"


@dataclass
class Office:
    """Documents and as many notifiers as a test wants, on one database and one mail server."""

    database: Database
    store: SheetStore
    server: Server
    documents: Driver
    mailers: list[Mailer] = field(default_factory=list)

    def notifier(self, *, links: Links | None = None, pace: Pace | None = None, **options: Any) -> Driver:
        """A replica of the notifier."""
        server = MailServer("127.0.0.1", self.server.port, **({"timeout_s": 5} | options))
        self.mailers.append(Mailer(server))
        post = Post(self.mailers[-1], self.store.read, Templates(), sender=SENDER, links=links)
        return Driver(self.database, MailSheets(post, sender=SENDER, env="prod", pace=pace))

    async def close(self) -> None:
        for mailer in self.mailers:
            await mailer.close()

    async def make(self, *assigned: LeadAssigned) -> list[DocumentReady]:
        """Have the sheets made; what is told of them, as it arrives."""
        told = of(await self.documents.run(*assigned), DocumentReady)
        return [DocumentReady.model_validate_json(event.to_json()) for event in told]

    async def asked(self) -> list[Event]:
        """What a sweep asks for, as the relay would send it."""
        count = await ask_for_mails(self.database, env="prod")
        gone = "WITH gone AS (DELETE FROM outbox RETURNING *) SELECT types, bodies FROM gone ORDER BY id"
        found = await rows(self.database, gone)
        events = [
            BY_TYPE[name].model_validate_json(body)
            for names, bodies in found
            for name, body in zip(names, bodies, strict=True)
        ]
        assert count == len(events)
        return events

    async def status(self, key: str = "lot:7:S1:1") -> Any:
        return await scalar(self.database, "SELECT status FROM notifications WHERE mail_key = :key", key=key)

    async def reason(self, key: str = "lot:7:S1:1") -> Any:
        return await scalar(self.database, "SELECT reason FROM notifications WHERE mail_key = :key", key=key)

    async def deliveries(self) -> dict[str, str]:
        """What became of each recipient, by the address's name."""
        found = await rows(self.database, "SELECT email_address, status FROM notification_deliveries")
        return {address.partition("@")[0]: status for address, status in found}

    async def end(self, sheet_key: str) -> None:
        """The sheet's leads are somebody else's now."""
        await execute(
            self.database,
            "UPDATE assignments SET is_current = false, ended_at = now() WHERE sheet_key = :key",
            key=sheet_key,
        )

    async def set_status(self, sheet_key: str, status: int) -> None:
        """The sheet's leads are assigned (2) or closed (4)."""
        await execute(
            self.database,
            "UPDATE assignments SET assignment_status_id = :status WHERE sheet_key = :key",
            status=status,
            key=sheet_key,
        )

    async def inflate(self, *events: DocumentReady, size: int) -> None:
        """Have the sheets' files so many bytes."""
        for event in events:
            found = await rows(self.database, "SELECT file_path FROM documents WHERE id = :id", id=event.document_id)
            stored = self.store.write(found[0][0], os.urandom(size))
            await execute(
                self.database,
                "UPDATE documents SET sha256 = :sha256, size = :size WHERE id = :id",
                id=event.document_id,
                sha256=stored.sha256,
                size=size,
            )

    # What has arrived.

    @property
    def mails(self) -> list[tuple[list[str], EmailMessage]]:
        """To whom, by the addresses' names, and what."""
        return [
            ([address.partition("@")[0] for address in got], message_from_bytes(content, policy=policy.SMTP))
            for _, got, content in self.server.mails
        ]

    @property
    def arrived(self) -> list[tuple[str, list[str]]]:
        """To whom, and which agents' sheets, of each mail in order."""
        return [(" ".join(got), sheets_in(mail)) for got, mail in self.mails]

    @property
    def message_ids(self) -> list[str]:
        return [str(mail["Message-ID"]) for _, mail in self.mails]


def sheets_in(mail: EmailMessage) -> list[str]:
    """The agents' codes, by the names of what is attached."""
    names = [part.get_filename() or "" for part in mail.iter_attachments()]
    return [PurePosixPath(name).stem.rpartition("_")[2] for name in names]


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


async def all_told(office: Office, told: dict[str, Sequence[LeadAssigned]]) -> list[DocumentReady]:
    return [event for events in told.values() for event in await office.make(*events)]
