"""The exports we know: what each system calls our fields, how it writes dates, which states it calls closed.

Column names are compared by their letters and digits alone: "Lead Source", "lead_source" and "LEADSOURCE" are one.
Where a lead has several such columns the first that is filled counts. Sources: Zoho's, HubSpot's and Salesforce's own
field lists and exports in public repositories, Meta's Lead Ads download, Google's lead form columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from services.ingest.dates import DayMonth
from shared.events import LeadCreated

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
