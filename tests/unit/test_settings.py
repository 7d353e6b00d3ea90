"""Settings: what they read, and how they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """No variable of the machine's and no `.env` of the checkout's plays in."""
    monkeypatch.chdir(str(tmp_path))
    for name in ("LEADLINE_DATABASE_URL", "LEADLINE_AMQP_URL", "POSTGRES_HOST", "CHECK_INTERVAL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LEADLINE_AMQP_URL", "http://example.com", "must begin with amqp://"),
        ("LEADLINE_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("LEADLINE_ZONE", "Mars/Olympus", "must be a time zone"),
        ("LEADLINE_LOG_LEVEL", "loud", "must be one of"),
        ("LEADLINE_SHEET_KEY", "a key that is long enough,short", "at least 16 characters"),
        ("LEADLINE_SMTP_PORT", "mail", "valid integer"),
        ("CHECK_INTERVAL", "0", "greater than 0"),
        ("LEADLINE_DEAD_LETTER_DAYS", "0", "greater than or equal to 1"),
        ("LEADLINE_HEALTH_PORT", "70000", "less than or equal to 65535"),
        ("LEADLINE_RABBITMQ_API_URL", "broker:15672", "must begin with https://"),
        ("LEADLINE_PUBLIC_URL", "leads.example.com", "must begin with https://"),
        ("LEADLINE_SMTP_PER_MINUTE", "-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    """The message names the variable as it is set, and says what it may be."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert said in str(refused.value)
    assert variable in str(refused.value)


def test_the_database_comes_from_one_url_or_from_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds' variables are read where the URL is not set, and odd characters in a password are kept apart."""
    monkeypatch.setenv("POSTGRES_HOST", "db.example.com")
    monkeypatch.setenv("POSTGRES_PASSWORD", "p@ss/word")
    from_parts = load_settings().database

    monkeypatch.setenv("LEADLINE_DATABASE_URL", "postgres://someone@localhost/leads")
    from_url = load_settings().database

    assert from_parts == "postgresql+asyncpg://postgres:p%40ss%2Fword@db.example.com:5432/leadline"
    assert from_url == "postgresql+asyncpg://someone@localhost/leads"


def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only PostgreSQL will do."""
    monkeypatch.setenv("LEADLINE_DATABASE_URL", "sqlite:///leads.db")

    with pytest.raises(SettingsError, match="must begin with postgresql://"):
        load_settings()


def test_the_seeds_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment of one of the five systems keeps its variables."""
    values = {"CHECK_INTERVAL": "60", "LEADS_MIN": "2", "LEADS_MAX": "4", "MAX_LEADS_PER_BATCH": "50"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert (settings.check_interval, settings.leads_min, settings.leads_max, settings.batch_size) == (60, 2, 4, 50)


def test_dead_letters_that_nobody_has_worked_stay_unless_days_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set, and set to nothing as Compose does, are the same."""
    assert load_settings().new_dead_letter_days is None
    for written, days in (("", None), ("30", 30)):
        monkeypatch.setenv("LEADLINE_NEW_DEAD_LETTER_DAYS", written)
        assert load_settings().new_dead_letter_days == days


def test_sheets_are_kept_in_a_folder_or_at_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """By either name of the setting."""
    assert load_settings().sheets_dir == Path("reports")
    monkeypatch.setenv("LEADLINE_SHEETS_DIR", "/var/lib/sheets")
    assert load_settings().sheets_dir == Path("/var/lib/sheets")
    monkeypatch.setenv("LEADLINE_SHEETS", "s3://leads/sheets")
    assert load_settings().sheets_dir == "s3://leads/sheets"
