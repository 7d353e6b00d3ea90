"""What sheets are called: names that follow from what a sheet is.

Two different codes never share a name, on no file system: what a name cannot hold is replaced, and then a digest of the
code is appended.
"""

from __future__ import annotations

import re
from datetime import date
from hashlib import sha256

FOLDER = "leads_assignment"
_LONGEST_CODE = 48
_DIGEST_LENGTH = 16
#: No lower case, as some file systems do not tell it from upper case; no underscore, which parts a name's codes.
_PLAIN = re.compile(r"[A-Z0-9-]+")
#: Suffixes are our own words, and no upper case.
_PLAIN_SUFFIX = re.compile(r"[a-z0-9-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9-]+")


def sheet_path(doc_date: date, place: str, agent_code: str, suffix: str = "") -> str:
    """The file of a sheet, relative to the store.

    Args:
        place: the store's code, or the route's name where there is no store.
        suffix: what tells sheets of one day, place and agent apart: the rowid of a stream's sheet, the lot of a lot's.
    """
    last = [slug(suffix, _PLAIN_SUFFIX)] if suffix else []
    parts = [FOLDER, doc_date.isoformat(), slug(place), slug(agent_code), *last]
    return f"{FOLDER}/{doc_date.isoformat()}/{'_'.join(parts)}.pdf"


def stream_suffix(rowid: int) -> str:
    """The suffix of a stream's sheet."""
    return f"{rowid:04}"


def lot_suffix(lot_id: int) -> str:
    """The suffix of a lot's sheet, where a day's first does not go without."""
    return f"lot{lot_id}"


def slug(code: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """The code itself, where any file system can hold it; else what is left of it, and a digest of all of it."""
    if plain.fullmatch(code) and len(code) <= _LONGEST_CODE:
        return code
    digest = sha256(code.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    left = _UNSAFE.sub("-", code)[: _LONGEST_CODE - _DIGEST_LENGTH].strip("-")
    return f"{left}~{digest}"
