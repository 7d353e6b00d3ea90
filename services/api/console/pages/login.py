"""Logging in by a key, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from services.api.console import attempts, rendering, sessions
from services.api.console.attempts import Refusal
from services.api.console.guarding import COOKIE, HOME, LOGIN, OpenPage, Page, Viewing, local
from services.api.state import SharedState

router = APIRouter(prefix="/console", route_class=OpenPage)
inside = APIRouter(prefix="/console", route_class=Page)

WRONG = "That key is not known, or was revoked, or has expired."


@router.get("/login")
async def login_page(
    request: Request, next_page: Annotated[str, Query(alias="next", max_length=2_000)] = HOME
) -> Response:
    """Ask for a key."""
    return rendering.bare(request, "login.html", next_page=local(next_page), wrong=None)


@router.post("/login")
async def log_in(
    request: Request,
    shared: SharedState,
    key: Annotated[str, Form(max_length=500)] = "",
    next_page: Annotated[str, Form(alias="next", max_length=2_000)] = HOME,
) -> Response:
    """Exchange a key for a session. The cookie is the browser's alone: no script reads it, no other site sends it."""
    address = request.client.host if request.client else ""
    number = await attempts.attempt(shared.database, address)
    if isinstance(number, Refusal):
        return _again(request, next_page, number.value.capitalize() + ".", 429)
    token = await sessions.begin(shared.database, key.strip(), address)
    if token is None:
        return _again(request, next_page, WRONG, 401)
    await attempts.take_back(shared.database, number)
    response = RedirectResponse(local(next_page), 303, headers=rendering.HEADERS)
    response.set_cookie(
        COOKIE,
        token,
        max_age=sessions.MOST_H * 3_600,
        path="/console",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@inside.post("/logout")
async def log_out(request: Request, _: Viewing, shared: SharedState) -> Response:
    """End the session, here and for whoever has its cookie."""
    await sessions.end(shared.database, request.cookies[COOKIE])
    response = RedirectResponse(LOGIN, 303, headers=rendering.HEADERS)
    response.delete_cookie(COOKIE, path="/console")
    return response


def _again(request: Request, next_page: str, wrong: str, status: int) -> Response:
    return rendering.bare(request, "login.html", status=status, next_page=local(next_page), wrong=wrong)
