"""The templates that put mails into words: ours, and those of an operator's folder in the place of ours.

All are read, and tried with facts of every kind, when the service starts: a broken one keeps it from starting, and is
told by name and line.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    select_autoescape,
)
from jinja2.exceptions import TemplateNotFound

from services.notifier.contents import (
    KINDS,
    Content,
    Link,
    MailedLead,
    Share,
    SheetContent,
    StoreContent,
    StoreSheet,
    SummaryContent,
    Values,
    kind_of,
    values_of,
)
from shared.settings import SettingsError

OURS: Final = Path(__file__).with_name("templates")
NAMES: Final = tuple(f"{kind}.{what}" for kind in KINDS for what in ("subject.txt", "preview.txt", "txt", "html"))


class Templates:
    """Puts values into words. In what ends in `.html`, all that is inserted is escaped."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read them all. SettingsError where one cannot be used."""
        self._folder = folder
        self._environment = Environment(
            loader=FileSystemLoader([*([folder] if folder else []), OURS]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self._environment.globals["several"] = several
        self._templates = dict(self._read())
        self._try()

    def __call__(self, name: str, values: Values) -> str:
        return self._templates[name].render(values)

    def _read(self) -> Iterator[tuple[str, Template]]:
        if self._folder is not None and not self._folder.is_dir():
            raise SettingsError(f"LEADLINE_TEMPLATES_DIR: {self._folder} is no folder")
        for name in NAMES:
            try:
                yield name, self._environment.get_template(name)
            except (TemplateError, OSError, UnicodeDecodeError) as error:
                raise self._refused(name, error) from error

    def _try(self) -> None:
        """Put every kind of mail into words, with all there can be in it and with as little as there can be."""
        for content in (*_FULL, *_BARE):
            for attached in (0, 2):
                values = {**values_of(content, attached), "subject": "subject", "preview": "preview"}
                for name in (each for each in NAMES if each.startswith(f"{kind_of(content)}.")):
                    try:
                        self(name, values)
                    except Exception as error:  # whatever an operator's template may raise
                        raise self._refused(name, error) from error

    def _refused(self, name: str, error: Exception) -> SettingsError:
        match error:
            case TemplateSyntaxError(name=found, lineno=line):
                where, said = f"{found or name}, line {line}", error.message
            case TemplateNotFound(name=missing) if missing != name:
                where, said = name, f"it uses {missing}, which is not there"
            case _:
                where, said = f"{name}{_line_of(error)}", f"{type(error).__name__}: {error}"
        return SettingsError(f"LEADLINE_TEMPLATES_DIR: {where}: {said}. Correct it, or remove the file to use ours")


def several(number: int, what: str) -> str:
    """A number with its word: `1 lead`, `25 leads`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _line_of(error: Exception) -> str:
    """Where in a template it was raised: Jinja puts the template's own lines into the traceback."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith((".txt", ".html")):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"


_AT = datetime(2025, 11, 21, 9, 30, tzinfo=UTC)
_LINKS = (Link("sheet.pdf", "https://leads.example.com/files/1", _AT),)
_LEAD = MailedLead("L251121A001-0001", "Ann Example", "+91 98765 43210")
_NOTHING: dict[str, Any] = dict.fromkeys(("agent_code", "agent_name", "route", "store_code", "page_group_code"))
_FULL: tuple[Content, ...] = (
    SheetContent("A001", "Agnes", "META", "S1", "L251121A001", 1, _AT.date(), "UTC", (_LEAD,), _AT, _LINKS),
    SheetContent("A001", "Agnes", "META", "S1", "L251121A001", 300, _AT.date(), "UTC", (_LEAD,) * 201, _AT, _LINKS),
    StoreContent(
        *("S1", "Lake Road", "pickups", _AT.date(), _AT, "UTC"),
        sheets=(StoreSheet("A001", "Agnes", "L251121A001", 25),) * 4,
        part=1,
        parts=2,
        is_late=True,
        links=_LINKS,
    ),
    SummaryContent(
        *(7, "pickups", _AT.date(), _AT, "UTC", "scheduler", "run-1", 25),
        unassigned=(("daily cap reached", 3),),
        shares=(Share("S1", "A001", "Agnes", 25),),
        sheets=1,
    ),
)
_BARE: tuple[Content, ...] = (
    SheetContent(**_NOTHING, lead_count=1, batch_date=None, zone=None, leads=()),
    StoreContent(None, None, None, None, None, None, sheets=(StoreSheet(None, None, None, 1),)),
    SummaryContent(7, "pickups", date(2025, 11, 21), _AT, "UTC", "scheduler", None, 0, (), (), 0),
)
