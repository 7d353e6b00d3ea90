"""Templates: ours, an operator's in their place, and broken ones that are told of at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from email.message import EmailMessage
from pathlib import Path

import pytest

from services.notifier.contents import Content, Link, Share, StoreContent, StoreSheet, SummaryContent
from services.notifier.message import Attachment, Letter, Recipient, compose
from services.notifier.templating import Templates
from shared.settings import SettingsError
from tests.unit.test_message import Tags, a_mail, html_of, text_of

IST = timezone(timedelta(hours=5, minutes=30))
AT = datetime(2025, 11, 21, 15, 0, tzinfo=IST)
LINK = Link("leads_S1_0001.pdf", "https://leads.example.com/files/1?expires=2&signature=3", AT)
STORE = StoreContent(
    *("S1", "Lake Road", "pickups", date(2025, 11, 21), AT, "Asia/Kolkata"),
    sheets=(StoreSheet("0001", "Asha", "L2511210001", 10), StoreSheet("0002", "Bela", "L2511210002", 1)),
)
SUMMARY = SummaryContent(
    *(7, "pickups", date(2025, 11, 21), AT, "Asia/Kolkata", "schedule", "run-1"),
    assigned=11,
    unassigned=(("daily cap reached", 3), ("store takes no part", 1)),
    shares=(Share("S1", "0001", "Asha", 10), Share("S2", "0002", "<b>Bela</b>", 1)),
    sheets=2,
)


def composed(content: Content, templates: Templates | None = None, attachments: int = 0) -> EmailMessage:
    pdfs = tuple(Attachment(f"{number}.pdf", b"%PDF") for number in range(attachments))
    letter = Letter("<1@example.com>", "leads@example.com", (Recipient("a@example.com"),), content, pdfs)
    return compose(letter, templates or Templates(), AT)


def test_a_stores_mail_says_what_has_come_from_whom_and_when() -> None:
    message = composed(STORE, attachments=2)
    assert message["Subject"] == "11 leads for Store S1: 2 sheets"
    assert text_of(message).splitlines()[0] == "0001 Asha 10, 0002 Bela 1 · 2025-11-21 15:00 +05:30 (Asia/Kolkata)"
    for body in (text_of(message), Tags(html_of(message)).text):
        for said in ("S1 - Lake Road", "pickups", "L2511210002", "0002 Bela", "The sheets are attached"):
            assert said in body


def test_a_part_says_which_it_is_and_a_late_one_that_it_is_late() -> None:
    values = {name: getattr(STORE, name) for name in STORE.__slots__}
    part = composed(StoreContent(**(values | {"part": 1, "parts": 2})))
    assert part["Subject"] == "11 leads for Store S1: 2 sheets (part 1 of 2)"
    assert "part 1 of 2" in text_of(part)
    late = composed(StoreContent(**(values | {"is_late": True})))
    assert late["Subject"].endswith("(late)")
    assert "turned up after" in html_of(late)


def test_a_sheet_that_is_too_large_is_linked_to() -> None:
    values = {name: getattr(STORE, name) for name in STORE.__slots__}
    message = composed(StoreContent(**(values | {"links": (LINK,)})), attachments=1)
    assert LINK.url in text_of(message)
    assert 'href="https://leads.example.com/files/1?expires=2&amp;signature=3"' in html_of(message)
    assert "until 2025-11-21 15:00 +05:30" in text_of(message)


def test_a_summary_says_who_got_how_many_and_why_others_wait() -> None:
    message = composed(SUMMARY)
    assert message["Subject"] == "pickups: 11 assigned, 4 unassigned in lot 7"
    first = text_of(message).splitlines()[0]
    assert first == "11 leads to 2 agents of 2 stores, 4 wait: 3 daily cap reached, 1 store takes no part"
    page = Tags(html_of(message))
    for body in (text_of(message), page.text):
        for said in ("2025-11-21 15:00 +05:30 (Asia/Kolkata)", "0001 Asha", "S2", "3 leads unassigned", "run run-1"):
            assert said in body
    assert "<b>Bela</b>" not in html_of(message)
    assert "attached" not in text_of(message)


# An operator's own.


def a_folder(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def test_an_operators_template_takes_the_place_of_ours(tmp_path: Path) -> None:
    """By name; those that are not there are ours, and what is inserted into HTML is escaped as in ours."""
    folder = a_folder(
        tmp_path,
        sheet__subject__txt="New: {{ leads[0].customer if leads else count }}",
        sheet__html='{% extends "base.html" %}{% block table %}<i>{{ agent }}</i>{% endblock %}',
    )
    message = compose(a_mail(1, agent_name="<b>Asha</b>"), Templates(folder), AT)
    assert message["Subject"] == "New: Ann Example 1"
    assert "<i>A001 &lt;b&gt;Asha&lt;/b&gt;</i>" in html_of(message)
    assert text_of(message) == text_of(compose(a_mail(1, agent_name="<b>Asha</b>"), Templates(), AT))


def test_a_subject_of_several_lines_is_one_line(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, sheet__subject__txt="Lead\nBcc: evil@example.com\n")
    message = compose(a_mail(1), Templates(folder), datetime(2025, 11, 21, tzinfo=UTC))
    assert message["Subject"] == "Lead Bcc: evil@example.com"
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sheet.txt", "{{ preview }}\n{% if agent %}", r"sheet\.txt, line 2: "),
        ("store.html", "\n{{ shop }}", r"store\.html, line 2: UndefinedError: 'shop' is undefined"),
        ("summary.subject.txt", "{{ assigned / unassigned }}", r"summary\.subject\.txt, line 1: ZeroDivisionError"),
        ("sheet.html", '{% extends "house.html" %}', r"sheet\.html: it uses house\.html, which is not there"),
        ("sheet.preview.txt", "{{ leads[0].customer }}", r"sheet\.preview\.txt, line 1: UndefinedError"),
    ],
)
def test_a_broken_template_is_told_of_at_the_start(tmp_path: Path, name: str, content: str, said: str) -> None:
    """With its name, the line, and what to do."""
    (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=f"LEADLINE_TEMPLATES_DIR: {said}.*remove the file to use ours"):
        Templates(tmp_path)


def test_a_notifier_does_not_start_with_a_broken_template(tmp_path: Path) -> None:
    """Its exit code is that of a wrong setting, and one line says what is wrong."""
    (tmp_path / "sheet.txt").write_text("{% if %}")
    environment = {**os.environ, "LEADLINE_TEMPLATES_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "services.notifier"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("LEADLINE_TEMPLATES_DIR: sheet.txt, line 1: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder"):
        Templates(tmp_path / "gone")
