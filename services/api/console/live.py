"""What goes on, told to all who look: one look for everybody, whatever their number.

A topic looks only while somebody watches it; its parts are rendered once and the same bytes go to each. Who is slow
misses steps, not the end: it is given what has changed since it was last given something.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress

import structlog

from services.api.problems import of_error

log = structlog.get_logger(__name__)

#: A part of a page by its id in the page.
Parts = Mapping[str, str]
Look = Callable[[], Awaitable[Parts]]
StillOpen = Callable[[Iterable[bytes]], Awaitable[set[bytes]]]

BEAT_S = 15.0
#: Streams of one session at once: a browser holds six to one place, and one for each page that somebody sees.
STREAMS_MOST = 12
SESSIONS_EVERY_S = 10.0
RETRY_MS = 2_000
#: What a viewer is told where the database does not answer.
PROBLEM = "live-problem"


class Topic:
    """One thing that is looked at, and those who watch it."""

    def __init__(self, look: Look, every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._parts: dict[str, tuple[int, str]] = {}
        self._version = 0
        self._frame = b""
        self._turn = asyncio.Event()
        self.watchers = 0
        self._task: asyncio.Task[None] | None = None

    async def frames(self, is_over: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """Give frames of a stream until it is over: first all parts, then what changes, and a beat in between."""
        self.watchers += 1
        if self._task is None or self._task.done():
            self._parts.clear()
            self._task = asyncio.create_task(self._go_on())
        seen = 0
        yield f"retry: {RETRY_MS}\n\n".encode()
        try:
            while not is_over():
                if self._version > seen and self._parts:
                    frame = self._frame if seen == self._version - 1 else self._since(seen)
                    seen = self._version
                    yield frame
                    continue
                try:
                    await asyncio.wait_for(self._turn.wait(), BEAT_S)
                except TimeoutError:
                    yield b": beat\n\n"
        finally:
            self.watchers -= 1

    @property
    def is_busy(self) -> bool:
        return self.watchers > 0 or (self._task is not None and not self._task.done())

    def wake(self) -> None:
        """Let watchers look whether it is over."""
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def close(self) -> None:
        self.watchers = 0
        self.wake()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go_on(self) -> None:
        while self.watchers > 0:
            self._tell(await self._parts_now())
            await asyncio.sleep(self._every_s)

    async def _parts_now(self) -> Parts:
        try:
            return {**await self._look(), PROBLEM: ""}
        except Exception as error:  # told to who watches, and looked again
            answer = of_error(error)
            return {PROBLEM: str(json.loads(bytes(answer.body)).get("detail", "no answer"))}

    def _tell(self, parts: Parts) -> None:
        changed = {name: part for name, part in parts.items() if self._parts.get(name, (0, None))[1] != part}
        if not changed:
            return
        self._version += 1
        self._parts |= {name: (self._version, part) for name, part in changed.items()}
        self._frame = _frame(changed)
        self.wake()

    def _since(self, seen: int) -> bytes:
        return _frame({name: part for name, (version, part) in self._parts.items() if version > seen})


def _frame(parts: Parts) -> bytes:
    return f"event: parts\ndata: {json.dumps(parts, ensure_ascii=False)}\n\n".encode()


class Live:
    """All topics of this process, and the sessions of those who watch."""

    def __init__(self, still_open: StillOpen) -> None:
        self._still_open = still_open
        self._topics: dict[str, Topic] = {}
        self._sessions: Counter[bytes] = Counter()
        self._checking: asyncio.Task[None] | None = None
        self._is_closed = False

    async def watch(self, name: str, look: Look, every_s: float, session: bytes) -> AsyncGenerator[bytes, None]:
        """Give the stream of a topic until its viewer goes, or the session ends, or this process stops.

        Of a session that `is_full` it ends at once.
        """
        if self.is_full(session):
            return
        topic = self._topic(name, look, every_s)
        self._sessions[session] += 1
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        try:
            async with aclosing(topic.frames(lambda: self._is_closed or session not in self._sessions)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self._leave(session)

    def is_full(self, session: bytes) -> bool:
        """Whether a session has all the streams that it may have."""
        return self._sessions[session] >= STREAMS_MOST

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return sum(topic.watchers for topic in self._topics.values())

    async def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        if self._checking is not None:
            self._checking.cancel()
        for topic in list(self._topics.values()):
            await topic.close()

    def _topic(self, name: str, look: Look, every_s: float) -> Topic:
        """Give the topic as it goes on; one that nobody watched begins anew."""
        self._topics = {each: topic for each, topic in self._topics.items() if topic.is_busy}
        return self._topics.setdefault(name, Topic(look, every_s))

    def _leave(self, session: bytes) -> None:
        if session in self._sessions:
            self._sessions[session] -= 1
            if self._sessions[session] <= 0:
                del self._sessions[session]

    async def _check(self) -> None:
        """One question for all sessions: those that have ended lose their streams."""
        while self._sessions and not self._is_closed:
            await asyncio.sleep(SESSIONS_EVERY_S)
            try:
                alive = await self._still_open(list(self._sessions))
            except Exception as error:  # the database is away: the topics tell so; asked again
                log.warning("console.sessions_not_checked", error=str(error))
                continue
            for session in set(self._sessions) - alive:
                del self._sessions[session]
            for topic in list(self._topics.values()):
                topic.wake()
