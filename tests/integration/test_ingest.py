"""Ingest's handler against a real PostgreSQL: a lead is stored once, whatever comes twice, at once or out of order."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.ingest.consumer import StoreLeads
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.events import LeadAccepted, LeadCreated, LeadDuplicate, LeadRejected, LeadUpdated
from shared.messaging.processing import Deferred, Rejected
from tests.driving import Driver, execute, of, rows, scalar

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def replica(database: Database) -> Driver:
    return Driver(database, StoreLeads(ReferenceReader("IN", ZoneInfo("Asia/Kolkata"))))


@pytest.fixture
def driver(database: Database) -> Driver:
    return replica(database)


def created(lead_id: str, source: str = "META", **fields: Any) -> LeadCreated:
    return LeadCreated(lead_id=lead_id, source=source, **fields)


def updated(lead_id: str, minutes: int = 1, **fields: Any) -> LeadUpdated:
    return LeadUpdated(lead_id=lead_id, occurred_at=T0 + timedelta(minutes=minutes), **fields)


async def lead(database: Database, lead_id: str, columns: str) -> tuple[Any, ...]:
    (row,) = await rows(database, f"SELECT {columns} FROM leads WHERE lead_id = :lead_id", lead_id=lead_id)
    return row


async def duplicates(database: Database) -> dict[str, str]:
    return dict(
        await rows(
            database,
            "SELECT leads.lead_id, first.lead_id FROM leads JOIN leads AS first ON first.id = leads.duplicate_of",
        )
    )


async def assert_sound(database: Database) -> None:
    """One current assignment a lead, closed for duplicates; no duplicate of a duplicate; every source there."""
    assert (
        await rows(
            database,
            """
            SELECT leads.lead_id FROM leads LEFT JOIN assignments ON assignments.lead_id = leads.id AND is_current
            GROUP BY leads.id
            HAVING count(assignments.id) <> 1 OR bool_or((duplicate_of IS NOT NULL) <> (assignment_status_id = 4))
            """,
        )
        == []
    )
    assert (
        await rows(
            database,
            "SELECT a.lead_id FROM leads a JOIN leads b ON b.id = a.duplicate_of WHERE b.duplicate_of IS NOT NULL",
        )
        == []
    )
    assert await rows(database, "SELECT lead_id FROM leads WHERE source_id NOT IN (SELECT id FROM sources)") == []


async def test_the_same_lead_again_is_counted_and_changes_nothing(database: Database, driver: Driver) -> None:
    first = await driver.run(created("A", customer_name="Ann", mobile_number="+91 98765 43210"))
    again = await driver.run(created("A", customer_name="Ann", mobile_number="098765 43210"))

    assert [(type(event), event.revision) for event in first] == [(LeadAccepted, 1)]  # type: ignore[union-attr]
    assert again == []
    assert await lead(database, "A", "repeats, revision, mobile_number") == (1, 1, "+919876543210")
    await assert_sound(database)


async def test_the_same_lead_at_once_on_two_replicas_is_one(database: Database) -> None:
    replicas = [replica(database) for _ in range(3)]
    for n in range(15):
        effects = await asyncio.gather(
            *(each.run(created(f"A{n}", external_id=f"C{n}"), created(f"B{n}")) for each in replicas)
        )
        accepted = [event.lead_id for each in effects for event in of(each, LeadAccepted)]
        assert sorted(accepted) == [f"A{n}", f"B{n}"]

    assert await scalar(database, "SELECT sum(repeats) FROM leads") == 60
    assert sum(each.again for each in replicas) == 0
    await assert_sound(database)


async def test_what_differs_is_named_unless_an_update_wrote_it(database: Database, driver: Driver) -> None:
    await driver.run(created("A", customer_name="Ann", email="a@x.com", attributes={"utm": 1}))
    await driver.run(updated("A", email="b@x.com"))

    effects = await driver.run(created("A", customer_name="Bea", email="a@x.com", attributes={"utm": 2}))

    (told,) = effects
    assert isinstance(told, LeadDuplicate)
    assert (told.duplicate_of, told.differing_fields) == ("A", ("attributes.utm", "customer_name"))
    assert await lead(database, "A", "customer_name, email, repeats") == ("Ann", "b@x.com", 1)


@pytest.mark.parametrize(
    ("first", "second", "is_duplicate"),
    [
        ({"document_number": "ab-123"}, {"document_number": "AB 123"}, True),
        ({"document_number": "N/A"}, {"document_number": "N/A"}, False),
        (
            {"mobile_number": "9876543210", "store_code": "S"},
            {"mobile_number": "+919876543210", "store_code": "S"},
            True,
        ),
        ({"mobile_number": "9876543210", "store_code": "S"}, {"mobile_number": "9876543210", "store_code": "T"}, False),
        ({"mobile_number": "9876543210"}, {"mobile_number": "9876543210"}, False),
        ({"mobile_number": "12", "store_code": "S"}, {"mobile_number": "12", "store_code": "S"}, False),
        (
            {"document_number": "AB123", "created_at": T0},
            {"document_number": "AB123", "created_at": T0 + timedelta(days=30)},
            True,
        ),
        (
            {"document_number": "AB123", "created_at": T0},
            {"document_number": "AB123", "created_at": T0 + timedelta(days=31)},
            False,
        ),
        ({"document_number": "AB123", "external_id": "C"}, {"document_number": "AB123", "external_id": "C"}, False),
        ({"document_number": "AB123", "external_id": "C"}, {"document_number": "AB123", "external_id": "D"}, True),
        ({"document_number": "AB123", "external_id": "C"}, {"document_number": "AB123"}, True),
    ],
)
@pytest.mark.parametrize("is_one_batch", [False, True], ids=["two batches", "one batch"])
async def test_natural_keys(
    database: Database,
    driver: Driver,
    first: dict[str, Any],
    second: dict[str, Any],
    is_duplicate: bool,
    is_one_batch: bool,
) -> None:
    events = [created("A", **first), created("B", **second)]
    batches = [events] if is_one_batch else [[event] for event in events]
    effects = [effect for batch in batches for effect in await driver.run(*batch)]

    assert await duplicates(database) == ({"B": "A"} if is_duplicate else {})
    assert [event.lead_id for event in of(effects, LeadAccepted)] == (["A"] if is_duplicate else ["A", "B"])
    assert [(e.lead_id, e.duplicate_of) for e in of(effects, LeadDuplicate)] == ([("B", "A")] if is_duplicate else [])
    await assert_sound(database)


async def test_the_duplicates_of_a_batch_all_repeat_the_first(database: Database, driver: Driver) -> None:
    await driver.run(created("A", document_number="AB123"))

    await driver.run(
        created("B", document_number="AB123", mobile_number="9876543210", store_code="S"),
        created("C", document_number="AB123"),
        created("D", mobile_number="9876543210", store_code="S"),
        created("E", mobile_number="9876543210", store_code="S"),
    )

    assert await duplicates(database) == {"B": "A", "C": "A", "E": "D"}
    await assert_sound(database)


async def test_a_closed_lead_has_no_duplicates_and_gives_its_keys_away(database: Database, driver: Driver) -> None:
    await driver.run(created("A", document_number="AB123"))
    await execute(database, "UPDATE assignments SET assignment_status_id = 4")

    await driver.run(created("B", document_number="AB123"))
    await driver.run(created("C", document_number="AB123"))

    assert await duplicates(database) == {"C": "B"}


async def test_a_sources_own_keys_and_days_hold(database: Database, driver: Driver) -> None:
    await driver.run(created("before"))  # the reader has read
    await execute(
        database,
        "INSERT INTO sources (name, natural_keys, duplicate_days)"
        " VALUES ('None', '{}', 30), ('Short', '{document}', 1)",
    )

    await driver.run(created("A", "none", document_number="AB123"), created("B", "None", document_number="AB123"))
    await driver.run(created("C", "short", document_number="XY123", created_at=T0))
    await driver.run(created("D", "short", document_number="XY123", created_at=T0 + timedelta(days=2)))

    assert await duplicates(database) == {}


async def test_natural_keys_decide_between_racing_replicas(database: Database) -> None:
    replicas = [replica(database) for _ in range(3)]
    for n in range(15):
        await asyncio.gather(
            *(
                each.run(
                    *(created(f"{n}-{number}-{m}", document_number=f"AB{n}{m}") for m in random.sample(range(4), 4))
                )
                for number, each in enumerate(replicas)
            )
        )

    assert await scalar(database, "SELECT count(*) FROM leads WHERE duplicate_of IS NULL") == 60
    assert len(await duplicates(database)) == 120
    assert sum(each.again for each in replicas) == 0
    await assert_sound(database)


async def test_unknown_sources_and_stores_are_stored_as_new(database: Database, driver: Driver) -> None:
    effects = await driver.run(
        created("A", "Fair 2026", store_code="S1", store_name="First"), created("B", "fair 2026", store_code="S1")
    )
    await driver.run(updated("A", source="Other", store_code="S2", store_name="Second"))

    assert len(of(effects, LeadAccepted)) == 2
    assert await rows(database, "SELECT is_new FROM sources WHERE lower(name) IN ('fair 2026', 'other')") == [
        (True,),
        (True,),
    ]
    assert await rows(database, "SELECT store_code, store_name, is_new, assign_leads FROM stores ORDER BY 1") == [
        ("S1", "First", True, False),
        ("S2", "Second", True, False),
    ]
    await assert_sound(database)


async def test_names_that_only_the_database_takes_for_one_are_one(database: Database, driver: Driver) -> None:
    for n, name in enumerate(("İstanbul", "istanbul", "ISTANBUL", "Straße", "STRASSE", "ΟΔΟΣ", "οδος", "οδοσ")):
        await driver.run(created(str(n), name))
        await replica(database).run(updated(str(n), message="hello"))

    assert await scalar(database, "SELECT count(*) FROM leads") == 8
    await assert_sound(database)


async def test_an_unknown_business_line_is_refused_until_it_is_there(database: Database, driver: Driver) -> None:
    await driver.run(created("good"))

    effects = await driver.run(created("A", business_line="Loans"), created("B"))
    refused_update = await driver.run(updated("B", business_line="Loans"))
    await execute(database, "INSERT INTO business_lines (name) VALUES ('Loans')")
    later = await driver.run(created("A", business_line="loans"), updated("B", business_line="LOANS"))

    (rejected,) = of(effects, Rejected)
    (told,) = of(effects, LeadRejected)
    assert rejected.message.key == told.lead_id == "A"
    assert "Loans" in rejected.reason
    assert [error.field for error in told.errors] == ["business_line"]
    assert [event.lead_id for event in of(effects, LeadAccepted)] == ["B"]
    assert len(of(refused_update, Rejected)) == len(of(refused_update, LeadRejected)) == 1
    assert sorted(event.lead_id for event in of(later, LeadAccepted)) == ["A", "B"]


async def test_an_update_waits_for_its_lead(database: Database, driver: Driver) -> None:
    effects = await driver.run(updated("A", customer_name="Ann"))
    await driver.run(created("A"))
    later = await driver.run(updated("A", customer_name="Ann"))

    assert [(effect.message.key, "not known" in effect.reason) for effect in of(effects, Deferred)] == [("A", True)]
    assert [event.revision for event in of(later, LeadAccepted)] == [2]


async def test_the_newest_writer_wins_per_field_and_null_clears(database: Database, driver: Driver) -> None:
    await driver.run(created("A", customer_name="Ann", email="a@x.com", message="hi", stage=2))

    newer = await driver.run(updated("A", 5, customer_name="New", message=None))
    older = await driver.run(updated("A", 3, customer_name="Old", email="b@x.com", message="old"))
    same = await driver.run(updated("A", 5, customer_name="New", message=None))
    cleared = await driver.run(updated("A", 6, email=None, stage=None))

    assert [event.revision for each in (newer, older, cleared) for event in of(each, LeadAccepted)] == [2, 3, 4]
    assert same == []
    assert await lead(database, "A", "customer_name, email, message, stage, revision") == ("New", None, None, 1, 4)


async def test_updates_may_name_a_customer_and_another_source(database: Database, driver: Driver) -> None:
    await driver.run(created("A", "META"), created("B", external_id="C1", customer_name="Bea"))

    await driver.run(updated("A", source="meta2", external_id="C2", email="a@x.com"), updated("B", message="x"))

    assert await rows(
        database,
        "SELECT leads.lead_id, external_id, sources.name FROM leads JOIN customers ON customers.id = customer_id"
        " JOIN sources ON sources.id = source_id ORDER BY 1",
    ) == [("A", "C2", "meta2"), ("B", "C1", "META")]


async def test_updates_at_once_lose_nothing(database: Database) -> None:
    replicas = [replica(database) for _ in range(3)]
    await replicas[0].run(created("A"))
    fields = ("customer_name", "email", "address", "message", "pickup_no", "run_id")
    await asyncio.gather(
        *(replicas[n % 3].run(updated("A", n, **{name: f"{name}@x.com"})) for n, name in enumerate(fields))
    )

    assert await lead(database, "A", ", ".join(fields)) == tuple(f"{name}@x.com" for name in fields)
    assert await lead(database, "A", "revision") == (7,)


async def test_what_the_crm_changes_is_audited_and_repeats_are_not(database: Database, driver: Driver) -> None:
    await driver.run(created("A", customer_name="Ann"))
    await driver.run(created("A", customer_name="Ann"))
    await driver.run(updated("A", customer_name="Bea"))

    assert await rows(
        database,
        "SELECT action, old_value ->> 'customer_name', new_value ->> 'customer_name' FROM audit_logs"
        " WHERE table_name = 'leads' ORDER BY id",
    ) == [("INSERT", None, "Ann"), ("UPDATE", "Ann", "Bea")]


async def test_batches_in_any_order_on_three_replicas_never_deadlock(database: Database) -> None:
    """The same few leads, customers, stores, sources and keys from everywhere at once."""
    replicas = [replica(database) for _ in range(3)]

    async def work(each: Driver, number: int) -> None:
        rng = random.Random(number)
        for round_ in range(15):
            batch: dict[str, LeadCreated | LeadUpdated] = {}
            for _ in range(12):
                lead_id = f"L{rng.randint(0, 25 + round_ * 3)}"
                some: dict[str, Any] = {
                    "external_id": rng.choice([None, f"C{round_}{rng.randint(0, 5)}"]),
                    "store_code": f"S{round_}{rng.randint(0, 4)}",
                    "mobile_number": f"98765432{rng.randint(10, 19)}",
                    "document_number": f"AB1{rng.randint(0, 9)}",
                }
                source = f"source {round_}{rng.randint(0, 3)}"
                if rng.random() < 0.6:
                    batch[lead_id] = created(lead_id, source, **some)
                else:
                    batch[lead_id] = updated(lead_id, rng.randint(0, 99), source=source, **some)
            await each.run(*batch.values())

    await asyncio.gather(*(work(each, number) for number, each in enumerate(replicas)))

    assert sum(each.again for each in replicas) == 0
    await assert_sound(database)
