"""`bench/results.json`: what the last runs on this machine have found, part by part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


def merge(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write figures over those of earlier runs; what this run has not measured stays."""
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"ratios": {}, "medians": {}}
    for section, values in found.items():
        known.setdefault(section, {}).update(values)
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
