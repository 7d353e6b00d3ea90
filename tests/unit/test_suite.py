"""What `./run test` makes of its arguments."""

from __future__ import annotations

import pytest

from services.cli.local.suite import options

PARALLEL = ["--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"]
EVERYTHING = ["tests/e2e", "tests/chaos", "tests/integration", "tests/unit"]


@pytest.mark.parametrize("arguments", [[], ["-k", "lot"], ["-x", "--durations=5"], ["--numprocesses=0"]])
def test_the_whole_suite_runs_in_parallel(arguments: list[str]) -> None:
    """With whatever else is asked for, which may say otherwise."""
    assert options(arguments, {}) == [*PARALLEL, *arguments, *EVERYTHING]


@pytest.mark.parametrize(
    "arguments", [["tests/unit"], ["-s", "tests/unit/test_suite.py"], ["tests/unit/test_suite.py::test_a_path"]]
)
def test_a_path_is_run_as_it_is(arguments: list[str]) -> None:
    """In one process."""
    assert options(arguments, {}) == arguments


def test_a_broker_of_somebody_elses_has_one_test_at_a_time() -> None:
    """All tests share its only virtual host."""
    assert options(["-x"], {"LEADLINE_TEST_AMQP_URL": "amqp://somewhere/"}) == ["-x"]
