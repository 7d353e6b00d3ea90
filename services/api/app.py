"""The app: what stands around every request, and the routers, one a noun.

The console (`services/api/console/`) adds its pages to the same app; its paths are open to the gate, since its callers
come by a session and not by a key.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from services.api import documentation, health, problems
from services.api.access import Authenticate, ByKey, Gate
from services.api.console import mounting as console
from services.api.guards import LastResort, Limits
from services.api.looking import Looks
from services.api.observed import Observed
from services.api.routes import ROUTERS, UPLOAD_PATHS
from services.api.state import Shared
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.messaging.publisher import Publisher
from shared.settings import Settings
from shared.sheetstore import SheetStore

#: Open to anybody: health, and the document of what there is. What ends in a `/` is so with all that is below it.
OPEN_PATHS = (
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/redoc", documentation.ASSETS + "/"),
    "/files/",  # by signed links only
)

DESCRIPTION = """
Leads in, and what became of them. The API is a client of the same contract as any other: what changes leads is
published as an event, and this waits for its effect.

Errors are problem+json (RFC 9457). Lists give `next`, or a header `Link`, for the page after. What changes things is
the work of the role *operator*; keys and webhooks are an *admin*'s.
"""


class App(FastAPI):
    """FastAPI, whose document tells errors as the problems that they are."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
                openapi_version="3.1.0",
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs")
            schemas["Problem"] = problem
            self.openapi_schema = document
        return self.openapi_schema


def create_app(
    settings: Settings,
    database: Database,
    publisher: Publisher,
    *,
    authenticate: Authenticate | None = None,
    observed: Observed | None = None,
) -> FastAPI:
    """Give the app on what is open already. Whoever runs it calls `close` of its `state.shared` afterwards.

    `observed`: what /metrics shows, where more than the app's own answers is told to it.
    """
    app = App(
        title="Leadline",
        version=version("leadline"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.state.observed = observed or Observed()
    app.state.shared = Shared(
        settings=settings,
        database=database,
        publisher=publisher,
        looks=Looks(database),
        store=SheetStore(settings.sheets_dir),
        reference=ReferenceReader(settings.default_region, settings.tz),
    )
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(health.router)
    documentation.install(app)
    console.install(app, settings, database)
    problems.install(app)
    # The last that is added is the first that a request meets.
    app.add_middleware(
        Limits,
        most=settings.api_body_bytes,
        upload_most=settings.api_upload_bytes,
        upload_paths=UPLOAD_PATHS + console.UPLOAD_PATHS,
    )
    app.add_middleware(
        Gate,
        authenticate=authenticate or ByKey(database),
        open_paths=OPEN_PATHS + console.OPEN_PATHS,
        rate=settings.api_rate,
    )
    app.add_middleware(LastResort, tell=app.state.observed.observe)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
