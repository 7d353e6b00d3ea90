"""`config apply` and `config export` against a real database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from migrations import upgrade
from services.cli import config
from services.cli.config import ConfigChange, KindChange, apply_config, export_config
from services.cli.configfile import read, write
from services.cli.configproblems import ConfigError
from shared.db.session import Database, open_database

FULL = """
business_lines: [{name: Retail, description: shops}, Loans]
sources: [META, {name: Google, region: DE, zone: Europe/Berlin, natural_keys: [document], duplicate_days: 7}]
stores: [{code: A1, name: First, assign_leads: true}, {code: A2}]
agents:
  - {code: "0010", name: Asha, email: asha@example.com, business_line: Retail, max_load: 5}
  - {name: Bruno, email: bruno@example.com, document_number: D2, mobile: "+91 1"}
  - {name: Chitra, active: false}
routes:
  - {name: loans, source: meta, business_line: Loans, priority: 5, params: {count: agent}, retry_pending: false}
  - name: everyone
    store: A1
    zone: Europe/Berlin
    sheets: false
    members:
      - {agent: all, priority: 7}
      - {agent: Bruno, weight: 3, max_daily_leads: 20}
      - {agent: Bruno, store: A2, max_new_per_lot: 0, enabled: false}
profiles:
  - {code: digest, scope: global, attach_mode: none, description: all of it}
recipients:
  - {profile: leads_assignment, store: A1, email: a1@example.com, name: First, send_as: cc}
  - {profile: digest, email: boss@example.com, active: false}
document_types: [Seafarer's Book]
countries: [{code: XK, name: Kosovo}]
"""


async def apply(database: Database, content: str, *, prune: bool = False) -> ConfigChange:
    return await apply_config(database, read(content, file="f.yaml"), actor="asha", prune=prune, file="f.yaml")


async def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.begin() as tx:
        return [tuple(row) for row in await tx.execute(text(statement))]


async def run(database: Database, statement: str) -> None:
    async with database.begin() as tx:
        await tx.execute(text(statement))


async def events(database: Database) -> list[str | None]:
    """The routes that the assigner is woken for, and none of these events from now on."""
    found = await rows(database, "WITH gone AS (DELETE FROM outbox RETURNING *) SELECT bodies FROM gone ORDER BY id")
    bodies = [json.loads(body) for (bodies,) in found for body in bodies]
    assert {body["requested_by"] for body in bodies} <= {"config"}
    return [body.get("route") for body in bodies]


async def versions(database: Database) -> dict[str, tuple[int, int]]:
    """Version and sequence of each route; the last version kept is that one."""
    kept = await rows(
        database,
        "SELECT name, routes.version, routes.sequence, max(kept.version), max(kept.sequence) FROM routes"
        " JOIN route_versions AS kept ON kept.route_id = routes.id GROUP BY routes.id",
    )
    assert all(version == last and sequence == at for _, version, sequence, last, at in kept)
    return {name: (version, sequence) for name, version, sequence, _, _ in kept}


async def a_lead_of(database: Database, agent: str, *, route: str = "everyone") -> None:
    """History: a lead of META and India that this agent has."""
    await run(
        database,
        "WITH lead AS (INSERT INTO leads (lead_id, source_id, store_code, business_line_id, country_id, created_at)"
        " SELECT 'X1', s.id, 'A1', b.id, c.id, now() FROM sources s, business_lines b, countries c"
        " WHERE s.name = 'META' AND b.name = 'Retail' AND c.code = 'IN' RETURNING id)"
        " INSERT INTO assignments (lead_id, route_id, agent_id, assignment_status_id)"
        " SELECT lead.id, r.id, a.id, 2 FROM lead, routes r, agents a"
        f" WHERE r.name = '{route}' AND a.agent_code = '{agent}'",
    )


async def test_wakes_are_due_to_the_relays_at_once(database: Database) -> None:
    await apply(database, FULL)
    assert await rows(database, "SELECT DISTINCT due_at = created_at FROM outbox") == [(True,)]


async def test_apply_sets_everything(database: Database) -> None:
    """Rows with the file's values, codes for agents without one, counters at zero, one version a route, woken once."""
    change = await apply(database, FULL)
    assert change.kinds["agents"] == KindChange(created=("0010 Asha", "0001 Bruno", "0002 Chitra"))
    assert change.kinds["members"].created == ("everyone 0010", "everyone 0001", "everyone 0001 A2")
    assert change.routes == ("everyone", "loans")
    assert await rows(
        database,
        "SELECT agent_code, store_code, weight, priority, max_daily_leads, max_new_per_lot, is_enabled"
        " FROM route_members JOIN agents ON agents.id = agent_id ORDER BY route_members.id",
    ) == [
        ("0010", None, 1, 7, None, None, True),
        ("0001", None, 3, 100, 20, None, True),
        ("0001", "A2", 1, 100, None, 0, False),
    ]
    assert await rows(database, "SELECT store_code, assign_leads, is_new FROM stores ORDER BY 1") == [
        ("A1", True, False),
        ("A2", False, False),
    ]
    assert await rows(database, "SELECT count(*), sum(open_load) FROM agent_counters") == [(3, 0)]
    assert await rows(database, "SELECT count(*), sum(assigned_count) FROM member_counters") == [(2, 0)]
    assert await versions(database) == {"loans": (1, 1), "everyone": (1, 1)}
    assert await events(database) == ["everyone", "loans", None]
    assert await rows(database, "SELECT DISTINCT actor FROM audit_logs") == [("asha",)]


async def test_a_version_keeps_the_route_as_it_was(database: Database) -> None:
    """Policy, parameters and every member with all that a decision looks at."""
    await apply(database, FULL)
    ((content,),) = await rows(
        database, "SELECT content FROM route_versions JOIN routes ON id = route_id WHERE name = 'everyone'"
    )
    members = content.pop("members")
    assert content == {
        "name": "everyone",
        "source": None,
        "store_code": "A1",
        "business_line": None,
        "priority": 100,
        "policy": "fair",
        "params": {},
        "mode": "stream",
        "zone": "Europe/Berlin",
        "pipeline": "leads_assignment",
        "sheets": False,
        "retry_pending": True,
        "schedule": None,
        "is_enabled": True,
    }
    assert [(member["agent_code"], member["store_code"]) for member in members] == [
        ("0010", None),
        ("0001", None),
        ("0001", "A2"),
    ]
    assert members[0] == {
        "agent_id": 1,
        "agent_code": "0010",
        "agent_name": "Asha",
        "email": "asha@example.com",
        "crm_user_id": None,
        "is_active": True,
        "max_load": 5,
        "business_line_id": 1,
        "store_code": None,
        "weight": 1,
        "priority": 7,
        "max_existing_per_lot": None,
        "max_new_per_lot": None,
        "max_daily_leads": None,
        "is_enabled": True,
    }


@pytest.mark.parametrize("prune", [False, True])
async def test_applied_twice_nothing_changes(database: Database, prune: bool) -> None:
    """No row, no version, no event, no audit record."""
    await apply(database, FULL, prune=prune)
    before = await rows(database, "SELECT max(id), (SELECT max(id) FROM outbox) FROM audit_logs")
    change = await apply(database, FULL, prune=prune)
    assert not change.is_change
    assert change.kinds["agents"] == KindChange(unchanged=3)
    assert await rows(database, "SELECT max(id), (SELECT max(id) FROM outbox) FROM audit_logs") == before


async def test_what_the_file_does_not_name_is_left_alone(database: Database) -> None:
    """Entries, and fields of entries."""
    await apply(database, FULL)
    change = await apply(database, 'agents: [{code: "0010", name: Asha, mobile: "+91 2"}]')
    assert change.kinds == {"agents": KindChange(updated=("0010 Asha",))}
    assert await rows(database, "SELECT email, max_load, mobile_number FROM agents WHERE agent_code = '0010'") == [
        ("asha@example.com", 5, "+91 2")
    ]
    await apply(database, 'agents: [{code: "0010", name: Asha, max_load: null}]')
    assert await rows(database, "SELECT max_load FROM agents WHERE agent_code = '0010'") == [(None,)]


@pytest.mark.parametrize(
    ("content", "changed", "woken"),
    [
        ('agents: [{code: "0001", name: Bruno, max_load: 9}]', {"everyone"}, ["everyone"]),
        ('agents: [{code: "0010", name: Asha, active: false}]', {"everyone"}, ["everyone"]),
        ("routes: [{name: everyone, members: [{agent: Bruno, weight: 4}]}]", {"everyone"}, ["everyone"]),
        ("routes: [{name: everyone, members: [Chitra]}]", {"everyone"}, ["everyone"]),
        ("routes: [{name: loans, params: {}}]", {"loans"}, ["loans"]),
        ("routes: [{name: loans, source: null}]", {"loans"}, ["loans", None]),
        ("routes: [{name: loans, enabled: false}]", {"loans"}, ["loans", None]),
        ("stores: [{code: A2, assign_leads: true}]", set(), [None]),
        ("recipients: [{profile: digest, email: boss@example.com, active: true}]", set(), []),
    ],
)
async def test_a_change_gives_its_routes_a_version(
    database: Database, content: str, changed: set[str], woken: list[str | None]
) -> None:
    """Those that it touches, also through an agent; all waiting leads are looked at only where matches changed."""
    await apply(database, FULL)
    await events(database)
    await run(database, "UPDATE routes SET sequence = sequence + 40")  # decisions
    change = await apply(database, content)
    assert set(change.routes) == changed
    kept = await rows(database, "SELECT name, version, sequence FROM routes")
    assert {name: (version, sequence) for name, version, sequence in kept} == {
        name: (2, 42) if name in changed else (1, 41) for name in ("loans", "everyone")
    }
    assert await events(database) == woken


async def test_an_export_gives_the_same_configuration(database: Database, empty_database_url: str) -> None:
    """In an empty database, and once more from there; on the one that it comes from it changes nothing."""
    await apply(database, FULL)
    exported = write(await export_config(database))
    assert not (await apply(database, exported, prune=True)).is_change
    await asyncio.to_thread(upgrade, empty_database_url)
    async with open_database(empty_database_url) as empty:
        await apply(empty, exported)
        assert write(await export_config(empty)) == exported


async def test_prune_removes_what_nothing_refers_to(database: Database) -> None:
    """In the sections that the file has, and nowhere else."""
    await apply(database, FULL)
    await events(database)
    change = await apply(
        database,
        'agents: [{code: "0010", name: Asha}]\nroutes: [{name: everyone, members: ["0010"]}]\n'
        "business_lines: [Retail]\nstores: [A1]\nrecipients: []",
        prune=True,
    )
    assert change.kinds["members"].removed == ("everyone 0001", "everyone 0001 A2")
    assert change.kinds["agents"].removed == ("0001 Bruno", "0002 Chitra")
    assert change.kinds["routes"].removed == ("loans",)
    assert change.kinds["business_lines"].removed == ("Loans",)
    assert change.kinds["stores"].removed == ("A2",)
    assert len(change.kinds["recipients"].removed) == 2
    assert await rows(database, "SELECT agent_id FROM agent_counters") == [(1,)]
    assert await rows(database, "SELECT count(*) FROM countries") == [(250,)]
    assert await events(database) == ["everyone", None]


async def test_prune_deactivates_what_history_refers_to(database: Database) -> None:
    """Nothing that a lead points to is lost; pruned once more, nothing changes."""
    await apply(database, FULL)
    await a_lead_of(database, "0001")
    pruned = (
        "agents: []\nroutes: []\nsources: []\nstores: []\ncountries: [{code: XK, name: Kosovo}]\nbusiness_lines: []\n"
        "profiles: []"
    )
    change = await apply(database, pruned, prune=True)
    assert change.kinds["routes"] == KindChange(removed=("loans",), deactivated=("everyone",))
    assert change.kinds["agents"].removed == ("0002 Chitra",)
    assert change.kinds["agents"].deactivated == ("0010 Asha", "0001 Bruno")  # members of a route that stays
    assert change.kinds["sources"].deactivated == ("META", "Google")
    assert change.kinds["stores"] == KindChange(deactivated=("A1",))  # A2 has a member, and was not assigning
    assert change.kinds["business_lines"] == KindChange(removed=("Loans",), kept=("Retail",))
    assert change.kinds["countries"].kept == ("IN",)
    assert len(change.kinds["countries"].removed) == 248
    assert set(change.kinds["profiles"].deactivated) == {
        "leads_assignment leads_assignment any",
        "leads_assignment digest any",
    }
    assert await rows(database, "SELECT agent_code FROM current_assignments") == [("0001",)]
    assert not (await apply(database, pruned, prune=True)).is_change


async def test_what_ingest_has_found_is_not_pruned(database: Database) -> None:
    """A source or store that nobody has configured is not exported either; named in a file, it is configured."""
    await run(database, "INSERT INTO sources (name, is_new) VALUES ('TikTok', true)")
    await run(database, "INSERT INTO stores (store_code, is_new) VALUES ('Z9', true)")
    assert not (await apply(database, "sources: []\nstores: []", prune=True)).is_change
    exported = await export_config(database)
    assert (exported.sources, exported.stores) == ([], [])
    change = await apply(database, "sources: [tiktok]\nstores: [{code: Z9, assign_leads: true}]")
    assert change.kinds == {"sources": KindChange(updated=("tiktok",)), "stores": KindChange(updated=("Z9",))}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "routes: [{name: r, members: [X9Z1]}]",
            "routes[0].members[0].agent: no agent has 'X9Z1' as code, e-mail address or name: correct it, or add",
        ),
        (
            "routes: [{name: r, source: METTA}]",
            "routes[0].source: 'METTA' is not among the sources: correct it, or add",
        ),
        ("agents: [{name: N, business_line: Retial}]", "agents[0].business_line: 'Retial' is not among the business l"),
        ("profiles: [{pipeline: p, code: c, scope: agent, attach_mode: none}]", "profiles[0].pipeline: 'p' is not amo"),
        ("recipients: [{profile: digst, email: a@b}]", "recipients[0].profile: 'leads_assignment/digst/any' is not am"),
        ("routes: [{name: r, members: [Bruno, '0001']}]", "routes[0].members[1]: is the same agent as members[0], for"),
        ("countries: [{code: UK, name: United Kingdom}]", "countries: Key (name)=(United Kingdom) already exists. Two"),
    ],
)
async def test_what_cannot_be_applied(database: Database, content: str, problem: str) -> None:
    """The place, what is wrong and what to do; nothing is changed."""
    await apply(database, FULL)
    before = await rows(database, "SELECT count(*) FROM audit_logs")
    with pytest.raises(ConfigError) as error:
        await apply(database, f"{content}\nsources: [NEW]")
    assert str(error.value).startswith(f"f.yaml: {problem}")
    assert await rows(database, "SELECT count(*) FROM audit_logs") == before


async def test_a_close_name_is_suggested(database: Database) -> None:
    """A typo is answered with what was probably meant."""
    with pytest.raises(ConfigError, match=r"\(did you mean 'META'\?\)"):
        await apply(database, "sources: [META, GOOGLE]\nroutes: [{name: r, source: METTA}]")


async def test_two_at_once(database: Database) -> None:
    """One waits for the other and finds nothing to do; routes added meanwhile are there once."""
    changes = await asyncio.gather(*(apply(database, FULL) for _ in range(3)))
    assert sorted(change.is_change for change in changes) == [False, False, True]
    assert await versions(database) == {"loans": (1, 1), "everyone": (1, 1)}


async def test_it_waits_for_the_locks_of_all_routes(database: Database) -> None:
    """While the assigner decides on a route, nothing about it changes."""
    await apply(database, FULL)
    async with database.begin() as assigner:
        await assigner.execute(text("SELECT 1 FROM routes WHERE name = 'loans' FOR NO KEY UPDATE"))
        applying = asyncio.create_task(apply(database, 'agents: [{code: "0010", name: Asha, max_load: 1}]'))
        done, _ = await asyncio.wait([applying], timeout=0.3)
        assert not done
    assert (await applying).routes == ("everyone",)


def test_the_commands(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example applies, its export too, and a file that is not there is an error of one line."""
    monkeypatch.setenv("LEADLINE_DATABASE_URL", database_url)
    change = config.apply(Path("examples/start.yaml"))
    assert len(change.kinds["agents"].created) == len(change.kinds["members"].created) == 10
    assert change.kinds["sources"].created == ("META", "GOOGLE", "WEBSITE", "REFERRAL", "WALK-IN")
    exported = config.export(tmp_path / "now.yaml")
    assert exported.entries["routes"] == 1
    assert not config.apply(tmp_path / "now.yaml", prune=True).is_change
    with pytest.raises(ConfigError, match=r"^/nowhere\.yaml: cannot be read: No such file or directory$"):
        config.apply(Path("/nowhere.yaml"))
