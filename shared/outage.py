"""One error for every dependency that is away: database, mail server, disk."""

from __future__ import annotations


class DependencyGoneError(ConnectionError):
    """Something this service depends on does not answer: `dependency` names it."""

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency}: {detail}")
        self.dependency = dependency
