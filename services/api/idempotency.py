"""Requests that a client may send again: the same key with the same body is the same request.

A key is remembered for a day, with what it asked for. `remember` in the transaction that does the work makes both one:
a second request waits for the first to end, and then gets its answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Header, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api.access import Caller
from services.api.problems import ProblemError

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Sent again with the same body within a day, it is the same request.",
    ),
]

FORGET = text("""
    DELETE FROM idempotency_keys WHERE (api_key_id, key) IN (
        SELECT api_key_id, key FROM idempotency_keys WHERE created_at < now() - interval '1 day'
        LIMIT 100 FOR UPDATE SKIP LOCKED
    )
""")
#: Waits for whoever has just added the same.
ADD = text("""
    INSERT INTO idempotency_keys (api_key_id, key, request_sha256, answer)
    VALUES (:api_key_id, :key, :request, CAST(:answer AS jsonb)) ON CONFLICT DO NOTHING RETURNING true
""")
FIND = text("SELECT request_sha256, answer FROM idempotency_keys WHERE api_key_id = :api_key_id AND key = :key")
ANSWER = text(
    "UPDATE idempotency_keys SET answer = CAST(:answer AS jsonb) WHERE api_key_id = :api_key_id AND key = :key"
)


@dataclass(frozen=True, slots=True)
class Once:
    """A request under a key of its caller's."""

    api_key_id: int
    key: str
    request: bytes

    @property
    def values(self) -> dict[str, Any]:
        return {"api_key_id": self.api_key_id, "key": self.key}


async def once(request: Request, caller: Caller, key: str | None) -> Once | None:
    """Give the request as it is to be remembered; None without a key."""
    if key is None:
        return None
    asked = f"{request.method} {request.url.path}\n".encode() + await request.body()
    return Once(caller.id, key, sha256(asked).digest())


async def remember(tx: AsyncConnection, asked: Once | None, answer: dict[str, Any] | None = None) -> Any:
    """Keep a request that is new, and give None; of one that is known give its answer.

    Raises:
        ProblemError: 422, the key was another request's.
    """
    if asked is None:
        return None
    await tx.execute(FORGET)
    values = {**asked.values, "request": asked.request, "answer": _json(answer)}
    if (await tx.execute(ADD, values)).scalar_one_or_none():
        return None
    row = (await tx.execute(FIND, asked.values)).one()
    if bytes(row.request_sha256) != asked.request:
        raise ProblemError(422, "this Idempotency-Key was another request's: take a new one")
    return row.answer


async def answered(tx: AsyncConnection, asked: Once | None, answer: dict[str, Any]) -> None:
    """Keep the answer, to be given again."""
    if asked is not None:
        await tx.execute(ANSWER, {**asked.values, "answer": _json(answer)})


def _json(answer: dict[str, Any] | None) -> str | None:
    return None if answer is None else json.dumps(answer)
