"""Who calls, and what they may do.

A request is known before anything of its body is read: without a key nothing is, whatever it asks for. Whose key it is
stands in `request.state.caller`; the routes say which role they need.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import text
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.buckets import Buckets
from services.api.problems import ProblemError, answer, of_error
from services.cli.keys import Role, digest_of
from shared.db.session import Database

KEY_HEADER = "X-API-Key"
BEARER = "bearer "
#: Wrong keys a second from one address.
WRONG_RATE, WRONG_BURST = 2.0, 20.0

FIND = text("""
    SELECT id, name, role, last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS is_stale
    FROM api_keys
    WHERE key_sha256 = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
""")
USED = text("UPDATE api_keys SET last_used_at = now() WHERE id = :id")
SET_ACTOR = text("SELECT set_config('leadline.actor', :actor, true)")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `id` tells callers apart, for rates and idempotency keys; `actor` stands in the audit log."""

    id: int
    name: str
    role: Role

    @property
    def actor(self) -> str:
        return f"api:{self.name}"


#: Finds out who makes a request; None if it cannot tell.
Authenticate = Callable[[Request], Awaitable[Caller | None]]


class ByKey:
    """Knows callers by their key, in `Authorization: Bearer …` or in `X-API-Key`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, request: Request) -> Caller | None:
        key = key_in(request)
        if key is None:
            return None
        async with self._database.reading() as connection:
            row = (await connection.execute(FIND, {"digest": digest_of(key)})).one_or_none()
            if row is None:
                return None
            if row.is_stale:
                await connection.execute(USED, {"id": row.id})
        return Caller(row.id, row.name, Role(row.role))


def key_in(request: Request) -> str | None:
    """Give the key that a request carries."""
    authorization = request.headers.get("authorization", "")
    if authorization.lower().startswith(BEARER):
        return authorization[len(BEARER) :].strip()
    return request.headers.get(KEY_HEADER)


class Gate:
    """Lets nobody past who is not known, or comes too often; `open_paths` (and what is below a `/`) anybody."""

    def __init__(self, app: ASGIApp, *, authenticate: Authenticate, open_paths: tuple[str, ...], rate: float) -> None:
        self._app = app
        self._authenticate = authenticate
        self._open = open_paths
        self._rates = Buckets(rate, rate * 4)
        self._wrong = Buckets(WRONG_RATE, WRONG_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            return await self._app(scope, receive, send)
        refused = await self._refuse(Request(scope))
        return await (refused or self._app)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return any(path == each or (each.endswith("/") and path.startswith(each)) for each in self._open)

    async def _refuse(self, request: Request) -> Response | None:
        """Give the answer to who may not pass; of the others, remember who it is."""
        now = time.monotonic()
        try:
            caller = await self._authenticate(request)
        except Exception as error:  # answered as any other
            return of_error(error)
        if caller is None:
            address = request.client.host if request.client else ""
            wait = self._wrong.take(address, now)
            return _too_many(wait) if wait else _unknown()
        if wait := self._rates.take(caller.id, now):
            return _too_many(wait)
        request.state.caller = caller
        return None


def _unknown() -> Response:
    detail = "a key is needed, in Authorization: Bearer … or X-API-Key; `leadline key create` makes one"
    return answer(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _too_many(wait_s: float) -> Response:
    return answer(429, "too many requests", headers={"Retry-After": str(int(wait_s) + 1)})


# What routes ask for. The two schemes are named for the document's sake: the gate has read the key.

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="A key, made by `leadline key create`.")
_header = APIKeyHeader(name=KEY_HEADER, auto_error=False, scheme_name="key", description="The same key.")


def needs(role: Role) -> Callable[..., Caller]:
    """Give a dependency that lets only this role pass, and those above it."""

    def permitted(
        request: Request, _bearer: Annotated[object, Security(_bearer)], _header: Annotated[object, Security(_header)]
    ) -> Caller:
        caller: Caller = request.state.caller
        if not caller.role.covers(role):
            raise ProblemError(403, f"this needs the role {role.value}; the key {caller.name!r} is of a {caller.role}")
        return caller

    return permitted


Viewer = Annotated[Caller, Depends(needs(Role.VIEWER))]
Operator = Annotated[Caller, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(needs(Role.ADMIN))]
