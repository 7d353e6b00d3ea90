"""Parameters of a route: read from its JSON, or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from services.assigner.policies import POLICIES
from services.assigner.policies.even_split import EvenSplitParams
from services.assigner.policies.fair import FairParams
from services.assigner.policies.params import Params, ParamsError, read_params


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (FairParams, {}, FairParams()),
        (FairParams, {"count": "agent"}, FairParams(count="agent")),
        (FairParams, {"newcomers": "average", "stage_below": 2}, FairParams(newcomers="average", stage_below=2)),
        (Params, {"stage_below": None, "max_age_days": 0}, Params(max_age_days=0)),
        (
            EvenSplitParams,
            {},
            EvenSplitParams(ceiling=450, stage_below=4, max_age_days=45, raise_stage=True, ends_unbegun=True),
        ),
        (EvenSplitParams, {"ceiling": 10, "max_age_days": None}, EvenSplitParams(ceiling=10, max_age_days=None)),
    ],
)
def test_what_is_not_set_is_the_policys_default(kind: type[Params], given: dict[str, Any], expected: Params) -> None:
    assert read_params(kind, given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": "store"}, "count: must be one of route, agent, not 'store'"),
        ({"count": None}, "count: must be one of route, agent, not None"),
        ({"count": ["agent"]}, "count: must be one of route, agent, not ['agent']"),
        ({"raise_stage": 1}, "raise_stage: must be true or false, not 1"),
        ({"stage_below": 0}, "stage_below: must be a whole number from 1 or null, not 0"),
        ({"stage_below": True}, "stage_below: must be a whole number from 1 or null, not True"),
        ({"max_age_days": -1}, "max_age_days: must be a whole number from 0 or null, not -1"),
        ({"max_age_days": 4.5}, "max_age_days: must be a whole number from 0 or null, not 4.5"),
        (
            {"counts": "route"},
            "counts: no such parameter; there are: "
            "stage_below, max_age_days, raise_stage, ends_unbegun, newcomers, count",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        read_params(FairParams, given)
    assert str(error.value) == message


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_policy_reads_its_own(policy: Any) -> None:
    assert read_params(policy.params, {"newcomers": "zero"}) == policy.params(newcomers="zero")
