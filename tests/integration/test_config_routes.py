"""Routes of every policy and with schedules, applied to a real database and exported again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from migrations import upgrade
from services.cli.config import ConfigChange, apply_config, export_config
from services.cli.configfile import read, write
from services.cli.configproblems import ConfigError
from shared.db.session import Database, open_database

LOTS = """
agents: [{code: "0001", name: Asha, email: asha@example.com}, {code: "0002", name: Bruno}]
routes:
  - {name: evening, policy: even_split, params: {ceiling: 30}, schedule: "20:40", members: all}
  - {name: often, priority: 1, policy: capped_lot, schedule: [every 30 minutes, "07:05"], members: ["0001"]}
  - {name: arrival, priority: 2, policy: weighted_random, retry_pending: false, members: [{agent: "0002", weight: 3}]}
"""


async def apply(database: Database, content: str) -> ConfigChange:
    return await apply_config(database, read(content, file="f.yaml"), actor="asha", file="f.yaml")


async def woken(database: Database) -> list[str | None]:
    """The routes that the assigner is woken for, and none of these events from now on."""
    async with database.begin() as tx:
        rows = await tx.execute(text("WITH gone AS (DELETE FROM outbox RETURNING *) SELECT bodies FROM gone"))
        return [json.loads(body).get("route") for (bodies,) in rows for body in bodies]


async def routes(database: Database) -> dict[str, tuple[object, ...]]:
    async with database.begin() as tx:
        rows = await tx.execute(text("SELECT name, mode, schedule, version FROM routes"))
        return {name: tuple(row) for name, *row in rows}


async def test_modes_and_schedules_are_stored(database: Database) -> None:
    """The mode follows from the policy, a schedule is a list, and each has its first version."""
    await apply(database, LOTS)
    assert await routes(database) == {
        "evening": ("lot", ["20:40"], 1),
        "often": ("lot", ["every 30 minutes", "07:05"], 1),
        "arrival": ("stream", None, 1),
    }


async def test_the_export_gives_the_same_routes(database: Database, empty_database_url: str) -> None:
    """Applied where it comes from it changes nothing; from an empty database it is exported as it was."""
    await apply(database, LOTS)
    exported = write(await export_config(database))
    assert not (await apply(database, exported)).is_change
    await asyncio.to_thread(upgrade, empty_database_url)
    async with open_database(empty_database_url) as empty:
        await apply(empty, exported)
        assert write(await export_config(empty)) == exported


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        ('routes: [{name: evening, schedule: "21:00"}]', ["evening"]),
        ("routes: [{name: often, schedule: null}]", ["often"]),
        ("routes: [{name: evening, params: {ceiling: 31}}, {name: often, sheets: false}]", ["evening", "often"]),
        ('agents: [{code: "0001", name: Asha, max_load: 3}]', ["evening", "often"]),
        ("routes: [{name: arrival, policy: capped_lot}]", ["arrival"]),
        ("routes: [{name: arrival, members: [{agent: '0002', weight: 4}]}]", ["arrival"]),
        ("routes: [{name: arrival, policy: weighted_random}]", []),
    ],
)
async def test_a_changed_route_has_one_new_version_and_one_wake(
    database: Database, content: str, changed: list[str]
) -> None:
    """However many of its fields, members and agents have changed; other routes have neither."""
    await apply(database, LOTS)
    await woken(database)
    assert sorted((await apply(database, content)).routes) == changed
    versions = {name: version for name, (_, _, version) in (await routes(database)).items()}
    assert versions == {name: 2 if name in changed else 1 for name in ("evening", "often", "arrival")}
    assert sorted(filter(None, await woken(database))) == changed


async def test_a_policy_in_lots_only_takes_its_route_along(database: Database) -> None:
    """A route that streams is a lot route once it has such a policy."""
    await apply(database, LOTS)
    await apply(database, "routes: [{name: arrival, policy: capped_lot}]")
    assert (await routes(database))["arrival"] == ("lot", None, 2)


async def test_parameters_of_another_policy_are_refused(database: Database) -> None:
    """The place in the file, also where only the database says which policy it is; nothing is changed."""
    await apply(database, LOTS)
    with pytest.raises(ConfigError) as error:
        await apply(database, "routes: [{name: often, sheets: false}, {name: arrival, params: {ceiling: 9}}]")
    assert str(error.value).startswith("f.yaml: routes[1].params: ceiling: no such parameter; there are: ")
    assert (await routes(database))["often"] == ("lot", ["every 30 minutes", "07:05"], 1)


async def test_the_five_systems_apply_and_change_nothing_again(database: Database) -> None:
    """The example is right as it stands, and beside what `./run up` begins with."""
    for name in ("start", "five-systems"):
        content = await asyncio.to_thread(Path(f"examples/{name}.yaml").read_text, encoding="utf-8")
        assert (await apply(database, content)).is_change
    assert not (await apply(database, content)).is_change
