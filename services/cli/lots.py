"""`leadline lot run ROUTE`: ask for a lot by hand, and tell what came of it.

From Python, where no event loop runs, at the end of a pipeline for example:

    from services.cli.lots import run_lot

    lot = run_lot("stores", run_id="2026-01-05", triggered_by="pipeline:single_session")
    print(lot.lot_id, lot.assigned, lot.unassigned)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from secrets import token_hex
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy import text

from services.assigner.queries.lots import BY_HAND
from services.assigner.queries.routes import now
from services.cli.failures import CommandError
from services.cli.output import show
from services.cli.waiting import ask, wait_for, why_nothing_came
from shared.db.session import Database, open_database
from shared.events import LotRequested
from shared.messaging import broker
from shared.settings import Settings, load_settings

TIMEOUT_S = 60.0
MANUAL = "manual"
#: Begins the key of a lot that is never the same as another.
AGAIN = "again "

ROUTE = text("SELECT id, mode, is_enabled, sheets FROM routes WHERE name = :name")
#: The lot that was asked for, or the one by hand that it is the same as.
LOT = text("""
    SELECT id, lot_key, day, assigned, unassigned, sheets
    FROM lots
    WHERE route_id = :route_id AND (
        lot_key = :key
        OR starts_with(:key, :by_hand) AND starts_with(lot_key, :by_hand)
           AND requested_at BETWEEN CAST(:at AS timestamptz) - interval '1 minute'
                                AND CAST(:at AS timestamptz) + interval '1 minute'
    )
    ORDER BY (lot_key = :key) DESC, id DESC LIMIT 1
""")
MADE = text("SELECT count(*) FROM documents WHERE sheet_key = ANY(CAST(:keys AS text[]))")


@dataclass(frozen=True, slots=True)
class Status:
    """How far a lot is: one line of `--json` (leads-assignment seed §4.3)."""

    phase: str
    status: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> dict[str, Any]:
        return {"phase": self.phase, "status": self.status, **self.facts}


@dataclass(frozen=True, slots=True)
class LotRun:
    """A lot that has been run. `is_same`: it was there already, asked for by hand within the same minute."""

    lot_id: int
    route: str
    day: date
    is_same: bool
    assigned: int
    unassigned: Mapping[str, int]
    sheets_expected: int
    sheets_made: int


Tell = Callable[[Status], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A route's lot that may be asked for."""

    route_id: int
    has_sheets: bool
    request: LotRequested


@dataclass(frozen=True, slots=True)
class _Asked(Prepared):
    """A lot that was asked for: the row of the outbox that the request left in."""

    row_id: int


def run_lot(
    route: str,
    *,
    run_id: str | None = None,
    triggered_by: str = MANUAL,
    is_again: bool = False,
    timeout_s: float = TIMEOUT_S,
    tell: Tell | None = None,
    settings: Settings | None = None,
) -> LotRun:
    """Run a lot of a route and wait for its sheets, at most `timeout_s` for each; asked again within a minute it is the
    same lot, unless `is_again`. `tell` is called with every step. Settings come from the environment where not given.

    Raises:
        CommandError: the route has no lots, or the lot is not run in time; the message says what is not running. A lot
            that was asked for is run as soon as somebody can.
    """
    settings = settings or load_settings()
    told = tell or (lambda _: None)

    async def run() -> LotRun:
        async with open_database(settings.database, application_name="leadline lot") as database:
            asked = await _ask(settings, database, route, run_id=run_id, triggered_by=triggered_by, is_again=is_again)
            told(_requested(asked.request))
            return await _follow(settings, database, asked, timeout_s, told)

    return asyncio.run(run())


def request_lot(
    route: str,
    *,
    run_id: str | None = None,
    triggered_by: str = MANUAL,
    is_again: bool = False,
    settings: Settings | None = None,
) -> LotRequested:
    """Ask for a lot of a route, as `run_lot` does, and do not wait for it. Needs no service and no broker to be there.

    Raises:
        CommandError: the route has no lots.
    """
    settings = settings or load_settings()

    async def run() -> LotRequested:
        async with open_database(settings.database, application_name="leadline lot") as database:
            asked = await _ask(settings, database, route, run_id=run_id, triggered_by=triggered_by, is_again=is_again)
        return asked.request

    return asyncio.run(run())


# Asking.


async def prepare_lot(
    database: Database, name: str, *, run_id: str | None, triggered_by: str, is_again: bool
) -> Prepared:
    """Give the request for a lot of a route. CommandError if the route has no lots."""
    async with database.reading() as connection:
        route = (await connection.execute(ROUTE, {"name": name})).one_or_none()
        at = await now(connection)
    if route is None:
        raise CommandError(f"there is no route {name!r}; `leadline stats` lists them")
    if not route.is_enabled:
        raise CommandError(f"the route {name!r} is not in use: it is disabled")
    if route.mode != "lot":
        raise CommandError(f"the route {name!r} assigns leads as they come: it has no lots")
    request = _request(name, at, run_id=run_id, triggered_by=triggered_by, is_again=is_again)
    return Prepared(route.id, route.sheets, request)


async def _ask(
    settings: Settings, database: Database, name: str, *, run_id: str | None, triggered_by: str, is_again: bool
) -> _Asked:
    lot = await prepare_lot(database, name, run_id=run_id, triggered_by=triggered_by, is_again=is_again)
    return _Asked(lot.route_id, lot.has_sheets, lot.request, await ask(settings, database, lot.request))


def _request(route: str, at: datetime, *, run_id: str | None, triggered_by: str, is_again: bool) -> LotRequested:
    key = f"{AGAIN}{at.isoformat()} {token_hex(4)}" if is_again else f"{BY_HAND}{at.isoformat()}"
    try:
        return LotRequested(route=route, lot_key=key, occurred_at=at, triggered_by=triggered_by, run_id=run_id)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise CommandError(f"{wrong['loc'][0]}: {wrong['msg']}") from None


# Following.


async def _follow(settings: Settings, database: Database, asked: _Asked, timeout_s: float, tell: Tell) -> LotRun:
    """Wait for the lot, then for its sheets."""
    row = await wait_for(lambda: find_lot(database, asked), timeout_s)
    if row is None:
        why = await why_nothing_came(settings, database, asked.row_id, "assigner.lots")
        tell(Status("assigned", "waiting", {"reason": why}))
        raise CommandError(f"the lot was not run within {timeout_s:g} s: {why}. It is run as soon as that is mended")
    is_same = row["lot_key"] != asked.request.lot_key
    facts = {"lot_id": row["id"], "is_same": is_same, "assigned": row["assigned"], "unassigned": row["unassigned"]}
    tell(Status("assigned", "ok", facts))
    sheets = row["sheets"] if asked.has_sheets else []
    made = await _sheets_made(settings, database, sheets, timeout_s)
    tell(Status("documents", _progress(made, sheets), {"made": made, "expected": len(sheets)}))
    tell(Status("done", "ok", {"lot_id": row["id"]}))
    return LotRun(
        lot_id=row["id"],
        route=asked.request.route,
        day=row["day"],
        is_same=is_same,
        assigned=row["assigned"],
        unassigned=row["unassigned"],
        sheets_expected=len(sheets),
        sheets_made=made,
    )


async def find_lot(database: Database, asked: Prepared) -> Mapping[str, Any] | None:
    """The row of the lot asked for, or of the one it is the same as: it is committed with all that the lot does."""
    request = asked.request
    values = {"route_id": asked.route_id, "key": request.lot_key, "by_hand": BY_HAND, "at": request.occurred_at}
    async with database.reading() as connection:
        row = (await connection.execute(LOT, values)).mappings().one_or_none()
    return None if row is None else dict(row)


async def _sheets_made(settings: Settings, database: Database, sheets: Sequence[str], timeout_s: float) -> int:
    """Count the lot's sheets that exist; wait for the rest of them only while somebody makes sheets."""

    async def made() -> int:
        async with database.reading() as connection:
            return int((await connection.execute(MADE, {"keys": list(sheets)})).scalar_one())

    async def all_made() -> bool | None:
        return await made() == len(sheets) or None

    if sheets and await _is_consumed(settings, "documents"):
        await wait_for(all_made, timeout_s)
    return await made()


async def _is_consumed(settings: Settings, queue: str) -> bool:
    try:
        async with broker.connect(settings.amqp_url, "leadline lot") as connection:
            return (await broker.queue_state(connection, queue)).consumers > 0
    except broker.BROKER_ERRORS:  # then nobody makes any
        return False


def _requested(request: LotRequested) -> Status:
    facts = {"route": request.route, "lot_key": request.lot_key, "run_id": request.run_id}
    return Status("requested", "ok", {name: fact for name, fact in facts.items() if fact is not None})


def _progress(made: int, sheets: Sequence[str]) -> str:
    return "ok" if made == len(sheets) else "waiting"


# The command.

lot_app = typer.Typer(help="Lots.", no_args_is_help=True)


@lot_app.callback()
def _lots() -> None:
    """Lots."""


@lot_app.command("run")
def lot_run_command(
    route: Annotated[str, typer.Argument(help="A route whose mode is lot.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the lot and its sheets, and print its counts.")
    ] = False,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Kept with the lot: your own run's id.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also if one was asked for within the last minute.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.", min=0)] = TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each step.")] = False,
) -> None:
    """Give away what a lot route has collected. Asked again within a minute it is the same lot."""

    def tell(status: Status) -> None:
        if as_json:
            show(status.line, as_json=True)

    if not wait:
        request = request_lot(route, run_id=run_id, is_again=again)
        show(_requested(request).line, as_json=as_json)
        return
    run = run_lot(route, run_id=run_id, is_again=again, timeout_s=timeout, tell=tell)
    if not as_json:
        show(_in_words(run), as_json=False)


def _in_words(run: LotRun) -> dict[str, Any]:
    return {
        "lot": str(run.lot_id)
        + (" (the same: one was asked for within a minute; --again makes another)" * run.is_same),
        "route": run.route,
        "day": run.day,
        "assigned": run.assigned,
        "sheets": f"{run.sheets_made} of {run.sheets_expected}",
        "unassigned": [{"reason": reason, "leads": leads} for reason, leads in run.unassigned.items()],
    }
