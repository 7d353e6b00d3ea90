"""The API of the local stack: where it listens, and a key for whoever has this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from services.cli.local.endpoints import Endpoints, given
from services.cli.local.failures import LocalError
from services.cli.local.nodes import ROOT
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.processes import Processes
from services.cli.local.records import read_record, write_record

API: Final = "api"
_FILE = "api.json"
_KEY_NAME = "local"


def opened(state: Path, processes: Processes, endpoints: Endpoints) -> Endpoints:
    """Give the endpoints with the API's: the port that is set, or the one it had before, and a key that it knows."""
    kept: Mapping[str, Any] = read_record(state / _FILE) or {}
    port = int(given("LEADLINE_API_PORT") or kept.get("port") or free_port())
    if not processes.is_running(API) and not is_free(port):
        port = free_port()
    environment = endpoints.environment()
    key = kept.get("key") if _is_known(kept.get("key"), environment) else None
    if key is None:
        key = _leadline(environment, "key", "create", "--name", _name(environment), "--role", "admin")["key"]
    write_record(state / _FILE, {"port": port, "key": key})
    return replace(endpoints, api_url=f"http://{LOOPBACK}:{port}", api_key=key)


def answers(endpoints: Endpoints) -> bool:
    """Whether the API is ready."""
    try:
        with urllib.request.urlopen(f"{endpoints.api_url}/readyz", timeout=5) as answer:  # noqa: S310  # ours, http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_known(key: str | None, environment: Mapping[str, str]) -> bool:
    """Whether the database, which may be another by now, has the key."""
    return key is not None and any(key.startswith(each["hint"]) for each in _keys(environment))


def _name(environment: Mapping[str, str]) -> str:
    taken = {each["name"] for each in _keys(environment)}
    names = (_KEY_NAME, *(f"{_KEY_NAME} {number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _keys(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = _leadline(environment, "key", "list")["keys"]
    return keys


def _leadline(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    program = Path(sys.executable).with_name("leadline")
    result = subprocess.run(
        [program, *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    if result.returncode != 0:
        raise LocalError(f"leadline {' '.join(arguments)} failed: {result.stderr.strip()}")
    told: dict[str, Any] = json.loads(result.stdout)
    return told
