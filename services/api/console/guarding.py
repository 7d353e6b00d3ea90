"""What stands before every page: who asks, whether the form is ours, and errors as pages.

A page is reached by the cookie of a session alone; what changes something also carries the session's token, in the
field `csrf` or the header `X-CSRF-Token`, and comes from this very site, as far as the browser says.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from services.api import problems
from services.api.console import rendering, sessions
from services.api.console.sessions import Person
from services.api.problems import ProblemError
from services.api.state import Shared, shared_of
from services.cli.keys import Role

HOME = "/console/"
LOGIN = "/console/login"
COOKIE = "leadline_session"
SAFE = frozenset({"GET", "HEAD"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Page(APIRoute):
    """A route whose errors are pages, and which nobody reaches who is not logged in."""

    is_open = False

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.person = None
            try:
                _from_here(request)
                if not self.is_open:
                    refusal = await _let_in(request)
                    if refusal is not None:
                        return refusal
                return await answer(request)
            except Exception as error:  # answered as the API answers it, in words for people
                return rendering.problem(request, problems.of_error(error))
            finally:
                await request.close()  # files of a form, whatever became of it

        return guarded


class OpenPage(Page):
    """A page for anybody: the login."""

    is_open = True


async def _let_in(request: Request) -> Response | None:
    """Remember who asks; give the answer to who may not."""
    shared = shared_of(request)
    token = request.cookies.get(COOKIE, "")
    person = await sessions.find(shared.database, token) if token else None
    if person is None:
        return _to_login(request)
    if wait := request.app.state.console.rates.take(person.digest, time.monotonic()):
        raise ProblemError(429, "too many requests", headers={"Retry-After": str(int(wait) + 1)})
    request.state.person = person
    if request.method not in SAFE:
        await _hold_csrf(request, person)
    return None


def _to_login(request: Request) -> Response:
    if request.method not in SAFE or not rendering.is_for_people(request):
        raise ProblemError(401, "you are not logged in, or your session has ended: log in again")
    next_page = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{LOGIN}?next={quote(next_page, safe='')}", 303)


def _from_here(request: Request) -> None:
    """Refuse what another site makes a browser send; a client that is no browser says nothing, and has no cookie."""
    if request.method in SAFE:
        return
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not is_ours or site not in {"same-origin", "none"}:
        raise ProblemError(403, "the form does not come from this console")


async def _hold_csrf(request: Request, person: Person) -> None:
    given: object = request.headers.get("x-csrf-token")
    if given is None:
        given = (await request.form()).get("csrf")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), person.csrf.encode()):
        raise ProblemError(403, "the form is not one of your session: load the page again and send it again")


def needs(role: Role) -> Callable[..., Person]:
    """Give a dependency that lets only this role pass, and those above it."""

    def permitted(request: Request) -> Person:
        person: Person = request.state.person
        if not person.role.covers(role):
            raise ProblemError(403, f"this needs the role {role.value}; you are logged in as {person.role.value}")
        return person

    return permitted


Viewing = Annotated[Person, Depends(needs(Role.VIEWER))]
Operating = Annotated[Person, Depends(needs(Role.OPERATOR))]
Administering = Annotated[Person, Depends(needs(Role.ADMIN))]


def local(path: str) -> str:
    """Give a path of this console, or its first page for anything else: nobody is sent elsewhere."""
    is_ours = path.startswith(HOME) and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else HOME


async def done(shared: Shared, person: Person, notice: str, to: str) -> Response:
    """Answer a form that went well: the next page says so."""
    await sessions.say(shared.database, person, notice)
    return RedirectResponse(to, 303)
