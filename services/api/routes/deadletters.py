"""Dead letters: all that `leadline deadletters` does. A replay goes on beside the requests; anybody sees how far."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import text

from services.api import etags, paging
from services.api.access import Operator, Viewer
from services.api.etags import IfMatch
from services.api.fields import Id, Line, Word, storable
from services.api.paging import Cursor, Limit, Page
from services.api.problems import ProblemError, documented, said
from services.api.state import Shared, SharedState
from services.cli.deadletters import discarding, editing, listing, preview, replayrows
from services.cli.deadletters.bulkedits import EditedMany, edit_many
from services.cli.deadletters.discarding import Changed
from services.cli.deadletters.editing import Edited
from services.cli.deadletters.listing import Groups, Whole
from services.cli.deadletters.preview import Preview
from services.cli.deadletters.replaying import Pace, Run
from services.cli.deadletters.replayrows import Replay
from services.cli.deadletters.selection import Selection
from shared.db.session import open_database
from shared.messaging.envelope import BIGINT_MAX, BODY_MAX_BYTES

router = APIRouter(prefix="/deadletters", tags=["dead letters"])

#: A preview tries each message: more are for the command line, which has the time.
PREVIEW_MOST = 5_000

REPLAYS = text(f"""
    SELECT id, actor, selection, as_of, state, created_at, {replayrows.IS_RUNNING} AS is_running, (
               SELECT coalesce(jsonb_object_agg(state, letters), '{{}}') FROM (
                   SELECT state, count(*) AS letters FROM dead_letter_replay_rows
                   WHERE replay_id = dead_letter_replays.id GROUP BY state
               ) AS counted
           ) AS counts
    FROM dead_letter_replays
    WHERE (CAST(:id AS bigint) IS NULL OR id = :id) AND id < :before ORDER BY id DESC LIMIT :limit
""")  # noqa: S608  # a condition of ours

Status = Literal["new", "replaying", "resolved", "discarded"]
AsOf = Literal["today", "original"]
Group = Annotated[Word | None, Query(description="One group, as /deadletters/groups names it.")]
Service = Annotated[Word | None, Query(description="One service, or one queue.")]
Moment = Annotated[AwareDatetime | None, Query(description="Died last at this time or later; before this time.")]


class SelectionIn(BaseModel):
    """Which dead letters: all conditions hold. `all` must be said where none is given."""

    ids: Annotated[list[Annotated[int, Field(ge=1, le=BIGINT_MAX)]], Field(max_length=10_000)] | None = None
    group: Word | None = None
    service: Word | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    all: bool = False

    def chosen(self) -> Selection:
        """Give the selection; problem 422 for everything by mistake."""
        selection = Selection(self.ids or None, self.group, self.service, self.since, self.until)
        if selection.is_everything and not self.all:
            raise ProblemError(422, "say which: ids, group, service, since, until, or all: true")
        return selection


class PreviewIn(SelectionIn):
    """What a replay would be of; `original`: with the caps of the day on which each first failed."""

    as_of: AsOf = "today"


class DiscardIn(SelectionIn):
    """Which are put aside, and why nobody needs them."""

    reason: Annotated[Line, Field(pattern=r"\S")]


class UndoIn(SelectionIn):
    """Which are brought back; `lost`: those said to be under way, whose queue was emptied or deleted."""

    lost: bool = False


class PaceIn(BaseModel):
    """Messages a second after the canary; seconds to wait for the next outcome."""

    rate: Annotated[float, Field(ge=0.1, le=10_000)] = 50
    patience_s: Annotated[float, Field(ge=1, le=86_400)] = 600


class ReplayIn(PreviewIn, PaceIn):
    """What to replay, and how fast."""


class EditIn(BaseModel):
    """The new body, or single fields of it: `FIELD=VALUE`, nested as a.b.c."""

    body: Annotated[str, Field(max_length=BODY_MAX_BYTES), storable] | None = None
    set: Annotated[list[Line], Field(max_length=100)] | None = None


class EditManyIn(SelectionIn):
    """Single fields of many bodies alike: `FIELD=VALUE`, nested as a.b.c."""

    set: Annotated[list[Line], Field(min_length=1, max_length=100)]


class BodyVersion(BaseModel):
    """What an edit is of."""

    body: str


class LetterRow(BaseModel):
    """A dead letter in a list."""

    id: int
    status: Status
    group_id: str
    queue: str
    event_type: str | None
    lead_id: str | None
    attempts: int
    replays: int
    failed_at: datetime
    reason: str


class ReplayOut(BaseModel):
    """A replay: open (or paused, where `is_running` is false), stopped since too much failed again, or done."""

    id: int
    actor: str
    selection: dict[str, Any]
    as_of: str
    state: str
    is_running: bool
    created_at: datetime
    waiting: int
    under_way: int
    through: int
    failed_again: int
    passed_over: int


@router.get("/groups", responses=documented())
async def dead_letter_groups(_: Viewer, shared: SharedState, status: Status = "new", service: Service = None) -> Groups:
    """Count dead letters by what failed and where."""
    return await listing.read_groups(shared.database, status=status, service=service)


@router.get("/replays", responses=documented())
async def list_replays(_: Viewer, shared: SharedState, limit: Limit = 20, cursor: Cursor = None) -> Page[ReplayOut]:
    """List replays, the newest first."""
    rows = await _replays(shared, None, paging.decode(cursor, BIGINT_MAX), limit + 1)
    page, following = paging.cut(rows, limit, lambda row: row.id)
    return Page(items=page, next=following)


@router.get("/replays/{replay_id}", responses=documented(404))
async def get_replay(replay_id: Id, _: Viewer, shared: SharedState) -> ReplayOut:
    """Say how far a replay is."""
    return await _replay(shared, replay_id)


@router.post("/replays", status_code=202, responses=documented(409))
async def begin_replay(body: ReplayIn, caller: Operator, shared: SharedState) -> ReplayOut:
    """Send dead letters back to the queue they came from: first 1, then 5, 20, 100, then the rest at the rate."""
    chosen = body.chosen()
    counts = await discarding.count(shared.database, chosen)
    if not counts.get("new"):
        raise ProblemError(409, "none of these is new: there is nothing to replay")
    begun = await replayrows.freeze(
        shared.database, chosen, selected=json.dumps(chosen.plain()), as_of=body.as_of, actor=caller.actor
    )
    _go_on(shared, begun, body, caller.actor)
    return await _replay(shared, begun.id)


@router.post("/replays/{replay_id}/pause", status_code=202, responses=documented(404, 409))
async def pause_replay(replay_id: Id, _: Operator, shared: SharedState) -> ReplayOut:
    """Let a replay rest, wherever it runs: what is under way comes to its end, nothing more is sent."""
    found = await _replay(shared, replay_id)
    is_here = shared.errands.ask_to_stop(_name(replay_id))
    if not is_here and not await replayrows.ask_to_rest(shared.database, replay_id):
        raise ProblemError(409, f"replay {replay_id} does not run: there is nothing to pause")
    return found


@router.post("/replays/{replay_id}/resume", status_code=202, responses=documented(404, 409))
async def resume_replay(replay_id: Id, caller: Operator, shared: SharedState, body: PaceIn | None = None) -> ReplayOut:
    """Go on with a replay that was paused or has stopped; each letter is sent once."""
    if (await _replay(shared, replay_id)).is_running or shared.errands.is_running(_name(replay_id)):
        raise ProblemError(409, f"replay {replay_id} is running")
    _go_on(shared, await replayrows.find(shared.database, replay_id), body or PaceIn(), caller.actor)
    return await _replay(shared, replay_id)


@router.post("/preview", responses=documented(409))
async def preview_replay(body: PreviewIn, _: Viewer, shared: SharedState) -> Preview:
    """Say what a replay would do now. Nothing is changed, printed or mailed, and nobody is held up."""
    chosen = body.chosen()
    if (await discarding.count(shared.database, chosen)).get("new", 0) > PREVIEW_MOST:
        raise ProblemError(409, f"more than {PREVIEW_MOST:,}: choose fewer, or use `leadline deadletters preview`")
    zone = shared.settings.tz if body.as_of == "original" else None
    async with open_database(
        shared.settings.database,
        application_name="leadline api preview",
        deadline_s=preview.DEADLINE_S,
        server_settings=preview.SERVER_SETTINGS,
    ) as database:
        return await preview.preview(database, chosen, preview.trials(shared.settings), as_of_zone=zone)


@router.post("/edit", responses=documented(409))
async def edit_dead_letters(body: EditManyIn, caller: Operator, shared: SharedState) -> EditedMany:
    """Change many bodies alike; each is saved if its service would take it, the others are left, and counted why."""
    change = editing.by_fields(body.set)
    return await edit_many(shared.database, body.chosen(), change, reader=shared.reference, actor=caller.actor)


@router.post("/discard", responses=documented())
async def discard_letters(body: DiscardIn, caller: Operator, shared: SharedState) -> Changed:
    """Put dead letters aside for good reason."""
    return await discarding.discard(shared.database, body.chosen(), reason=body.reason, actor=caller.actor)


@router.post("/undo", responses=documented())
async def undo_discard(body: UndoIn, caller: Operator, shared: SharedState) -> Changed:
    """Bring back what was discarded."""
    return await discarding.undo(shared.database, body.chosen(), actor=caller.actor, is_under_way=body.lost)


@router.get("", responses=documented())
async def list_dead_letters(
    _: Viewer,
    shared: SharedState,
    status: Status | None = None,
    group: Group = None,
    service: Service = None,
    since: Moment = None,
    until: Moment = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LetterRow]:
    """List dead letters in the order in which they came."""
    selection = Selection(None, group, service, since, until)
    after = paging.decode(cursor, 0)
    page = await listing.read_page(shared.database, selection, status=status, after=after, limit=limit)
    following = None if page.more_after is None else paging.encode(page.more_after)
    return Page(items=[LetterRow(**row) for row in page.dead_letters], next=following)


@router.get("/{letter_id}", responses=documented(404))
async def get_dead_letter(letter_id: Id, response: Response, _: Viewer, shared: SharedState) -> Whole:
    """Tell all of one dead letter: why it died, headers, body, and what was done to it."""
    with said(404):
        found = await listing.read_whole(shared.database, letter_id)
    response.headers["ETag"] = version_of(found.body)
    return found


@router.patch("/{letter_id}", responses=documented(404, 409, 412))
async def edit_dead_letter(
    letter_id: Id, body: EditIn, caller: Operator, shared: SharedState, if_match: IfMatch = None
) -> Edited:
    """Change the body; it is saved if its service would take it, else 409 says why not. What died is kept.

    With If-Match only if nobody else has changed it meanwhile.
    """
    if (body.body is None) is (body.set is None):
        raise ProblemError(422, "give either body or set")
    with said(404):
        await listing.read_whole(shared.database, letter_id)
    change = editing.by_content(body.body.encode()) if body.body is not None else editing.by_fields(body.set or ())

    def held(before: bytes) -> bytes:
        """What is compared here is what is saved over: nothing comes in between."""
        etags.hold(if_match, BodyVersion(body=listing.as_text(before)))
        return change(before)

    return await editing.edit(shared.database, letter_id, held, reader=shared.reference, actor=caller.actor)


def version_of(body: str) -> str:
    """Give the ETag of a dead letter: its body is what people change."""
    return etags.etag_of(BodyVersion(body=body))


def _name(replay_id: int) -> str:
    return f"replay {replay_id}"


def _go_on(shared: Shared, replay: Replay, pace: PaceIn, actor: str) -> None:
    """Run a replay from here on, beside the requests."""
    stop = asyncio.Event()
    run = Run(
        shared.database,
        shared.publisher,
        replay,
        Pace(pace.rate, pace.patience_s),
        zone=shared.settings.tz,
        actor=actor,
        stop=stop,
        show=lambda _: None,
    )

    async def to_its_end() -> None:
        await run.run()

    shared.errands.start(_name(replay.id), to_its_end(), stop)


async def _replay(shared: Shared, replay_id: int) -> ReplayOut:
    found = await _replays(shared, replay_id, BIGINT_MAX, 1)
    if not found:
        raise ProblemError(404, f"there is no replay {replay_id}")
    return found[0]


async def _replays(shared: Shared, replay_id: int | None, before: int, limit: int) -> list[ReplayOut]:
    values = {"id": replay_id, "before": before, "limit": limit}
    async with shared.database.reading() as connection:
        return [_out(dict(row)) for row in (await connection.execute(REPLAYS, values)).mappings()]


def _out(row: dict[str, Any]) -> ReplayOut:
    counts = row.pop("counts")
    return ReplayOut(
        **row,
        waiting=counts.get("waiting", 0),
        under_way=counts.get("claimed", 0) + counts.get("sent", 0),
        through=counts.get("through", 0),
        failed_again=counts.get("failed", 0),
        passed_over=counts.get("passed over", 0),
    )
