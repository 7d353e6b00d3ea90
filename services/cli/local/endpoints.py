"""Where a running stack is reached: `.local/endpoints.json`, and the same as environment variables."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from dotenv import dotenv_values

from services.cli.local.nodes import ROOT, STATE
from services.cli.local.records import read_record, write_record

_FILE = "endpoints.json"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running stack is reached."""

    amqp_url: str
    database_url: str
    api_url: str | None
    api_key: str | None
    smtp_host: str
    smtp_port: int
    mail_dir: str
    sheets_dir: str
    drop_dir: str

    @property
    def below(self) -> Self:
        """What the services stand on: all but the API, which is one of them."""
        return replace(self, api_url=None, api_key=None)

    @classmethod
    def of(cls, state: Path = STATE) -> Self | None:
        """Those of the stack that is up here, or None when none is."""
        record = read_record(state / _FILE)
        return None if record is None else cls(**{"drop_dir": str((state / "drop").resolve()), **record})

    def publish(self, state: Path = STATE) -> None:
        """Let others find the stack."""
        write_record(state / _FILE, asdict(self))

    @staticmethod
    def withdraw(state: Path = STATE) -> None:
        """There is no stack any more."""
        (state / _FILE).unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """The variables by which the services and the `leadline` command find this stack."""
        inherited = {key: value for key, value in os.environ.items() if key != "LEADLINE_LOG_FILE"}
        return {
            **inherited,
            "LEADLINE_DATABASE_URL": self.database_url,
            "LEADLINE_AMQP_URL": self.amqp_url,
            "LEADLINE_SMTP_HOST": self.smtp_host,
            "LEADLINE_SMTP_PORT": str(self.smtp_port),
            "LEADLINE_SHEETS_DIR": self.sheets_dir,
            "LEADLINE_DROP_DIR": self.drop_dir,
            **({"LEADLINE_API_PORT": str(urlsplit(self.api_url).port)} if self.api_url else {}),
        }


def given(variable: str) -> str | None:
    """What the user has set, in the environment or in `.env`."""
    return os.environ.get(variable) or dotenv_values(ROOT / ".env").get(variable) or None
