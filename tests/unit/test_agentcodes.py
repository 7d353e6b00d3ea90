"""Who is meant by an entry without a code, and the codes of those who are new."""

from __future__ import annotations

from itertools import islice

import pytest

from services.cli.agentcodes import People, Person, free_codes, identify
from services.cli.configfile import Agent

PEOPLE = People(
    [
        Person("0001", "Asha", "asha@example.com", "D1"),
        Person("0002", "Bruno", "bruno@example.com"),
        Person("0003", "Bruno", "other@example.com"),
        Person("ANNA", "Chitra"),
        Person("0005", "Anna"),
    ]
)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (Agent(code="0002", name="Anybody"), "0002"),
        (Agent(code="ZZZZ", name="Asha"), "ZZZZ"),
        (Agent(name="asha"), "0001"),
        (Agent(name="Renamed", email="ASHA@example.com"), "0001"),
        (Agent(name="Renamed", email="new@example.com", document_number="D1"), "0001"),
        (Agent(name="Bruno", email="other@example.com"), "0003"),
        (Agent(name="Asha", email="new@example.com"), "0004"),
        (Agent(name="New"), "0004"),
    ],
)
def test_who_is_meant(entry: Agent, code: str) -> None:
    """The code decides; without one the first of document number, e-mail address and name, and nothing else."""
    assert identify([entry], PEOPLE) == ([code], [])


def test_new_ones_get_the_next_free_codes() -> None:
    """Also past those that other entries of the file take."""
    entries = [Agent(name="One"), Agent(code="0006", name="Two"), Agent(name="Three")]
    assert identify(entries, PEOPLE) == (["0004", "0006", "0007"], [])


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([Agent(name="Bruno")], "agents[0].name: 'Bruno': 2 agents have this name: give the code of the one you mean"),
        ([Agent(code="0001", name="A"), Agent(name="Asha")], "agents[1]: is the same agent as agents[0]: remove one"),
        ([Agent(name="New"), Agent(name="new")], "agents[1]: is the same agent as agents[0]: remove one of them, or"),
        ([Agent(code="0009", name="New", document_number="D1")], "agents[0].document_number: 'D1' is agent 0001's alr"),
    ],
)
def test_who_cannot_be_told(entries: list[Agent], problem: str) -> None:
    """Nobody is guessed."""
    _, (found,) = identify(entries, PEOPLE)
    assert str(found).startswith(problem)


@pytest.mark.parametrize(
    ("text", "codes"),
    [("0001", ["0001"]), ("anna", ["ANNA"]), ("bruno@example.com", ["0002"]), ("Bruno", ["0002", "0003"]), ("X", [])],
)
def test_a_member_is_named_by_code_address_or_name(text: str, codes: list[str]) -> None:
    """In this order."""
    assert PEOPLE.meant_by(text) == codes


def test_codes_go_on_in_base_36() -> None:
    """Digits as long as there are any, and no code twice."""
    codes = list(islice(free_codes({"0002", "000B"}), 10_001))
    assert codes[:3] == ["0001", "0003", "0004"]
    assert codes[9_997:] == ["9999", "000A", "000C", "000D"]
    assert len(set(codes)) == len(codes)
