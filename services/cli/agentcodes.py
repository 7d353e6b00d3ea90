"""Which agent an entry of the configuration means, and the code of one that is new. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.cli.configfile import Agent
from services.cli.configproblems import Problem

CODE_LENGTH = 4
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What tells agents apart where no code is given: the first of these that an entry has, and only that one.
IDENTITY = ("document_number", "email", "name")


@dataclass(frozen=True, slots=True)
class Person:
    """What an agent can be known by."""

    code: str
    name: str
    email: str | None = None
    document_number: str | None = None


class People:
    """Agents, found by what a person would write."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._by: dict[str, dict[str, list[str]]] = {field: defaultdict(list) for field in ("code", *IDENTITY)}
        for person in people:
            for field, index in self._by.items():
                if value := getattr(person, field):
                    index[value.casefold()].append(person.code)

    @property
    def codes(self) -> set[str]:
        """All codes in use."""
        return {code for codes in self._by["code"].values() for code in codes}

    def known_by(self, field: str, value: str) -> list[str]:
        """The codes of those whose `field` has this value, whatever its case."""
        return self._by[field].get(value.casefold(), [])

    def meant_by(self, text: str) -> list[str]:
        """The codes of those whose code, else e-mail address, else name this is."""
        return next(filter(None, (self.known_by(field, text) for field in ("code", "email", "name"))), [])


def identify(entries: Sequence[Agent], existing: People) -> tuple[list[str], list[Problem]]:
    """The code of each entry: as given, or of the agent that it means, or the next free one.

    Where there are problems, the codes mean nothing.
    """
    free = free_codes(existing.codes | {entry.code for entry in entries if entry.code})
    codes: list[str] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        found = [entry.code] if entry.code else existing.known_by(*identity(entry))
        if len(found) > 1:
            field, value = identity(entry)
            several = f"{len(found)} agents have this {field}: give the code of the one you mean ({', '.join(found)})"
            problems.append(Problem(f"agents[{index}].{field}", f"{value!r}: {several}"))
        codes.append(found[0] if found else next(free))
    return codes, [*problems, *_same(entries, codes), *_taken(entries, codes, existing)]


def identity(entry: Agent) -> tuple[str, str]:
    """The field that tells who is meant by an entry without a code, and its value."""
    return next((field, value) for field in IDENTITY if (value := getattr(entry, field)))


def free_codes(taken: set[str]) -> Iterator[str]:
    """Codes that nobody has, in order: 0001 to 9999, then base 36 (000A, 000B, … ZZZZ)."""
    digits = (f"{number:0{CODE_LENGTH}}" for number in range(1, 10**CODE_LENGTH))
    letters = filter(lambda code: not code.isdigit(), map(base36, range(len(_DIGITS) ** CODE_LENGTH)))
    return (code for codes in (digits, letters) for code in codes if code not in taken)


def base36(number: int) -> str:
    """`number` in four digits of base 36."""
    text = ""
    for _ in range(CODE_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _same(entries: Sequence[Agent], codes: Sequence[str]) -> Iterator[Problem]:
    """Entries that mean the same agent, or two new ones that nothing tells apart."""
    tellers: tuple[Callable[[int], object], ...] = (
        lambda index: codes[index],
        lambda index: None if entries[index].code else identity(entries[index])[1].casefold(),
        lambda index: entries[index].document_number,
    )
    told: set[int] = set()
    for teller in tellers:
        first: dict[object, int] = {}
        for index in range(len(entries)):
            value = teller(index)
            if value is not None and (earlier := first.setdefault(value, index)) != index and index not in told:
                told.add(index)
                text = f"is the same agent as agents[{earlier}]: remove one of them, or give both a code"
                yield Problem(f"agents[{index}]", text)


def _taken(entries: Sequence[Agent], codes: Sequence[str], existing: People) -> Iterator[Problem]:
    """Document numbers that another agent has already."""
    for index, (entry, code) in enumerate(zip(entries, codes, strict=True)):
        for other in existing.known_by("document_number", entry.document_number or ""):
            if other != code:
                text = f"{entry.document_number!r} is agent {other}'s already: correct it, or give this entry that code"
                yield Problem(f"agents[{index}].document_number", text)


def people_after(existing: Mapping[str, Person], entries: Sequence[Agent], codes: Sequence[str]) -> People:
    """Everybody there will be once the entries are applied."""
    applied = {code: _person(entry, code, existing.get(code)) for entry, code in zip(entries, codes, strict=True)}
    return People({**existing, **applied}.values())


def _person(entry: Agent, code: str, before: Person | None) -> Person:
    def value(field: str) -> str | None:
        given: str | None = getattr(entry if field in entry.model_fields_set or before is None else before, field)
        return given

    return Person(code, entry.name, value("email"), value("document_number"))
