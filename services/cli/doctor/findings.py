"""What a doctor finds: each thing with its place and its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: A problem is to be mended; a note is to be known; what was not looked at may hide either.
Kind = Literal["problem", "note", "not looked at"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, or not looked at."""

    kind: Kind
    what: str
    where: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found, problems first."""

    is_well: bool
    findings: Sequence[Finding]


def problem(what: str, where: str, remedy: str) -> Finding:
    return Finding("problem", what, where, remedy)


def examination(findings: Sequence[Finding]) -> Examination:
    """Put problems first."""
    in_order = sorted(findings, key=lambda finding: ("problem", "note", "not looked at").index(finding.kind))
    return Examination(not any(finding.kind == "problem" for finding in findings), in_order)
