"""Which RabbitMQ this machine can give us: the first rung of the ladder that holds.

`LEADLINE_AMQP_URL` (see `nodes`); an installed `rabbitmq-server`; Debian's or Ubuntu's packages unpacked under our own
folder; brew on macOS; a container. On all but the last, the node is private: nothing installed is started or changed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import partial
from pathlib import Path

from services.cli.local import debian
from services.cli.local.container import ContainerBroker, container_engine
from services.cli.local.failures import MissingError
from services.cli.local.folders import home_of
from services.cli.local.processes import Processes
from services.cli.local.rabbitmq import Installation, PrivateBroker

WHAT_TO_DO = (
    "RabbitMQ is missing and cannot be installed from here. Do one of these: install rabbitmq-server with your package "
    "manager, start Docker, or set LEADLINE_AMQP_URL (for tests LEADLINE_TEST_AMQP_URL) to a broker that runs, as "
    "amqp://user:password@host:5672/."
)
# Distributions put wrappers on PATH that insist on root or a user `rabbitmq`; RabbitMQ's own scripts lie here.
_SCRIPTS = (
    "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "usr/lib64/rabbitmq/lib/rabbitmq_server-*/sbin",
    "opt/rabbitmq*/sbin",
    "opt/homebrew/opt/rabbitmq/sbin",
    "usr/local/opt/rabbitmq/sbin",
)


def find_broker(state: Path, processes: Processes, *, shared: Path) -> PrivateBroker | ContainerBroker:
    """The broker for this state folder, not started; downloads are kept in `shared` for all state folders.

    Raises MissingError, which says what to do, when no rung holds.
    """
    reasons = []
    for rung in (installed, partial(from_packages, shared), from_brew):
        try:
            installation = rung()
        except MissingError as error:  # the next rung may hold
            reasons.append(f" ({error})")
            continue
        if installation is not None:
            return PrivateBroker(state, processes, installation)
    if (engine := container_engine()) is not None:
        return ContainerBroker(state, engine)
    raise MissingError(WHAT_TO_DO + "".join(reasons))


def installed(root: Path = Path("/")) -> Installation | None:
    """A RabbitMQ that is installed under `root` together with its Erlang."""
    scripts = next((found for pattern in _SCRIPTS for found in sorted(root.glob(pattern), reverse=True)), None)
    if scripts is None and (program := shutil.which("rabbitmqctl")) is not None:
        scripts = Path(program).resolve().parent
    if scripts is None or not (scripts / "rabbitmq-server").exists():
        return None
    erl = shutil.which("erl", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_brewed_erlang()]))
    if erl is None:
        return None
    return Installation(scripts=scripts, erlang=Path(erl).parent, epmd=_epmd_of(Path(erl)))


def from_packages(shared: Path) -> Installation | None:
    """Debian's or Ubuntu's packages, unpacked once under `shared`."""
    root = debian.unpacked(home_of(shared) / "rabbitmq" / "dist")
    if root is None:
        return None
    scripts = max(root.glob(_SCRIPTS[0]))
    erlang = root / "usr/lib/erlang/bin"
    libraries = next(iter(root.glob("usr/lib/*-linux-gnu*")), None)
    return Installation(scripts=scripts, erlang=erlang, epmd=erlang / "epmd", libraries=libraries)


def from_brew() -> Installation | None:
    """On macOS, brew's RabbitMQ, installed now; brew's own service of it is not started."""
    brew = shutil.which("brew")
    if brew is None or platform.system() != "Darwin":
        return None
    if subprocess.run([brew, "install", "--quiet", "rabbitmq"], check=False, capture_output=True).returncode != 0:
        raise MissingError("brew install rabbitmq failed")
    return installed()


def _brewed_erlang() -> list[str]:
    return [folder for folder in ("/opt/homebrew/opt/erlang/bin", "/usr/local/opt/erlang/bin") if Path(folder).is_dir()]


def _epmd_of(erl: Path) -> Path:
    """The epmd that belongs to this Erlang."""
    if (beside := erl.with_name("epmd")).exists():
        return beside
    root = subprocess.run(
        [erl, "-noshell", "-eval", "io:put_chars(code:root_dir()), halt()."], check=True, capture_output=True, text=True
    ).stdout
    return max(Path(root).glob("erts-*/bin/epmd"))
