"""Now: the pipeline as a picture, how much comes and how fast it is given, the newest assignments; live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from services.api.console import rendering
from services.api.console.guarding import Page, Viewing
from services.api.console.live import Look
from services.api.console.looks import Now, Watch
from services.api.console.queues import Queue, Seen
from services.api.console.rendering import fragment, when_in
from services.api.console.state import Console
from services.api.console.words import number, plural
from services.api.state import Shared, SharedState

router = APIRouter(prefix="/console", route_class=Page)

EVERY_S = 1.0
COUNTS_EVERY_S = 5.0
STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
#: The four services in the order of a lead's way: what each does, its queues, and whose rows tell its rate.
SERVICES = (
    ("ingest", "takes leads in", ("ingest",), "leads", "leads"),
    ("assigner", "gives each to an agent", ("assigner", "assigner.lots"), "assigned", "assigned"),
    ("documents", "prints the sheets", ("documents",), "sheets", "sheets"),
    ("notifier", "mails them", ("notifier",), "mails", "mails"),
)
BESIDE = (("webhooks", "webhooks"), ("dead", "dead letters"))


@dataclass(frozen=True, slots=True)
class Station:
    """A service as it looks from outside. `state`: works, waits, nobody, unknown."""

    name: str
    does: str
    state: str
    words: str
    ready: int | None
    consumers: int | None
    oldest_s: float | None
    is_older: bool
    rate: float | None
    unit: str


def station(name: str, does: str, queues: list[Queue], rate: float | None, unit: str) -> Station:
    """Say how a service is, by its queues."""
    if not queues:
        return Station(
            name, does, "unknown", "not known: the broker does not answer", None, None, None, False, rate, unit
        )
    ready, consumers = sum(each.ready for each in queues), min(each.consumers for each in queues)
    filled = [each for each in queues if each.ready]
    known = [each.oldest_s for each in filled if each.oldest_s is not None]
    state, words = "waits", "up, nothing to do"
    if not consumers:
        state, words = "nobody", "nobody consumes: not running"
    elif ready:
        state, words = "works", "at work"
    is_older = len(known) < len(filled)
    return Station(name, does, state, words, ready, consumers, max(known, default=None), is_older, rate, unit)


@router.get("/")
async def now_page(request: Request, _: Viewing, shared: SharedState) -> Response:
    """Show how things stand; the page goes on by itself."""
    parts = await _look(shared, request.app.state.console, Watch(shared.database))()
    return await rendering.page(request, "now.html", parts=parts)


@router.get("/live/now")
async def live_now(request: Request, person: Viewing, shared: SharedState) -> Response:
    """Stream the parts of the page."""
    console: Console = request.app.state.console
    look = _look(shared, console, Watch(shared.database))
    return stream(console, "now", look, EVERY_S, person.digest)


@router.get("/live/counts")
async def live_counts(request: Request, person: Viewing) -> Response:
    """Stream the counts beside the names of the pages."""
    console: Console = request.app.state.console

    async def look() -> Mapping[str, str]:
        return count_parts(await console.counts())

    return stream(console, "counts", look, COUNTS_EVERY_S, person.digest)


def stream(console: Console, name: str, look: Look, every_s: float, session: bytes) -> Response:
    """Give a stream of server-sent events."""
    frames = console.live.watch(name, look, every_s, session)
    return StreamingResponse(frames, media_type="text/event-stream", headers=STREAM)


def count_parts(counts: Mapping[str, Any]) -> dict[str, str]:
    """Give the counts as they stand beside the names of the pages; 0 is not shown."""
    return {f"count-{name}": number(counts[name]) if counts[name] else "" for name in ("waiting", "dead", "reviews")}


def _look(shared: Shared, console: Console, watch: Watch) -> Look:
    async def look() -> Mapping[str, str]:
        seen, queues, counts = await watch.look(), await console.queues.look(), await console.counts()
        return _parts(seen, queues, counts, await console.zones(), shared.settings.tz)

    return look


def _parts(
    seen: Now, queues: Seen, counts: Mapping[str, Any], zones: Mapping[str, ZoneInfo], zone: ZoneInfo
) -> dict[str, str]:
    stations = [
        station(name, does, [queues.queues[each] for each in of if each in queues.queues], seen.rates.get(rate), unit)
        for name, does, of, rate, unit in SERVICES
    ]
    beside = [(words, queues.queues.get(name)) for name, words in BESIDE]
    outages = [f"{each.name}: {each.words}" for each in stations if each.state == "nobody"]
    if queues.problem:
        outages.append(queues.problem)
    when = when_in(zones, zone)
    return {
        "pipeline": fragment("now_pipeline.html", stations=stations, beside=beside, retry=queues.retry, counts=counts),
        "outages": fragment("now_outages.html", outages=outages).strip(),
        "figures": fragment("now_figures.html", seen=seen, counts=counts),
        "latest": fragment("now_latest.html", rows=seen.latest, when=when),
        "said": _said(seen, counts, outages),
        **count_parts(counts),
    }


def _said(seen: Now, counts: Mapping[str, Any], outages: list[str]) -> str:
    """Say in one sentence what a screen reader tells now and then."""
    last = seen.latest[0] if seen.latest else None
    latest = fragment("now_said.html", last=last)
    wrong = "; ".join(outages) or "all services up"
    return f"{latest} {plural(counts['waiting'], 'lead')} waiting. {wrong}."
