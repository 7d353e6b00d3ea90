"""What is told of the API: counted here, for its own /metrics, and passed on to who observes the process."""

from __future__ import annotations

from shared.messaging.facts import UNOBSERVED, Fact, Observer, Probe
from shared.metrics import Metrics


class Observed:
    """An observer before another. /metrics at the API's own address and at its probes' show the same."""

    def __init__(self, observer: Observer = UNOBSERVED) -> None:
        self._observer = observer
        self.metrics = Metrics("api")

    def observe(self, fact: Fact) -> None:
        self.metrics.observe(fact)
        self._observer.observe(fact)

    def depends_on(self, dependency: str, probe: Probe) -> None:
        self._observer.depends_on(dependency, probe)
