"""Pages out of templates. Everything is escaped; nothing is fetched from elsewhere, and no script stands in a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from services.api.console import sessions, words
from services.api.state import shared_of

PACKAGE = "services.api.console"
ASSETS = "/console/assets"
THEMES = ("light", "dark")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: By a page's path: its name, and the count that stands beside it.
PLACES = (
    ("/console/", "Now", None),
    ("/console/leads", "Leads", None),
    ("/console/unassigned", "Unassigned", "waiting"),
    ("/console/fairness", "Fairness", None),
    ("/console/routes", "Routes", None),
    ("/console/agents", "Agents", None),
    ("/console/sheets", "Sheets", "reviews"),
    ("/console/deadletters", "Dead letters", "dead"),
    ("/console/imports", "Import", None),
    ("/console/exports", "Export", None),
    ("/console/keys", "Keys", None),
)
FOR_ADMINS = frozenset({"/console/keys"})

Zones = Mapping[str, ZoneInfo]


def _environment() -> Environment:
    made = Environment(loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.lstrip_blocks = True
    made.filters |= {
        "number": words.number,
        "lasting": words.lasting,
        "filesize": words.size,
        "laid_out": laid_out,
        "plain": _plain,
    }
    made.globals |= {"plural": words.plural, "line": words.line, "assets": ASSETS, "stamp": _stamp()}
    return made


def laid_out(body: str) -> str:
    """Give JSON as people read it; what is none stays as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def _plain(value: object) -> str:
    match value:
        case None | "":
            return words.DASH
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name} {_plain(part)}" for name, part in value.items()) or words.DASH
        case list() | tuple():
            return ", ".join(map(_plain, value)) or words.DASH
    return str(value)


def _stamp() -> str:
    """Tell one state of the assets from another, so that a browser may keep them."""
    folder = files(PACKAGE) / "assets"
    content = b"".join(each.read_bytes() for each in sorted(folder.iterdir(), key=lambda each: each.name))
    return sha256(content).hexdigest()[:12]


ENVIRONMENT = _environment()


def when_in(zones: Zones, otherwise: ZoneInfo) -> Callable[..., Markup]:
    """Give what writes times: in the zone of the route that is named, else in ours."""

    def when(at: datetime | None, route: str | None = None) -> Markup:
        if at is None:
            return escape(words.DASH)
        shown = words.moment(at, zones.get(route or "", otherwise))
        return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), shown)

    return when


def fragment(template: str, **context: Any) -> str:
    """Give a part of a page."""
    rendered: str = ENVIRONMENT.get_template(template).render(**context)
    return rendered


async def page(request: Request, template: str, **context: Any) -> Response:
    """Give a page to who is logged in; what the last change came to is said on it."""
    shared, console, person = shared_of(request), request.app.state.console, request.state.person
    if is_for_people(request):  # a script that sends a file follows to a page that nobody sees
        await sessions.heard(shared.database, person)
    zones = await console.zones()
    counts = await console.counts()
    content = fragment(
        template,
        **_frame(request),
        person=person,
        csrf=Markup('<input type="hidden" name="csrf" value="{}">').format(person.csrf),
        notice=person.notice,
        places=[each for each in PLACES if each[0] not in FOR_ADMINS or person.may("admin")],
        counts=counts,
        when=when_in(zones, shared.settings.tz),
        **context,
    )
    return HTMLResponse(content, headers=HEADERS)


def bare(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Give a page without the frame of who is logged in."""
    return HTMLResponse(fragment(template, **_frame(request), **context), status, headers=HEADERS)


def problem(request: Request, answer: Response) -> Response:
    """Give a problem of the API as a page, or as the problem it is to who asked for no page."""
    kept = {name: value for name, value in answer.headers.items() if name in {"retry-after", "www-authenticate"}}
    if not is_for_people(request):
        answer.headers.update(HEADERS)
        return answer
    told = json.loads(bytes(answer.body))
    content = fragment("problem.html", **_frame(request), problem=told, back=_back(request))
    return HTMLResponse(content, answer.status_code, headers={**HEADERS, **kept})


def is_for_people(request: Request) -> bool:
    """Whether what asks shows pages."""
    return "text/html" in request.headers.get("accept", "")


def _back(request: Request) -> str:
    """Give the page to go back to: the longest place above the path."""
    path = request.url.path
    return max((place for place, _, _ in PLACES if path.startswith(place)), key=len, default="/console/")


def _frame(request: Request) -> dict[str, Any]:
    theme = request.cookies.get("leadline_theme")
    return {"path": request.url.path, "theme": theme if theme in THEMES else None}
