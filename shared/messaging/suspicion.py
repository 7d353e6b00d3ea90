"""When a consumer that thinks it consumes is deaf: pure, a table of cases.

The client may have missed that the broker has dropped its consumer, or a channel may be stuck while its connection
lives. Two looks in a row must say so: one may fall into the moment in which the consumer is registered anew.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS = 2
#: Channels in a row that are given up as deaf; after that the process is, and its supervisor starts another.
REBUILDS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """A queue as the broker tells it, and what the consumer knows at the same moment."""

    consumers: int
    ready: int
    #: Deliveries that are not settled yet: who holds some is at work, or waits for a dependency.
    held: int
    #: Seconds since the last delivery, or since the consumer was registered.
    quiet_s: float


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is remembered from look to look, across channels."""

    rounds: int = 0
    rebuilds: int = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """All is well, or it is too early to say."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Give this channel up and consume on a new one."""

    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """New channels have not helped: end the process."""

    why: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Nothing is wrong that could be seen; consume on a new channel all the same, while there is nothing to do."""


Verdict = Leave | Rebuild | Renew | GiveUp


def step(suspicion: Suspicion, look: Look, *, quiet_limit_s: float, renew_after_s: float) -> tuple[Suspicion, Verdict]:
    """Say what to do after a look, and what to remember.

    A quorum queue of 3.10 that is deleted and at once declared anew goes on to name its old consumer, who gets no
    message and no cancel: it looks like one that is idle. So whoever is idle for long is registered anew.
    """
    why = _why_deaf(look, quiet_limit_s)
    if why is None:
        is_idle = look.held == 0 and look.quiet_s >= renew_after_s
        return Suspicion(), Renew() if is_idle else Leave()
    if suspicion.rounds + 1 < ROUNDS:
        return Suspicion(suspicion.rounds + 1, suspicion.rebuilds), Leave()
    if suspicion.rebuilds >= REBUILDS:
        return Suspicion(), GiveUp(why)
    return Suspicion(0, suspicion.rebuilds + 1), Rebuild(why)


def _why_deaf(look: Look, quiet_limit_s: float) -> str | None:
    if look.consumers == 0:
        return "the broker knows of no consumer"
    if look.ready > 0 and look.held == 0 and look.quiet_s >= quiet_limit_s:
        return f"{look.ready} messages are ready and none has come for {look.quiet_s:.0f} s"
    return None
