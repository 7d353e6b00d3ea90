"""The configuration as a person writes it: one YAML file, read and checked here, and written again by the export.

Pure: what the database has to say about it is `config`'s. A section that the file does not have is left alone, and so
is a field that an entry does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.assigner.policies import LOT, POLICIES
from services.cli import plainyaml
from services.cli.configproblems import ConfigError, Problem, explained, known
from services.scheduler import slots

__all__ = ["ALL", "ConfigError", "ConfigFile", "Problem", "read", "write"]

#: In a route's members: every active agent.
ALL: Final = "all"
DEFAULT_PIPELINE: Final = "leads_assignment"


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PydanticCustomError("zone", "must be a time zone such as Asia/Kolkata") from None
    return name


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise PydanticCustomError("policy", "must be one of: {known}", {"known": ", ".join(POLICIES)})
    return name


def _slot(text: str) -> str:
    try:
        slots.check(text)
    except slots.ScheduleError:
        raise PydanticCustomError(
            "schedule", "must be a time of day such as 20:40, or such as every 30 minutes"
        ) from None
    return text


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value or None


def _all_as_list(value: object) -> object:
    return [ALL] if value == ALL else value


def _text(*, most: int = 1_000, pattern: str | None = None) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=most, pattern=pattern)


_as_text = BeforeValidator(_number_as_text)
Name = Annotated[str, _as_text, _text(most=128)]
Line = Annotated[str, _as_text, _text()]
AgentCode = Annotated[str, _as_text, _text(pattern=r"^[0-9A-Z]{4}$")]
Email = Annotated[str, _text(most=320, pattern=r"^[^@\s]+@[^@\s]+$")]
Zone = Annotated[str, AfterValidator(_zone)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Priority = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
Slot = Annotated[str, _text(), AfterValidator(_slot)]
NaturalKey = Literal["document", "store_mobile"]


class Entry(BaseModel):
    """One entry of a section; `shorthand` is the field that a plain text in its place stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shorthand: ClassVar[str] = "name"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {cls.shorthand: value} if isinstance(value, str | int) else value


E = TypeVar("E", bound=Entry)


class BusinessLine(Entry):
    """A line of business; leads and agents belong to one."""

    name: Name
    description: Line | None = None


class Source(Entry):
    """A channel that leads come from."""

    name: Name
    description: Line | None = None
    region: Annotated[str, _text(pattern=r"^[A-Z]{2}$")] | None = None
    zone: Zone | None = None
    natural_keys: list[NaturalKey] = ["document", "store_mobile"]
    duplicate_days: Annotated[int, Field(ge=0, le=3_650)] = 30


class Store(Entry):
    """A store; once it stands here, `assign_leads` decides whether its leads are assigned."""

    shorthand: ClassVar[str] = "code"

    code: Name
    name: Line | None = None
    assign_leads: bool = False


class Agent(Entry):
    """Who works leads. Without `code` the first of document_number, email, name that is given tells who is meant."""

    code: AgentCode | None = None
    name: Name
    given_name: Name | None = None
    surname: Name | None = None
    document_number: Name | None = None
    mobile: Name | None = None
    email: Email | None = None
    business_line: Name | None = None
    max_load: Count | None = None
    crm_user_id: Name | None = None
    active: bool = True


class Member(Entry):
    """An agent on a route, named by code, e-mail address or name; `all` is every active agent."""

    shorthand: ClassVar[str] = "agent"

    agent: Line
    store: Name | None = None
    weight: Count = 1
    priority: Priority = 100
    max_existing_per_lot: Count | None = None
    max_new_per_lot: Count | None = None
    max_daily_leads: Count | None = None
    enabled: bool = True


class Route(Entry):
    """Which leads go to which agents, and how. `schedule`: when its lots are run, in its zone."""

    name: Name
    source: Name | None = None
    store: Name | None = None
    business_line: Name | None = None
    priority: Priority = 100
    policy: Annotated[str, AfterValidator(_policy)] = "fair"
    params: dict[str, JsonValue] = {}
    mode: Literal["stream", "lot"] = "stream"
    zone: Zone = "Asia/Kolkata"
    pipeline: Name = DEFAULT_PIPELINE
    sheets: bool = True
    retry_pending: bool = True
    schedule: Annotated[list[Slot] | None, BeforeValidator(_one_as_list)] = None
    enabled: bool = True
    members: Annotated[list[Member] | None, BeforeValidator(_all_as_list)] = None

    @model_validator(mode="before")
    @classmethod
    def _in_lots_where_there_is_no_other_way(cls, value: object) -> object:
        """The mode of a policy that works in lots only need not be named."""
        if not isinstance(value, dict) or "mode" in value:
            return value
        policy = POLICIES.get(value["policy"]) if isinstance(value.get("policy"), str) else None
        return {**value, "mode": "lot"} if policy and policy.modes == LOT else value


class Profile(Entry):
    """Which mails a pipeline sends, and to whom they are addressed."""

    pipeline: Name = DEFAULT_PIPELINE
    code: Name
    env: Name = "any"
    description: Line | None = None
    scope: Literal["agent", "store", "global"]
    attach_mode: Literal["none", "per_sheet_pdf", "per_store_pdf"]
    active: bool = True


class Recipient(Entry):
    """Who receives a profile's mails, for all stores or for one."""

    pipeline: Name = DEFAULT_PIPELINE
    profile: Name
    profile_env: Name = "any"
    store: Name | None = None
    env: Name = "any"
    email: Email
    name: Line | None = None
    send_as: Literal["to", "cc", "bcc"] = "to"
    active: bool = True


class Country(Entry):
    """A country; leads name it by code or by name."""

    code: Annotated[str, _text(pattern=r"^[A-Z]{2,3}$")]
    name: Name


class DocumentType(Entry):
    """A kind of identity document."""

    name: Name


class ConfigFile(BaseModel):
    """The whole file. `None`: the file does not have this section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    business_lines: list[BusinessLine] | None = None
    sources: list[Source] | None = None
    stores: list[Store] | None = None
    agents: list[Agent] | None = None
    routes: list[Route] | None = None
    profiles: list[Profile] | None = None
    recipients: list[Recipient] | None = None
    countries: list[Country] | None = None
    document_types: list[DocumentType] | None = None


_MODELS: Final[dict[str, type[BaseModel]]] = {
    "": ConfigFile,
    "business_lines": BusinessLine,
    "sources": Source,
    "stores": Store,
    "agents": Agent,
    "routes": Route,
    "members": Member,
    "profiles": Profile,
    "recipients": Recipient,
    "countries": Country,
    "document_types": DocumentType,
}


def read(text: str, *, file: str) -> ConfigFile:
    """The file's content, checked as far as that goes without a database.

    Raises ConfigError with all problems, each naming `file` and the place in it.
    """
    try:
        content = plainyaml.load(text)
    except plainyaml.YamlError as error:
        raise ConfigError(file, [Problem(error.place, error.problem)]) from None
    if not isinstance(content, dict):
        raise ConfigError(file, [Problem("", f"must have sections such as agents: and routes:{known(ConfigFile)}")])
    try:
        config = ConfigFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(file, [explained(details, _MODELS) for details in error.errors()]) from None
    if problems := list(_repeated(config)):
        raise ConfigError(file, problems)
    return config


def write(config: ConfigFile) -> str:
    """The file's text, one line an entry; `read` gives the same content again."""
    content = {
        section: [_compact(entry) for entry in entries]
        for section, entries in config.model_dump(mode="json").items()
        if entries is not None
    }
    return plainyaml.dump(content)


def _repeated(config: ConfigFile) -> Iterator[Problem]:
    """Entries of the same natural key. Agents and members are told apart later, when it is known who is meant."""
    yield from _same("business_lines", config.business_lines, lambda entry: entry.name)
    yield from _same("sources", config.sources, lambda entry: entry.name.lower())
    yield from _same("stores", config.stores, lambda entry: entry.code)
    yield from _same("routes", config.routes, lambda entry: entry.name)
    yield from _same("profiles", config.profiles, lambda entry: (entry.pipeline, entry.code, entry.env))
    yield from _same(
        "recipients",
        config.recipients,
        lambda entry: (entry.pipeline, entry.profile, entry.profile_env, entry.store, entry.env, entry.email),
    )
    yield from _same("countries", config.countries, lambda entry: entry.code)
    yield from _same("countries", config.countries, lambda entry: entry.name)
    yield from _same("document_types", config.document_types, lambda entry: entry.name)


def _same(section: str, entries: Sequence[E] | None, key: Callable[[E], Hashable]) -> Iterator[Problem]:
    first: dict[Hashable, int] = {}
    for index, entry in enumerate(entries or ()):
        if (earlier := first.setdefault(key(entry), index)) != index:
            yield Problem(f"{section}[{index}]", f"is there already, as {section}[{earlier}]: remove one of them")


def _compact(entry: dict[str, Any]) -> object:
    """An entry of one field as plain text, any other on one line; a route on several, its members on one each."""
    if len(entry) == 1:
        return next(iter(entry.values()))
    if "members" not in entry:
        return plainyaml.Line(entry)
    members = [plainyaml.Line(member) for member in entry["members"] or ()]
    return {**entry, "params": plainyaml.Line(entry["params"]), "members": members}
