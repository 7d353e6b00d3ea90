"""What a route of the configuration file may say about when and how its leads are given away."""

from __future__ import annotations

import pytest

from services.cli.configcheck import check
from services.cli.configfile import Route, read, write
from services.cli.configproblems import ConfigError
from services.cli.configrows import KIND, Content


def the_route(fields: str) -> Route:
    routes = read(f"routes: [{{name: r, {fields}}}]", file="f").routes
    assert routes is not None
    (route,) = routes
    return route


def problems(fields: str, **row: object) -> list[str]:
    """What is wrong with a route, which stands in the database already if it has a row."""
    content = Content()
    if row:
        blank = dict.fromkeys(column.name for column in KIND["routes"].table.c)
        content.add(KIND["routes"], [{**blank, "id": 1, "name": "r", "mode": "stream", "params": {}, **row}])
    _, found = check(read(f"routes: [{{name: r, {fields}}}]", file="f"), content)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        ('schedule: "20:40"', ["20:40"]),
        ("schedule: 20:40", ["20:40"]),
        ("schedule: every 30 minutes", ["every 30 minutes"]),
        ("schedule: [07:05, 20:40]", ["07:05", "20:40"]),
        ("schedule: []", None),
        ("schedule: null", None),
        ("priority: 1", None),
    ],
)
def test_a_schedule_is_one_text_or_several(fields: str, schedule: list[str] | None) -> None:
    """Times of day and steps; what is written is read again as the same."""
    assert the_route(fields).schedule == schedule
    config = read(f"routes: [{{name: r, {fields}, members: []}}]", file="f")
    assert read(write(config), file="f") == config


@pytest.mark.parametrize(
    ("schedule", "place"),
    [
        ("8:40", "schedule[0]"),
        ('"24:00"', "schedule[0]"),
        ("daily", "schedule[0]"),
        ("every 0 minutes", "schedule[0]"),
        ("every 1441 minutes", "schedule[0]"),
        ("['20:40', noon]", "schedule[1]"),
    ],
)
def test_a_wrong_schedule_is_told_what_it_may_be(schedule: str, place: str) -> None:
    """The place in the file, and an example of both forms."""
    with pytest.raises(ConfigError) as error:
        the_route(f"schedule: {schedule}")
    says = "must be a time of day such as 20:40, or such as every 30 minutes, not "
    assert str(error.value).startswith(f"f: routes[0].{place}: {says}")


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ("policy: capped_lot", "lot"),
        ("policy: even_split", "lot"),
        ("policy: fair", "stream"),
        ("policy: fair, mode: lot", "lot"),
        ("priority: 1", "stream"),
    ],
)
def test_the_mode_is_the_one_in_which_the_policy_works(fields: str, mode: str) -> None:
    """A policy that works in lots only need not say so."""
    assert the_route(fields).mode == mode


def test_the_mode_that_follows_from_a_policy_is_given() -> None:
    """A route that streams in the database becomes a lot route with such a policy."""
    assert "mode" in the_route("policy: capped_lot").model_fields_set
    assert "mode" not in the_route("policy: fair").model_fields_set


@pytest.mark.parametrize(
    ("fields", "row", "problem"),
    [
        ("policy: capped_lot, mode: stream", {}, "routes[0].mode: capped_lot works in lots only: write mode: lot, or"),
        ("mode: stream", {"policy": "even_split", "mode": "lot"}, "routes[0].mode: even_split works in lots only"),
        ("params: {ceiling: 5}", {}, "routes[0].params: ceiling: no such parameter; there are: stage_below, "),
        ("policy: even_split, params: {ceiling: 0}", {}, "routes[0].params: ceiling: must be a whole number from 1, "),
        ("params: {ceiling: x}", {"policy": "even_split", "mode": "lot"}, "routes[0].params: ceiling: must be a whole"),
        ("policy: first_fit", {"policy": "fair", "params": {"count": "agent"}}, "routes[0].params: count: no such "),
        ("params: {newcomers: none}", {}, "routes[0].params: newcomers: must be one of lowest, average, zero, not "),
        ("priority: 1", {"policy": "gone"}, "routes[0]: its policy 'gone' is not known: name one under policy:"),
    ],
)
def test_policy_mode_and_parameters_go_together(fields: str, row: dict[str, object], problem: str) -> None:
    """Also where the file names one of them and the database has the others."""
    (found,) = problems(fields, **row)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ("policy: even_split, params: {ceiling: 5, stage_below: null}", {}),
        ("params: {ceiling: 5}", {"policy": "even_split", "mode": "lot"}),
        ("policy: first_fit, params: {}", {"policy": "fair", "params": {"count": "agent"}}),
        ("policy: fair", {"policy": "even_split", "mode": "lot"}),
    ],
)
def test_what_goes_together_is_no_problem(fields: str, row: dict[str, object]) -> None:
    """A policy's own parameters, named or already there."""
    assert problems(fields, **row) == []
