"""Versions of what is read, so that nobody overwrites what they have not seen. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from services.api.problems import ProblemError

IfMatch = Annotated[str | None, Header(max_length=200, description="The ETag of what you have read.")]


def etag_of(value: BaseModel) -> str:
    """Give the ETag of a value: two that differ anywhere have different ones."""
    return f'"{sha256(value.model_dump_json().encode()).hexdigest()[:32]}"'


def hold(if_match: str | None, value: BaseModel, *, is_required: bool = False) -> None:
    """Refuse a change of what is not as the caller has read it: 412; or, where it must be said, 428."""
    if if_match is None:
        if is_required:
            raise ProblemError(428, "give If-Match with the ETag of what you have read, or * to overwrite anything")
        return
    known = {each.strip().removeprefix("W/") for each in if_match.split(",")}
    if "*" not in known and etag_of(value) not in known:
        raise ProblemError(412, "somebody else has changed it since you have read it: read it again")
