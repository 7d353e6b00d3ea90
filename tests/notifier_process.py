"""The notifier as a process of its own whose claims end soon: to be frozen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.notifier.consumer import SUBSCRIPTION, MailSheets
from services.notifier.mailer import Mailer, MailServer
from services.notifier.posting import Post
from services.notifier.templating import Templates
from shared.db.session import open_database
from shared.messaging.loop import consume
from shared.process import stop_on_signals
from shared.sheetstore import SheetStore


async def main(database_url: str, amqp_url: str, smtp_port: str, sheets: str, claim_idle_s: str) -> None:
    stop = stop_on_signals()
    mailer = Mailer(MailServer("127.0.0.1", int(smtp_port)))
    sender = "Leads <leads@example.com>"
    handler = MailSheets(
        Post(mailer, SheetStore(Path(sheets)).read, Templates(), sender=sender),
        sender=sender,
        env="prod",
        claim_idle_s=float(claim_idle_s),
    )
    async with open_database(database_url) as database:
        await consume(
            service="notifier",
            amqp_url=amqp_url,
            database=database,
            subscription=SUBSCRIPTION,
            handler=handler,
            stop=stop,
        )
    await mailer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
