"""Synthetic leads: pure and seeded. The same seed, run and time give the same bytes, on every Python version.

Lead n is the same whatever is mixed in. Nothing in it is real: names are invented, addresses lie under example.com, and
each lead has the mobile number after the one before. No natural key (document number, mobile number) comes twice in a
run of a million, and two runs share one only if their seeds and run ids are the same.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar, assert_never

from services.simulator import invented
from shared.events import LEAD_ID_MAX_BYTES, LeadCreated

#: How many good leads back a duplicate may lie.
REMEMBERED = 1_000
#: Ranges that are valid mobile numbers throughout, as (country code, first number, how many). None is reserved for
#: fiction that is both this large and accepted by phonenumbers, and nothing here ever dials.
INDIAN = ("91", 9_000_000_000, 1_000_000_000)
BRITISH = ("44", 7_120_000_000, 480_000_000)
_BRITISH_EVERY = 20
_OLDEST_S = 300

T = TypeVar("T")


class Kind(StrEnum):
    GOOD = "good"
    DUPLICATE = "duplicate"
    MALFORMED = "malformed"


class Flaw(StrEnum):
    """What is wrong with a malformed lead; they take turns in this order."""

    NOT_JSON = "not JSON"
    ARRAY = "a JSON array"
    NO_LEAD_ID = "no lead_id"
    LONG_LEAD_ID = "a lead_id that is too long"
    NUL = "a NUL in a name"
    SURROGATE = "a lone surrogate"
    BUSINESS_LINE = "an unknown business line"
    DATE = "a date that is none"


@dataclass(frozen=True, slots=True)
class Sample:
    """One message to publish, and what it is. `key` is the lead id, None where it cannot be one."""

    kind: Kind
    routing_key: str
    body: bytes
    key: str | None
    flaw: Flaw | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that leads use.

    A business line, country or document type that is not configured makes a lead a dead letter, so these are only what
    every database begins with: no business line. Sources and stores may be unknown.
    """

    sources: Sequence[str] = ("META", "GOOGLE", "WEBSITE", "REFERRAL", "WALK-IN")
    stores: Sequence[str] = ("BLR01", "BOM02", "DEL03", "MAA04", "PNQ05")
    business_lines: Sequence[str] = ()
    countries: Sequence[str] = ("India",)
    document_types: Sequence[str] = ("Passport", "National ID", "Driver License")
    #: How many of the leads have a store, where there are any.
    store_share: float = 0.8


class LeadMaker:
    """An endless stream of samples, of which `duplicates` and `malformed` per cent are what they say, to within one.

    A duplicate is one of the last 1,000 good leads again, byte for byte.

    Raises:
        ValueError: if the percentages are not, or are over 100 together.
    """

    def __init__(
        self,
        seed: int,
        run_id: str = "",
        *,
        duplicates: float = 0,
        malformed: float = 0,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        if not (duplicates >= 0 and malformed >= 0 and duplicates + malformed <= 100):
            raise ValueError("duplicates and malformed are per cent: 0 to 100, and at most 100 together")
        self._prefix = f"SIM-{seed}-{run_id}" if run_id else f"SIM-{seed}"
        if len(self._prefix.encode()) > LEAD_ID_MAX_BYTES // 2 or not self._prefix.isprintable():
            raise ValueError(f"the run id must be printable and seed and run id within {LEAD_ID_MAX_BYTES // 2} bytes")
        self._words = vocabulary or Vocabulary()
        run = blake2b(self._prefix.encode(), digest_size=5).hexdigest().upper()
        self._document = f"SIM{run}"
        self._mobile_start = int(run, 16)
        self._leads = Random(f"{self._prefix} leads")
        self._repeats = Random(f"{self._prefix} repeats")
        self._duplicates = _Share(duplicates, Random(f"{self._prefix} duplicates"))
        self._malformed = _Share(malformed, Random(f"{self._prefix} malformed"))
        self._recent: deque[Sample] = deque(maxlen=REMEMBERED)
        self._made = self._good = self._bad = 0

    def make(self, now: datetime) -> Sample:
        """Make the next sample, created at most five minutes before `now`, which has a zone."""
        self._made += 1
        if self._malformed.is_due(self._made):
            return self._make_malformed(now)
        if self._recent and self._duplicates.is_due(self._made):
            again = _pick(self._repeats, self._recent)
            return Sample(Kind.DUPLICATE, again.routing_key, again.body, again.key)
        self._good += 1
        fields = self._fields(self._good, now)
        sample = Sample(Kind.GOOD, LeadCreated.type, _json(fields), fields["lead_id"])
        self._recent.append(sample)
        return sample

    def _make_malformed(self, now: datetime) -> Sample:
        flaw = tuple(Flaw)[self._bad % len(Flaw)]
        self._bad += 1
        fields = {
            "lead_id": f"{self._prefix}-X{self._bad:07d}",
            "source": self._words.sources[self._bad % len(self._words.sources)],
            "customer_name": "Nobody Inparticular",
            "created_at": now.isoformat(timespec="seconds"),
        }
        body = _spoilt(fields, flaw)
        has_key = flaw not in {Flaw.ARRAY, Flaw.NOT_JSON, Flaw.NO_LEAD_ID, Flaw.LONG_LEAD_ID}
        return Sample(Kind.MALFORMED, LeadCreated.type, body, fields["lead_id"] if has_key else None, flaw)

    def _fields(self, n: int, now: datetime) -> dict[str, Any]:
        rng, words = self._leads, self._words
        given, surname = _pick(rng, invented.GIVEN_NAMES), _pick(rng, invented.SURNAMES)
        fields: dict[str, Any] = {
            "lead_id": f"{self._prefix}-{n:07d}",
            "source": _pick(rng, words.sources),
            "mobile_number": self._mobile(n, rng),
            "email": f"{given}.{surname}.{n}@example.com".lower(),
            "customer_type": _pick(rng, invented.CUSTOMER_TYPES),
            "document_number": f"{self._document}{n:07d}",
            "created_at": (now - timedelta(seconds=int(rng.random() * _OLDEST_S))).isoformat(timespec="seconds"),
        }
        if rng.random() < 0.5:
            fields["customer_name"] = f"{given} {surname}"
        else:
            fields |= {"given_name": given, "surname": surname}
        # Every draw is made for every lead, so that other words do not shift the leads that follow.
        optional = {
            "store_code": (words.store_share, words.stores),
            "business_line": (1.0, words.business_lines),
            "country": (1.0, words.countries),
            "document_type": (1.0, words.document_types),
            "address": (0.4, invented.ADDRESSES),
            "message": (0.3, invented.MESSAGES),
            "stage": (0.2, (1, 2, 3, 4)),
        }
        for name, (share, values) in optional.items():
            chance, value = rng.random(), _pick(rng, values or (None,))
            if values and chance < share:
                fields[name] = value
        if rng.random() < 0.3:
            fields["external_id"] = f"{self._prefix}-C{n:07d}"
        if rng.random() < 0.2:
            fields |= {"pickup_no": f"PU{n:07d}", "pickup_date": (now + timedelta(days=2)).date().isoformat()}
        return fields

    def _mobile(self, n: int, rng: Random) -> str:
        """One number after the other, written in the many ways that people write them."""
        is_british = n % _BRITISH_EVERY == 0
        code, first, size = BRITISH if is_british else INDIAN
        digits = str(first + (self._mobile_start + n) % size)
        national = ("{0}", "0{0}", "0{1} {2}")
        international = ("+{code}{0}", "+{code} {1} {2}", "+{code}-{1}-{2}", "00{code} {0}")
        form = _pick(rng, international if is_british else international + national)
        return form.format(digits, digits[:5], digits[5:], code=code)


class _Share:
    """Says when a share of a stream is due: once in each stretch of 100 / per_cent, at a random place of it."""

    def __init__(self, per_cent: float, rng: Random) -> None:
        self._per_cent = per_cent
        self._rng = rng
        self._given = 0
        self._place = rng.random()

    def is_due(self, made: int) -> bool:
        if not self._per_cent or made * self._per_cent / 100 < self._given + self._place:
            return False
        self._given += 1
        self._place = self._rng.random()
        return True


def _spoilt(fields: dict[str, str], flaw: Flaw) -> bytes:
    body: object
    match flaw:
        case Flaw.NOT_JSON:
            return f"lead_id={fields['lead_id']}&source={fields['source']}".encode()
        case Flaw.ARRAY:
            body = [fields]
        case Flaw.NO_LEAD_ID:
            body = {name: value for name, value in fields.items() if name != "lead_id"}
        case Flaw.LONG_LEAD_ID:
            body = fields | {"lead_id": fields["lead_id"].ljust(10_000, "0")}
        case Flaw.NUL:
            body = fields | {"customer_name": "Nobody\x00Inparticular"}
        case Flaw.SURROGATE:
            body = fields | {"customer_name": "Nobody \ud83d"}
        case Flaw.BUSINESS_LINE:
            body = fields | {"business_line": invented.UNKNOWN_BUSINESS_LINE}
        case Flaw.DATE:
            body = fields | {"created_at": f"{fields['created_at'][:4]}-02-30T10:00:00+05:30"}
        case _:
            assert_never(flaw)
    return _json(body)


def _json(value: object) -> bytes:
    """ASCII, so that a lone surrogate is the escape that a sloppy client writes, and the bytes are still UTF-8."""
    return json.dumps(value).encode("ascii")


def _pick(rng: Random, values: Sequence[T]) -> T:
    """Only `Random.random` is promised to give the same numbers in the next Python."""
    return values[int(rng.random() * len(values))]
