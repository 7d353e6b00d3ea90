"""The configuration file: what is understood, and what a person is told about the rest."""

from __future__ import annotations

import pytest

from services.cli import plainyaml
from services.cli.configfile import ConfigFile, read, write
from services.cli.configproblems import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(text, file="leads.yaml")
    return str(error.value).splitlines()


def test_plain_text_stands_for_the_name() -> None:
    """The short form of an entry is its name, of a store its code, of a member its agent."""
    config = read("sources: [META]\nstores: [A1]\nroutes: [{name: r, members: ['0001', Asha]}]", file="f")
    assert [source.name for source in config.sources or ()] == ["META"]
    assert [store.code for store in config.stores or ()] == ["A1"]
    assert [member.agent for member in (config.routes or ())[0].members or ()] == ["0001", "Asha"]


@pytest.mark.parametrize("code", ["0010", "'0010'", "1234", "00A1"])
def test_codes_are_text(code: str) -> None:
    """YAML's octal and whole numbers do not change what was written."""
    config = read(f"agents: [{{code: {code}, name: Asha}}]", file="f")
    assert (config.agents or ())[0].code == code.strip("'")


def test_norway_is_a_country() -> None:
    """`NO`, `on` and `yes` are text."""
    assert plainyaml.load("[NO, on, yes, off, 12:30, 2025-01-31]") == ["NO", "on", "yes", "off", "12:30", "2025-01-31"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routes:\n  - name: [", "line 2, column 12: expected the node content, but found '<stream end>'"),
        ("agents: []\nagents: []", "line 2, column 1: 'agents' comes twice: remove one of them"),
        ('sources: ["a\\0b"]', "line 1, column 11: text must not have the character NUL or half of a surrogate pair"),
        ("just text", "must have sections such as agents: and routes: (known: business_lines, sources, stores, "),
        ("agent: []", "agent: is not known here (known: business_lines, sources, stores, agents, "),
        ("agents: {name: Asha}", "agents: must be a list"),
        ("agents: [[Asha]]", "agents[0]: must have fields, as in {name: …}"),
        ("agents: [{}]", "agents[0].name: is missing"),
        ("agents: [{code: ab, name: A}]", "agents[0].code: must be four digits or capital letters, not 'ab'"),
        ("agents: [{name: A, email: none}]", "agents[0].email: must be an e-mail address, not 'none'"),
        ("agents: [{name: A, max_load: -1}]", "agents[0].max_load: must be greater than or equal to 0, not -1"),
        ("agents: [{name: A, load: 1}]", "agents[0].load: is not known here (known: code, name, "),
        (
            "routes: [{name: r, members: [a, {agent: b, wight: 1}]}]",
            "routes[0].members[1].wight: is not known here (kn",
        ),
        ("routes: [{name: r, members: [{agent: 1.5}]}]", "routes[0].members[0].agent: must be a valid string, not 1.5"),
        (
            "routes: [{name: r, policy: fare}]",
            "routes[0].policy: must be one of: fair, capped_lot, "
            "first_fit, even_split, weighted_random, smooth_weighted, not 'fare'",
        ),
        ("routes: [{name: r, mode: lots}]", "routes[0].mode: must be 'stream' or 'lot', not 'lots'"),
        ("routes: [{name: r, zone: Asia/Kalkutta}]", "routes[0].zone: must be a time zone such as Asia/Kolkata, not "),
        ("routes: [r, s, r]", "routes[2]: is there already, as routes[0]: remove one of them"),
        ("sources: [META, Meta]", "sources[1]: is there already, as sources[0]: remove one of them"),
    ],
)
def test_what_is_wrong(text: str, problem: str) -> None:
    """The file, the place in it, what is wrong and what may stand there."""
    (line,) = problems(text)
    assert line.startswith(f"leads.yaml: {problem}")


def test_all_problems_at_once() -> None:
    """Nobody has to run it again to see the second mistake."""
    lines = problems("agents: [{email: x}]\nroutes: [{name: r, priority: high}]")
    assert [line.split(": ")[1] for line in lines] == ["agents[0].name", "agents[0].email", "routes[0].priority"]


@pytest.mark.parametrize("absent", ["", "agents:", "agents: ~"])
def test_an_absent_section_is_not_an_empty_one(absent: str) -> None:
    """Pruning must not take a section with nothing below it for an order to remove everything."""
    assert read(f"routes: []\n{absent}", file="f") == ConfigFile(routes=[])


def test_what_is_written_is_read_again() -> None:
    """Whatever the names are, with one line for each member."""
    config = read(
        """
        countries: [{code: NO, name: 'Norway: "north"'}]
        document_types: [Passport, '0010', 'yes']
        routes: [{name: r, params: {count: agent, deep: [1, {a: null}]}, members: [{agent: '0010', weight: 3}, '0002']}]
        """,
        file="f",
    )
    text = write(config)
    assert read(text, file="f") == config
    assert sum("agent:" in line for line in text.splitlines()) == 2
