"""What must hold after a chaos run: each check has a name and gives its findings, or nothing."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

from services.documents.formreader import read_form
from services.documents.seals import Manifest, read_manifest
from shared import sheetstore
from tests.chaos.statements import STATEMENTS
from tests.stack import Stack

#: So many findings of one check are told; the others are counted.
TOLD = 10
#: So many sheets are opened and read; of all others the digest is held against the row.
READ_BACK = 400

Mails = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found."""

    check: str
    words: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What was published, with confirms, and what of it must be so at the end. None: not looked at."""

    leads: frozenset[str] | None = None
    closed: frozenset[str] = frozenset()
    updated: Mapping[str, str] = field(default_factory=dict)
    malformed: tuple[bytes, ...] = ()
    lots: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Excuses:
    """How much a crash may leave behind: half-written files; mails that it had sent and not yet recorded."""

    half_files: int = 0
    repeats: int = 0


async def check_all(stack: Stack, expected: Expected, excuses: Excuses) -> list[Finding]:
    """Run every check on a stack that is quiet."""
    checks: dict[str, Callable[[], Awaitable[Iterable[str]]]] = {
        "every lead is there": lambda: leads(stack, expected),
        "what was closed is closed": lambda: closed(stack, expected),
        "the newest update counts": lambda: updated(stack, expected),
        "each lot once": lambda: lots(stack, expected),
        "files": lambda: files(stack, excuses),
        "what is on the sheets": lambda: contents(stack),
        "mails": lambda: mails(stack, excuses),
        "dead letters are the malformed ones": lambda: dead_letters(stack, expected),
        "decisions verify": lambda: history(stack),
    }
    found: list[Finding] = []
    for name, statement in STATEMENTS.items():
        found += _told(name, [str(row["words"]) for row in await stack.rows(statement)])
    for name, check in checks.items():
        found += _told(name, list(await check()))
    return found


def _told(name: str, words: list[str]) -> list[Finding]:
    more = [f"and {len(words) - TOLD:,} more"] if len(words) > TOLD else []
    return [Finding(name, each) for each in (*words[:TOLD], *more)]


async def leads(stack: Stack, expected: Expected) -> list[str]:
    if expected.leads is None:
        return []
    stored = {row["lead_id"] for row in await stack.rows("SELECT lead_id FROM leads")}
    lost = [f"{name} was confirmed and is not stored" for name in sorted(expected.leads - stored)]
    return lost + [f"{name} is stored and was never sent" for name in sorted(stored - expected.leads)]


async def closed(stack: Stack, expected: Expected) -> list[str]:
    rows = await stack.rows(
        "SELECT leads.lead_id FROM assignments JOIN leads ON leads.id = assignments.lead_id"
        " WHERE is_current AND assignment_status_id <> 4 AND leads.lead_id = ANY($1::text[])",
        list(expected.closed),
    )
    return [f"{row['lead_id']} was closed and is open" for row in rows]


async def updated(stack: Stack, expected: Expected) -> list[str]:
    rows = await stack.rows(
        "SELECT lead_id, message FROM leads WHERE lead_id = ANY($1::text[])", list(expected.updated)
    )
    return [
        f"{row['lead_id']} says {row['message']!r}, not {expected.updated[row['lead_id']]!r}"
        for row in rows
        if row["message"] != expected.updated[row["lead_id"]]
    ]


async def lots(stack: Stack, expected: Expected) -> list[str]:
    rows = await stack.rows("SELECT name, lot_key FROM lots JOIN routes ON routes.id = route_id")
    run = Counter((row["name"], row["lot_key"]) for row in rows)
    return [f"lot {key} of {route} ran {run[route, key]} times" for route, key in expected.lots if run[route, key] != 1]


async def files(stack: Stack, excuses: Excuses) -> list[str]:
    """Every document's file is there once, as it was stored; what else lies there was on its way when somebody died."""
    rows = await stack.rows("SELECT sheet_key, file_path, sha256 FROM documents")
    kept = {row["file_path"]: row for row in rows}
    on_disk = await asyncio.to_thread(stack.sheet_files)
    found = [f"{row['sheet_key']} has no file {path}" for path, row in kept.items() if path not in on_disk]
    found += [f"{path} is not as it was stored" for path, row in kept.items() if on_disk.get(path, row[2]) != row[2]]
    ended = {row[0] for row in await stack.rows("SELECT sheet_key FROM assignments WHERE NOT is_current")}
    for path in sorted(on_disk.keys() - kept.keys()):
        manifest = await _manifest(stack, path)
        if manifest is None or manifest.sheet_key not in ended:
            found.append(f"{path} is on disk and no document's")
    halves = len(stack.leftovers())
    if halves > excuses.half_files:
        found.append(f"{halves} half-written files; {excuses.half_files} writers were killed")
    return found


async def contents(stack: Stack) -> list[str]:
    """Read sheets back: on each are the codes of its leads, and no others. The same sheets each time."""
    rows = await stack.rows(
        """
        SELECT documents.sheet_key, file_path, sha256, array_agg(lead_assignment_code ORDER BY rowid) AS codes
        FROM documents JOIN assignments USING (sheet_key) JOIN leads ON leads.id = assignments.lead_id
        WHERE leads.lead_id = ANY (documents.lead_ids)
        GROUP BY documents.id ORDER BY array_length(documents.lead_ids, 1) DESC, documents.sheet_key
        """
    )
    some = rows[: READ_BACK // 4] + random.Random(0).sample(rows[READ_BACK // 4 :], k=_most(len(rows)))
    found = []
    for row in some:
        manifest = await _manifest(stack, row["file_path"])
        if manifest is None:
            found.append(f"{row['file_path']} carries no manifest of ours")
        elif (manifest.sheet_key, sorted(manifest.rows)) != (row["sheet_key"], sorted(row["codes"])):
            found.append(
                f"{row['file_path']} says {manifest.sheet_key} {sorted(manifest.rows)[:5]}, not {row['codes'][:5]}"
            )
    return found


def _most(rows: int) -> int:
    return min(max(rows - READ_BACK // 4, 0), READ_BACK * 3 // 4)


async def _manifest(stack: Stack, path: str) -> Manifest | None:
    key = bytes(await stack.value("SELECT key FROM installation_keys WHERE name = 'sheets'"))
    file = stack.sheets / path
    if not file.exists() or file.name.startswith(sheetstore._TEMPORARY):
        return None
    form = await asyncio.to_thread(lambda: read_form(file.read_bytes()))
    read = (read_manifest(text, [key]) for text in form["manifests"])
    return next((each[0] for each in read if each is not None), None)


async def mails(stack: Stack, excuses: Excuses) -> list[str]:
    """Each recipient of a notification has its mail once; what was sent and not recorded is a crash's repeat."""
    sent = await stack.rows(
        "SELECT message_id, email_address FROM notification_deliveries JOIN notifications ON id = notification_id"
        " WHERE notification_deliveries.status = 'sent'"
    )
    known = {row["message_id"] for row in await stack.rows("SELECT message_id FROM notifications")}
    expected = {(row["message_id"], row["email_address"].casefold()) for row in sent}
    arrived = await asyncio.to_thread(accepted_mails, stack.mail)
    return mail_findings(expected, known, arrived, excuses.repeats)


def mail_findings(sent: set[tuple[str, str]], known: set[str], arrived: Mails, repeats_allowed: int) -> list[str]:
    """Hold what the mailbox has against what is recorded. Pure; a mail is its Message-ID and one recipient."""
    found = [f"{message_id} to {who} is recorded as sent and never came" for message_id, who in sent - arrived.keys()]
    found += [f"{message_id} to {who} is nobody's" for message_id, who in arrived if message_id not in known]
    often = repeats(sent, arrived)
    if often > repeats_allowed:
        twice = [f"{message_id} to {who}" for (message_id, who), count in arrived.items() if count > 1]
        found.append(f"{often} mails came once more than they should, {repeats_allowed} may: {', '.join(twice[:TOLD])}")
    return found


def repeats(sent: set[tuple[str, str]], arrived: Mails) -> int:
    """How many mails came again, or came and are not recorded as sent."""
    return sum(count - (mail in sent) for mail, count in arrived.items())


def accepted_mails(folder: Path) -> Mails:
    """How often the mailbox has accepted each mail, by Message-ID and recipient."""
    found: Mails = Counter()
    for path in folder.glob("*.eml"):
        head = message_from_bytes(path.read_bytes().partition(b"\r\n\r\n")[0])
        for recipient in str(head["X-Envelope-To"]).split(","):
            found[str(head["Message-ID"]).strip(), recipient.strip().casefold()] += 1
    return found


async def dead_letters(stack: Stack, expected: Expected) -> list[str]:
    rows = await stack.rows("SELECT body, reason, queue FROM dead_letters")
    dead = Counter(bytes(row["body"]) for row in rows)
    planted = Counter(expected.malformed)
    found = [f"not dead as it should be: {body!r}" for body in (planted - dead).elements()]
    surplus = dead - planted
    return found + [
        f"dead in {row['queue']} and should not be: {row['reason']}: {bytes(row['body'])[:200]!r}"
        for row in rows
        if surplus[bytes(row["body"])]
    ]


async def history(stack: Stack) -> list[str]:
    """What the command says that an operator would run."""
    ran = await stack.run("decisions", "verify", "--json", within=600)
    if ran.code == 0:
        return []
    if not ran.output:
        return [ran.errors]
    return [json.dumps(each, default=str) for each in json.loads(ran.output)["found"]]
