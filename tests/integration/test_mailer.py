"""The mailer against a real SMTP server: an answer for each recipient, and one mail each whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from services.notifier.mailer import (
    Accepted,
    Answer,
    Deferred,
    Mailer,
    MailServer,
    MailServerGoneError,
    Refused,
)
from tests.mailserver import Server, hang_up, running

SENDER = "leads@example.com"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that takes everything."""
    async with running(Server(), enable_SMTPUTF8=True) as server:
        yield server


@pytest.fixture
async def mailer(server: Server) -> AsyncIterator[Mailer]:
    """A mailer for it."""
    mailer = a_mailer(server)
    yield mailer
    await mailer.close()


def a_mailer(server: Server, **changes: Any) -> Mailer:
    """A mailer that does not wait long."""
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "timeout_s": 5}
    return Mailer(MailServer(**(options | changes)))


def a_mail(number: int = 1, to: str = "agnes@example.com") -> EmailMessage:
    """A mail of some lines, one of them a dot alone."""
    message = EmailMessage()
    message["Message-ID"], message["From"], message["To"] = f"<{number}@example.com>", SENDER, to
    message["Bcc"] = "secret@example.com"
    message["Subject"] = f"Lead {number}"
    message.set_content("First line\n.\nLast line\n")
    return message


async def test_each_recipient_has_its_own_answer(server: Server, mailer: Mailer) -> None:
    """Two are deferred, one refused, and the fourth gets the mail all the same, once."""
    recipients = ["full@example.com", "many@example.com", "gone@example.com", "agnes@example.com"]
    answers = await mailer.send(a_mail(), SENDER, recipients)
    assert answers == {
        "full@example.com": Deferred(450, "4.2.2 Mailbox full"),
        "many@example.com": Deferred(452, "4.5.3 Too many recipients"),
        "gone@example.com": Refused(550, "5.1.1 No such user"),
        "agnes@example.com": Accepted(250, "2.0.0 Kept"),
    }
    [(sender, got, content)] = server.mails
    assert (sender, got) == (SENDER, ["agnes@example.com"])
    assert b"First line\r\n.\r\nLast line" in content
    assert b"secret@example.com" not in content


async def test_with_nobody_left_nothing_is_sent(server: Server, mailer: Mailer) -> None:
    """No DATA, and the next mail goes over the same connection."""
    answers = await mailer.send(a_mail(), SENDER, ["full@example.com", "gone@example.com"])
    assert [type(answer) for answer in answers.values()] == [Deferred, Refused]
    assert server.commands == ["MAIL", "RCPT", "RCPT", "RSET"]
    answers = await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert answers == {"agnes@example.com": Accepted(250, "2.0.0 Kept")}
    assert len(server.connections) == 1


async def test_many_mails_use_one_connection(server: Server, mailer: Mailer) -> None:
    """Also when many ask at once: one mail at a time, none mixed with another."""
    await asyncio.gather(*(mailer.send(a_mail(number), SENDER, [f"a{number}@example.com"]) for number in range(30)))
    assert len(server.connections) == 1
    assert len(server.mails) == 30
    for _, [recipient], content in server.mails:
        assert f"Subject: Lead {recipient[1:].partition('@')[0]}\r\n".encode() in content


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("451 4.3.0 Try later", Deferred(451, "4.3.0 Try later")),
        ("452 4.3.1 Insufficient system storage", Deferred(452, "4.3.1 Insufficient system storage")),
        ("550 5.7.1 Not from you", Refused(550, "5.7.1 Not from you")),
    ],
)
@pytest.mark.parametrize("at", ["mail_answer", "data_answer"])
async def test_what_is_said_of_the_mail_is_said_of_all(
    server: Server, mailer: Mailer, at: str, code: str, answer: Answer
) -> None:
    """To the sender or after the content: the same answer for each recipient that had none of its own."""
    setattr(server, at, code)
    answers = await mailer.send(a_mail(), SENDER, ["agnes@example.com", "bob@example.com", "gone@example.com"])
    refused = answer if at == "mail_answer" else Refused(550, "5.1.1 No such user")
    assert answers == {"agnes@example.com": answer, "bob@example.com": answer, "gone@example.com": refused}
    server.mail_answer, server.data_answer = "", "250 Kept"
    assert await mailer.send(a_mail(), SENDER, ["agnes@example.com"]) == {"agnes@example.com": Accepted(250, "Kept")}


async def test_a_mail_over_the_servers_limit_is_refused() -> None:
    """By SIZE, before a byte of it is sent."""
    async with running(Server(), data_size_limit=1_000) as server:
        mailer = a_mailer(server)
        large = a_mail()
        large.set_content("x" * 5_000)
        answers = await mailer.send(large, SENDER, ["agnes@example.com"])
        assert [(type(answer), answer.code) for answer in answers.values()] == [(Refused, 552)]
        assert "DATA" not in server.commands
        await mailer.close()


async def test_a_drop_before_the_content_is_an_outage(server: Server, mailer: Mailer) -> None:
    """Nobody has an answer; the next try opens a new connection and sends one mail."""

    async def drop(smtp: SMTP) -> bool:
        hang_up(smtp)
        return False

    server.at_data = drop
    with pytest.raises(MailServerGoneError):
        await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    server.at_data = None
    await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert len(server.mails) == 1
    assert len(server.connections) == 2


async def test_a_drop_after_the_content_may_have_arrived(server: Server, mailer: Mailer) -> None:
    """The one case in which a mail can come twice, and it is told as such."""
    server.before_the_dot_is_answered = hang_up
    with pytest.raises(MailServerGoneError) as gone:
        await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert gone.value.may_have_arrived
    assert len(server.mails) == 1


async def test_a_server_that_says_nothing_is_gone(server: Server) -> None:
    """After the time for an answer, and not for ever."""

    async def never(_smtp: SMTP) -> bool:
        await asyncio.sleep(60)
        return False

    server.at_data = never
    mailer = a_mailer(server, timeout_s=0.2)
    with pytest.raises(MailServerGoneError, match="Timeout"):
        await mailer.send(a_mail(), SENDER, ["agnes@example.com"])


async def test_a_server_that_takes_its_time_is_there(server: Server) -> None:
    """Each answer may take nearly as long as is waited for one, and all together longer."""
    server.answers_after_s = 0.3
    mailer = a_mailer(server, timeout_s=1.5)
    began = asyncio.get_running_loop().time()
    await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert asyncio.get_running_loop().time() - began > 1.5
    assert await mailer.probe()
    assert len(server.mails) == len(server.connections) == 1
    await mailer.close()


async def test_a_server_with_too_many_connections_is_gone_until_it_has_room(server: Server, mailer: Mailer) -> None:
    """It says so instead of greeting: nothing is wrong with the mail."""
    server.turned_away_by = "421 4.7.0 Too many connections"
    with pytest.raises(MailServerGoneError, match="421"):
        await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert not await mailer.probe()
    server.turned_away_by = ""
    assert await mailer.probe()
    await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert len(server.mails) == 1


class Silent(Server):
    """Takes a mail and never says so."""

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        await super().handle_DATA(smtp, session, envelope)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_server_that_never_answers_the_dot_is_gone() -> None:
    """After a time of its own, and the mail may have arrived."""
    async with running(Silent()) as server:
        mailer = a_mailer(server, data_timeout_s=0.2)
        with pytest.raises(MailServerGoneError, match="Timeout") as gone:
            await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
    assert gone.value.may_have_arrived
    assert len(server.mails) == 1


async def test_a_last_look_keeps_a_mail_that_the_server_waits_for(server: Server, mailer: Mailer) -> None:
    """Nothing of it arrives, and the next mail goes."""

    async def too_late() -> None:
        assert server.commands[-1] == "DATA"
        raise LookupError("it is another's by now")

    with pytest.raises(LookupError):
        await mailer.send(a_mail(1), SENDER, ["agnes@example.com"], last_look=too_late)
    await mailer.send(a_mail(2), SENDER, ["agnes@example.com"])
    [(_, _, content)] = server.mails
    assert b"Subject: Lead 2" in content


async def test_a_closing_server_is_gone(server: Server, mailer: Mailer) -> None:
    """421 to a recipient says nothing about the recipient."""
    with pytest.raises(MailServerGoneError) as gone:
        await mailer.send(a_mail(), SENDER, ["agnes@example.com", "closing@example.com"])
    assert not gone.value.may_have_arrived
    assert server.mails == []


async def test_an_idle_connection_that_was_closed_is_opened_again(server: Server, mailer: Mailer) -> None:
    """Without an error: servers close what is idle."""
    await mailer.send(a_mail(1), SENDER, ["agnes@example.com"])
    for number in (2, 3):
        hang_up(server.protocols[-1])
        assert await mailer.probe()
        hang_up(server.protocols[-1])
        assert await mailer.send(a_mail(number), SENDER, ["agnes@example.com"]) == {
            "agnes@example.com": Accepted(250, "2.0.0 Kept")
        }
    assert len(server.mails) == 3
    assert len(server.connections) == 5


async def test_a_server_that_restarts_is_found_again() -> None:
    """Down: an outage and a probe that says so. Up: both go on."""
    async with running(Server()) as server:
        mailer = a_mailer(server)
        assert await mailer.probe()
        await mailer.send(a_mail(1), SENDER, ["agnes@example.com"])
    assert not await mailer.probe()
    with pytest.raises(MailServerGoneError, match=str(server.port)):
        await mailer.send(a_mail(2), SENDER, ["agnes@example.com"])
    async with running(server):
        assert await mailer.probe()
        await mailer.send(a_mail(2), SENDER, ["agnes@example.com"])
        await mailer.close()
    assert len(server.mails) == 2


async def test_a_wrong_password_is_an_outage() -> None:
    """Nothing is wrong with the mail."""
    async with running(
        Server(), auth_require_tls=False, authenticator=lambda *_: AuthResult(success=False, handled=False)
    ) as server:
        mailer = a_mailer(server, username="leadline", password="wrong")
        with pytest.raises(MailServerGoneError, match="Authentication"):
            await mailer.send(a_mail(), SENDER, ["agnes@example.com"])
        assert not await mailer.probe()
    assert "wrong" not in repr(MailServer("127.0.0.1", 25, "leadline", "wrong"))


async def test_a_cancelled_send_leaves_nothing_behind(server: Server, mailer: Mailer) -> None:
    """The next mail is not mixed with what was half said."""
    begun = asyncio.Event()

    async def wait(_smtp: SMTP) -> bool:
        begun.set()
        await asyncio.sleep(60)
        return False

    server.at_data = wait
    sending = asyncio.create_task(mailer.send(a_mail(1), SENDER, ["agnes@example.com"]))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    server.at_data = None
    await mailer.send(a_mail(2), SENDER, ["agnes@example.com"])
    [(_, _, content)] = server.mails
    assert b"Subject: Lead 2" in content


@pytest.mark.parametrize(
    "evil", ["a@example.com>\r\nRCPT TO:<b@example.com", "a b@example.com", "a@example.com> SIZE=1"]
)
async def test_an_address_cannot_speak_to_the_server(server: Server, mailer: Mailer, evil: str) -> None:
    """It is refused by us, and the others get their mail."""
    answers = await mailer.send(a_mail(), SENDER, [evil, "agnes@example.com"])
    assert isinstance(answers[evil], Refused)
    assert isinstance(answers["agnes@example.com"], Accepted)
    assert [recipients for _, recipients, _ in server.mails] == [["agnes@example.com"]]


async def test_a_sender_that_is_no_address_is_refused_for_all(server: Server, mailer: Mailer) -> None:
    """Before anything is sent, and a name beside it is no harm."""
    for evil in ("a@example.com>\r\nDATA", "a b@example.com"):
        answers = await mailer.send(a_mail(), evil, ["agnes@example.com"])
        assert [type(answer) for answer in answers.values()] == [Refused]
    assert server.mails == []
    await mailer.send(a_mail(), f"Leadline <{SENDER}>", ["agnes@example.com"])
    assert [sender for sender, _, _ in server.mails] == [SENDER]


async def test_international_addresses_need_a_server_that_takes_them(server: Server, mailer: Mailer) -> None:
    """With SMTPUTF8 they get their mail, without it they are refused and the others are not."""
    recipients = ["jürgen@example.com", "agnes@example.com"]
    answers = await mailer.send(a_mail(to="jürgen@example.com"), SENDER, recipients)
    assert [type(answer) for answer in answers.values()] == [Accepted, Accepted]
    assert "jürgen@example.com".encode() in server.mails[0][2]
    async with running(Server()) as plain:
        mailer = a_mailer(plain)
        answers = await mailer.send(a_mail(), SENDER, recipients)
        assert [type(answer) for answer in answers.values()] == [Refused, Accepted]
        await mailer.close()


async def test_a_recipient_named_twice_gets_one_mail(server: Server, mailer: Mailer) -> None:
    """To and Cc may both name the store."""
    answers = await mailer.send(a_mail(), SENDER, ["agnes@example.com"] * 2)
    assert list(answers) == ["agnes@example.com"]
    assert [recipients for _, recipients, _ in server.mails] == [["agnes@example.com"]]
