"""The console's words, the state of a service, and one look for all who watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.api.console.guarding import local
from services.api.console.live import STREAMS_MOST, Live
from services.api.console.pages.now import station
from services.api.console.queues import Queue
from services.api.console.words import DASH, lasting, moment, number, plural, size
from services.cli.replicas import SILENT_S, Replica, outages
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, DASH), (0.004, "4 ms"), (1.25, "1.2 s"), (61, "1 min 1 s"), (3_600, "1 h"), (200_000, "2 d 7 h")],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, words: str) -> None:
    assert lasting(seconds) == words


def test_a_time_says_its_offset() -> None:
    at = datetime(2026, 1, 31, 20, 0, tzinfo=UTC)

    assert moment(at, ZoneInfo("Asia/Kolkata")) == "2026-02-01 01:30:00 +05:30"


def test_numbers_and_counts() -> None:
    assert (number(1_234_567), plural(1, "lead"), plural(2_000, "lead")) == ("1,234,567", "1 lead", "2,000 leads")
    assert (size(999), size(16_400), size(2_500_000)) == ("999 B", "16 kB", "2.5 MB")


@pytest.mark.parametrize(
    ("queues", "state"),
    [
        ([], "unknown"),
        ([Queue("q", 0, 1, None)], "waits"),
        ([Queue("q", 3, 2, 1.5)], "works"),
        ([Queue("q", 3, 0, 1.5)], "nobody"),
        ([Queue("q", 0, 1, None), Queue("q.lots", 0, 0, None)], "nobody"),
    ],
)
def test_a_service_is_as_its_queues_say(queues: list[Queue], state: str) -> None:
    assert station("s", "does", queues, None, "leads").state == state


def replica(*problems: str, seen_s: float = 1.0) -> Replica:
    return Replica("s", "host", 7, datetime(2026, 1, 31, tzinfo=UTC), seen_s, problems)


WELL, AILING, SILENT = replica(), replica("s: waiting for database to answer"), replica(seen_s=SILENT_S + 20)


@pytest.mark.parametrize(
    ("queues", "replicas", "state", "words"),
    [
        ([Queue("q", 3, 2, 1.5)], [WELL, WELL], "works", "at work"),
        ([Queue("q", 3, 2, 1.5)], [WELL, AILING], "ails", "1 of 2 replicas: waiting for database to answer"),
        ([Queue("q", 3, 2, 1.5)], [AILING, AILING], "nobody", "waiting for database to answer"),
        ([Queue("q", 3, 0, 1.5)], [AILING], "nobody", "waiting for database to answer"),
        ([Queue("q", 3, 0, 1.5)], [SILENT], "nobody", "nobody consumes: not running"),
        ([Queue("q", 3, 0, 1.5)], [WELL], "nobody", "ready by its own word, and nobody consumes"),
        ([Queue("q", 3, 1, 1.5)], [WELL, SILENT], "works", "at work"),
        ([Queue("q", 3, 1, 1.5)], [SILENT], "nobody", SILENT.words),
        ([], [WELL], "unknown", "not known: the broker does not answer"),
        ([], [AILING], "nobody", "waiting for database to answer"),
    ],
)
def test_a_service_is_as_its_replicas_say(queues: list[Queue], replicas: list[Replica], state: str, words: str) -> None:
    seen = station("s", "does", queues, None, "leads", replicas)

    assert (seen.state, seen.words) == (state, words)


def test_what_keeps_replicas_from_working_is_said_once() -> None:
    """Of those that are well nothing; of those that say the same one line; of a silent one how long it is."""
    other = replace(AILING, service="t", problems=["not consuming: gone", "publishing fails: gone"])

    assert outages([WELL, AILING, AILING, SILENT, other]) == [
        "s, 2 replicas: waiting for database to answer",
        f"s, host (7): not heard of for {SILENT.seen_s:.0f} s: killed, frozen, or cut off from the database",
        "t, host (7): not consuming: gone; publishing fails: gone",
    ]


def test_the_age_of_a_queue_that_was_never_seen_empty_is_not_known() -> None:
    """Of several the oldest counts."""
    seen = station("s", "does", [Queue("a", 1, 1, 4.0), Queue("b", 1, 1, None)], None, "leads")

    assert (seen.oldest_s, seen.is_older) == (4.0, True)


@pytest.mark.parametrize("path", ["//x", "https://x", "/console", "/x", "", "/console/\\x", "/console/\nx"])
def test_what_is_no_page_of_ours_leads_home(path: str) -> None:
    assert local(path) == "/console/"


def parts_of(frame: bytes) -> dict[str, str]:
    parts: dict[str, str] = json.loads(frame.decode().partition("data: ")[2])
    return parts


class Counting:
    """A look that counts how often it is taken."""

    def __init__(self) -> None:
        self.looks = 0

    async def __call__(self) -> Mapping[str, str]:
        self.looks += 1
        return {"same": "always", "looks": str(self.looks)}


async def everybody(digests: Iterable[bytes]) -> set[bytes]:
    return set(digests)


async def test_a_hundred_viewers_are_one_look() -> None:
    """Each is given all at first, then what has changed."""
    look, live = Counting(), Live(everybody)

    async def view(number: int) -> list[dict[str, str]]:
        async with aclosing(live.watch("t", look, 0.01, b"session %d" % (number // STREAMS_MOST))) as frames:
            return await first(frames, 6)

    seen = await asyncio.gather(*(view(number) for number in range(100)))
    await live.close()

    assert all(frames[0]["same"] == "always" for frames in seen)
    assert all("same" not in frame for frames in seen for frame in frames[1:])
    assert look.looks < 50


async def first(frames: AsyncIterator[bytes], most: int) -> list[dict[str, str]]:
    """The parts of the first frames of a stream, which begins with one that has none."""
    found = [await anext(frames) for _ in range(most)]
    return [parts_of(frame) for frame in found if frame.startswith(b"event")]


async def test_a_look_that_fails_is_told_and_taken_again() -> None:
    calls = 0

    async def look() -> Mapping[str, str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("gone")
        return {"part": "there"}

    live = Live(everybody)
    async with aclosing(live.watch("t", look, 0.01, b"session")) as frames:
        found = await first(frames, 3)
    await live.close()

    assert found[0]["live-problem"]
    assert found[1] == {"part": "there", "live-problem": ""}


async def test_a_session_has_so_many_streams_and_no_more() -> None:
    """One more ends at once; when one is closed there is room, and another session is not held to it."""
    live, look = Live(everybody), Counting()
    streams = [live.watch("t", look, 60, b"session") for _ in range(STREAMS_MOST)]
    for stream in streams:
        await anext(stream)

    assert live.is_full(b"session")
    assert [frame async for frame in live.watch("t", look, 60, b"session")] == []
    assert not live.is_full(b"another")
    await streams.pop().aclose()
    assert not live.is_full(b"session")
    for stream in streams:
        await stream.aclose()
    await live.close()


async def test_streams_end_when_the_process_does() -> None:
    live, look = Live(everybody), Counting()

    async def view() -> int:
        return len([frame async for frame in live.watch("t", look, 60, b"session")])

    viewer = asyncio.create_task(view())
    await eventually(lambda: look.looks)
    await live.close()

    assert await asyncio.wait_for(viewer, 5) <= 2
