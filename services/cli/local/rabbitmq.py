"""A private RabbitMQ node on free loopback ports: own name, cookie, epmd, data, log; nothing of the system's is used.

It starts with `kill -9` in mind: `start` after `kill` comes back on the same port with the same data.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.cli.local.failures import LocalError
from services.cli.local.folders import home_of, short_name
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.processes import Processes
from services.cli.local.records import read_record, write_record
from services.cli.local.waiting import wait_until

NAME = "rabbitmq"
EPMD = "epmd"
USER = "leadline"
START_WITHIN_S = 90.0
CTL_WITHIN_S = 60.0
_PORTS = ("amqp", "distribution", "epmd")
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_OK = "{ok, "
_OTHERS_VARIABLES = ("RABBITMQ_", "ERL_", "ERLANG_", "NOTIFY_SOCKET")
# Idle schedulers sleep instead of spinning: the other core is for PostgreSQL and the services.
_ERL_ARGUMENTS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
_CTL_ARGUMENTS = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs of a RabbitMQ on this machine, wherever they come from."""

    scripts: Path
    """The folder of `rabbitmq-server` and `rabbitmqctl` as RabbitMQ ships them, not a distribution's wrappers."""
    erlang: Path
    """The folder of `erl`."""
    epmd: Path
    libraries: Path | None = None
    """Shared libraries that the machine itself lacks."""


class PrivateBroker:
    """The RabbitMQ node of one state folder; name, ports, password and data stay the same from start to start."""

    is_ours = True

    def __init__(self, state: Path, processes: Processes, installation: Installation) -> None:
        self._home = home_of(state) / NAME / "node"
        self._node = f"leadline-{short_name(state)}@localhost"
        self._processes = processes
        self._installation = installation

    @property
    def url(self) -> str:
        """The broker's AMQP address; known once the node has been started."""
        access = self._access()
        return f"amqp://{USER}:{access['password']}@{LOOPBACK}:{access['amqp']}/"

    def start(self) -> None:
        """Return when the node accepts AMQP connections; a running one is left alone."""
        if not self._processes.is_running(NAME):
            self._prepare()
            self._start_epmd()
            self._processes.start(
                NAME,
                [self._installation.scripts / "rabbitmq-server"],
                environment=self._environment(),
                folder=self._home,
            )
        port = int(self._access()["amqp"])
        wait_until(
            lambda: greets(port) or not self._processes.is_running(NAME),
            within_s=START_WITHIN_S,
            otherwise=f"RabbitMQ does not answer after {START_WITHIN_S:.0f} s: see {self._processes.log_of(NAME)}",
        )
        if not self._processes.is_running(NAME):
            raise LocalError(f"RabbitMQ did not start: see {self._processes.log_of(NAME)}")

    def stop(self) -> None:
        """Shut the node down, and its epmd after it."""
        self._processes.stop(NAME)
        self._processes.stop(EPMD)

    def kill(self) -> None:
        """`kill -9` of the node, as in a crash. What a quorum queue confirmed is there again after `start`."""
        self._processes.kill(NAME)

    def freeze(self) -> None:
        """SIGSTOP the node: connections stay open and nothing answers."""
        self._processes.freeze(NAME)

    def thaw(self) -> None:
        """SIGCONT what `freeze` has stopped."""
        self._processes.thaw(NAME)

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl ARGUMENTS` prints about this node; LocalError when it fails."""
        result = subprocess.run(
            [self._installation.scripts / "rabbitmqctl", "--quiet", "--node", self._node, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=self._environment(),
            timeout=CTL_WITHIN_S,
        )
        if result.returncode != 0:
            raise LocalError(f"rabbitmqctl {' '.join(arguments)} failed: {(result.stderr or result.stdout).strip()}")
        return result.stdout

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression gives on this node, as Erlang writes it; LocalError when it fails.

        By `erl_call`, where Erlang has it: `rabbitmqctl` starts an Erlang of its own, for a second of processor time.
        """
        program = self._installation.erlang / "erl_call"
        if not program.exists():
            return self.ctl("eval", f"{expression}.")
        cookie = (self._home / ".erlang.cookie").read_text(encoding="ascii")
        result = subprocess.run(
            [program, "-sname", self._node, "-c", cookie, "-e"],
            input=f"{expression}.\n",
            check=False,
            capture_output=True,
            text=True,
            env=self._environment(),
            timeout=CTL_WITHIN_S,
        )
        if result.returncode != 0 or not result.stdout.startswith(_OK):
            raise LocalError(f"erl_call {expression} failed: {(result.stderr or result.stdout).strip()}")
        return result.stdout.removeprefix(_OK).removesuffix("}")

    def _access(self) -> dict[str, str]:
        access = read_record(self._home / "access.json")
        if access is None:
            raise LocalError("RabbitMQ has never been started here")
        return access

    def _prepare(self) -> None:
        """Folders, ports, password, configuration: what is there stays, a port that a stranger took is replaced."""
        for folder in ("mnesia", "log"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        kept = read_record(self._home / "access.json") or {"password": secrets.token_hex(16)}
        epmd_runs = self._processes.is_running(EPMD)
        for name in _PORTS:
            if not (name in kept and (is_free(int(kept[name])) or (name == "epmd" and epmd_runs))):
                kept[name] = str(free_port(besides=[int(kept[other]) for other in _PORTS if other in kept]))
        write_record(self._home / "access.json", kept)
        cookie = self._home / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16), encoding="ascii")
            cookie.chmod(0o400)
        (self._home / "enabled_plugins").write_text("[].\n", encoding="ascii")
        (self._home / "rabbitmq-env.conf").write_text("", encoding="ascii")
        (self._home / "rabbitmq.conf").write_text(_configuration(kept), encoding="ascii")

    def _start_epmd(self) -> None:
        """An epmd of our own in the foreground: one that Erlang starts by itself would stay behind for ever."""
        port = int(self._access()["epmd"])
        command: list[str | Path] = [self._installation.epmd, "-port", str(port), "-address", LOOPBACK]
        self._processes.start(EPMD, command, environment=self._environment(), folder=self._home)
        wait_until(lambda: not is_free(port), within_s=10, otherwise=f"epmd: see {self._processes.log_of(EPMD)}")

    def _environment(self) -> Mapping[str, str]:
        """The environment of server and tools, free of whatever is meant for another RabbitMQ."""
        access, home = self._access(), self._home
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS_VARIABLES)}
        if self._installation.libraries is not None:
            inherited["LD_LIBRARY_PATH"] = str(self._installation.libraries)
        return {
            **inherited,
            "PATH": f"{self._installation.erlang}:{inherited.get('PATH', os.defpath)}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": access["epmd"],
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # The script then becomes the node itself: one process to signal, and it takes SIGTERM as a clean stop.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": access["amqp"],
            "RABBITMQ_DIST_PORT": access["distribution"],
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERL_ARGUMENTS,
            "RABBITMQ_CTL_ERL_ARGS": _CTL_ARGUMENTS,
        }


def greets(port: int) -> bool:
    """Whether a broker answers an AMQP greeting on this loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(_AMQP_GREETING)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


def _configuration(access: Mapping[str, str]) -> str:
    return f"""listeners.tcp.1 = {LOOPBACK}:{access["amqp"]}
default_user = {USER}
default_pass = {access["password"]}
disk_free_limit.absolute = 200MB
vm_memory_high_watermark.relative = 0.4
log.file.level = info
"""
