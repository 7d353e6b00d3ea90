"""Reads what came back in a process of its own, of bounded memory and time."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass

from services.documents.returns import ReturnedForm
from shared.events import SHEET_MAX_BYTES

READ_WITHIN_S = 90.0
_COMMAND = (sys.executable, "-m", "services.documents.formreader")


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not read, and why, in words for who sent it."""

    reason: str


async def read_returned(content: bytes, within_s: float = READ_WITHIN_S) -> ReturnedForm | Refused:
    """Give the form of a PDF that came from outside, whatever it is."""
    if len(content) > SHEET_MAX_BYTES:
        return Refused(f"it has {len(content):,} bytes; at most {SHEET_MAX_BYTES:,} are read")
    # A session of its own: Ctrl-C is for the service, which finishes what it has begun.
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(content), within_s)
    except TimeoutError:
        return Refused(f"reading it takes more than {within_s:g} seconds")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return Refused("reading it takes more memory or time than a sheet needs, or breaks the reader")
    answer = json.loads(output)
    if "refused" in answer:
        return Refused(answer["refused"])
    return ReturnedForm(tuple(answer["manifests"]), answer["fields"], tuple(answer["texts"]))
