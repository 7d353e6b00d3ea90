"""`leadline key`: who may call the API.

A key has 256 random bits. What is kept of it is its SHA-256: nobody can try all keys against that, so it needs neither
salt nor a slow hash, and one look-up in an index tells whose it is (docs/decisions/0018).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.cli.deadletters.actions import operator
from services.cli.failures import CommandError
from services.cli.output import show
from shared.db.session import Database, open_database
from shared.settings import load_settings

T = TypeVar("T")

PREFIX = "ll_"
HINT_LENGTH = 9
NAME_LENGTH = 100

ADD = text("""
    INSERT INTO api_keys (name, role, hint, key_sha256, created_by, expires_at)
    VALUES (:name, :role, :hint, :digest, :actor, now() + CAST(:days AS integer) * interval '1 day')
    RETURNING id, name, role, hint, created_by, created_at, expires_at, revoked_at, last_used_at
""")
LIST = text("""
    SELECT id, name, role, hint, created_by, created_at, expires_at, revoked_at, last_used_at
    FROM api_keys WHERE :all OR revoked_at IS NULL ORDER BY id
""")
REVOKE = text("""
    UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND (name = :who OR hint = :who)
    RETURNING id, name, role, hint, created_by, created_at, expires_at, revoked_at, last_used_at
""")

app = typer.Typer(help="Who may call the API.", no_args_is_help=True)


class Role(StrEnum):
    """What a key may do; each may do what those before it may."""

    #: See everything.
    VIEWER = "viewer"
    #: Change what is distributed, to whom, and how.
    OPERATOR = "operator"
    #: Say who may do what, and where events are sent.
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what needs the other."""
        return list(Role).index(self) >= list(Role).index(needed)


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; `hint` is how it begins."""

    id: int
    name: str
    role: str
    hint: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only time that it is shown."""

    key: str
    name: str
    role: str
    expires_at: datetime | None


def digest_of(key: str) -> bytes:
    """Give what is kept of a key."""
    return sha256(key.encode(errors="surrogatepass")).digest()


async def create_key(database: Database, *, name: str, role: Role, actor: str, days: int | None = None) -> NewKey:
    """Make a key. CommandError if the name is blank, or another key's that is not revoked."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise CommandError(f"a key's name has 1 to {NAME_LENGTH} characters that can be printed")
    key = PREFIX + token_urlsafe(32)
    values = {"name": name, "role": role.value, "hint": key[:HINT_LENGTH], "digest": digest_of(key)}
    try:
        async with database.begin() as tx:
            row = (await tx.execute(ADD, {**values, "actor": actor, "days": days})).one()
    except IntegrityError:
        raise CommandError(f"there is a key named {name!r}: revoke it, or give this one another name") from None
    return NewKey(key, row.name, row.role, row.expires_at)


async def list_keys(database: Database, *, every: bool = False) -> list[Key]:
    """Give all keys that are not revoked, or every one."""
    async with database.reading() as connection:
        return [Key(*row) for row in await connection.execute(LIST, {"all": every})]


async def revoke_key(database: Database, who: str) -> list[Key]:
    """Take back the keys of a name or hint, from now on. CommandError if there is none."""
    async with database.begin() as tx:
        revoked = [Key(*row) for row in await tx.execute(REVOKE, {"who": who})]
    if not revoked:
        raise CommandError(f"there is no key {who!r} to revoke; `leadline key list` shows them")
    return revoked


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("create")
def key_create(
    name: Annotated[str, typer.Option("--name", help="Whose it is, as it stands in the audit log.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do.")] = Role.VIEWER,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3_650, help="It ends after so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it cannot be shown again."""

    async def work(database: Database) -> NewKey:
        return await create_key(database, name=name, role=role, actor=operator(), days=days)

    show(_run(work), as_json=as_json, zone=load_settings().tz)


@app.command("list")
def key_list(
    every: Annotated[bool, typer.Option("--all", help="Those that are revoked, too.")] = False, as_json: AsJson = False
) -> None:
    """List the keys: whose, what they may do, when they were last used."""

    async def work(database: Database) -> Sequence[Key]:
        return await list_keys(database, every=every)

    show({"keys": [_plain(key) for key in _run(work)]}, as_json=as_json, zone=load_settings().tz)


@app.command("revoke")
def key_revoke(
    who: Annotated[str, typer.Argument(metavar="NAME", help="A key's name, or how it begins.")], as_json: AsJson = False
) -> None:
    """Take a key back, from now on."""

    async def work(database: Database) -> Sequence[Key]:
        return await revoke_key(database, who)

    show({"revoked": [_plain(key) for key in _run(work)]}, as_json=as_json, zone=load_settings().tz)


def _run(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    async def with_database() -> T:
        async with open_database(load_settings().database, application_name="leadline cli") as database:
            return await work(database)

    return asyncio.run(with_database())


def _plain(key: Key) -> dict[str, Any]:
    return asdict(key)
