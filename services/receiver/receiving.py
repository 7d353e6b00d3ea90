"""Receives a file: looked at, stored, and told of. What is in it is for the documents service."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from services.documents.reading import Refused, read_returned
from shared.events import SheetReturned
from shared.messaging.publisher import Outgoing, Publisher
from shared.sheetstore import SheetStore

_LONGEST_SENDER = 200


class Receiver:
    """Where drop folder, mailbox and command line bring what came back."""

    def __init__(self, store: SheetStore, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    async def receive(self, content: bytes, received_from: str) -> SheetReturned | Refused:
        """Store the file and publish `sheet.returned`, confirmed; or say at once why it is no filled-in sheet.

        The same file again is stored and told of again, and changes nothing.

        Raises:
            PublishError: the broker is away; receive the file again.
            DependencyGoneError: so is the store.
        """
        form = await read_returned(content)
        if isinstance(form, Refused):
            return form
        digest = sha256(content).hexdigest()
        stored = await asyncio.to_thread(self._store.write, f"returned/{digest[:2]}/{digest}.pdf", content)
        sender = received_from.replace("\x00", "")[:_LONGEST_SENDER]
        event = SheetReturned(file_path=stored.path, sha256=stored.sha256, received_from=sender)
        await self._publisher.publish([Outgoing(event.type, event.to_json().encode())])
        return event
