"""Decisions looked back on: run again, explained, held against another policy, and proven fair."""
