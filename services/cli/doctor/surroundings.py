"""What is wrong around the services: where sheets are kept, where mail goes and comes from, the services' own words."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from services.cli.doctor.findings import Finding, problem
from shared.outage import DependencyGoneError
from shared.settings import Settings
from shared.sheetstore import SheetStore

ANSWERS_WITHIN_S = 8.0


async def examine_surroundings(settings: Settings, ready_urls: Mapping[str, str]) -> list[Finding]:
    """Look at all of them at once. `ready_urls`: where each service tells whether it is ready."""
    looks: list[Callable[[], list[Finding]]] = [
        lambda: _sheets(settings),
        lambda: _smtp(settings),
        *([lambda: _imap(settings)] if settings.imap_host else []),
        *(lambda name=name, url=url: _service(name, url) for name, url in ready_urls.items()),
    ]
    found = await asyncio.gather(*(asyncio.to_thread(look) for look in looks))
    return [finding for each in found for finding in each]


def _sheets(settings: Settings) -> list[Finding]:
    try:
        SheetStore(settings.sheets_dir).probe()
    except (OSError, ValueError, DependencyGoneError) as error:
        where = f"LEADLINE_SHEETS, {settings.sheets_dir}"
        return [problem(f"sheets cannot be written: {error}", where, "make it writable for the services' user")]
    return []


def _smtp(settings: Settings) -> list[Finding]:
    kind = smtplib.SMTP_SSL if settings.smtp_tls else smtplib.SMTP
    try:
        with kind(settings.smtp_host, settings.smtp_port, timeout=ANSWERS_WITHIN_S) as server:
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        where = f"LEADLINE_SMTP_HOST, {settings.smtp_host}:{settings.smtp_port}"
        return [problem(f"the mail server does not answer: {error}", where, "start it, or mend the address")]
    return []


def _imap(settings: Settings) -> list[Finding]:
    where = f"LEADLINE_IMAP_HOST, {settings.imap_host}:{settings.imap_port}"
    try:
        with imaplib.IMAP4_SSL(settings.imap_host, settings.imap_port, timeout=ANSWERS_WITHIN_S) as mailbox:
            mailbox.login(settings.imap_username, settings.imap_password)
            answer, _ = mailbox.select(f'"{settings.imap_folder}"', readonly=True)
    except (OSError, imaplib.IMAP4.error) as error:
        return [problem(f"the mailbox cannot be read: {error}", where, "mend LEADLINE_IMAP_…")]
    if answer != "OK":
        return [problem(f"there is no folder {settings.imap_folder!r}", where, "mend LEADLINE_IMAP_FOLDER")]
    return []


def _service(name: str, url: str) -> list[Finding]:
    where = f"{name}, {url}"
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=ANSWERS_WITHIN_S):  # noqa: S310  # of our own file
            return []
    except urllib.error.HTTPError as answer:
        with answer:
            said = answer.read().decode().strip().replace("\n", "; ")
        return [problem(f"it is not ready: {said}", where, "mend what it waits for; it goes on by itself")]
    except OSError as error:
        return [problem(f"it does not answer: {error}", where, "./run up starts what has died")]
