"""Receiver: files in the drop folder, mails in the reply mailbox → sheet.returned."""

from __future__ import annotations

import asyncio

from services.receiver.dropfolder import DropFolder
from services.receiver.mailbox import Account, Mailbox
from services.receiver.receiving import Receiver
from services.receiver.watching import watch
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.publisher import open_publisher
from shared.process import run_service
from shared.settings import Settings
from shared.sheetstore import SheetStore


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Look into what is set up, until stopped. Nothing is set up: wait to be stopped."""
    async with open_publisher(settings.amqp_url, "receiver", observer) as publisher:
        observer.depends_on("broker", publisher.ready)
        receiver = Receiver(SheetStore(settings.sheets_dir), publisher)
        watched = []
        if settings.drop_dir is not None:
            watched.append(
                watch("drop folder", DropFolder(settings.drop_dir, receiver).look, settings.drop_every_s, stop)
            )
        if settings.imap_host:
            account = Account(
                settings.imap_host,
                settings.imap_port,
                settings.imap_username,
                settings.imap_password,
                settings.imap_folder,
            )
            watched.append(watch("mailbox", Mailbox(account, receiver).look, settings.imap_every_s, stop))
        await asyncio.gather(stop.wait(), *watched)


if __name__ == "__main__":
    run_service("receiver", serve)
