"""A real SMTP server for one machine: keeps each message it accepts as one .eml file, and delivers nothing.

`250` means that the file is there, whole. Names sort by time of arrival, and two servers never write the same one.

    python -m services.cli.local.mailbox --port 2525 --directory .local/mail
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import signal
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from services.cli.local.ports import LOOPBACK

LARGEST_MESSAGE = 30 * 1024 * 1024
_KEPT = "250 OK: kept as "


class Mailbox:
    """Where accepted messages go: one file each, with the envelope's addresses as `X-Envelope-…` headers on top."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._numbers = itertools.count(1)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """Keep the message, then answer."""
        content = envelope.original_content or b""
        return _KEPT + self.keep(content, sender=envelope.mail_from or "", recipients=envelope.rcpt_tos).name

    def keep(self, content: bytes, *, sender: str, recipients: list[str]) -> Path:
        """Write the message under its final name in one step: a reader of `*.eml` never sees half of it."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._directory / f"{now}-{next(self._numbers):06}-{secrets.token_hex(4)}.eml"
        half = path.with_suffix(".part")
        envelope = f"X-Envelope-From: {sender}\r\nX-Envelope-To: {', '.join(recipients)}\r\n"
        half.write_bytes(envelope.encode() + content)
        return half.replace(path)


async def serve(port: int, directory: Path) -> None:
    """Accept mail on the loopback until SIGTERM or SIGINT."""
    mailbox, loop, stop = Mailbox(directory), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: SMTP(mailbox, data_size_limit=LARGEST_MESSAGE, enable_SMTPUTF8=True, hostname="localhost", loop=loop),
        host=LOOPBACK,
        port=port,
    )
    await stop.wait()
    server.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Keep all mail that is sent to this port as .eml files.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.directory))


if __name__ == "__main__":
    main()
