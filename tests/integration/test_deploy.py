"""The production shape, as far as it can be checked without a Docker engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OTHERS = {"postgres", "rabbitmq", "mailpit"}
CONSUMERS = {"ingest", "assigner", "documents", "notifier", "deadletters", "scheduler", "webhooks", "api"}


def compose(*arguments: str, **environment: str) -> dict[str, Any]:
    """Give the configuration as Compose understands it, without the environment of whoever runs the tests."""
    result = subprocess.run(
        [BIN / "docker-compose", "--env-file", os.devnull, *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "no warning, such as of a variable that is not set"
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@cache
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose("--profile", "simulate")["services"]
    return found


def dockerfile(instruction: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = (line.partition(" ") for line in text.splitlines())
    return [rest for word, _, rest in lines if word == instruction]


def test_the_simulator_runs_only_when_asked_for() -> None:
    assert set(compose()["services"]) == OTHERS | CONSUMERS | {"setup"}
    assert set(services()) == OTHERS | CONSUMERS | {"setup", "simulator"}


def test_everything_waits_for_setup_and_setup_for_what_it_sets_up() -> None:
    for name in CONSUMERS | {"simulator"}:
        assert services()[name]["depends_on"]["setup"]["condition"] == "service_completed_successfully", name
        assert services()[name]["restart"] == "unless-stopped", name
        assert services()[name]["stop_grace_period"] == "45s", name
    needs = services()["setup"]["depends_on"]
    assert {name: need["condition"] for name, need in needs.items()} == {
        "postgres": "service_healthy",
        "rabbitmq": "service_healthy",
    }
    assert all("healthcheck" in services()[name] for name in needs)
    assert services()["setup"]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(CONSUMERS | {"simulator"}))
def test_a_command_names_a_module_that_exists(name: str) -> None:
    command = services()[name]["command"]
    assert command == ["python", "-m", f"services.{name}"]
    assert find_spec(f"services.{name}.__main__") is not None, f"services/{name}/__main__.py is missing"


def test_each_service_is_asked_whether_it_is_ready() -> None:
    """At the port that it answers on; the simulator answers none."""
    for name in CONSUMERS:
        assert "8081/readyz" in services()[name]["healthcheck"]["test"][-1], name
        assert services()[name]["environment"]["LEADLINE_HEALTH_PORT"] == "8081"
    assert services()["simulator"]["healthcheck"] == {"disable": True}


def test_the_setup_command_exists() -> None:
    assert services()["setup"]["command"] == ["leadline", "setup"]
    result = subprocess.run([BIN / "leadline", "setup", "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_one_password_reaches_all_who_need_it() -> None:
    """No password is fixed: what .env says arrives at the server and at every client, and no default is left."""
    told = compose("--profile", "simulate", POSTGRES_PASSWORD="of-the-database", RABBITMQ_PASSWORD="ofTheBroker")
    environments = {name: service.get("environment", {}) for name, service in told["services"].items()}
    assert environments["postgres"]["POSTGRES_PASSWORD"] == "of-the-database"
    assert environments["rabbitmq"]["RABBITMQ_DEFAULT_PASS"] == "ofTheBroker"
    for name in CONSUMERS | {"setup", "simulator"}:
        assert environments[name]["POSTGRES_PASSWORD"] == "of-the-database", name
        assert environments[name]["LEADLINE_AMQP_URL"] == "amqp://leadline:ofTheBroker@rabbitmq:5672/", name
    assert "leadline:leadline" not in json.dumps(told)


def test_the_seeds_names_reach_the_simulator() -> None:
    told = compose("--profile", "simulate", SIMULATION_INTERVAL="3", LEADS_MIN="2", LEADS_MAX="4")
    environment = told["services"]["simulator"]["environment"]
    assert [environment[name] for name in ("SIMULATION_INTERVAL", "LEADS_MIN", "LEADS_MAX")] == ["3", "2", "4"]


def test_every_setting_in_compose_is_one() -> None:
    """A misspelt LEADLINE_… would be ignored in silence."""
    from shared.settings import Settings  # noqa: PLC0415

    known = {f"LEADLINE_{name.upper()}" for name in Settings.model_fields}
    for service in services().values():
        assert {name for name in service.get("environment", {}) if name.startswith("LEADLINE_")} <= known


def test_sheets_outlive_the_container_and_only_who_makes_or_takes_them_writes_them() -> None:
    mounts = {
        name: (mount["type"], mount.get("read_only", False))
        for name, service in services().items()
        for mount in service.get("volumes", [])
        if mount["target"] == service.get("environment", {}).get("LEADLINE_SHEETS_DIR")
    }
    assert mounts == {"api": ("volume", False), "documents": ("volume", False), "notifier": ("volume", True)}


def test_images_are_pinned_and_ports_stay_on_this_machine() -> None:
    for name, service in services().items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert tag != "latest", name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name


def test_hadolint_has_nothing_to_say() -> None:
    result = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_is_slim_and_not_roots() -> None:
    assert {line.partition(" ")[0] for line in dockerfile("FROM")} == {"python:3.13-slim"}
    assert dockerfile("USER") == ["10001:10001"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in dockerfile("COPY"):
        if line.startswith("--from"):
            continue
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), f"{source} is missing"
            assert f"!{source.rstrip('/')}" in ignored or source == "deploy/requirements.txt", source


def test_the_pinned_versions_are_what_pyproject_asks_for() -> None:
    """Each dependency is pinned to a version that pyproject.toml allows; `pip check` in the image covers theirs."""
    lines = (ROOT / "deploy" / "requirements.txt").read_text().splitlines()
    pinned = {
        requirement.name.lower().replace("_", "-"): requirement
        for requirement in map(Requirement, (line for line in lines if line and not line.startswith("#")))
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in map(Requirement, project["dependencies"]):
        pin = pinned.get(wanted.name.lower().replace("_", "-"))
        assert pin is not None, f"{wanted.name} is not in deploy/requirements.txt: renew it as its first lines say"
        version = str(pin.specifier).removeprefix("==")
        assert wanted.specifier.contains(version), f"{pin} is not {wanted}: renew deploy/requirements.txt"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /opt/leadline, made by the Dockerfile's own steps from the files that it copies, and nothing else."""
    source, target = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "leadline"
    for line in dockerfile("COPY"):
        if not line.startswith("--from"):
            *names, folder = line.split()
            for name in names:
                place = source / folder / ("" if (ROOT / name).is_dir() else name.rpartition("/")[2])
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, place)
    for step in dockerfile("RUN"):
        if "/opt/leadline" in step:
            command = step.replace("/opt/leadline", str(target))
            # Only what is imported here is compiled, when it is: to compile all of it takes longer than the rest.
            environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
            done = subprocess.run(
                command, shell=True, cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return target


def in_image(image: Path, *command: str) -> None:
    environment = {"PATH": f"{image / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        [image / "bin" / command[0], *command[1:]],
        cwd=image,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", sorted(CONSUMERS | {"simulator"}))
def test_the_image_has_all_that_a_service_imports(image: Path, name: str) -> None:
    """With the pinned versions alone: nothing of the extras `dev` and `local`, nothing of the source tree."""
    in_image(image, "python", "-c", f"import services.{name}.__main__")


def test_the_image_has_the_command(image: Path) -> None:
    in_image(image, "leadline", "setup", "--help")


def test_the_image_has_no_build_tools_of_its_own(image: Path) -> None:
    assert not list(image.rglob("site-packages/pip")) + list(image.rglob("site-packages/setuptools"))
