"""The leads and the configuration that every way of doing the work gets."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MANY = 10_000
STORES = ("BLR01", "BOM02", "DEL03", "MAA04", "PNQ05")
SOURCES = ("META", "GOOGLE", "WEBSITE", "REFERRAL", "WALK-IN")
#: Routes by name: their agents, and whether they take leads from the start.
ROUTES = {"10 agents": 10, "1,000 agents": 1_000, "10,000 agents": MANY}
USUAL = "10 agents"
#: No two leads have the same number, or one would be the other's duplicate.
SCATTER = 982_451_653


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead, and its body on the wire."""

    lead_id: str
    body: bytes


def leads(count: int, *, seed: int = 7, source: str | None = None) -> Sequence[Lead]:
    """Plausible leads; ids, documents and numbers fall anywhere in an index, as real ones do."""
    rng = random.Random(seed)
    began = datetime.now(UTC) - timedelta(hours=1)
    return [_lead(rng, number, seed * 1_000_003 + number, source, began) for number in range(count)]


def _lead(rng: random.Random, number: int, serial: int, source: str | None, began: datetime) -> Lead:
    given, surname = f"Given{rng.randrange(997)}", f"Surname{rng.randrange(1009)}"
    fields = {
        "lead_id": f"CRM-{rng.getrandbits(64):016x}",
        "source": source or SOURCES[number % 5],
        "store_code": rng.choice(STORES),
        "country": "India",
        "document_type": "Passport",
        "document_number": f"{rng.getrandbits(40):010X}Z",
        "customer_name": f"{given} {surname}",
        "mobile_number": f"+919{serial * SCATTER % 10**9:09d}",
        "email": f"{given}.{surname}@example.com".lower(),
        "address": f"{rng.randrange(400)} Some Road, Some Quarter, 4000{rng.randrange(90):02}",
        "customer_type": "New Customer",
        "created_at": (began + timedelta(milliseconds=number)).isoformat(),
    }
    return Lead(fields["lead_id"], json.dumps(fields, separators=(",", ":")).encode())


def configuration() -> str:
    """SQL: sources, stores, agents, and one route a size; only the usual one takes leads."""
    routes = ", ".join(f"('{name}', 'fair', {str(name == USUAL).lower()})" for name in ROUTES)
    sizes = " OR ".join(f"(routes.name = '{name}' AND agents.id <= {size})" for name, size in ROUTES.items())
    return f"""
        INSERT INTO sources (name) SELECT unnest('{{{",".join(SOURCES)}}}'::text[]);
        INSERT INTO stores (store_code, store_name, assign_leads)
        SELECT code, 'Store ' || code, true FROM unnest('{{{",".join(STORES)}}}'::text[]) AS code;
        INSERT INTO agents (agent_code, agent_name, email)
        SELECT lpad(upper(to_hex(n)), 4, '0'), 'Agent ' || n, 'agent' || n || '@example.com'
        FROM generate_series(1, {MANY}) AS n;
        INSERT INTO routes (name, policy, is_enabled) VALUES {routes};
        INSERT INTO route_members (route_id, agent_id) SELECT routes.id, agents.id FROM routes, agents WHERE {sizes};
    """  # noqa: S608  # our own names and numbers
