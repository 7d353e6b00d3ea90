"""The signed code that ties a sheet to its assignments: an HMAC-SHA256 over what is printed.

A sheet carries its manifest: its key, and for each row the lead's code with a signature of the printed facts; one
signature goes over all of it. What comes back is checked by its manifest alone, whatever tool has rewritten the file.
"""

from __future__ import annotations

import binascii
import hmac
import json
import zlib
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from services.documents.sheet import SheetFacts, SheetRow

_MARK = "LEADLINE1"
_ROW_DIGITS = 24
_SHORT_LENGTH, _SHORT_GROUP = 12, 4
#: A manifest of 10,000 rows has less.
_LONGEST_MANIFEST = 4_000_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which sheet this is, and by the lead's code the signature of each row, in the order of the rows."""

    sheet_key: str
    rows: Mapping[str, str]


def manifest_of(facts: SheetFacts, key: bytes) -> Manifest:
    """Give the manifest of a sheet."""
    rows = {row.lead_assignment_code: row_signature(facts.sheet_key, row, key) for row in facts.rows}
    return Manifest(facts.sheet_key, rows)


def row_signature(sheet_key: str, row: SheetRow, key: bytes) -> str:
    """Sign what is printed of a lead."""
    printed = [
        row.lead_assignment_code,
        row.rowid,
        row.lead_date and row.lead_date.isoformat(),
        row.lead_type,
        row.mobile_number,
        row.customer_name,
        row.address,
    ]
    return _signature(key, "row", sheet_key, *printed)[:_ROW_DIGITS]


def write_manifest(manifest: Manifest, key: bytes) -> str:
    """Give the manifest as one word of plain letters, signed."""
    content = _content(manifest)
    packed = urlsafe_b64encode(zlib.compress(content.encode(), 9)).decode().rstrip("=")
    return f"{_MARK}.{packed}.{_signature(key, 'sheet', content)}"


def read_manifest(text: str, keys: Collection[bytes]) -> tuple[Manifest, bytes] | None:
    """Give the manifest and the key that has signed it, if one of the keys has signed it as it is."""
    match text.strip().split("."):
        case [mark, packed, signature] if mark == _MARK and signature.isascii():
            content = _unpacked(packed)
        case _:
            return None
    for key in keys:
        if hmac.compare_digest(signature, _signature(key, "sheet", content)):
            sheet_key, rows = json.loads(content)
            return Manifest(sheet_key, dict(rows)), key
    return None


def page_code(manifest: Manifest, codes: Sequence[str], key: bytes) -> str:
    """Give the short code that is printed on the page with these leads: twelve letters and digits."""
    digest = bytes.fromhex(_signature(key, "page", manifest.sheet_key, *[manifest.rows[code] for code in codes]))
    letters = b32encode(digest).decode()[:_SHORT_LENGTH]
    return "-".join(letters[start : start + _SHORT_GROUP] for start in range(0, _SHORT_LENGTH, _SHORT_GROUP))


def _content(manifest: Manifest) -> str:
    return json.dumps([manifest.sheet_key, list(manifest.rows.items())], separators=(",", ":"))


def _unpacked(packed: str) -> str:
    """What was packed; nothing where it is none of ours."""
    try:
        data = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        return zlib.decompressobj().decompress(data, _LONGEST_MANIFEST).decode()
    except (ValueError, binascii.Error, zlib.error):
        return ""


def _signature(key: bytes, *parts: object) -> str:
    """Sign the parts; where one ends and the next begins is part of what is signed."""
    return hmac.new(key, json.dumps(parts, separators=(",", ":")).encode(), sha256).hexdigest()
