"""Every error as problem+json (RFC 9457): what is wrong, where, and what to do. Never a traceback, never a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import structlog
from asyncpg import PostgresError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from services.cli.configproblems import ConfigError
from services.cli.failures import CommandError
from services.ingest.files import ImportFileError
from shared.errors import sqlstate_of
from shared.messaging import failures
from shared.messaging.broker import BROKER_ERRORS
from shared.outage import DependencyGoneError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
#: Values that PostgreSQL cannot take: a text with NUL, a number out of range.
DATA_EXCEPTION = "22"

DESCRIPTIONS = {
    400: "The body cannot be read.",
    401: "No key, or one that is not known, revoked or expired.",
    403: "The key's role may not do this.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    410: "It is there no more.",
    412: "Somebody else has changed it since: read it again.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    422: "Something in the request is wrong; `errors` says what and where.",
    428: "Say by If-Match which version you have read.",
    429: "Too many requests; Retry-After says when to go on.",
    503: "Database or broker is away; Retry-After says when to try again.",
}
#: What any operation may answer.
COMMON = (400, 401, 403, 422, 429, 503)


class FieldProblem(BaseModel):
    """One field and what is wrong with it."""

    field: str
    problem: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """Ends a request with this problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, errors, headers


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give what the OpenAPI document says of these answers, and of what any operation may answer."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": DESCRIPTIONS[status], "content": content} for status in sorted({*COMMON, *statuses})
    }


@contextmanager
def said(status: int) -> Iterator[None]:
    """Answer with this status what a command would say in one line."""
    try:
        yield
    except CommandError as error:
        raise ProblemError(status, str(error)) from error


def answer(
    status: int,
    detail: str | None = None,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Give the response."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors) if errors else None
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def away(what: str) -> Response:
    """Give the answer of a dependency that does not answer."""
    return answer(503, f"the {what} does not answer; try again", headers={"Retry-After": str(RETRY_AFTER_S)})


def of_error(error: Exception) -> Response:
    """Give the response to an error that ends a request; what nobody foresaw is logged, and 500."""
    return _of_request(error) or _of_dependency(error) or _unforeseen(error)


def _of_request(error: Exception) -> Response | None:
    """What the caller has asked for is the matter."""
    match error:
        case ProblemError():
            return answer(error.status, error.detail, errors=error.errors, headers=error.headers)
        case HTTPException():
            return answer(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError() | ValidationError():
            return answer(422, "the request is not as it should be", errors=_fields(error))
        case ConfigError():
            errors = [FieldProblem(field=each.path, problem=each.text) for each in error.problems]
            return answer(422, "the configuration cannot be so", errors=errors)
        case CommandError() | ImportFileError():
            return answer(409 if isinstance(error, CommandError) else 422, str(error))
    return None


def _of_dependency(error: Exception) -> Response | None:
    match error:
        case DependencyGoneError():
            return away(error.dependency)
        case DBAPIError() | PostgresError():
            return _of_database(error)
    return away("broker") if isinstance(error, BROKER_ERRORS) else None


def _of_database(error: DBAPIError | PostgresError) -> Response | None:
    if (sqlstate_of(error) or "").startswith(DATA_EXCEPTION):
        return answer(422, "a value is not one that can be stored or looked for")
    match failures.classify(error):
        case failures.Again():
            return answer(503, "others hold what this needs; try again", headers={"Retry-After": "1"})
        case failures.Outage():
            return away("database")
    return None


def _unforeseen(error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return answer(500, "something went wrong here; it is in the log")


def _fields(error: RequestValidationError | ValidationError) -> list[FieldProblem]:
    return [
        FieldProblem(field=".".join(str(part) for part in each["loc"]), problem=each["msg"]) for each in error.errors()
    ]


def install(app: FastAPI) -> None:
    """Answer every error of an app so."""

    async def handle(_: Request, error: Exception) -> Response:
        return of_error(error)

    foreseen = (
        ProblemError,
        HTTPException,
        RequestValidationError,
        ValidationError,
        ConfigError,
        CommandError,
        ImportFileError,
        DependencyGoneError,
        DBAPIError,
        PostgresError,
        *BROKER_ERRORS,
    )
    for kind in foreseen:
        app.add_exception_handler(kind, handle)
