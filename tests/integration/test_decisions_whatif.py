"""`whatif` over pasts that the assigner's handlers made."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from services.cli.decisions.comparing import Compared, WhatIfAsked, param, what_if
from services.cli.decisions.plots import draw
from services.cli.failures import CommandError
from shared.db.session import Database
from tests.driving import rows
from tests.histories import History
from tests.pasts import PASTS, Past, names


def measures(compared: Compared) -> dict[str, tuple[float, float]]:
    return {each.measure: (each.was, each.would) for each in compared.measures}


@pytest.mark.parametrize("make", PASTS, ids=lambda make: make.__name__)
async def test_the_routes_own_policy_makes_history_again(history: History, database: Database, make: Past) -> None:
    await make(history)

    for name, policy in await rows(database, "SELECT name, policy FROM routes"):
        compared = await what_if(database, WhatIfAsked(name, policy))

        assert [(each.agent, each.was, each.would) for each in compared.agents if each.difference] == []
        assert compared.moved == 0
        assert compared.leads > 0
        assert all(was == would for was, would in measures(compared).values()), compared.measures


async def test_another_policy_over_the_same_leads(history: History, database: Database) -> None:
    await history.add_agents({}, {}, {})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="first_fit")
    await history.arrive(*names(1, 4))
    await history.arrive(*names(5, 9))

    compared = await what_if(database, WhatIfAsked("all", "fair"))

    assert [(each.agent, each.was, each.would) for each in compared.agents] == [
        ("0001", 9, 3),
        ("0002", 0, 3),
        ("0003", 0, 3),
    ]
    assert compared.moved == 6
    found = measures(compared)
    assert (found["spread"], found["unassigned"], found["assigned"]) == ((9, 0), (0, 0), (9, 9))
    assert found["Jain's index"] == pytest.approx((1 / 3, 1.0), abs=1e-4)


async def one_of_two_works(history: History) -> None:
    """One place each; the second agent has no weight, so history gives one lead after another to the first."""
    await history.add_agents({"max_load": 1}, {"max_load": 1})
    await history.add_route("all", {"agent_id": 1}, {"agent_id": 2, "weight": 0}, policy="smooth_weighted")
    await history.arrive("L1", "L2", "L3")


async def test_loads_are_full_by_its_own_assignments(history: History, database: Database) -> None:
    await one_of_two_works(history)

    compared = await what_if(database, WhatIfAsked("all", "first_fit"))

    assert [(each.was, each.would) for each in compared.agents] == [(1, 1), (0, 1)]
    assert measures(compared)["unassigned"] == (2, 1)
    assert measures(compared)["caps hit"] == (1, 2)


async def test_a_close_on_record_frees_the_place_of_whoever_has_the_lead(history: History, database: Database) -> None:
    """After L1's close history gives L2 to the first; the other policy, whose L2 is the second's, gives it L3."""
    await one_of_two_works(history)
    await history.close("L1")

    compared = await what_if(database, WhatIfAsked("all", "first_fit"))

    assert [(each.was, each.would) for each in compared.agents] == [(2, 2), (0, 1)]
    assert measures(compared)["unassigned"] == (1, 0)


async def test_a_lead_that_only_the_other_policy_leaves_waiting_is_offered_again(
    history: History, database: Database
) -> None:
    """History has two at work, the other policy one: it comes round to the second lead when the first is closed."""
    await history.add_agents({"max_load": 1}, {})
    await history.add_route("all", {"agent_id": 1}, {"agent_id": 2, "weight": 0}, policy="fair")
    await history.arrive("L1", "L2")
    await history.close("L1")
    await history.arrive("L3")

    compared = await what_if(database, WhatIfAsked("all", "smooth_weighted"))

    assert [(each.was, each.would) for each in compared.agents] == [(2, 2), (1, 0)]
    assert measures(compared)["unassigned"] == (0, 1)


async def test_since_a_day_counts_from_there_only(history: History, database: Database) -> None:
    await history.add_agents({}, {})
    await history.add_route("all", {"agent_id": 1}, {"agent_id": 2}, policy="first_fit", mode="lot")
    await history.arrive(*names(1, 3))
    await history.run_lot("all", day := date(2026, 3, 1))
    await history.arrive(*names(4, 7))
    await history.run_lot("all", later := date(2026, 3, 2))

    compared = await what_if(database, WhatIfAsked("all", "fair", since=later))

    assert day < later
    assert (compared.decisions, compared.leads) == (1, 4)
    assert [(each.was, each.would) for each in compared.agents] == [(4, 1), (0, 3)]


async def test_what_does_not_fit_is_refused_in_words(history: History, database: Database) -> None:
    await history.add_agents({})
    await history.add_route("all", {"agent_id": 1}, policy="fair")
    await history.arrive("L1")

    for asked, words in (
        (WhatIfAsked("none", "fair"), "there is no route 'none'"),
        (WhatIfAsked("all", "best"), "there is no policy 'best'; there are: fair, capped_lot"),
        (WhatIfAsked("all", "even_split"), "even_split works in lots only; route 'all' assigns leads as they come"),
        (WhatIfAsked("all", "fair", {"count": "both"}), "fair: parameter count: must be one of route, agent"),
    ):
        with pytest.raises(CommandError, match=words):
            await what_if(database, asked)
    with pytest.raises(CommandError, match="write it as name=value"):
        param("count")


async def test_the_picture_shows_both_ways(history: History, database: Database, tmp_path: Path) -> None:
    await history.add_agents({}, {})
    await history.add_route("all", {"agent_id": 1}, {"agent_id": 2}, policy="first_fit")
    await history.arrive(*names(1, 4))
    compared = await what_if(database, WhatIfAsked("all", "fair"))

    draw(compared, tmp_path / "picture.png")

    with Image.open(tmp_path / "picture.png") as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
        assert picture.width == 1920
    assert {(0x98, 0xA2, 0xB3), (0x25, 0x63, 0xEB)} <= colours
    with pytest.raises(CommandError, match="cannot write"):
        draw(compared, tmp_path / "nowhere" / "picture.png")
