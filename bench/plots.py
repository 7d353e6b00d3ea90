"""The picture: leads a second against batch size, agents on the route, and stored leads."""

from __future__ import annotations

import json
from pathlib import Path

from bench.results import RESULTS

PICTURE = RESULTS.with_suffix(".png")
PANELS = {"batches": "messages in a batch, at most", "agents": "agents on the route", "stored": "stored leads"}


def draw() -> Path:
    """Draw what the results hold of the three. ModuleNotFoundError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415  # of the extra `bench`

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    results = json.loads(RESULTS.read_text())
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.5), layout="constrained")
    for axis, (section, label) in zip(axes, PANELS.items(), strict=True):
        points = sorted((int(size), rate) for size, rate in results.get(section, {}).items())
        axis.plot([f"{size:,}" for size, _ in points], [rate for _, rate in points], marker="o")
        axis.set(xlabel=label, ylabel="leads a second")
        axis.set_ylim(bottom=0)
    figure.savefig(PICTURE, dpi=110)
    return PICTURE
