"""Now: the pipeline as a picture, what each replica says, how much comes and how fast it is given; live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from services.api.console import rendering
from services.api.console.guarding import Page, Viewing
from services.api.console.live import STREAMS_MOST, Look
from services.api.console.looks import Now, Watch
from services.api.console.queues import Queue, Seen
from services.api.console.rendering import fragment, when_in
from services.api.console.state import Console
from services.api.console.words import number, plural
from services.api.problems import ProblemError
from services.api.state import Shared, SharedState
from services.cli.replicas import Replica, outages, read_replicas

router = APIRouter(prefix="/console", route_class=Page)

EVERY_S = 1.0
COUNTS_EVERY_S = 5.0
#: Seconds after which a page that was refused its stream asks again.
FULL_RETRY_S = 15
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
    """A service as it looks from outside, and as its replicas tell. `state`: works, waits, ails, nobody, unknown."""

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


def station(
    name: str, does: str, queues: list[Queue], rate: float | None, unit: str, replicas: Sequence[Replica] = ()
) -> Station:
    """Say how a service is, by its queues and by what its replicas say themselves."""
    state, words = _state(queues, replicas)
    if not queues:
        return Station(name, does, state, words, None, None, None, False, rate, unit)
    filled = [each for each in queues if each.ready]
    known = [each.oldest_s for each in filled if each.oldest_s is not None]
    return Station(
        name,
        does,
        state,
        words,
        ready=sum(each.ready for each in queues),
        consumers=min(each.consumers for each in queues),
        oldest_s=max(known, default=None),
        is_older=len(known) < len(filled),
        rate=rate,
        unit=unit,
    )


def _state(queues: Sequence[Queue], replicas: Sequence[Replica]) -> tuple[str, str]:
    living = [each for each in replicas if not each.is_silent]
    ailing = [each for each in living if not each.is_well]
    consumers = min((each.consumers for each in queues), default=None)
    if consumers == 0 and not ailing:
        return "nobody", "ready by its own word, and nobody consumes" if living else "nobody consumes: not running"
    if replicas and len(ailing) == len(living):  # all say why not, or none says anything
        return "nobody", (ailing or replicas)[0].words
    if consumers is None:
        return "unknown", "not known: the broker does not answer"
    if ailing:
        return "ails", f"{len(ailing)} of {plural(len(living), 'replica')}: {ailing[0].words}"
    return ("works", "at work") if any(each.ready for each in queues) else ("waits", "up, nothing to do")


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
    """Give a stream of server-sent events; problem 429 to a session that has too many open."""
    if console.live.is_full(session):
        words = f"{plural(STREAMS_MOST, 'page')} live already: close some; this one shows how things stood"
        raise ProblemError(429, words, headers={"Retry-After": str(FULL_RETRY_S)})
    frames = console.live.watch(name, look, every_s, session)
    return StreamingResponse(frames, media_type="text/event-stream", headers=STREAM)


def count_parts(counts: Mapping[str, Any]) -> dict[str, str]:
    """Give the counts as they stand beside the names of the pages; 0 is not shown."""
    return {f"count-{name}": number(counts[name]) if counts[name] else "" for name in ("waiting", "dead", "reviews")}


def _look(shared: Shared, console: Console, watch: Watch) -> Look:
    async def look() -> Mapping[str, str]:
        seen, queues, counts = await watch.look(), await console.queues.look(), await console.counts()
        replicas = await read_replicas(shared.database)
        return _parts(seen, queues, replicas, counts, when_in(await console.zones(), shared.settings.tz))

    return look


def _parts(
    seen: Now, queues: Seen, replicas: Sequence[Replica], counts: Mapping[str, Any], when: Callable[..., Markup]
) -> dict[str, str]:
    stations = [
        station(
            name,
            does,
            [queues.queues[each] for each in of if each in queues.queues],
            seen.rates.get(rate),
            unit,
            [each for each in replicas if each.service == name],
        )
        for name, does, of, rate, unit in SERVICES
    ]
    beside = [(words, queues.queues.get(name)) for name, words in BESIDE]
    wrong = [*([queues.problem] if queues.problem else []), *_missing(stations, beside, replicas), *outages(replicas)]
    return {
        "pipeline": fragment("now_pipeline.html", stations=stations, beside=beside, retry=queues.retry, counts=counts),
        "outages": fragment("now_outages.html", outages=wrong).strip(),
        "figures": fragment("now_figures.html", seen=seen, counts=counts),
        "latest": fragment("now_latest.html", rows=seen.latest, when=when),
        "replicas": fragment("now_replicas.html", replicas=replicas, when=when),
        "said": _said(seen, counts, wrong),
        **count_parts(counts),
    }


def _missing(
    stations: Sequence[Station], beside: Sequence[tuple[str, Queue | None]], replicas: Sequence[Replica]
) -> list[str]:
    """Say which services nobody does; of those beside, where something waits. What replicas say themselves is told."""
    told = {each.service for each in replicas if not each.is_well}
    missing = [f"{each.name}: {each.words}" for each in stations if each.state == "nobody" and each.name not in told]
    left = [(words, queue) for words, queue in beside if queue is not None and queue.ready and not queue.consumers]
    return missing + [f"{words}: {plural(queue.ready, 'message')} and nobody consumes" for words, queue in left]


def _said(seen: Now, counts: Mapping[str, Any], wrong: Sequence[str]) -> str:
    """Say in one sentence what a screen reader tells now and then."""
    last = seen.latest[0] if seen.latest else None
    latest = fragment("now_said.html", last=last)
    services = "; ".join(wrong) or "all services up"
    return f"{latest} {plural(counts['waiting'], 'lead')} waiting. {services}."
