"""A route's members as one: what is known of all of them need not be found out again batch by batch. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

from services.assigner.facts import Lead, Member

if TYPE_CHECKING:  # who lines members up has them from here
    from services.assigner.policies.lines import Lines


class _Lasting:
    """What receiving changes nothing of."""

    def __init__(self, rows: Sequence[Member]) -> None:
        self._rows = rows

    @cached_property
    def has_stores(self) -> bool:
        return any(row.store_code is not None for row in self._rows)

    @cached_property
    def has_limits(self) -> bool:
        return any(row.max_load is not None for row in self._rows)

    @cached_property
    def indices(self) -> Mapping[int, Sequence[int]]:
        """Of each agent's rows."""
        indices: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(self._rows):
            indices[row.agent_id].append(index)
        return dict(indices)


class Roster(Sequence[Member]):
    """Members in the order in which they were read: rows, of which an agent may have one a store."""

    def __init__(self, rows: Iterable[Member], lines: Lines | None = None, *, lasting: _Lasting | None = None) -> None:
        self._rows = list(rows)
        #: How the policy that decided last has lined them up, as they are now.
        self.lines = lines
        self._lasting = lasting or _Lasting(self._rows)

    @classmethod
    def of(cls, members: Sequence[Member]) -> Roster:
        """Give members as a roster, which they may be."""
        return members if isinstance(members, Roster) else cls(members)

    @property
    def has_stores(self) -> bool:
        """Whether a row is for one store only."""
        return self._lasting.has_stores

    @property
    def has_limits(self) -> bool:
        """Whether an agent has a limit of open leads."""
        return self._lasting.has_limits

    def row(self, agent_id: int) -> Member:
        """Give an agent's row, the first where it has several. KeyError if it is no member."""
        return self._rows[self._lasting.indices[agent_id][0]]

    def after(self, received: Mapping[int, tuple[Member, Sequence[Lead]]], lines: Lines | None) -> Roster:
        """Give the members as they are after agents have received leads, each by the row that is given with them.

        An agent's rows share all but the row's own caps. `lines`: how these are lined up then.
        """
        rows = list(self._rows)
        for agent_id, (by, leads) in received.items():
            for index in self._lasting.indices[agent_id]:
                rows[index] = rows[index].after(leads, by_this_row=rows[index].store_code == by.store_code)
        return Roster(rows, lines, lasting=self._lasting)

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | Sequence[Member]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Member]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
