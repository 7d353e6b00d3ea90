"""`./run up` and `./run down`: everything or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.doctor.running import ready_urls
from services.cli.local import endpoints, health, stack
from services.cli.local.endpoints import Endpoints
from services.cli.local.failures import LocalError
from services.cli.local.locks import Users
from services.cli.local.nodes import STATE, stop_unused
from services.cli.local.postgres import Postgres
from services.cli.local.processes import Processes


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder for one stack of nodes and mailbox, with nothing to set up in the database."""
    state = STATE / "test" / "stack"
    for variable in ("LEADLINE_DATABASE_URL", "LEADLINE_AMQP_URL", "LEADLINE_SMTP_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(endpoints, "ROOT", state)  # no .env of the developer's
    monkeypatch.setattr(stack, "SETUP", ())
    monkeypatch.setattr(stack, "FIRST_START", ())
    stop_unused(state)
    shutil.rmtree(state, ignore_errors=True)
    yield state
    stack.down(state)
    Postgres(state, Processes(state)).remove()
    shutil.rmtree(state, ignore_errors=True)


def test_up_starts_what_has_died_and_down_leaves_nothing(state: Path) -> None:
    """One life of a stack; the nodes' start is too slow for one test each."""
    processes = Processes(state)
    where = stack.up(state, services=())
    assert json.loads((state / "endpoints.json").read_text())["amqp_url"] == where.amqp_url
    assert processes.running() == ["epmd", "mailbox", "postgres", "rabbitmq"]
    before = {process.name: process for process in processes.all()}

    processes.kill("mailbox")
    assert stack.up(state, services=()) == where
    after = {process.name: process for process in processes.all()}
    assert after["mailbox"].is_running
    assert {name for name in before if before[name] != after[name]} == {"mailbox"}

    stack.down(state)
    assert processes.all() == []
    assert Endpoints.of(state) is None
    assert not [process for process in (*before.values(), *after.values()) if process.is_running]
    assert not [process for process in psutil.process_iter(["cmdline"]) if _speaks_of(process, state)]


def test_an_up_that_fails_leaves_everything_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of a stack stays behind."""
    monkeypatch.setenv("LEADLINE_AMQP_URL", "amqp://127.0.0.1:1/")
    monkeypatch.setattr(stack, "SETUP", (("no-such-command",),))
    monkeypatch.setattr(stack, "leadline", _refuse)
    with pytest.raises(LocalError, match="no-such-command"):
        stack.up(state, services=())
    assert Processes(state).running() == []


def test_a_mail_server_of_the_user_is_used(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mailbox is started beside it; the other nodes given, nothing is."""
    given = {"DATABASE_URL": "postgresql+asyncpg://h/d", "AMQP_URL": "amqp://h/", "SMTP_HOST": "mail.example.com"}
    for name, value in given.items():
        monkeypatch.setenv(f"LEADLINE_{name}", value)
    where = stack.up(state, services=())
    assert (where.smtp_host, where.smtp_port) == ("mail.example.com", 25)
    assert (where.database_url, where.amqp_url) == (given["DATABASE_URL"], given["AMQP_URL"])
    assert Processes(state).all() == []


def test_each_service_has_a_port_for_its_probes(tmp_path: Path) -> None:
    """Written down; one that runs keeps it, who starts anew gets another."""
    processes = Processes(tmp_path)
    first = health.give_ports(tmp_path, processes, ("ingest", "notifier"))
    assert len(set(first.values())) == 2
    processes.start("ingest", ["sleep", "60"])
    try:
        again = health.give_ports(tmp_path, processes, ("ingest", "notifier"))
    finally:
        processes.stop("ingest")
    assert again["ingest"] == first["ingest"]
    assert json.loads((tmp_path / "health.json").read_text())["ingest"] == f"http://127.0.0.1:{first['ingest']}"
    assert ready_urls("amqp://127.0.0.1/", tmp_path) == {}, "no stack is up"
    (tmp_path / "endpoints.json").write_text('{"amqp_url": "amqp://127.0.0.1/"}')
    assert set(ready_urls("amqp://127.0.0.1/", tmp_path)) == {"ingest", "notifier"}
    assert ready_urls("amqp://elsewhere/", tmp_path) == {}, "of another broker"
    health.forget_ports(tmp_path)
    assert not (tmp_path / "health.json").exists()


def test_the_last_user_is_told_so(tmp_path: Path) -> None:
    """Whoever leaves while another still uses the nodes does not stop them."""
    one, two = Users(tmp_path / "lock"), Users(tmp_path / "lock")
    one.join()
    two.join()
    assert not one.leave()
    assert two.leave()


def _refuse(*arguments: str, **_environment: object) -> str:
    raise LocalError(f"leadline {' '.join(arguments)} failed")


def _speaks_of(process: psutil.Process, state: Path) -> bool:
    return any(str(state) in argument for argument in process.info["cmdline"] or [])
