"""What may be told of an error, and what may not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from shared.errors import PLACES_MAX, described, in_short
from shared.events import LeadCreated

SECRET = "9812345678"


class UniqueViolationError(Exception):
    """As asyncpg raises them."""

    sqlstate = "23505"
    table_name, constraint_name, column_name = "leads", "one_phone", None
    message = f"a key of {SECRET} exists"


class IntegrityError(Exception):
    """As SQLAlchemy wraps them."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(f"[parameters: {SECRET}]")
        self.orig = orig


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_an_error_is_named_with_what_lies_under_it() -> None:
    """Types from the outside in, and the SQLSTATE."""
    assert in_short(IntegrityError(UniqueViolationError())) == (
        "IntegrityError from UniqueViolationError, SQLSTATE 23505"
    )
    assert in_short(KeyError(SECRET)) == "KeyError"


def test_a_description_has_names_and_places_but_no_values() -> None:
    """Of a database's error: the table, the constraint, where."""
    told = described(raised(IntegrityError(UniqueViolationError())))

    assert (told["table"], told["constraint"]) == ("leads", "one_phone")
    assert "column" not in told
    assert "tests/unit/test_errors.py" in told["where"][0]
    assert SECRET not in str(told)


def test_what_a_body_held_is_not_told() -> None:
    """Of pydantic's errors, which quote their input."""
    with pytest.raises(ValidationError, match=SECRET) as caught:
        LeadCreated.model_validate({"lead_id": "L1", "source": "META", "stage": SECRET})

    assert SECRET not in str(described(caught.value))


def test_the_places_are_bounded() -> None:
    """However deep it went."""

    def deeper(levels: int) -> None:
        if not levels:
            raise ValueError(SECRET)
        deeper(levels - 1)

    with pytest.raises(ValueError, match=SECRET) as caught:
        deeper(200)

    assert len(described(caught.value)["where"]) <= PLACES_MAX


@pytest.mark.parametrize(
    ("last", "event"),
    [
        ("raise ValueError(SECRET)", "process.died"),
        ("structlog.get_logger().error('told', exc_info=ValueError(SECRET))", "told"),
        ("logging.getLogger('a.library').error('told', exc_info=ValueError(SECRET))", "told"),
    ],
)
def test_no_log_has_an_errors_text(last: str, event: str) -> None:
    """Ours, a library's, and the last one of a process that dies of it."""
    program = (
        "import logging, structlog\n"
        "from shared.observability import configure_observability\n"
        "from shared.settings import Settings\n"
        "configure_observability('test', Settings())\n"
        f"SECRET = '{SECRET}'\n"
        f"{last}\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    (line,) = ran.stderr.splitlines()
    assert json.loads(line)["event"] == event
    assert json.loads(line)["exception"]["error"] == "ValueError"
    assert SECRET not in ran.stderr
