"""The OpenAPI document against the live API: nothing that it does not say, and nothing that it breaks.

`LEADLINE_SCHEMATHESIS_EXAMPLES` (2) says how many requests of each kind are made for an operation.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from tests.api import Api

EXAMPLES = int(os.environ.get("LEADLINE_SCHEMATHESIS_EXAMPLES", "2"))
WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


# The services in this process draw from the same generator as the strategies, at the same time.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
async def test_nothing_is_answered_that_the_document_does_not_say(api: Api) -> None:
    """No 5xx, no undocumented answer, no breach of a schema, whatever is sent."""
    operator = await api.post("/operators", {"name": "Ann Example"})
    source = await api.post("/sources", {"name": "Shop"})
    await api.post(f"/sources/{source['id']}/weights", [{"operator_id": operator["id"], "weight": 1}], expect=200)
    await api.post("/requests", {"lead_external_id": "customer", "source_id": source["id"]})
    await api.post("/webhooks", {"url": "https://crm.example.com/hook", "events": ["lead.assigned"]})

    problems = await asyncio.to_thread(try_all, api)

    assert not problems, "\n\n".join(problems)


def try_all(api: Api) -> list[str]:
    headers = {"X-API-Key": api.key}
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    checks: list[Callable[..., Any]] = [CHECKS.get_one(name) for name in WANTED]
    problems: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > 50
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def attempt(case: schemathesis.Case[Any]) -> None:
                try:
                    case.call_and_validate(headers=headers, checks=checks, timeout=20)
                except BaseException as error:  # all of them are to be told
                    problems.append(f"{case.method} {case.formatted_path}: {error}"[:2_000])

            with suppress(Unsatisfiable):  # nothing about it can be wrong: it asks for nothing
                attempt()
    return problems
