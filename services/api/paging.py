"""Pages by cursor: what was last shown, not how much. Nobody sees a row twice because others came meanwhile."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import TextClause

from services.api.problems import FieldProblem, ProblemError
from shared.db.session import Database
from shared.messaging.envelope import BIGINT_MAX

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

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


@dataclass(frozen=True, slots=True)
class BarePage:
    """A page of a bare list, as mini-crm has them: the header Link (RFC 8288) tells of the next one."""

    request: Request
    response: Response
    limit: int
    cursor: str | None

    def values(self, name: str, beginning: int) -> dict[str, int]:
        """Give what a statement needs: the id after (or before) which the page begins, and one row more than it has."""
        return {name: decode(self.cursor, beginning), "limit": self.limit + 1}

    def cut(self, rows: Sequence[T], id_of: Callable[[T], int]) -> list[T]:
        """Give the page of these rows, and tell of the one after it."""
        page, following = cut(rows, self.limit, id_of)
        if following is not None:
            url = self.request.url.include_query_params(cursor=following)
            self.response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        return page

    async def read(self, database: Database, statement: TextClause, kind: type[M]) -> list[M]:
        """Read the page in the order of ids."""
        async with database.reading() as connection:
            rows = (await connection.execute(statement, self.values("after", 0))).mappings().all()
        return [kind(**row) for row in self.cut(rows, lambda row: int(row["id"]))]


def _whole(request: Request, response: Response, limit: Limit = LIMIT_MAX, cursor: Cursor = None) -> BarePage:
    return BarePage(request, response, limit, cursor)


def _some(request: Request, response: Response, limit: Limit = 100, cursor: Cursor = None) -> BarePage:
    return BarePage(request, response, limit, cursor)


#: Of what there are few, as many as can be; of what there are many, a hundred, if nobody says.
WholePage = Annotated[BarePage, Depends(_whole)]
SomePage = Annotated[BarePage, Depends(_some)]
