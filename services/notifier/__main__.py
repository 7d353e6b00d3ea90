"""Notifier: document.ready → mail, notification.sent."""

from __future__ import annotations

import asyncio

from services.notifier.consumer import SMTP, SUBSCRIPTION, MailSheets
from services.notifier.mailer import Mailer, MailServer
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.outage import DependencyGoneError
from shared.process import run_service
from shared.settings import Settings
from shared.sheetstore import SheetStore


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    mailer = Mailer(
        MailServer(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_username,
            settings.smtp_password,
            tls=settings.smtp_tls,
            starttls=settings.smtp_starttls,
        )
    )

    async def mail_server_answers() -> None:
        if not await mailer.probe():
            raise DependencyGoneError(SMTP, f"{settings.smtp_host}:{settings.smtp_port} does not answer")

    store = SheetStore(settings.sheets_dir)
    async with open_database(settings.database, application_name="leadline notifier") as database:
        await consume(
            service="notifier",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=MailSheets(mailer, store.read, sender=settings.mail_from, env=settings.env),
            stop=stop,
            observer=observer,
            probes={SMTP: mail_server_answers},
        )
    await mailer.close()


if __name__ == "__main__":
    run_service("notifier", serve)
