"""Values as they come in by path, query and body: within what the database can hold and look for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from shared.events import LEAD_ID_MAX_BYTES
from shared.messaging.envelope import BIGINT_MAX


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("storable", "must not have the character NUL (U+0000) or half a character")
    return text


storable = AfterValidator(_storable)
Id = Annotated[int, Path(ge=1, le=BIGINT_MAX)]
IdQuery = Annotated[int | None, Query(ge=1, le=BIGINT_MAX)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), storable]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000), storable]
Prose = Annotated[str, StringConstraints(max_length=20_000), storable]
LeadIdText = Annotated[str, StringConstraints(min_length=1, max_length=LEAD_ID_MAX_BYTES), storable]
