"""The local mail server: what it accepts is a file, whole and at once."""

from __future__ import annotations

import smtplib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import pytest

from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.processes import Processes
from services.cli.local.waiting import wait_until


@dataclass(frozen=True)
class Mailbox:
    """A running mailbox."""

    port: int
    directory: Path
    processes: Processes

    def connect(self) -> smtplib.SMTP:
        """A client's connection."""
        return smtplib.SMTP(LOOPBACK, self.port, timeout=10)

    def messages(self) -> list[EmailMessage]:
        """All messages kept, in order of arrival."""
        parser = BytesParser(policy=default)
        return [parser.parsebytes(path.read_bytes()) for path in sorted(self.directory.glob("*.eml"))]


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    """A mailbox in a process of its own."""
    mailbox = Mailbox(free_port(), tmp_path / "mail", Processes(tmp_path))
    options = ["--port", str(mailbox.port), "--directory", str(mailbox.directory)]
    mailbox.processes.start("mailbox", [sys.executable, "-m", "services.cli.local.mailbox", *options])
    wait_until(lambda: not is_free(mailbox.port), within_s=15, otherwise="the mailbox did not start")
    yield mailbox
    mailbox.processes.stop("mailbox")


def a_message(subject: str = "A lead", content: str = "Hello", recipient: str = "agent@example.com") -> EmailMessage:
    """A message as the notifier would send it."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "leads@example.com", recipient, subject
    message.set_content(content)
    return message


def test_a_message_is_kept_as_it_was_sent(mailbox: Mailbox) -> None:
    """With its attachment, and the envelope's addresses on top."""
    sent = a_message()
    sent.add_attachment(bytes(range(256)) * 4_000, maintype="application", subtype="pdf", filename="sheet.pdf")
    with mailbox.connect() as connection:
        connection.send_message(sent, from_addr="bounce@example.com", to_addrs=["one@example.com", "two@example.com"])
    [kept] = mailbox.messages()
    assert kept["X-Envelope-From"] == "bounce@example.com"
    assert kept["X-Envelope-To"] == "one@example.com, two@example.com"
    assert kept["Subject"] == "A lead"
    [sheet] = kept.iter_attachments()
    assert sheet.get_content() == bytes(range(256)) * 4_000


def test_many_messages_on_one_connection_are_kept_in_order(mailbox: Mailbox) -> None:
    """Nothing limits a session, and names sort by arrival."""
    with mailbox.connect() as connection:
        for number in range(200):
            connection.send_message(a_message(subject=str(number)))
    assert [int(message["Subject"]) for message in mailbox.messages()] == list(range(200))


def test_international_addresses_are_kept(mailbox: Mailbox) -> None:
    """SMTPUTF8."""
    with mailbox.connect() as connection:
        connection.send_message(a_message(recipient="jürgen@example.com"))
    assert "jürgen@example.com" in mailbox.messages()[0]["X-Envelope-To"]


def test_a_message_over_the_limit_is_refused_and_nothing_is_kept(mailbox: Mailbox) -> None:
    """30 MB, told by SIZE before the first byte of it is sent."""
    with mailbox.connect() as connection:
        connection.ehlo()
        assert connection.esmtp_features["size"] == str(30 * 1024 * 1024)
        code, _ = connection.docmd("MAIL", f"FROM:<leads@example.com> SIZE={31 * 1024 * 1024}")
    assert code == 552
    assert mailbox.messages() == []


def test_sigterm_ends_it_while_a_client_is_connected(mailbox: Mailbox) -> None:
    """It does not wait for clients that say nothing, and what it said it has kept is there."""
    with mailbox.connect() as connection:
        connection.send_message(a_message())
        process = mailbox.processes.find("mailbox")
        assert process is not None
        found = process.find()
        assert found is not None
        found.terminate()
        wait_until(lambda: not process.is_running, within_s=5, otherwise="it goes on after SIGTERM")
        connection.close()
    assert len(mailbox.messages()) == 1
    assert "Traceback" not in mailbox.processes.log_of("mailbox").read_text()
