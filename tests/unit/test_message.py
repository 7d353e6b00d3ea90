"""The mail as facts make it: readable at a glance, and nothing that a name can break."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifier.contents import MailedLead, SheetContent
from services.notifier.message import (
    Attachment,
    Letter,
    Recipient,
    SendAs,
    UnusableAddressError,
    compose,
    message_id_for,
)
from services.notifier.templating import Templates

WORDING = Templates()
NOW = datetime(2025, 11, 21, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
EVIL = (
    "Ann\r\nBcc: evil@example.com",
    "Ann\x00\x07Example",
    '<script>alert(1)</script> & "Ann"',
    "=?utf-8?q?Ann=0D=0ABcc=3A_evil=40example=2Ecom?=",
    "=\u200b?utf-8?b?DQpCY2M6IGV2aWxAZXhhbXBsZS5jb20=?=",
    "राजेश कुमार क्षत्रिय",
    "王小明 😀",
    "X" * 5_000,
    "Ann, Example; <evil@example.com>",
    "\u202egnp.exe \ud800",
    "",
)


def a_lead(number: int = 1, **changes: Any) -> MailedLead:
    """A lead as the mail lists it."""
    values = {
        "lead_assignment_code": f"L251121A001-{number:04}",
        "customer_name": f"Ann Example {number}",
        "mobile_number": "+91 98765 43210",
    }
    return MailedLead(**(values | changes))


def a_mail(count: int = 1, **changes: Any) -> Letter:
    """A mail to an agent."""
    values: dict[str, Any] = {
        "agent_code": "A001",
        "agent_name": "Agnes Example",
        "route": "META",
        "store_code": "S001",
        "page_group_code": "L251121A001",
        "lead_count": count,
        "batch_date": date(2025, 11, 21),
        "zone": "Asia/Kolkata, UTC+05:30",
        "leads": tuple(a_lead(number + 1) for number in range(count)),
    }
    head: dict[str, Any] = {
        "message_id": message_id_for("sheet", "lot:42:S001:A001", "example.com"),
        "sender": "Leadline <leadline@example.com>",
        "recipients": (Recipient("agnes@example.com", "Agnes Example"),),
        "attachments": (Attachment("leads_assignment_2025-11-21_S001_A001.pdf", b"%PDF-1.7 and so on"),),
    }
    content = SheetContent(**(values | {name: value for name, value in changes.items() if name not in head}))
    return Letter(content=content, **(head | {name: value for name, value in changes.items() if name in head}))


def received(facts: Letter) -> EmailMessage:
    """The mail as the other side reads it."""
    return message_from_bytes(compose(facts, WORDING, NOW).as_bytes(), EmailMessage, policy=SMTP)


def text_of(message: EmailMessage) -> str:
    """The plain part."""
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def html_of(message: EmailMessage) -> str:
    """The HTML part."""
    part = message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (a_mail(1), "Lead L251121A001-0001: Ann Example 1 (META)"),
        (a_mail(1, route=None), "Lead L251121A001-0001: Ann Example 1"),
        (a_mail(1, leads=(a_lead(customer_name=None),)), "Lead L251121A001-0001: no name (META)"),
        (a_mail(1, leads=()), "1 lead for Agent A001 Agnes Example — L251121A001"),
        (a_mail(25), "25 leads for Agent A001 Agnes Example — L251121A001"),
        (a_mail(25, agent_code=None, agent_name=None, page_group_code=None), "25 leads for Store S001"),
        (a_mail(3, agent_code=None, agent_name=None, page_group_code=None, store_code=None), "3 leads"),
    ],
)
def test_the_subject_says_what_has_come(facts: Letter, expected: str) -> None:
    """One lead by code and customer, many by number and agent."""
    assert received(facts)["Subject"] == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (a_mail(1), "Ann Example 1 · +91 98765 43210"),
        (a_mail(25), "25 leads for Agent A001 Agnes Example: Ann Example 1, Ann Example 2, Ann Example 3 …"),
        (a_mail(2), "2 leads for Agent A001 Agnes Example: Ann Example 1, Ann Example 2"),
        (a_mail(2, leads=()), "2 leads for Agent A001 Agnes Example"),
    ],
)
def test_the_first_line_is_what_matters(facts: Letter, expected: str) -> None:
    """In both parts: it is what the list of a mailbox shows."""
    message = received(facts)
    assert text_of(message).splitlines()[0] == expected
    page = Tags(html_of(message).partition("</head>")[2])
    assert expected in page.text.strip().splitlines()[0]


def test_text_html_and_sheet_come_in_one_mail() -> None:
    """Each with all that it should say."""
    message = received(a_mail(2))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
    ]
    for body in (text_of(message), Tags(html_of(message)).text):
        for said in ("L251121A001-0002", "Ann Example 2", "+91 98765 43210", "2025-11-21 (Asia/Kolkata, UTC+05:30)"):
            assert said in body
    [sheet] = message.iter_attachments()
    assert sheet.get_filename() == "leads_assignment_2025-11-21_S001_A001.pdf"
    assert sheet.get_content() == b"%PDF-1.7 and so on"


def test_headers_are_as_given() -> None:
    """The Message-ID and the date are the caller's, and nobody sees a blind copy."""
    recipients = (
        Recipient("agnes@example.com", "Ågnes, Example"),
        Recipient("bob@example.com", None, SendAs.CC),
        Recipient("eve@example.com", "Eve", SendAs.BCC),
    )
    facts = a_mail(recipients=recipients)
    message = received(facts)
    assert message["Message-ID"] == facts.message_id
    assert message["Date"].datetime == NOW
    assert message["From"] == "Leadline <leadline@example.com>"
    assert [(to.display_name, to.addr_spec) for to in message["To"].addresses] == [
        ("Ågnes, Example", "agnes@example.com")
    ]
    assert message["Cc"] == "bob@example.com"
    assert b"eve@example.com" not in message.as_bytes()


def test_a_mail_of_blind_copies_names_nobody() -> None:
    """It still has a To, as some servers want one."""
    message = received(a_mail(recipients=(Recipient("eve@example.com", "Eve", SendAs.BCC),)))
    assert message["To"].addresses == ()
    assert "undisclosed" in message["To"]


def test_the_same_facts_are_the_same_bytes() -> None:
    """A second try after a lost answer sends the same mail."""
    assert compose(a_mail(3), WORDING, NOW).as_bytes() == compose(a_mail(3), WORDING, NOW).as_bytes()


@pytest.mark.parametrize("name", EVIL)
def test_no_name_breaks_out(name: str) -> None:
    """In every field that takes one: no header more, no tag more, no line more than it has room for."""
    facts = a_mail(
        sender=f'"{name}" <leadline@example.com>' if '"' not in name and name.isprintable() else "leadline@example.com",
        recipients=(Recipient("agnes@example.com", name),),
        agent_code=name,
        agent_name=name,
        route=name,
        store_code=name,
        page_group_code=name,
        zone=name,
        leads=(MailedLead(name, name, name),),
        attachments=(Attachment(name, b"%PDF"),),
    )
    check_structure(facts)
    check_structure(a_mail(25, agent_name=name, page_group_code=name, store_code=name))


@given(st.text(max_size=200))
@example("\r\nBcc: evil@example.com")
@example("=?utf-8?b?DQpCY2M6?=")
def test_any_name_can_be_mailed(name: str) -> None:
    """Never a crash, never a header of the customer's making."""
    lead = MailedLead("L251121A001-0001", name, name)
    check_structure(a_mail(agent_name=name, route=name, recipients=(Recipient("a@example.com", name),), leads=(lead,)))


def check_structure(facts: Letter) -> None:
    """The mail has our headers, our parts and our tags, and lines that any server takes."""
    content = compose(facts, WORDING, NOW).as_bytes()
    message = received(facts)
    expected = {"Message-ID", "Date", "From", "To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type"}
    assert set(message.keys()) == expected
    assert [to.addr_spec for to in message["To"].addresses] == [facts.recipients[0].address]
    assert content.isascii()
    assert b"\x00" not in content
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert len(message["Subject"]) < 350
    assert "script" not in Tags(html_of(message)).tags
    assert len(list(message.iter_attachments())) == 1


def test_a_long_list_is_cut_and_says_so() -> None:
    """The sheet has them all."""
    message = received(a_mail(300))
    for body in (text_of(message), html_of(message)):
        assert "L251121A001-0200" in body
        assert "L251121A001-0201" not in body
        assert "and 100 more on the sheet" in body


def test_what_is_absent_is_left_out() -> None:
    """No None, no empty label."""
    fields = ("agent_code", "agent_name", "route", "store_code", "page_group_code", "batch_date", "zone")
    absent: dict[str, Any] = dict.fromkeys(fields)
    lead = MailedLead("L251121A001-0001", None, None)
    message = received(a_mail(**absent, leads=(lead,), attachments=()))
    for body in (message["Subject"], text_of(message), html_of(message)):
        assert "None" not in body
        assert "Store" not in body
        assert "attached" not in body


@pytest.mark.parametrize(
    "address",
    [
        "",
        "agnes",
        "@example.com",
        "a@b@",
        "a b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "<a@example.com>",
        "a@exa mple.com",
        "a,b@example.com",
        "\x00@example.com",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """By its own error, before anything is sent."""
    with pytest.raises(UnusableAddressError):
        compose(a_mail(recipients=(Recipient(address),)), WORDING, NOW)


@pytest.mark.parametrize("sender", ["", "Leadline", "Leadline <leadline>", "a@example.com\r\nBcc: b@example.com"])
def test_a_sender_without_address_is_refused(sender: str) -> None:
    """It comes from the settings."""
    with pytest.raises(UnusableAddressError):
        compose(a_mail(sender=sender), WORDING, NOW)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
@example(("a", "b:c"), ("a:b", "c"))
def test_a_message_id_belongs_to_one_mail(one: tuple[str, str], other: tuple[str, str]) -> None:
    """The same for the same kind and key, another for any other."""
    ids = message_id_for(*one, "example.com"), message_id_for(*other, "example.com")
    assert (ids[0] == ids[1]) == (one == other)
    assert ids[0].endswith("@example.com>")
    assert len(ids[0]) < 80
