"""Pages by cursor: what was last shown, not how much. Nobody sees a row twice because others came meanwhile. Pure."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from services.api.problems import FieldProblem, ProblemError
from shared.messaging.envelope import BIGINT_MAX

T = TypeVar("T")

LIMIT_MAX = 1_000
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; nobody need know what it says.")
]


class Page(BaseModel, Generic[T]):
    """Some of many. `next`: the cursor of the page after this; null on the last."""

    items: list[T]
    next: str | None = Field(default=None, description="The cursor of the next page.")


def encode(last_id: int) -> str:
    """Give a cursor that goes on after a row."""
    return urlsafe_b64encode(json.dumps({"after": last_id}).encode()).decode().rstrip("=")


def decode(cursor: str | None, beginning: int) -> int:
    """Give the id after which a page goes on; problem 422 for what is no cursor of ours."""
    if cursor is None:
        return beginning
    try:
        after = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))["after"]
    except (ValueError, KeyError, TypeError, RecursionError):
        after = None
    if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after <= BIGINT_MAX:
        wrong = FieldProblem(field="query.cursor", problem="is no cursor of ours: give `next` of the page before")
        raise ProblemError(422, "the request is not as it should be", errors=[wrong])
    return after


def cut(rows: Sequence[T], limit: int, id_of: Callable[[T], int]) -> tuple[list[T], str | None]:
    """Give a page of one row more than asked for, and the cursor after it."""
    page = list(rows[:limit])
    return page, encode(id_of(page[-1])) if len(rows) > limit else None


def link(request: Request, response: Response, cursor: str | None) -> None:
    """Tell of the next page in the header Link (RFC 8288), for what is a bare list."""
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
