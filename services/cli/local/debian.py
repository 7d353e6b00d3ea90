"""RabbitMQ from Debian's or Ubuntu's packages, unpacked under a folder of ours: no root, nothing installed.

Packages come by `apt-get download`, so they are verified as any install is. Where apt has no lists yet, or old ones,
private lists are fetched; the system's are never written.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from services.cli.local.failures import MissingError
from services.cli.local.locks import alone

PACKAGE = "rabbitmq-server"
# Debian's own erl is tied to /usr/lib/erlang.
_ERL = """#!/bin/sh
ROOTDIR=$(cd "$(dirname "$0")/.." && pwd)
BINDIR=$(echo "$ROOTDIR"/erts-*/bin)
EMU=beam
PROGNAME=erl
export ROOTDIR BINDIR EMU PROGNAME
exec "$BINDIR/erlexec" "$@"
"""
_ONLY_HARD = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
# Under root, apt would change to a user who has no access to folders of ours.
_UNSANDBOXED = ["-o", "APT::Sandbox::User="]
_LIBRARY = re.compile(r"^\s*Depends: ((?:lib|zlib)[\w.+-]+)$", re.MULTILINE)
_COMMAND_WITHIN_S = 300.0


def unpacked(cache: Path) -> Path | None:
    """The root of the unpacked packages, from the cache or downloaded now; None where apt is not used or cannot help.

    The cache is keyed by version; whoever comes while another process fills it waits for that one.
    """
    if any(shutil.which(program) is None for program in ("apt-get", "apt-cache", "dpkg")):
        return None
    cache.mkdir(parents=True, exist_ok=True)
    with alone(cache / ".lock"):
        if (complete := _latest(cache)) is not None:
            return complete
        try:
            return _download(cache, options=[])
        except MissingError:
            return _download(cache, options=_private_lists(cache))


def _latest(cache: Path) -> Path | None:
    """The newest complete root in the cache."""
    complete = [
        folder for folder in cache.iterdir() if (folder / "usr/lib/rabbitmq").is_dir() and folder.name[0] != "."
    ]
    return max(complete, key=lambda folder: folder.stat().st_mtime, default=None)


def _download(cache: Path, *, options: list[str]) -> Path:
    """Download and unpack everything and give it its place in the cache in one step."""
    version = _version(options)
    half = cache / f".{version}.new"
    shutil.rmtree(half, ignore_errors=True)
    (half / "root").mkdir(parents=True)
    _run(["apt-get", *_UNSANDBOXED, *options, "download", *_packages(options)], folder=half)
    for package in sorted(half.glob("*.deb")):
        _run(["dpkg", "-x", package.name, "root"], folder=half)
    erl = half / "root/usr/lib/erlang/bin/erl"
    erl.unlink()
    erl.write_text(_ERL, encoding="utf-8")
    erl.chmod(0o755)
    place = cache / version
    (half / "root").replace(place)
    shutil.rmtree(half)
    return place


def _version(options: list[str]) -> str:
    """Versions of the broker and of Erlang, as one folder's name."""
    found = [
        _field(_run(["apt-cache", *options, "show", "--no-all-versions", name])) for name in (PACKAGE, "erlang-base")
    ]
    return re.sub(r"[^\w.+-]", "_", "-".join(["rabbitmq", found[0], "erlang", found[1]]))


def _field(description: str) -> str:
    found = re.search(r"^Version: (\S+)", description, re.MULTILINE)
    if found is None:
        raise MissingError(f"apt knows no package {PACKAGE}")
    return found[1]


def _packages(options: list[str]) -> list[str]:
    """The broker, the parts of Erlang it depends on, and what shared libraries of theirs this machine lacks."""
    tree = _run(["apt-cache", *options, "depends", "--recurse", *_ONLY_HARD, PACKAGE])
    erlang = sorted({line for line in tree.splitlines() if line.startswith("erlang-") and "hipe" not in line})
    needs = set(_LIBRARY.findall(_run(["apt-cache", *options, "depends", *_ONLY_HARD, *erlang])))
    return [PACKAGE, *erlang, *sorted(library for library in needs if not _is_installed(library))]


def _is_installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}\n", package],
        check=False,
        capture_output=True,
        text=True,
    )
    return "installed" in answer.stdout.split()


def _private_lists(cache: Path) -> list[str]:
    """Options by which apt uses package lists of our own, fetched now."""
    state, archives = cache.parent / "apt/state", cache.parent / "apt/cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (archives / "archives/partial").mkdir(parents=True, exist_ok=True)
    values = {
        "Dir::State": str(state),
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": str(archives),
    }
    options = [part for key, value in values.items() for part in ("-o", f"{key}={value}")]
    _run(["apt-get", *_UNSANDBOXED, *options, "update", "--error-on=any"])
    return options


def _run(command: list[str], *, folder: Path | None = None) -> str:
    """The command's output; MissingError with its last words when it fails."""
    try:
        result = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=folder, timeout=_COMMAND_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"{command[0]} does not answer") from None
    if result.returncode != 0:
        last_words = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise MissingError(f"{command[0]} failed: {last_words[0]}")
    return result.stdout
