"""The simulator as a process of its own; takes the options of `leadline simulate`."""

from __future__ import annotations

import typer

from services.simulator.command import simulate_command

if __name__ == "__main__":
    typer.run(simulate_command)
