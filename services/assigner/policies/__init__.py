"""Who gets which lead: one pure function a file, each with its algorithm's version. Old versions stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.assigner.facts import Lead, Member
from services.assigner.policies import fair
from services.assigner.policies.choices import Answer

Policy = Callable[[Sequence[Lead], Sequence[Member], Mapping[str, Any]], Answer]

#: The current algorithm of each policy by the name that routes use.
CURRENT: Mapping[str, str] = {"fair": fair.ALGORITHM}
#: Every algorithm that any stored decision may name.
ALGORITHMS: Mapping[str, Policy] = {fair.ALGORITHM: fair.fair}


def policy(name: str) -> tuple[str, Policy]:
    """Give a route's policy: the algorithm's name with its version, and the function. KeyError if unknown."""
    return CURRENT[name], ALGORITHMS[CURRENT[name]]
