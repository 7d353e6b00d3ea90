"""When a consumer is deaf: two looks in a row, three new channels, then the process."""

from __future__ import annotations

import pytest

from shared.messaging.suspicion import REBUILDS, GiveUp, Leave, Look, Rebuild, Renew, Suspicion, Verdict, step

WELL = Look(consumers=1, ready=0, held=0, quiet_s=500)
FORGOTTEN = Look(consumers=0, ready=0, held=0, quiet_s=1)
STUCK = Look(consumers=1, ready=7, held=0, quiet_s=61)


def after(*looks: Look) -> tuple[Suspicion, list[Verdict]]:
    suspicion, verdicts = Suspicion(), list[Verdict]()
    for look in looks:
        suspicion, verdict = step(suspicion, look, quiet_limit_s=60, renew_after_s=600)
        verdicts.append(verdict)
    return suspicion, verdicts


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (FORGOTTEN, "the broker knows of no consumer"),
        (STUCK, "7 messages are ready and none has come for 61 s"),
    ],
)
def test_two_looks_in_a_row_rebuild_the_channel(look: Look, why: str) -> None:
    assert after(look, look) == (Suspicion(0, 1), [Leave(), Rebuild(why)])


@pytest.mark.parametrize(
    "look",
    [
        WELL,
        Look(consumers=1, ready=7, held=0, quiet_s=59),  # they may be on their way
        Look(consumers=1, ready=7, held=3, quiet_s=900),  # at work, or waiting for its database
        Look(consumers=3, ready=0, held=0, quiet_s=599),  # nothing to do
    ],
)
def test_no_suspicion(look: Look) -> None:
    assert after(look, look, look) == (Suspicion(), [Leave()] * 3)


def test_an_idle_consumer_is_renewed() -> None:
    assert after(Look(consumers=1, ready=0, held=0, quiet_s=600)) == (Suspicion(), [Renew()])


def test_a_good_look_between_two_bad_ones_clears() -> None:
    assert after(FORGOTTEN, WELL, FORGOTTEN) == (Suspicion(1, 0), [Leave()] * 3)


def test_new_channels_that_do_not_help_end_the_process() -> None:
    _, verdicts = after(*[FORGOTTEN] * 2 * (REBUILDS + 1))
    assert [type(verdict) for verdict in verdicts[1::2]] == [Rebuild] * REBUILDS + [GiveUp]
    assert verdicts[::2] == [Leave()] * (REBUILDS + 1)
