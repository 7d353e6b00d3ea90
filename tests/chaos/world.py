"""Agents and routes of a chaos run, and the changes that people make to them meanwhile."""

from __future__ import annotations

from typing import Any

import yaml

from tests.chaos.load import SOURCES, STORES

#: On routes without limits; on those with limits; in lots.
FREE = [f"01{number:02}" for number in range(8)]
LIMITED = [f"02{number:02}" for number in range(6)]
FEW = [f"03{number:02}" for number in range(3)]
CALLERS = [f"04{number:02}" for number in range(4)]
EVENING = [f"05{number:02}" for number in range(3)]
LOADS = {**dict.fromkeys(LIMITED, 40), **dict.fromkeys(FEW, 8)}
DAILY = 60


def agent(code: str, **others: Any) -> dict[str, Any]:
    limits = {"max_load": LOADS[code]} if code in LOADS else {}
    return {"code": code, "name": f"Agent {code}", "email": f"agent{code}@example.com", **limits, **others}


def web(**first: Any) -> dict[str, Any]:
    """The route whose members have limits; one of its agents is on a route without as well."""
    members: list[Any] = [{"agent": code, "weight": 1 + number} for number, code in enumerate(LIMITED)]
    members[0] |= {"max_daily_leads": DAILY, **first}
    return {
        "name": "web",
        "source": "GOOGLE",
        "policy": "weighted_random",
        "sheets": False,
        "members": [*members, FREE[0]],
    }


def world() -> str:
    """The configuration that a run begins with, as YAML."""
    callers = [
        {"agent": code, "store": store, "max_existing_per_lot": 150, "max_new_per_lot": 150}
        for number, code in enumerate(CALLERS)
        for store in STORES[: 1 + number % len(STORES)]
    ]
    routes = [
        {"name": "everyone", "source": "META", "policy": "fair", "members": FREE},
        web(),
        {"name": "few", "source": "WALK-IN", "policy": "first_fit", "members": [*FEW, LIMITED[1]]},
        {"name": "pickups", "source": "MISSED-PICKUP", "policy": "capped_lot", "members": callers},
        {"name": "evening", "source": "WA-FUNNEL", "policy": "even_split", "members": EVENING},
    ]
    return yaml.safe_dump(
        {
            "sources": list(SOURCES),
            "stores": [{"code": code, "name": f"Store {code}", "assign_leads": True} for code in STORES],
            "agents": [agent(code) for code in (*FREE, *LIMITED, *FEW, *CALLERS, *EVENING)],
            "routes": routes,
        }
    )


def changed(change: str) -> str:
    """The configuration file with which somebody makes a change, as YAML."""
    files: dict[str, dict[str, Any]] = {
        "an agent goes": {"agents": [agent(FREE[1], active=False), agent(FEW[0], active=False)]},
        "it comes back": {"agents": [agent(FREE[1], active=True), agent(FEW[0], active=True)]},
        "a cap is raised": {"agents": [agent(FEW[1], max_load=12)]},
        "it is lowered": {"agents": [agent(FEW[1], max_load=5)]},
        "a daily cap is raised": {"routes": [web(max_daily_leads=2 * DAILY)]},
        "a weight": {"routes": [web(weight=5)]},
    }
    return yaml.safe_dump(files[change])
