"""Notifier: document.ready, lot.completed → mails, notification.sent, sheet.damaged."""

from __future__ import annotations

import asyncio

from services.notifier.consumer import SMTP, SUBSCRIPTION, MailSheets
from services.notifier.mailer import Mailer, MailServer
from services.notifier.pacing import Pace
from services.notifier.posting import Links, Post
from services.notifier.templating import Templates
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.outage import DependencyGoneError
from shared.process import run_service
from shared.settings import Settings
from shared.sheetstore import SheetStore


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    templates = Templates(settings.templates_dir)
    mailer = Mailer(mail_server(settings))

    async def mail_server_answers() -> None:
        if not await mailer.probe():
            raise DependencyGoneError(SMTP, f"{settings.smtp_host}:{settings.smtp_port} does not answer")

    store = SheetStore(settings.sheets_dir)
    links = Links(settings.public_url, settings.link_days, settings.sheet_key) if settings.public_url else None
    async with open_database(settings.database, application_name="leadline notifier") as database:
        await consume(
            service="notifier",
            amqp_url=settings.amqp_url,
            database=database,
            # With a pace, no more at once than a minute or two take: what is held must be acknowledged in time.
            subscription=SUBSCRIPTION.at_most(
                min(settings.batch_size, settings.smtp_per_minute or settings.batch_size)
            ),
            handler=MailSheets(
                Post(mailer, store.read, templates, sender=settings.mail_from, links=links),
                sender=settings.mail_from,
                env=settings.env,
                pace=Pace(settings.smtp_per_minute, stop),
            ),
            stop=stop,
            observer=observer,
            probes={SMTP: mail_server_answers},
        )
    await mailer.close()


def mail_server(settings: Settings) -> MailServer:
    """The mail server that the settings name."""
    return MailServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_username,
        settings.smtp_password,
        tls=settings.smtp_tls,
        starttls=settings.smtp_starttls,
    )


if __name__ == "__main__":
    run_service("notifier", serve)
