"""`leadline setup` and `verify`: what is missing is named."""

from __future__ import annotations

import asyncio

import pytest

from services.cli.installation import set_up, verify
from shared.db.session import open_database
from shared.settings import Settings
from tests.driving import execute


async def broken(settings: Settings, statement: str) -> list[str]:
    """What is not well once something has been changed behind everybody's back."""
    async with open_database(settings.database) as database:
        await execute(database, statement)
    return [check.what for check in (await verify(settings)).checks if not check.is_well]


async def test_what_is_set_up_is_well(empty_database_url: str, amqp_url: str) -> None:
    """Set up twice is no harm; the zone's time is the database's too."""
    settings = Settings(database_url=empty_database_url, amqp_url=amqp_url)
    assert not (await verify(settings)).is_well

    for _ in range(2):
        await asyncio.to_thread(set_up, settings)
    verified = await verify(settings)

    assert verified.is_well, verified
    (zone,) = [check for check in verified.checks if check.what == "time zone"]
    assert zone.detail.startswith("Asia/Kolkata, ")
    assert zone.detail.endswith("+0530")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DROP VIEW auto_assign_history", "view auto_assign_history"),
        ("ALTER TABLE agent_counters RENAME auto_assign_count TO assigned", "auto_assign_count"),
        ("ALTER TABLE route_members RENAME TO members", "routes and members"),
        ("UPDATE alembic_version SET version_num = '0001'", "migrations"),
        ("DELETE FROM notification_profiles", "notification profiles"),
    ],
)
async def test_what_is_missing_is_named(database_url: str, amqp_url: str, statement: str, what: str) -> None:
    """And so is the topology, which nobody has declared here."""
    settings = Settings(database_url=database_url, amqp_url=amqp_url)

    assert await broken(settings, statement) == [what, "topology"]
