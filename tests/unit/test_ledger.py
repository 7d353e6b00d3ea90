"""The ledger against a model of the broker: an acknowledgement it does not expect closes the channel."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.messaging.ledger import Ack, Ledger


def a_ledger(*tags: int) -> Ledger:
    ledger = Ledger()
    for tag in tags:
        ledger.delivered(tag)
    return ledger


def test_what_is_contiguous_is_acknowledged_at_once() -> None:
    """One acknowledgement up to the first hole, whatever the order of settling."""
    assert a_ledger(1, 2, 3, 4).settle([3, 1, 2]) == [Ack(3, is_multiple=True)]


def test_what_lies_behind_a_hole_is_acknowledged_singly() -> None:
    """`multiple` would take the hole with it."""
    assert a_ledger(1, 2, 3, 4).settle([2, 4]) == [Ack(2, is_multiple=False), Ack(4, is_multiple=False)]


def test_the_hole_itself_closes_with_one_acknowledgement() -> None:
    """What was acknowledged singly is not waited for again."""
    ledger = a_ledger(1, 2, 3)
    ledger.settle([2, 3])

    assert ledger.settle([1]) == [Ack(1, is_multiple=True)]
    assert len(ledger) == 0


def test_unknown_and_settled_tags_are_dropped() -> None:
    """A tag of a dead channel, or one settled before, leads to nothing."""
    ledger = a_ledger(1)
    ledger.settle([1])

    assert ledger.settle([1, 7]) == []
    assert ledger.release([1, 7]) == []


class OneChannel(RuleBasedStateMachine):
    """Deliveries, settling and handing back in any order, some of it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.last_tag = 0
        self.unacked: set[int] = set()  # as the broker sees it
        self.unsettled: set[int] = set()  # as the handler sees it

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.last_tag += 1
            self.ledger.delivered(self.last_tag)
            self.unacked.add(self.last_tag)
            self.unsettled.add(self.last_tag)

    @precondition(lambda self: self.last_tag)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        tags = data.draw(st.lists(st.integers(1, self.last_tag + 1)))
        self.unsettled -= set(tags)
        for ack in self.ledger.settle(tags):
            self._acknowledge(ack)

    @precondition(lambda self: self.last_tag)
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        tags = data.draw(st.lists(st.integers(1, self.last_tag + 1)))
        self.unsettled -= set(tags)
        for tag in self.ledger.release(tags):
            self.unacked.remove(tag)  # KeyError: a second settlement

    @rule()
    def hand_back_all(self) -> None:
        self.unsettled.clear()
        for tag in self.ledger.release_all():
            self.unacked.remove(tag)

    def _acknowledge(self, ack: Ack) -> None:
        assert ack.tag in self.unacked, "the broker closes the channel: unknown delivery tag"
        taken = {tag for tag in self.unacked if tag <= ack.tag} if ack.is_multiple else {ack.tag}
        assert not taken & self.unsettled, "acknowledged before it was settled"
        self.unacked -= taken

    @invariant()
    def both_sides_agree(self) -> None:
        assert self.unacked == self.unsettled
        assert len(self.ledger) == len(self.unacked)


TestOneChannel = OneChannel.TestCase
TestOneChannel.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
