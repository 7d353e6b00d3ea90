"""What forms and addresses carry: a field that was left empty is not given."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query
from pydantic import BeforeValidator

from services.api.fields import Line, Word


def _blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


blank = BeforeValidator(_blank)
#: Of an address, and of a form.
WordQuery = Annotated[Word | None, blank, Query()]
WordField = Annotated[Word | None, blank, Form()]
LineField = Annotated[Line | None, blank, Form()]
Ids = Annotated[list[int], Form(max_length=10_000)]
