"""What stands around every request: no body larger than allowed, and no error that is not a problem."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.problems import answer, of_error
from shared.messaging.facts import Answered

log = structlog.get_logger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Limits:
    """Refuses a body that is too large, as soon as it says so or has grown so; `upload_paths` may have larger ones."""

    def __init__(self, app: ASGIApp, *, most: int, upload_most: int, upload_paths: tuple[str, ...]) -> None:
        self._app = app
        self._most, self._upload_most, self._upload_paths = most, upload_most, upload_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        most = self._upload_most if scope["path"] in self._upload_paths else self._most
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            return await _too_large(most)(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, _words(most))
            return message

        return await self._app(scope, counted, send)


def _words(most: int) -> str:
    return f"the body may have {most:,} bytes"


def _too_large(most: int) -> ASGIApp:
    return answer(413, _words(most), headers={"Connection": "close"})


class LastResort:
    """Answers what no route and no handler has: the client gets a problem, the log the cause. Tells of every answer."""

    def __init__(self, app: ASGIApp, *, tell: Callable[[Answered], None]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def noticed(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._tell(Answered(method, message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            if scope["type"] != "http" or is_begun:
                log.exception("request.broken_off")
                return
            await of_error(error)(scope, receive, noticed)
