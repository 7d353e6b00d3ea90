"""All settings, read once in `__main__` from `LEADLINE_…` variables and `.env`; below it, values are passed on."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

SHEET_KEY_LENGTH = 16


def _folder_or_url(value: object) -> object:
    return Path(value) if isinstance(value, str) and "://" not in value else value


class Settings(BaseSettings):
    """One frozen value for a process. Fails at start with the name of the variable that is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="LEADLINE_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    database_url: str = ""
    amqp_url: str = "amqp://guest:guest@127.0.0.1:5672/"
    #: RabbitMQ's management API, where it is not on the broker's host at 15672; `leadline doctor` asks it.
    rabbitmq_api_url: str = ""
    env: str = "prod"

    smtp_host: str = "127.0.0.1"
    smtp_port: int = 25
    smtp_username: str = ""
    smtp_password: str = ""
    smtp_tls: bool = False
    smtp_starttls: bool | None = None
    mail_from: str = "Leadline <leadline@example.com>"
    #: Mails that one notifier sends in any minute; 0: as many as there are.
    smtp_per_minute: int = Field(default=0, ge=0)
    #: A folder whose templates are used in the place of ours of the same name.
    templates_dir: Path | None = None
    #: Where people reach the API: sheets too large for a mail are sent as links to it, which open for so many days.
    public_url: str = ""
    link_days: int = Field(default=14, ge=1, le=365)

    #: A folder, or a URL that fsspec knows, as `s3://bucket/sheets`.
    sheets_dir: Annotated[Path | str, BeforeValidator(_folder_or_url)] = Field(
        default=Path("reports"), validation_alias=AliasChoices("LEADLINE_SHEETS", "LEADLINE_SHEETS_DIR")
    )
    #: What sheets are signed with, in place of the key that the installation keeps in its database. Several, parted by
    #: commas: the first signs, sheets that the others have signed are still taken.
    sheet_key: str = ""
    #: Processes that render sheets.
    sheet_workers: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=64)
    #: A folder that filled-in sheets are put into, and the mailbox that agents answer to; looked into if set.
    drop_dir: Path | None = None
    drop_every_s: float = Field(default=2, gt=0)
    imap_host: str = ""
    imap_port: int = 993
    imap_username: str = ""
    imap_password: str = ""
    imap_folder: str = "INBOX"
    imap_every_s: float = Field(default=60, gt=0)
    default_region: str = Field(default="IN", description="ISO country of phone numbers without a country code")
    zone: str = "Asia/Kolkata"

    #: Most messages a consumer takes at once. The seeds call it MAX_LEADS_PER_BATCH.
    batch_size: int = Field(
        default=500, ge=1, le=500, validation_alias=AliasChoices("LEADLINE_BATCH_SIZE", "MAX_LEADS_PER_BATCH")
    )
    #: Days after which dead letters go that are resolved or discarded, and those that are neither: never, unless set.
    dead_letter_days: int = Field(default=90, ge=1, le=36_500)
    new_dead_letter_days: int | None = Field(default=None, ge=1, le=36_500)
    #: Where the service answers probes: unset, nowhere; 0: a free port, which it logs. Metrics are for this machine, or
    #: for who brings the token.
    health_port: int | None = Field(default=None, ge=0, le=65_535)
    health_host: str = "127.0.0.1"
    metrics_token: str = ""
    #: Where the HTTP API listens, and how long it waits for what becomes of a request, if nobody says.
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65_535)
    api_wait_s: float = Field(default=2, ge=0, le=30)
    #: Requests a second of one key, for long; four times as many at once.
    api_rate: float = Field(default=100, gt=0)
    #: The largest body of a request, and of an uploaded file.
    api_body_bytes: int = Field(default=1_048_576, ge=1_024)
    api_upload_bytes: int = Field(default=50_000_000, ge=1_024)
    #: Webhooks may go to http:// and to addresses of this machine and network. For trying out only.
    webhooks_allow_http: bool = False
    log_file: Path | None = None
    log_level: str = "INFO"

    #: Seconds between two sweeps for leads that wait. The seeds call it CHECK_INTERVAL.
    check_interval: float = Field(
        default=30, gt=0, validation_alias=AliasChoices("LEADLINE_CHECK_INTERVAL", "CHECK_INTERVAL")
    )
    simulation_interval: float = Field(
        default=10, ge=0, validation_alias=AliasChoices("LEADLINE_SIMULATION_INTERVAL", "SIMULATION_INTERVAL")
    )
    leads_min: int = Field(default=1, ge=1, validation_alias=AliasChoices("LEADLINE_LEADS_MIN", "LEADS_MIN"))
    leads_max: int = Field(default=5, ge=1, validation_alias=AliasChoices("LEADLINE_LEADS_MAX", "LEADS_MAX"))

    postgres_host: str = Field(default="localhost", validation_alias="POSTGRES_HOST")
    postgres_port: int = Field(default=5432, validation_alias="POSTGRES_PORT")
    postgres_db: str = Field(default="leadline", validation_alias="POSTGRES_DB")
    postgres_user: str = Field(default="postgres", validation_alias="POSTGRES_USER")
    postgres_password: str = Field(default="", validation_alias="POSTGRES_PASSWORD")

    @field_validator("new_dead_letter_days", "health_port", mode="before")
    @classmethod
    def _blank_is_never(cls, days: object) -> object:
        return None if days == "" else days

    @field_validator("amqp_url")
    @classmethod
    def _is_amqp(cls, url: str) -> str:
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError("must begin with amqp:// or amqps://")
        return url

    @field_validator("public_url", "rabbitmq_api_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return url

    @field_validator("templates_dir", mode="before")
    @classmethod
    def _blank_is_none(cls, folder: object) -> object:
        return None if folder == "" else folder

    @field_validator("sheet_key")
    @classmethod
    def _is_long_enough(cls, keys: str) -> str:
        if any(len(key) < SHEET_KEY_LENGTH for key in keys.split(",") if key):
            raise ValueError(f"must have at least {SHEET_KEY_LENGTH} characters")
        return keys

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"must be a time zone such as Asia/Kolkata, not {zone!r}") from error
        return zone

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, level: str) -> str:
        if level.upper() not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return level.upper()

    @cached_property
    def database(self) -> str:
        """The database's address for SQLAlchemy with asyncpg, from one URL or from the `POSTGRES_*` parts."""
        if not self.database_url:
            from sqlalchemy import URL  # noqa: PLC0415  # settings load without the database's libraries

            return URL.create(
                "postgresql+asyncpg",
                self.postgres_user,
                self.postgres_password or None,
                self.postgres_host,
                self.postgres_port,
                self.postgres_db,
            ).render_as_string(hide_password=False)
        scheme, _, rest = self.database_url.partition("://")
        if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            raise SettingsError(f"LEADLINE_DATABASE_URL must begin with postgresql://, not {scheme}://")
        return f"postgresql+asyncpg://{rest}"

    @cached_property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


class SettingsError(ValueError):
    """A setting is wrong; the message names the variable and what it may be."""


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        SettingsError: naming every variable that is wrong.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(str(item['loc'][0]))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"wrong settings: {wrong}") from None
    assert settings.database  # refuses a wrong URL here, at the start
    return settings


def _variable(name: str) -> str:
    return name if name.isupper() else f"LEADLINE_{name.upper()}"
