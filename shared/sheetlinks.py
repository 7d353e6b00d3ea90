"""Links to sheets that open without a login, for as long as they say: signed with a key that sheets are signed with.

A link says which sheet, not whether it still stands: who serves it looks at the document's status first.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from json import dumps
from urllib.parse import quote, urlencode


class LinkState(StrEnum):
    """What becomes of who comes with a link."""

    GOOD = "good"
    EXPIRED = "expired"
    FORGED = "forged"


def sign_link(base_url: str, sheet_key: str, expires_at: datetime, key: bytes) -> str:
    """Give the link to a sheet under `base_url`: `…/files/KEY?expires=SECONDS&signature=HEX`."""
    expires = int(expires_at.astimezone(UTC).timestamp())
    query = urlencode({"expires": expires, "signature": _signature(sheet_key, expires, key)})
    return f"{base_url.rstrip('/')}/files/{quote(sheet_key, safe='')}?{query}"


def verify_link(sheet_key: str, expires: str, signature: str, keys: Collection[bytes], now: datetime) -> LinkState:
    """Say whether one of the keys has signed this sheet until then, and whether that is past."""
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16 and signature.isascii()):
        return LinkState.FORGED
    if not any(hmac.compare_digest(signature, _signature(sheet_key, int(expires), key)) for key in keys):
        return LinkState.FORGED
    return LinkState.GOOD if now.timestamp() < int(expires) else LinkState.EXPIRED


def _signature(sheet_key: str, expires: int, key: bytes) -> str:
    """Sign what the link opens; no seal of a sheet begins with this word."""
    return hmac.new(key, dumps(["link", sheet_key, expires], separators=(",", ":")).encode(), sha256).hexdigest()
