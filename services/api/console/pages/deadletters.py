"""Dead letters: groups; one with why it died, edited; what a replay would do, and a replay as it goes; put aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.fields import LineField, WordField, WordQuery, blank
from services.api.console.pages.leads import next_url
from services.api.console.pages.now import count_parts, stream
from services.api.console.rendering import fragment, when_in
from services.api.console.state import Console
from services.api.console.words import plural
from services.api.fields import Id
from services.api.paging import Cursor
from services.api.problems import said
from services.api.routes import deadletters as api
from services.api.state import Shared, SharedState
from services.cli.deadletters import listing
from shared.messaging.envelope import BODY_MAX_BYTES

router = APIRouter(prefix="/console/deadletters", route_class=Page)

PAGE = 100
EVERY_S = 1.0
HERE = "/console/deadletters"

Status = Annotated[api.Status | None, blank, Query()]
Chosen = Annotated[list[int] | None, Form(max_length=10_000)]
Rate = Annotated[float, Form(ge=0.1, le=10_000)]
Body = Annotated[str, Form(max_length=BODY_MAX_BYTES)]


@router.get("")
async def groups_page(request: Request, person: Viewing, shared: SharedState, status: Status = "new") -> Response:
    """Count dead letters by what failed and where; and the newest replays."""
    chosen: api.Status = status or "new"
    groups = (await listing.read_groups(shared.database, status=chosen)).groups
    replays = await api.list_replays(person, shared, limit=10)
    return await rendering.page(
        request,
        "deadletters.html",
        groups=groups,
        replays=replays.items,
        status=chosen,
        statuses=listing.STATUSES,
    )


@router.get("/letters")
async def letters_page(
    request: Request,
    person: Viewing,
    shared: SharedState,
    group: WordQuery = None,
    status: Status = None,
    cursor: Cursor = None,
) -> Response:
    """List dead letters, of a group or all."""
    found = await api.list_dead_letters(person, shared, status=status, group=group, limit=PAGE, cursor=cursor)
    return await rendering.page(
        request,
        "letters.html",
        found=found,
        group=group,
        status=status,
        statuses=listing.STATUSES,
        preview=None,
        next_url=next_url(request, found.next),
    )


@router.post("/preview")
async def preview(
    request: Request, person: Operating, shared: SharedState, group: WordField = None, ids: Chosen = None
) -> Response:
    """Say what a replay would do now. Nothing is changed, printed or mailed."""
    told = await api.preview_replay(api.PreviewIn(ids=ids, group=group), person, shared)
    found = await api.list_dead_letters(person, shared, status="new", group=group, limit=PAGE)
    return await rendering.page(
        request,
        "letters.html",
        found=found,
        group=group,
        status="new",
        statuses=listing.STATUSES,
        preview=told.groups,
        next_url=f"{HERE}/letters?{'group=' + group + '&' if group else ''}status=new&cursor={found.next or ''}",
    )


@router.post("/replays")
async def begin_replay(
    person: Operating, shared: SharedState, group: WordField = None, ids: Chosen = None, rate: Rate = 50
) -> Response:
    """Send them back: 1, then 5, 20, 100, then the rest at the rate."""
    begun = await api.begin_replay(api.ReplayIn(ids=ids, group=group, rate=rate), person, shared)
    return await done(shared, person, f"Replay {begun.id} has begun.", f"{HERE}/replays/{begun.id}")


@router.get("/replays/{replay_id}")
async def replay_page(request: Request, replay_id: Id, person: Viewing, shared: SharedState) -> Response:
    """Show how far a replay is; it goes on by itself."""
    parts = await _parts(shared, request.app.state.console, person, replay_id)
    return await rendering.page(request, "replay.html", replay_id=replay_id, parts=parts)


@router.get("/replays/{replay_id}/live")
async def live_replay(request: Request, replay_id: Id, person: Viewing, shared: SharedState) -> Response:
    """Stream how far it is."""
    console: Console = request.app.state.console
    await api.get_replay(replay_id, person, shared)

    async def look() -> Mapping[str, str]:
        return await _parts(shared, console, person, replay_id)

    return stream(console, f"replay {replay_id}", look, EVERY_S, person.digest)


@router.post("/replays/{replay_id}/pause")
async def pause(replay_id: Id, person: Operating, shared: SharedState) -> Response:
    """Let it rest: what is under way comes to its end."""
    await api.pause_replay(replay_id, person, shared)
    return await done(shared, person, f"Replay {replay_id} rests.", f"{HERE}/replays/{replay_id}")


@router.post("/replays/{replay_id}/resume")
async def resume(replay_id: Id, person: Operating, shared: SharedState, rate: Rate = 50) -> Response:
    """Go on; each letter is sent once."""
    await api.resume_replay(replay_id, person, shared, api.PaceIn(rate=rate))
    return await done(shared, person, f"Replay {replay_id} goes on.", f"{HERE}/replays/{replay_id}")


@router.post("/discarded")
async def discard(
    person: Operating, shared: SharedState, reason: LineField = None, group: WordField = None, ids: Chosen = None
) -> Response:
    """Put them aside, and say why nobody needs them."""
    changed = await api.discard_letters(api.DiscardIn(ids=ids, group=group, reason=reason or ""), person, shared)
    return await done(shared, person, f"{plural(changed.changed, 'dead letter')} put aside.", HERE)


@router.post("/undone")
async def undo(person: Operating, shared: SharedState, group: WordField = None, ids: Chosen = None) -> Response:
    """Bring back what was put aside."""
    changed = await api.undo_discard(api.UndoIn(ids=ids, group=group), person, shared)
    return await done(shared, person, f"{plural(changed.changed, 'dead letter')} brought back.", HERE)


@router.get("/{letter_id}")
async def letter_page(request: Request, letter_id: Id, _: Viewing, shared: SharedState) -> Response:
    """Tell all of one: why it died, headers, body, what was done to it."""
    with said(404):
        whole = await listing.read_whole(shared.database, letter_id)
    version = api.version_of(whole.body)
    return await rendering.page(request, "letter.html", whole=whole, letter=whole.dead_letter, version=version)


@router.post("/{letter_id}")
async def edit(
    letter_id: Id, person: Operating, shared: SharedState, body: Body, version: WordField = None
) -> Response:
    """Change the body; saved if its service would take it, and if nobody else has changed it since it was shown."""
    asked = api.EditIn(body=body.replace("\r\n", "\n"))
    edited = await api.edit_dead_letter(letter_id, asked, person, shared, version)
    words = "The body is saved: its service would take it." if edited.is_changed else "Nothing was different."
    return await done(shared, person, words, f"{HERE}/{letter_id}")


async def _parts(shared: Shared, console: Console, person: Viewing, replay_id: int) -> dict[str, str]:
    replay = await api.get_replay(replay_id, person, shared)
    when = when_in(await console.zones(), shared.settings.tz)
    return {"replay": fragment("replay_part.html", replay=replay, when=when), **count_parts(await console.counts())}
