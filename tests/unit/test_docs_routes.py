"""docs/routes.md says what the code does: every policy, in which modes, with which parameters."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from services.assigner.policies import POLICIES
from services.assigner.policies.params import Params
from services.cli.configfile import Route

PAGE = Path("docs/routes.md").read_text(encoding="utf-8")
COMMON = {field.name for field in fields(Params)}


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_has_its_section(name: str) -> None:
    """Rule, own parameters, modes, promise and trap."""
    policy = POLICIES[name]
    section = PAGE.partition(f"### `{name}`\n")[2].partition("\n#")[0]
    for part in ("Rule", "Parameters", "Modes", "Promises", "Trap"):
        assert f"- **{part}** " in section
    (modes,) = [line for line in section.splitlines() if line.startswith("- **Modes** ")]
    assert set(modes.removeprefix("- **Modes** ").rstrip(".").split(", ")) == policy.modes
    own = {field.name for field in fields(policy.params)} - COMMON
    (parameters,) = [line for line in section.splitlines() if line.startswith("- **Parameters** ")]
    assert all(f"`{parameter}`" in parameters for parameter in own)
    assert ("none of its own" in parameters) == (not own)


def test_every_common_parameter_and_field_is_named() -> None:
    """What every route may set for its policy, and every field of a route in the file."""
    missing = [name for name in (*COMMON, *Route.model_fields) if f"`{name}`" not in PAGE and f"{name}:" not in PAGE]
    assert missing == []
