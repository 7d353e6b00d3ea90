"""Changes of the configuration: what is odd about them is said before they are made, and only what is new about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response

from services.api.console import rendering
from services.cli.configfile import ConfigFile
from services.cli.lint import lint_config
from services.cli.lintrules import LintWarning
from shared.db.session import Database


async def new_warnings(database: Database, **sections: Any) -> list[LintWarning]:
    """Give what would be odd with these sections applied, and is not already. Raises ConfigError if they cannot be."""
    after = await lint_config(database, ConfigFile.model_validate(sections))
    before = set((await lint_config(database, None)).warnings)
    return [each for each in after.warnings if each not in before]


async def ask(request: Request, what: str, warnings: Sequence[LintWarning], fields: Mapping[str, Any]) -> Response:
    """Show the warnings, and the form once more, to be sent as it is or not at all."""
    return await rendering.page(
        request,
        "confirm.html",
        what=what,
        warnings=warnings,
        fields={name: value for name, value in fields.items() if name not in {"csrf", "confirmed"}},
        action=request.url.path,
    )
