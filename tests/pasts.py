"""Pasts of a route, one a policy, with what makes deciding hard: made by the assigner's handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime

from tests.histories import History

Past = Callable[[History], Awaitable[None]]
DAY = date(2026, 3, 2)


def names(first: int, last: int) -> list[str]:
    return [f"L{number}" for number in range(first, last + 1)]


async def fair_with_everything(history: History) -> None:
    """Stores, daily caps, loads, closes, wakes, a newcomer, an agent switched off, leads given by hand."""
    await history.add_agents({"max_load": 3}, {}, {}, {"is_active": False})
    await history.add_route(
        "all",
        {"agent_id": 1},
        {"agent_id": 2, "max_daily_leads": 4},
        {"agent_id": 2, "store_code": "S", "max_daily_leads": 2},
        {"agent_id": 3, "store_code": "S"},
        policy="fair",
    )
    await history.arrive(*names(1, 9))
    await history.arrive(*names(10, 15), store_code="S")
    await history.close("L1", "L3")
    await history.change("UPDATE agents SET max_load = 5 WHERE id = 1")
    await history.wake("all")
    await history.add_member("all", agent_id=4)
    await history.change("UPDATE agents SET is_active = true WHERE id = 4")
    await history.wake("all")
    await history.arrive(*names(17, 24))
    await history.change("UPDATE agents SET is_active = false WHERE id = 2")
    await history.give("0003", "L2")
    await history.give("0001", "L10", "L11")
    await history.arrive(*names(25, 29))


async def fair_over_all_routes(history: History) -> None:
    await history.add_agents({}, {"max_load": 6}, {}, {})
    everybody = [{"agent_id": number} for number in (1, 2, 3)]
    await history.add_route("one", *everybody, policy="fair", params='{"count": "agent"}')
    await history.add_route("two", *everybody[:2], source=102, policy="fair", params='{"count": "agent"}')
    await history.arrive(*names(1, 4))
    await history.arrive(*names(5, 9), source=102)
    await history.arrive(*names(10, 12))
    await history.add_member("one", agent_id=4)
    await history.arrive(*names(13, 16))


async def weighted(history: History, policy: str) -> None:
    await history.add_agents({}, {"max_load": 4}, {}, {})
    await history.add_route(
        "all",
        {"agent_id": 1, "weight": 1},
        {"agent_id": 2, "weight": 3},
        {"agent_id": 3, "weight": 6, "max_daily_leads": 12},
        {"agent_id": 4, "weight": 0},
        policy=policy,
    )
    await history.arrive(*names(1, 10))
    await history.close("L1", "L2", "L3")
    await history.change("UPDATE route_members SET weight = 4 WHERE agent_id = 1")
    await history.arrive(*names(11, 22))
    await history.give("0004", "L20", "L1")


async def smooth_weighted(history: History) -> None:
    await weighted(history, "smooth_weighted")


async def weighted_random(history: History) -> None:
    await weighted(history, "weighted_random")


async def first_fit(history: History) -> None:
    await history.add_agents({"max_load": 2}, {"max_load": 3}, {"max_load": 1})
    members = [{"agent_id": number, "priority": 10 - number} for number in (1, 2, 3)]
    await history.add_route("all", *members, policy="first_fit")
    await history.arrive(*names(1, 4))
    await history.close("L1", "L4")
    await history.arrive(*names(5, 9))
    await history.wake("all")


async def capped_lots(history: History) -> None:
    """Two stores that share an agent, caps on existing and new leads, two lots on a day."""
    await history.add_agents({}, {}, {"max_load": 3})
    capped = {"max_existing_per_lot": 1, "max_new_per_lot": 1, "max_daily_leads": 3}
    await history.add_route(
        "all",
        {"agent_id": 1, "store_code": "S", **capped},
        {"agent_id": 1, "store_code": "T", **capped, "priority": 200},
        {"agent_id": 2, "store_code": "T", **capped},
        {"agent_id": 3},
        policy="capped_lot",
        mode="lot",
    )
    for first, store, kind in ((1, "S", "New"), (5, "S", "Old"), (9, "T", "New"), (13, "T", "Old")):
        await history.arrive(*names(first, first + 3), store_code=store, customer_type=kind)
    await history.run_lot("all", DAY)
    await history.run_lot("all", DAY)
    await history.give("0002", "L16")
    await history.close(*names(1, 16))
    await history.arrive(*names(17, 20), store_code="T", customer_type="New")
    await history.run_lot("all", date(2026, 3, 3))


async def even_lots(history: History) -> None:
    """Room that differs, a ceiling, left-overs, lots that end what nobody has begun, stages that rise."""
    await history.add_agents({}, {"max_load": 1}, {"max_load": 5}, {})
    members = [{"agent_id": number} for number in (1, 2, 3)]
    await history.add_route(
        "all", *members, policy="even_split", mode="lot", params='{"ceiling": 4, "max_age_days": 45}'
    )
    await history.arrive(*names(1, 12))
    await history.arrive("old", created_at=datetime(2025, 1, 1, tzinfo=UTC))
    await history.arrive("far", stage=4)
    await history.run_lot("all")
    await history.change("UPDATE agents SET max_load = 2 WHERE id = 3")
    await history.run_lot("all")
    await history.add_member("all", agent_id=4)
    await history.run_lot("all")


PASTS: list[Past] = [
    fair_with_everything,
    fair_over_all_routes,
    smooth_weighted,
    weighted_random,
    first_fit,
    capped_lots,
    even_lots,
]
