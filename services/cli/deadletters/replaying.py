"""Runs a replay: canary first, then at the rate; stops by itself, can be interrupted, goes on where it was.

A letter is claimed, published with confirms, then marked as sent, chunk by chunk. Whoever dies in between leaves the
chunk claimed, and the next run publishes it again as far as it has not come to an end: its effect is one all the same,
because handlers are idempotent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from services.cli.deadletters import replayrows
from services.cli.deadletters.canary import Done, Send, Stop, Tally, Wait, next_move
from services.cli.deadletters.letters import Letter
from services.cli.deadletters.replayrows import Claimed, Replay
from shared.db.session import Database
from shared.messaging.publisher import Publisher

CHUNK_MAX = 100
TICK_S = 0.2
LOOK_EVERY_S = 0.2
ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Report:
    """How far a replay has come. `ended`: done, stopped, interrupted, or waiting for what is still under way."""

    replay: int
    ended: str
    sent: int
    through: int
    failed_again: int
    under_way: int
    waiting: int
    passed_over: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages a second after the canary; seconds without any outcome after which a wait is given up."""

    rate: float
    patience_s: float

    @property
    def chunk(self) -> int:
        return max(1, min(CHUNK_MAX, round(self.rate * TICK_S)))


Show = Callable[[Tally], None]


class Run:
    """One run of a replay, from its beginning or from where another has left it."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        replay: Replay,
        pace: Pace,
        *,
        zone: ZoneInfo,
        actor: str,
        stop: asyncio.Event,
        show: Show,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._replay = replay
        self._pace = pace
        self._zone = zone
        self._actor = actor
        self._stop = stop
        self._show = show
        self._tally = Tally(0)
        self._settled_at = time.monotonic()

    async def run(self) -> Report:
        """Go on until everything is through, too much has failed again, nothing settles, or somebody stops it."""
        async with replayrows.held(self._database, self._replay):
            await self._pick_up()
            ended = await self._go_on()
            await replayrows.end(
                self._database, self._replay, {"done": "done", "stopped": "stopped"}.get(ended, "open")
            )
            return await self._report(ended)

    async def _pick_up(self) -> None:
        """Count where it stands, and publish again what a run that died had claimed."""
        await replayrows.settle(self._database, self._replay)
        while (left := await replayrows.claimed_before(self._database, self._replay, limit=CHUNK_MAX)).letters:
            await self._publish(left)
        found = await replayrows.counts(self._database, self._replay)
        trusted = found.get("through", 0) if self._replay.state != "stopped" else 0
        self._tally = Tally(found.get("waiting", 0), found.get("sent", 0), trusted=trusted)

    async def _go_on(self) -> str:
        """Make one move after the other; give how it ended."""
        while not (self._stop.is_set() or await replayrows.is_asked_to_rest(self._database, self._replay)):
            await self._look()
            if time.monotonic() - self._settled_at > self._pace.patience_s:
                return "waiting"
            match next_move(self._tally):
                case Done():
                    return "done"
                case Stop():
                    return "stopped"
                case Send(messages, True):
                    await self._send(messages)
                case Send(messages, False):
                    await self._at_the_rate(messages)
                case Wait():
                    await self._pause(LOOK_EVERY_S)
        return "interrupted"

    async def _at_the_rate(self, messages: int) -> None:
        began = time.monotonic()
        rows = await self._send(min(messages, self._pace.chunk))
        await self._pause(max(rows / self._pace.rate - (time.monotonic() - began), 0))

    async def _send(self, messages: int) -> int:
        """Claim, publish, mark; nothing in between is interrupted but by death. Give how many that were."""
        claimed = await replayrows.claim(self._database, self._replay, limit=messages, actor=self._actor)
        await self._publish(claimed)
        if claimed.rows:
            waiting = self._tally.waiting - claimed.rows
            self._settled_at = time.monotonic()
        else:  # somebody holds what is left, or it was purged
            waiting = (await replayrows.counts(self._database, self._replay)).get("waiting", 0)
            await self._pause(LOOK_EVERY_S)
        self._tally = replace(self._tally, waiting=waiting, under_way=self._tally.under_way + len(claimed.letters))
        return claimed.rows

    async def _publish(self, claimed: Claimed) -> None:
        letters: Sequence[Letter] = [letter for letter, _ in claimed.letters]
        await self._publisher.publish([letter.outgoing(self._day(failed_at)) for letter, failed_at in claimed.letters])
        await replayrows.mark_sent(self._database, self._replay, letters)

    def _day(self, first_failed_at: datetime) -> date | None:
        return first_failed_at.astimezone(self._zone).date() if self._replay.as_of == ORIGINAL else None

    async def _look(self) -> None:
        """See what has come to an end."""
        through, failed = await replayrows.settle(self._database, self._replay)
        if through or failed:
            self._settled_at = time.monotonic()
        self._tally = replace(
            self._tally,
            under_way=self._tally.under_way - through - failed,
            through=self._tally.through + through,
            failed=self._tally.failed + failed,
        )
        self._show(self._tally)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _report(self, ended: str) -> Report:
        found = await replayrows.counts(self._database, self._replay)
        through, failed = found.get("through", 0), found.get("failed", 0)
        under_way = found.get("sent", 0) + found.get("claimed", 0)
        return Report(
            replay=self._replay.id,
            ended=ended,
            sent=through + failed + under_way,
            through=through,
            failed_again=failed,
            under_way=under_way,
            waiting=found.get("waiting", 0),
            passed_over=found.get("passed over", 0),
            note=self._note(ended),
        )

    def _note(self, ended: str) -> str | None:
        resume = f"go on with `leadline deadletters replay --resume {self._replay.id}`"
        notes = {
            "stopped": "more than a tenth failed again; `leadline deadletters groups` says why",
            "interrupted": "nothing is lost",
            "waiting": f"nothing has come to an end for {self._pace.patience_s:.0f} s; is the service running? "
            "What fails waits on the retry ladder, for an hour and a quarter in all",
        }
        return f"{notes[ended]}; {resume}" if ended in notes else None
