"""Puts the console on the app."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from services.api.console import rendering
from services.api.console.pages import ROUTERS
from services.api.console.state import Console
from shared.db.session import Database
from shared.settings import Settings

#: Open to the gate of keys: who comes here is let in by a session.
OPEN_PATHS = ("/console", "/console/")
#: Where a body may be as large as a file.
UPLOAD_PATHS = ("/console/imports", "/console/sheets")


class Assets(StaticFiles):
    """Files that a browser keeps, since their address changes with them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def install(app: FastAPI, settings: Settings, database: Database) -> None:
    """Add pages, assets and what they share."""
    app.state.console = Console(settings, database)
    for router in ROUTERS:
        app.include_router(router, include_in_schema=False)
    folder = Path(str(files(rendering.PACKAGE))) / "assets"
    app.mount(rendering.ASSETS, Assets(directory=folder), name="console-assets")
    app.add_api_route("/console", _home, include_in_schema=False, methods=["GET"])


async def _home(_: Request) -> Response:
    return RedirectResponse("/console/", 303)
