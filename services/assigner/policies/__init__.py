"""Who gets which lead: one pure function a file, each with its algorithm's version. Old versions stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.assigner.facts import Lead, Member, Route
from services.assigner.policies import capped_lot, even_split, fair, first_fit, smooth_weighted, weighted_random
from services.assigner.policies.accounts import Account
from services.assigner.policies.choices import Answer
from services.assigner.policies.params import Params, ParamsError, read_params

STREAM_OR_LOT = frozenset({"stream", "lot"})
LOT = frozenset({"lot"})


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy by the name that routes use, in its current version."""

    name: str
    algorithm: str
    #: Leads of one store, in the order of arrival (in a lot it does not matter to lot policies); members one row an
    #: agent, in any order, also such as may get nothing. The third argument is of the type `params`.
    choose: Callable[[Sequence[Lead], Sequence[Member], Any], Answer]
    params: type[Params]
    account: Account
    #: In which of a route's modes it works.
    modes: frozenset[str]
    #: What it promises, for people.
    bound: str


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            "fair",
            fair.ALGORITHM,
            fair.fair,
            fair.FairParams,
            fair.ACCOUNT,
            STREAM_OR_LOT,
            "members eligible for the same leads end at most 1 lead apart, or as far as they began",
        ),
        Policy(
            "capped_lot",
            capped_lot.ALGORITHM,
            capped_lot.capped_lot,
            capped_lot.CappedLotParams,
            capped_lot.ACCOUNT,
            LOT,
            "by priority, each takes the newest leads until its caps; no lead waits that one below its caps may get",
        ),
        Policy(
            "first_fit",
            first_fit.ALGORITHM,
            first_fit.first_fit,
            first_fit.FirstFitParams,
            first_fit.ACCOUNT,
            STREAM_OR_LOT,
            "nobody gets a lead that one before it in the order may get",
        ),
        Policy(
            "even_split",
            even_split.ALGORITHM,
            even_split.even_split,
            even_split.EvenSplitParams,
            even_split.ACCOUNT,
            LOT,
            "nobody gets more of a lot than its leads divided by its members, rounded up, unless others lack room; "
            "nobody passes the ceiling",
        ),
        Policy(
            "weighted_random",
            weighted_random.ALGORITHM,
            weighted_random.weighted_random,
            weighted_random.WeightedRandomParams,
            weighted_random.ACCOUNT,
            STREAM_OR_LOT,
            "the chance of each lead is the member's weight in the weights of all eligible; weight 0 gets none",
        ),
        Policy(
            "smooth_weighted",
            smooth_weighted.ALGORITHM,
            smooth_weighted.smooth_weighted,
            smooth_weighted.SmoothWeightedParams,
            smooth_weighted.ACCOUNT,
            STREAM_OR_LOT,
            "while the same members are eligible, each is less than 1 lead from its weight's share at every moment; "
            "weight 0 gets none",
        ),
    )
}
#: The current algorithm of each policy by the name that routes use.
CURRENT: Mapping[str, str] = {name: policy.algorithm for name, policy in POLICIES.items()}
#: Every algorithm that any stored decision may name.
ALGORITHMS: Mapping[str, Policy] = {policy.algorithm: policy for policy in POLICIES.values()}


class PolicyError(Exception):
    """A route's policy or its parameters are not to be used; in words that its leads can wait with."""


def of(route: Route) -> tuple[Policy, Params]:
    """Give a route's policy and its parameters. PolicyError if one of them is none."""
    policy = POLICIES.get(route.policy)
    if policy is None:
        raise PolicyError(f"the route's policy {route.policy!r} is not known")
    if route.mode not in policy.modes:
        raise PolicyError(f"the route's policy {route.policy!r} works in lots only")
    try:
        return policy, read_params(policy.params, route.params)
    except ParamsError as error:
        raise PolicyError(f"the route's parameter {error}") from error
