"""What can go wrong on this machine, said in one line: the command line prints it and exits with `exit_code`."""

from __future__ import annotations

from typing import ClassVar


class LocalError(Exception):
    """Something on this machine did not do what it should; the message tells a person what to look at."""

    exit_code: ClassVar[int] = 1


class MissingError(LocalError):
    """Something is missing and cannot be installed from here; the message tells a person what to do."""

    exit_code: ClassVar[int] = 2
