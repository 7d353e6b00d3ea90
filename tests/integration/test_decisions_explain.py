"""`explain` over histories that the assigner's handlers made."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date

import pytest

from services.cli.decisions.explaining import explain
from services.cli.failures import CommandError
from shared.db.session import Database
from tests.driving import rows, scalar
from tests.histories import History


async def test_who_got_it_and_what_would_have_made_each_other_win(history: History, database: Database) -> None:
    await history.add_agents({}, {}, {"is_active": False}, {"max_load": 1})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3, 4)), policy="fair")
    await history.arrive("L1", "L2", "L3", "L4")
    await history.arrive("L5", "L6")
    await history.arrive("L7")

    told = await explain(database, "L4")

    assert (told.agent, told.status, told.route, told.algorithm) == ("0001", "Assigned", "all", "fair/1")
    assert told.decision_id == await scalar(database, "SELECT min(id) FROM decisions")
    other = {each.agent: each for each in told.candidates}
    assert list(other) == ["0002", "0003", "0004"]
    assert (other["0003"].code, other["0003"].why_not) == ("inactive", "agent inactive")
    assert other["0004"].why_not == "agent at capacity"
    assert other["0002"].change is not None
    assert all(each.would_win_with for each in told.candidates)
    json.dumps(asdict(told), default=str)


async def test_the_route_is_seen_as_the_decision_met_it(history: History, database: Database) -> None:
    """Counts per store's row and day, and the version of then, not what became of them."""
    await history.add_agents({}, {})
    await history.add_route(
        "all",
        {"agent_id": 1, "max_daily_leads": 2},
        {"agent_id": 1, "store_code": "S", "max_daily_leads": 1},
        {"agent_id": 2, "priority": 200},
        policy="first_fit",
    )
    await history.arrive("L1", store_code="S")
    await history.arrive("L2", "L3")
    await history.arrive("L4", store_code="S")
    await history.arrive("L5")
    await history.change("UPDATE route_members SET max_daily_leads = NULL, priority = 999 WHERE agent_id = 1")
    await history.arrive("L6")

    for lead_id in ("L4", "L5"):
        told = await explain(database, lead_id)
        (other,) = told.candidates
        assert (told.agent, other.agent, other.why_not) == ("0002", "0001", "daily cap reached")
        assert other.change is not None
        assert "max_daily_leads" in other.change
    assert (await explain(database, "L6")).agent == "0002"


async def test_counts_over_all_routes_that_were_not_read_are_added_up(history: History, database: Database) -> None:
    await history.add_agents({}, {}, {})
    everybody = [{"agent_id": number} for number in (1, 2, 3)]
    await history.add_route("one", *everybody, policy="fair", params='{"count": "agent"}')
    await history.add_route("two", {"agent_id": 3}, source=102, policy="fair", params='{"count": "agent"}')
    await history.arrive(*(f"L{number}" for number in range(1, 6)), source=102)
    await history.arrive("A")
    await history.arrive("B")

    told = await explain(database, "A")

    words = {each.agent: each.why_not for each in told.candidates}
    assert told.agent == "0001"
    assert "5" in words["0003"], words


async def test_a_lead_of_a_lot_is_explained_in_its_lot(history: History, database: Database) -> None:
    await history.add_agents({}, {})
    await history.add_route(
        "all",
        {"agent_id": 1, "max_new_per_lot": 1, "max_existing_per_lot": 2},
        {"agent_id": 2, "priority": 200},
        policy="capped_lot",
        mode="lot",
    )
    await history.arrive("N1", "N2", customer_type="New")
    await history.run_lot("all", date(2026, 3, 2))

    told = await explain(database, "N2")

    (other,) = told.candidates
    assert (told.kind, told.agent, other.agent) == ("lot", "0002", "0001")
    assert other.change is not None


async def test_why_a_lead_waits_and_what_must_change(history: History, database: Database) -> None:
    await history.add_agents({"max_load": 1}, {"is_active": False})
    await history.add_route("all", {"agent_id": 1}, {"agent_id": 2}, policy="fair")
    await history.arrive("L1")
    await history.arrive("L2")

    told = await explain(database, "L2")

    assert (told.status, told.agent, told.why) == ("Pending", None, "agent at capacity")
    assert told.since == (await rows(database, "SELECT max(updated_at) FROM assignment_records"))[0][0]
    assert {each.agent: each.change for each in told.candidates} == {
        "0001": {"max_load": 2},
        "0002": {"is_active": True},
    }


async def test_what_no_member_could_change_is_said_plainly(history: History, database: Database) -> None:
    await history.add_agents({})
    await history.add_route("all", {"agent_id": 1}, policy="even_split", mode="lot")
    await history.change("INSERT INTO stores (store_code, assign_leads, is_new) VALUES ('S', false, false)")
    await history.arrive("shut", store_code="S")
    await history.arrive("done", is_order_placed=True)
    await history.arrive("far", stage=4)
    await history.arrive("waits")

    async def said(lead_id: str) -> tuple[str, str | None]:
        told = await explain(database, lead_id)
        assert told.candidates == ()
        return told.why, told.must_change

    assert await said("shut") == ("store takes no part", "its store must take part: assign_leads of the store")
    assert await said("done") == ("nobody got it: its order was placed", None)
    assert (await said("far"))[0] == "its stage is past this route's"
    assert (await said("waits"))[0] == "waits for its lot"
    with pytest.raises(CommandError, match="there is no lead 'none'"):
        await explain(database, "none")


async def test_a_person_is_named(history: History, database: Database) -> None:
    await history.add_agents({}, {})
    await history.add_route("all", {"agent_id": 1}, policy="fair")
    await history.arrive("L1")
    await history.give("0002", "L1")

    told = await explain(database, "L1")

    assert (told.agent, told.algorithm) == ("0002", "manual/1")
    assert told.why == "Pat gave it to this agent by hand, whatever others had received"
