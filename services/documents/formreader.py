"""Reads the form of one PDF, as a process of its own: bytes on standard input, one JSON object on standard output.

What a stranger's file does to the process that reads it, by size, depth or malice, it does here: memory and CPU time
are limited by the system, and whoever started it ends it after a while.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject, StreamObject

from services.documents.sheet import MANIFEST
from shared.events import SHEET_MAX_BYTES

MAX_PAGES = 2_000
MAX_OBJECTS = 400_000
MAX_DEPTH = 16
MAX_VALUE = 4_000_000
MEMORY_BYTES = 1_500_000_000
CPU_S = 60
ENCRYPTED = "it is encrypted: save it without a password"
#: What acts by itself when a file is opened or clicked at. No sheet of ours has any of it.
_ACTIONS = frozenset({"/JavaScript", "/Launch", "/ImportData", "/SubmitForm", "/Rendition"})


class RefusedError(Exception):
    """The file is not read; the message says why, in words for who sent it."""


def read_form(content: bytes) -> dict[str, Any]:
    """Give what may be the manifest, the fields by full name and the pages' texts.

    Raises:
        RefusedError: it is no PDF of a kind that is read.
    """
    reader = _open(content)
    _refuse_actions(reader)
    fields = {name: value for name, value in _fields(reader) if value is not None}
    if not fields:
        raise RefusedError("it has no form fields: it was printed or scanned, not filled in and saved")
    manifests = [fields.pop(MANIFEST, ""), _keywords(reader)]
    return {
        "manifests": [each for each in manifests if each],
        "fields": fields,
        "texts": [page.extract_text() for page in reader.pages],
    }


def _open(content: bytes) -> PdfReader:
    if len(content) > SHEET_MAX_BYTES:
        raise RefusedError(f"it has {len(content):,} bytes; at most {SHEET_MAX_BYTES:,} are read")
    if b"%PDF-" not in content[:1024]:
        raise RefusedError("it is no PDF")
    try:
        reader = PdfReader(io.BytesIO(content), strict=False)
    except DependencyError as error:  # what it would take to decrypt it
        raise RefusedError(ENCRYPTED) from error
    if reader.is_encrypted:
        raise RefusedError(ENCRYPTED)
    if len(reader.pages) > MAX_PAGES:
        raise RefusedError(f"it has {len(reader.pages):,} pages; at most {MAX_PAGES:,} are read")
    return reader


def _refuse_actions(reader: PdfReader) -> None:
    """Look at every object: a script may hang on a page, a field, a name or the document."""
    numbers = [(number, generation) for generation, xref in reader.xref.items() for number in xref if number]
    numbers += [(number, 0) for number in reader.xref_objStm]
    if len(numbers) > MAX_OBJECTS:
        raise RefusedError(f"it has {len(numbers):,} objects; at most {MAX_OBJECTS:,} are read")
    for number, generation in numbers:
        _refuse_action(reader.get_object(IndirectObject(number, generation, reader)), MAX_DEPTH)


def _refuse_action(value: object, depth: int) -> None:
    """Look into what stands inside an object itself; what it refers to is looked at by its own number."""
    if depth == 0:
        raise RefusedError("it is nested too deeply")
    if isinstance(value, DictionaryObject):
        if "/JS" in value or (isinstance(kind := value.get("/S"), NameObject) and kind in _ACTIONS):
            raise RefusedError("it carries a script or an action: save it without")
        for part in dict.values(value):
            _refuse_action(part, depth - 1)
    elif isinstance(value, ArrayObject):
        for part in list.__iter__(value):
            _refuse_action(part, depth - 1)


def _fields(reader: PdfReader) -> Iterator[tuple[str, str | None]]:
    """Fields of the form, then those that only a page knows of: some tools lose the form's own list."""
    form = _resolved(reader.root_object.get("/AcroForm"))
    roots = _resolved(form.get("/Fields")) if isinstance(form, DictionaryObject) else None
    seen: set[str] = set()
    for name, value in (*_below(roots, "", None, MAX_DEPTH), *_on_pages(reader)):
        if name not in seen:
            seen.add(name)
            yield name, value


def _below(kids: object, parent: str, inherited: str | None, depth: int) -> Iterator[tuple[str, str | None]]:
    """The fields under a node, by full name. A kid without a name is where a field is shown, and no field."""
    for kid in map(_resolved, kids if isinstance(kids, ArrayObject) and depth else ()):
        if not isinstance(kid, DictionaryObject) or "/T" not in kid:
            continue
        name = f"{parent}.{kid['/T']}" if parent else str(kid["/T"])
        value = _text(kid.get("/V")) if "/V" in kid else inherited
        yield from _below(_resolved(kid.get("/Kids")), name, value, depth - 1)
        if "/FT" in kid or "/V" in kid or "/Kids" not in kid:
            yield name, value


def _on_pages(reader: PdfReader) -> Iterator[tuple[str, str | None]]:
    for page in reader.pages:
        for widget in map(_resolved, _resolved(page.get("/Annots")) or ()):
            if isinstance(widget, DictionaryObject) and widget.get("/Subtype") == "/Widget":
                yield from _upwards(widget)


def _upwards(widget: DictionaryObject) -> Iterator[tuple[str, str | None]]:
    """The widget's field, named by its parents from the top."""
    names: list[str] = []
    value: str | None = None
    node: object = widget
    for _ in range(MAX_DEPTH):
        if not isinstance(node, DictionaryObject):
            break
        names += [str(node["/T"])] if "/T" in node else []
        value = _text(node.get("/V")) if value is None and "/V" in node else value
        node = _resolved(node.get("/Parent"))
    if names:
        yield ".".join(reversed(names)), value


def _text(value: object) -> str | None:
    """A field's value as text: a string, a name without its slash, the text of a stream, the first of a choice."""
    value = _resolved(value)
    if isinstance(value, ArrayObject):
        return _text(value[0]) if value else None
    if isinstance(value, StreamObject):
        return value.get_data()[:MAX_VALUE].decode("utf-8", "replace")
    if isinstance(value, NameObject):
        return str(value).removeprefix("/").removeprefix("Off")
    return None if value is None else str(value)[:MAX_VALUE]


def _keywords(reader: PdfReader) -> str:
    return str(reader.metadata.get("/Keywords") or "") if reader.metadata is not None else ""


def _resolved(value: object) -> Any:
    return value.get_object() if isinstance(value, IndirectObject) else value


def _limit_resources() -> None:
    """Where the system lets us; the time is limited from outside as well."""
    for limit, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S)):
        with suppress(ValueError, OSError):  # macOS refuses the first
            resource.setrlimit(limit, (most, most))


def main() -> None:
    _limit_resources()
    try:
        answer = read_form(sys.stdin.buffer.read(SHEET_MAX_BYTES + 1))
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except MemoryError:
        answer = {"refused": f"reading it takes more than {MEMORY_BYTES:,} bytes of memory"}
    except Exception as error:  # whatever a parser raises, it is the file's doing
        answer = {"refused": f"it is broken: it cannot be read as a PDF ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
