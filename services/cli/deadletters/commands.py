"""`leadline deadletters`: what operators do with messages that could not be handled."""

from __future__ import annotations

from services.cli.lazily import Entry, lazy_app

_HERE = "services.cli.deadletters"
COMMANDS = {
    "groups": Entry(f"{_HERE}.reading:groups", "Count dead letters by what failed and where."),
    "list": Entry(f"{_HERE}.reading:list_letters", "List dead letters, a page at a time, in the order they came in."),
    "show": Entry(f"{_HERE}.reading:show_letter", "Show one dead letter, and what operators did to it."),
    "edit": Entry(f"{_HERE}.changing:edit", "Change the body; saved if its service would take it."),
    "preview": Entry(f"{_HERE}.previewing:preview_letters", "Say what a replay would do now, by group."),
    "replay": Entry(f"{_HERE}.sending:replay", "Send dead letters back to the queue they came from."),
    "discard": Entry(f"{_HERE}.discards:discard", "Put dead letters aside, for a reason."),
    "undo": Entry(f"{_HERE}.discards:undo", "Take a discard back; with --lost, a replay whose message is gone."),
}
app = lazy_app("Messages that could not be handled.", COMMANDS)
