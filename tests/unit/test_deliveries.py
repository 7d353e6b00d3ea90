"""Batches out of what has arrived: one event a key, and the order of each key kept."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from shared.events import LeadAccepted
from shared.messaging.deliveries import Arrival, Deliveries
from shared.messaging.envelope import Delivery, Invalid, Message


def an_arrival(tag: int, key: str = "", *, returned: int = 0) -> Arrival:
    delivery = Delivery(tag, "leads", "lead.accepted", b"", {"x-delivery-count": returned})
    return Message(delivery, LeadAccepted(lead_id=key, revision=1)) if key else Invalid(delivery, "it is bad")


def waiting(*arrivals: Arrival) -> Deliveries:
    deliveries = Deliveries()
    for arrival in arrivals:
        deliveries.put(arrival)
    return deliveries


def tags(arrivals: list[Arrival]) -> list[int]:
    return [arrival.delivery.tag for arrival in arrivals]


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d"])), st.integers(1, 6))
def test_a_key_comes_once_a_batch_and_in_its_order(keys: list[str], limit: int) -> None:
    """Whatever arrives: nothing is lost, no batch has a key twice or more than the limit, each key keeps its order."""
    deliveries = waiting(*(an_arrival(tag, key) for tag, key in enumerate(keys)))
    order: dict[str, list[int]] = defaultdict(list)
    while deliveries:
        assert deliveries.arrived.is_set()
        batch = deliveries.take(limit)
        assert 0 < len(batch) <= limit
        assert len({arrival.key for arrival in batch}) == len(batch)
        for arrival in batch:
            order[keys[arrival.delivery.tag]].append(arrival.delivery.tag)

    assert not deliveries.arrived.is_set()
    assert sorted(tag for taken in order.values() for tag in taken) == list(range(len(keys)))
    assert all(taken == sorted(taken) for key, taken in order.items() if key)


def test_the_next_of_a_key_waits_and_others_pass() -> None:
    """A second event of a lead holds up nobody else's."""
    deliveries = waiting(an_arrival(1, "a"), an_arrival(2, "a"), an_arrival(3, "b"), an_arrival(4, "a"))

    assert tags(deliveries.take(9)) == [1, 3]
    assert tags(deliveries.take(9)) == [2]
    assert tags(deliveries.take(9)) == [4]


def test_returned_ones_are_told_from_clean_ones() -> None:
    """What was delivered before is seen at once, and is gone once it is taken."""
    deliveries = waiting(an_arrival(1, "a"), an_arrival(2, "b", returned=1), an_arrival(3, "c"))
    assert deliveries.has_returned

    clean, returned = deliveries.take_all()

    assert (tags(clean), tags(returned)) == ([1, 3], [2])
    assert not deliveries.has_returned


def test_a_returned_one_that_was_worked_on_leaves_no_trace() -> None:
    """A session that was careful about it goes into full flow without turning back."""
    deliveries = waiting(an_arrival(1, "a", returned=1))
    deliveries.take(1)

    assert not deliveries.has_returned


steps = st.tuples(st.sampled_from(["fresh", "returned", "take", "newest", "back"]), st.booleans())


@given(st.lists(steps, max_size=40))
def test_whether_one_has_returned_is_right_whatever_came_and_went(steps: list[tuple[str, bool]]) -> None:
    """It is remembered from look to look, however much happens in between, and says what all that wait say."""
    deliveries = Deliveries()
    waits: list[int] = []
    returned: set[int] = set()
    taken: list[Arrival] = []
    for tag, (step, is_looked_at) in enumerate(steps):
        match step:
            case "fresh" | "returned":
                deliveries.put(an_arrival(tag, f"key {tag}", returned=int(step == "returned")))
                waits.append(tag)
                returned |= {tag} if step == "returned" else set()
            case "back":
                deliveries.put_back(taken)
                waits += tags(taken)
                taken = []
            case _:
                newest = deliveries.take_newest() if step == "newest" else None
                taken = deliveries.take(2) if step == "take" else [newest] if newest else []
                waits = [each for each in waits if each not in tags(taken)]
        if is_looked_at:
            assert deliveries.has_returned == bool(returned & set(waits))
    assert deliveries.has_returned == bool(returned & set(waits))


def test_what_is_put_back_comes_first() -> None:
    """In its order, before what has arrived since."""
    deliveries = waiting(an_arrival(1, "a"), an_arrival(2, "b"))
    clean, _ = deliveries.take_all()
    deliveries.put(an_arrival(3, "c"))
    deliveries.put_back(clean)

    assert tags(deliveries.take(9)) == [1, 2, 3]


def test_the_newest_is_fresh_and_overtakes_none_of_its_key() -> None:
    """What was delivered before, holds no event, or has an earlier one of its key before it, is left in its place."""
    deliveries = waiting(
        an_arrival(1, "a"), an_arrival(2, "b"), an_arrival(3, "a"), an_arrival(4, "c", returned=1), an_arrival(5)
    )

    assert deliveries.take_newest(besides={"a", "b"}) is None
    taken = [deliveries.take_newest() for _ in range(3)]
    assert tags([arrival for arrival in taken if arrival]) == [2, 1, 3]
    assert deliveries.take_newest() is None
    assert tags(deliveries.take(9)) == [4, 5]
    assert not deliveries.arrived.is_set()
