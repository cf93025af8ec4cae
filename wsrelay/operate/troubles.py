"""Why a command could not do what it was asked to; each ends it with an exit code of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = ["BadSetting", "Refused", "Trouble", "Unreachable"]


class Trouble(Exception):  # noqa: N818 - the name says it
    """The text is a sentence for the operator; it may hold what others wrote."""

    exit_code: ClassVar[int]


class BadSetting(Trouble):
    """The command line, the environment or relay.ini is wrong."""

    exit_code = 2


class Unreachable(Trouble):
    """There is no answer, or none of a relay."""

    exit_code = 3


class Refused(Trouble):
    """
    The relay answered that it will not.

    :ivar status: the HTTP status.
    :ivar errors: more lines to print.
    :ivar answer: the answer's JSON.
    """

    exit_code = 1

    def __init__(
        self, status: int, message: str, errors: Sequence[str] = (), answer: Any = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errors = tuple(errors)
        self.answer = answer
