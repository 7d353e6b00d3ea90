"""The exports we know: what each system calls our fields, how it writes dates, which states it calls closed.

Column names are compared by their letters and digits alone: "Lead Source", "lead_source" and "LEADSOURCE" are one.
Where a lead has several such columns the first that is filled counts. Sources: Zoho's, HubSpot's and Salesforce's own
field lists and exports in public repositories, Meta's Lead Ads download, Google's lead form columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal

from shared.events import LeadCreated

DayMonth = Literal["day first", "month first"]

#: What a row may fill. The others are not a row's to say: `as_of` belongs to replays, `event_id` to the sender.
FIELDS: tuple[str, ...] = tuple(
    name for name in LeadCreated.model_fields if name not in {"attributes", "event_id", "occurred_at", "as_of"}
)
#: Our own names that a CRM uses for something else: its country is free text, ours is reference data.
_CRM_MEANS_OTHERWISE = frozenset({"lead_id", "country", "stage"})
#: What we write ourselves into the file of rejected rows, so that it can be corrected and imported.
REJECTED_LINE, REJECTED_REASON = "rejected line", "rejected reason"


def column_key(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _keys(names: str) -> tuple[str, ...]:
    return tuple(column_key(name) for name in names.split(","))


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """One system's export. Names are written as the system writes them, separated by commas, the best first."""

    system: str
    #: Any of these groups of columns, complete, tells that a file is this system's.
    marks: tuple[str, ...]
    columns: Mapping[str, str]
    #: Columns that hold a state by name, and what closes a lead besides `_CLOSED`.
    states: str = "Lead Status, Status"
    closed: str = ""
    #: Columns whose "yes" closes a lead.
    flags: str = "Converted, Is Converted"
    #: How 04/05/2024 is meant when no value of the file tells.
    day_month: DayMonth = "day first"
    #: What the system puts before a field's value.
    prefixes: Mapping[str, str] = field(default_factory=dict)
    #: How a row begins that the system made up to test itself.
    test_mark: str = ""
    #: Lines of one cell after the table are the report's footer.
    has_footer: bool = False

    def is_marked(self, keys: frozenset[str]) -> bool:
        return any(keys.issuperset(_keys(mark)) for mark in self.marks)

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Field → column keys, the best first. `address` is special: its columns are parts, joined in this order."""
        own = [name for name in FIELDS if self.system == "file" or name not in _CRM_MEANS_OTHERWISE]
        names: dict[str, tuple[str, ...]] = {name: (column_key(name),) for name in own}
        for name, known in self.columns.items():
            names[name] = tuple(dict.fromkeys((*_keys(known), *names.get(name, ()))))
        return names


#: States that close a lead whatever the system; a star stands for any end.
_CLOSED = (
    "Converted, Closed*, Lost, Lost Lead, Won, Junk, Junk Lead, Spam, Dead, Dead Lead, Duplicate, Invalid,"
    " Unqualified, Not Qualified, Disqualified"
)
_TRUE = frozenset({"yes", "true", "1", "y", "t"})

_ZOHO = Export(
    system="zoho",
    marks=(
        "Record Id, Lead Owner",
        "Record Id, Created Time",
        "Lead Owner Id",
        "Lead Owner, Lead Name",
        "Lead Owner, Created Time",
        "Lead Source, Lead Status, Created Time",
        "LEADID, Converted, Created Time",
    ),
    columns={
        "lead_id": "LEADID, Record Id, Lead Id, Id",
        "source": "Lead Source",
        "customer_name": "Full Name, Lead Name",
        "given_name": "First Name",
        "surname": "Last Name",
        "mobile_number": "Mobile, Phone",
        "email": "Email, Secondary Email",
        "address": "Street, City, State, State / Province, Zip Code, Zip / Postal Code, Country, Country / Region",
        "message": "Description",
        "created_at": "Created Time",
    },
    prefixes={"lead_id": "zcrm_"},
)
_HUBSPOT = Export(
    system="hubspot",
    marks=(
        "Record ID - Contact",
        "Record ID - Lead",
        "Record ID, Contact owner",
        "Record ID, Lifecycle Stage",
        "Record ID, Create Date",
        "Contact owner, Create Date",
        "Lifecycle Stage, Create Date",
        "hs_object_id",
    ),
    columns={
        "lead_id": "Record ID - Lead, Record ID, Record ID - Contact, Contact ID, hs_object_id, vid",
        "source": "Lead Source, Original Source, Original Traffic Source, Original Source Type, hs_analytics_source",
        "customer_name": "Full Name, Lead Name",
        "given_name": "First Name",
        "surname": "Last Name",
        "mobile_number": "Mobile Phone Number, Mobile Phone, Phone Number, Phone, WhatsApp Phone Number",
        "email": "Email, Email Address, Work Email",
        "address": "Street Address, Address, City, State/Region, State, Postal Code, Zip, Country/Region, Country",
        "message": "Message, Notes",
        "created_at": "Create Date, Created Date, hs_createdate",
    },
    states="Lead Status, hs_lead_status, Lead Stage, Lead Pipeline Stage, Lifecycle Stage",
    closed="Open Deal, Opportunity, Customer, Evangelist",
    flags="Converted",
    day_month="month first",
)
_SALESFORCE = Export(
    system="salesforce",
    marks=(
        "Company / Account",
        "IsConverted",
        "Lead Owner, Create Date",
        "Lead Owner, Created Date",
        "LeadSource, CreatedDate",
        "Lead ID, LeadSource",
        "Lead ID, Lead Source",
        "Lead Owner, Lead Status",
        "Lead Owner, Lead Source",
    ),
    columns={
        "lead_id": "Lead ID, Id, Lead ID (18 Char), Record ID",
        "source": "Lead Source",
        "customer_name": "Full Name, Name, Lead Name",
        "given_name": "First Name",
        "surname": "Last Name",
        "mobile_number": "Mobile, Mobile Phone, Phone",
        "email": "Email",
        "address": "Street, City, State/Province, State/Province (text only), State, Zip/Postal Code, Postal Code, Zip,"
        " Country, Country (text only)",
        "message": "Description",
        "created_at": "Create Date, Created Date, Created Date/Time",
    },
    flags="Converted, IsConverted, IsDeleted, Deleted",
    day_month="month first",
    has_footer=True,
)
_META = Export(
    system="meta",
    marks=(
        "created_time, is_organic",
        "created_time, adset_id",
        "created_time, ad_id, form_id",
        "created_time, form_name, platform",
        "created_time, leadgen_id",
    ),
    columns={
        "lead_id": "id, lead_id, leadgen_id",
        "source": "source, lead_source",
        # Meta names a question's column in the language of the form.
        "customer_name": "full_name, nombre_completo, nome_completo, nom_complet, vollständiger_name,"
        " volledige_naam, name",
        "given_name": "first_name, nombre, primeiro_nome, prénom, vorname, voornaam",
        "surname": "last_name, apellido, apellidos, sobrenome, cognome, nom_de_famille, nachname, achternaam",
        "mobile_number": "phone_number, phone, mobile_number, número_de_teléfono, número_de_telefone, telefone,"
        " numéro_de_téléphone, numero_di_telefono, telefonnummer, telefoonnummer, work_phone_number",
        "email": "email, e-mail, correo_electrónico, adresse_e-mail, e-mail-adresse, work_email",
        "address": "street_address, city, state, province, zip_code, post_code, country",
        "created_at": "created_time",
    },
    states="lead_status",
    day_month="month first",
    prefixes={"lead_id": "l:", "mobile_number": "p:", "address": "z:"},
    test_mark="<test lead:",
)
_GOOGLE = Export(
    system="google",
    marks=(
        "GCLID, Lead ID",
        "GCLID, Form ID",
        "GCLID, Lead Form ID",
        "GCLID, Full Name",
        "GCLID, User Email",
        "GCLID, Lead Submit Time",
        "gcl_id, Lead ID",
        "Google Click ID, Lead ID",
        "Google Click ID, Form ID",
        "Lead Submit Time, Campaign ID",
        "Submission Date Time, Campaign",
    ),
    columns={
        "lead_id": "Lead ID, Lead Form Submission ID, Submission ID, Id",
        "source": "Source, Lead Source",
        "customer_name": "Full Name, User Full Name, Name",
        "given_name": "First Name",
        "surname": "Last Name",
        "mobile_number": "Phone Number, User Phone, Phone, Work Phone, Work Phone Number",
        "email": "Email, User Email, Email Address, Work Email",
        "address": "Street Address, City, Region, State, State/Province, Postal Code, Zip Code,"
        " Zip/Postal Code, Country",
        "created_at": "Lead Submit Time, Submission Date Time, Submission Time, Submission Date, Submitted At,"
        " Lead Created Time, Created Time",
    },
    states="Lead Status, Lead Stage, Status",
    flags="Converted, Is Test",
    day_month="month first",
)
#: Not a system's: our own names, and what people call these things.
_FILE = Export(
    system="file",
    marks=("",),
    columns={
        "lead_id": "lead_id, id",
        "source": "source, lead_source, channel",
        "customer_name": "customer_name, full_name, name, contact_name, lead_name, customer",
        "given_name": "given_name, first_name, forename",
        "surname": "surname, last_name, family_name",
        "mobile_number": "mobile_number, mobile, mobile_phone, mobile_no, phone_number, phone, phone_no, telephone,"
        " contact_number",
        "email": "email, email_address, e-mail, mail",
        "address": "address, street, street_address, city, state, region, postal_code, zip_code, zip, pin_code",
        "message": "message, comments, comment, notes, description, remarks, enquiry, inquiry",
        "created_at": "created_at, created_time, created_date, create_date, creation_date, timestamp",
    },
    states="lead_status, status",
    flags="converted, is_converted, is_closed, closed",
)
#: The first whose marks are found: Meta and HubSpot have columns that Zoho and Salesforce would claim.
EXPORTS: tuple[Export, ...] = (_META, _HUBSPOT, _GOOGLE, _ZOHO, _SALESFORCE, _FILE)
SYSTEMS: frozenset[str] = frozenset(export.system for export in EXPORTS)
KNOWN_COLUMNS: frozenset[str] = frozenset(
    key for export in EXPORTS for keys in export.aliases().values() for key in keys
)
OUR_OWN_COLUMNS: frozenset[str] = frozenset({column_key(REJECTED_LINE), column_key(REJECTED_REASON)})


def recognise(columns: Iterable[str]) -> Export:
    """Which system's export has these columns; `file` when none."""
    keys = frozenset(map(column_key, columns)) | {""}
    return next(export for export in EXPORTS if export.is_marked(keys))


@lru_cache(maxsize=4_096)
def is_closed_state(export: Export, state: str) -> bool:
    """Whether the system means by this state that nobody is to work the lead."""
    value = column_key(state)
    endings = [name.strip() for name in f"{_CLOSED},{export.closed}".split(",") if name.strip()]
    return any(
        value.startswith(column_key(name)) if name.endswith("*") else value == column_key(name) for name in endings
    )


def is_true(value: str) -> bool:
    return value.casefold() in _TRUE


def state_columns(export: Export) -> frozenset[str]:
    return frozenset(_keys(export.states))


def flag_columns(export: Export) -> frozenset[str]:
    return frozenset(_keys(export.flags))


# Dates


_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_CLOCK = (
    r"(?:(?:[T,\s]|at\b)+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<offset>z|utc|gmt|[+-]\d{2}:?\d{2})?)?"
)


def _shape(date: str) -> re.Pattern[str]:
    return re.compile(rf"{_WEEKDAY}{date}{_CLOCK}", re.IGNORECASE)


_YEAR_FIRST = _shape(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})")
_NUMBERS = _shape(r"(?P<one>\d{1,2})(?P<mark>[-/.])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})")
_DAY_NAME = _shape(r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[-/.\s]+(?P<name>[a-z]{3,9})\.?[-/.,\s]+(?P<year>\d{4}|\d{2})")
_NAME_DAY = _shape(r"(?P<name>[a-z]{3,9})\.?[-\s]+(?P<day>\d{1,2})(?:st|nd|rd|th)?[-,\s]+(?P<year>\d{4})")
_EPOCH = re.compile(r"\d{10}(?:\d{3})?")
_SERIAL = re.compile(r"\d{5}(?:\.\d+)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Rows that are looked at before one order is taken for granted.
ORDER_SAMPLE = 1_000


def read_time(text: str, order: DayMonth) -> str:
    """Any way of writing a date that the known systems have → ISO 8601; without an offset where none is written.

    Raises:
        ValueError: it is no date; the message is a reason for a person.
    """
    try:
        return (_read_numbers(text) or _read_written(text, order)).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is no date that can be read ({order})") from None


def _read_numbers(text: str) -> datetime | None:
    """A spreadsheet's serial number, or seconds or milliseconds since 1970."""
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text[:10]), UTC)
    if _SERIAL.fullmatch(text):
        return datetime(1899, 12, 30) + timedelta(seconds=round(float(text) * 86_400))  # noqa: DTZ001  # no zone known
    return None


def _read_written(text: str, order: DayMonth) -> datetime:
    for shape in (_YEAR_FIRST, _DAY_NAME, _NUMBERS, _NAME_DAY):
        if match := shape.fullmatch(text):
            return _build(match.groupdict(), order)
    raise ValueError(text)


def _build(part: dict[str, str | None], order: DayMonth) -> datetime:
    year = int(part["year"] or 0)
    if year < 100:
        year += 1900 if year >= 70 else 2000
    day, month = _day_and_month(part, order)
    hour = int(part["hour"] or 0)
    if half := part["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    return datetime(year, month, day, hour, int(part["minute"] or 0), int(part["second"] or 0), tzinfo=_zone(part))


def _day_and_month(part: dict[str, str | None], order: DayMonth) -> tuple[int, int]:
    if name := part.get("name"):
        return int(part["day"] or 0), _MONTHS.index(name[:3].casefold()) + 1
    if "one" not in part:
        return int(part["day"] or 0), int(part["month"] or 0)
    one, two = int(part["one"] or 0), int(part["two"] or 0)
    # 05.04.2024 is written where the day comes first, whatever the file's slashes mean.
    return (one, two) if order == "day first" or part["mark"] == "." else (two, one)


def _zone(part: dict[str, str | None]) -> timezone | None:
    offset = part["offset"]
    if offset is None or offset[0] not in "+-":
        return UTC if offset else None
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


@dataclass(frozen=True, slots=True)
class DateOrder:
    """How 04/05/2024 is read in this file, and why."""

    order: DayMonth
    #: In words; None where no date of the file leaves it open.
    evidence: str | None = None

    def __str__(self) -> str:
        return f"{self.order} ({self.evidence})" if self.evidence else self.order


def find_date_order(values: Iterable[tuple[int, str]], default: DayMonth) -> DateOrder:
    """Decide by the values (line, text): the majority of those with a number above 12; read on until there is one."""
    votes: Counter[DayMonth] = Counter()
    first: dict[DayMonth, str] = {}
    is_open = False
    for count, (line, text) in enumerate(values):
        if count >= ORDER_SAMPLE and (votes or not is_open):
            break
        match = _NUMBERS.fullmatch(text)
        if match is None or match["mark"] == ".":
            continue
        is_open = True
        one, two = int(match["one"]), int(match["two"])
        if (one > 12) != (two > 12):
            order: DayMonth = "day first" if one > 12 else "month first"
            votes[order] += 1
            first.setdefault(order, f"line {line} has {text}")
    if not is_open:
        return DateOrder(default)
    if not votes:
        return DateOrder(default, "assumed: no date of the file tells")
    order = votes.most_common(1)[0][0]
    return DateOrder(order, first[order])
