"""`fairness` over pasts that the assigner's handlers made."""

from __future__ import annotations

import pytest

from services.cli.decisions.fairness import MemberShare, RouteFairness, fairness
from services.cli.failures import CommandError
from shared.db.session import Database
from tests.driving import execute, scalar
from tests.histories import History
from tests.pasts import PASTS, Past, names


def by_agent(found: RouteFairness) -> dict[str, MemberShare]:
    return {each.agent: each for each in found.members}


@pytest.mark.parametrize("make", PASTS, ids=lambda make: make.__name__)
async def test_every_policy_keeps_its_promise_and_shares_add_up(
    history: History, database: Database, make: Past
) -> None:
    await make(history)

    found = await fairness(database, None)

    assert found
    for each in found:
        assert each.holds is not False, (each.measure, each.measured)
        assert sum(member.received for member in each.members) == each.leads
        if any(member.entitled is None for member in each.members):
            continue
        assert sum(member.entitled or 0 for member in each.members) == pytest.approx(
            each.leads - sum(member.by_hand for member in each.members), abs=0.1
        )
    assert sum(each.leads for each in found) == await scalar(
        database, "SELECT count(*) FROM assignments WHERE decision_id IS NOT NULL"
    )


async def test_what_a_member_missed_is_booked_under_its_cause(history: History, database: Database) -> None:
    await history.change("INSERT INTO business_lines (id, name) VALUES (1, 'Cars'), (2, 'Vans')")
    await history.add_agents({}, {"max_load": 1}, {"is_active": False}, {"business_line_id": 2}, {})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3, 4)), policy="fair")
    await history.arrive(*names(1, 4), business_line_id=1)
    await history.add_member("all", agent_id=5)
    await history.give("0005", "L1")

    (found,) = await fairness(database, "all")

    member = by_agent(found)
    assert found.holds
    assert (member["0001"].received, member["0001"].entitled, member["0001"].deviation) == (3, 3.0, 0.0)
    assert (member["0002"].received, member["0002"].entitled, member["0002"].capped) == (1, 1.0, 0.5)
    assert (member["0003"].inactive, member["0003"].entitled) == (1.0, 0.0)
    assert member["0004"].not_eligible == 1.0
    assert member["0005"].joined_later == 0.8
    assert (member["0005"].received, member["0005"].by_hand, member["0005"].entitled) == (1, 1, 0.0)


async def test_who_is_next_is_who_gets_the_next_lead(history: History, database: Database) -> None:
    await history.add_agents({}, {}, {})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="fair")
    for number in range(1, 6):
        ((found),) = await fairness(database, "all")
        await history.arrive(f"L{number}")
        agent = await scalar(
            database,
            """
            SELECT agent_code FROM assignments JOIN agents ON agents.id = agent_id
            ORDER BY assignments.id DESC LIMIT 1
            """,
        )
        assert found.next == agent


async def test_a_promise_that_was_broken_is_said_to_be(history: History, database: Database) -> None:
    await history.add_agents({}, {}, {})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="fair")
    await history.arrive(*names(1, 6))
    await execute(
        database,
        "UPDATE decisions SET choices = (SELECT jsonb_object_agg(key, 1) FROM jsonb_each(choices))",
    )

    (found,) = await fairness(database, "all")

    assert (found.measured, found.limit, found.holds) == (6, 1, False)


async def test_a_route_that_is_none_is_refused_in_words(database: Database) -> None:
    with pytest.raises(CommandError, match="there is no route 'nowhere'"):
        await fairness(database, "nowhere")
