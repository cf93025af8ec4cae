"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from attrs import evolve, frozen

__all__ = ["ConfigError", "ConfigErrors", "ConfigUnreadable", "Place", "unknown_name"]


@frozen
class ConfigError:
    """
    One mistake of the operator's; ``str()`` is the line to print.

    ``line`` counts from 1; None stands for the whole file.  ``section`` comes
    without its brackets; it and ``option`` are empty where there is none.
    """

    file: str
    line: int | None
    section: str
    option: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        section = f"[{self.section}] " if self.section else ""
        option = f"{self.option}: " if self.option else ""
        return _printable(f"{where}: {section}{option}{self.message}")


class ConfigErrors(Exception):  # noqa: N818 - it holds errors, and is none itself
    """
    Everything that is wrong with a configuration, in the order of the file.

    ``errors`` is never empty; what concerns the file as a whole comes last.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(
            sorted(errors, key=lambda e: float("inf") if e.line is None else e.line)
        )
        super().__init__("\n".join(map(str, self.errors)))


class ConfigUnreadable(Exception):  # noqa: N818 - reads better where it is caught
    """The file cannot be read; the text names it and says why."""


@frozen
class Place:
    """Where something was written; see `ConfigError` for the attributes."""

    file: str
    line: int | None = None
    section: str = ""
    option: str = ""

    def on(self, option: str, line: int | None = None) -> Place:
        """Return the place of *option* in the same section; no *line*: the same line."""
        return evolve(self, option=option, line=self.line if line is None else line)

    def error(self, message: str) -> ConfigError:
        """Return *message* as an error at this place."""
        return ConfigError(self.file, self.line, self.section, self.option, message)


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no *what* called *name*, and which one was probably meant."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    listing = ", ".join(names) if names else "none"
    if len(names) > 15:
        listing = "see docs/configuration.rst"
    return f"unknown {what} '{name}'{hint or '; known: ' + listing}"


def _printable(text: str) -> str:
    # A control character in a bad name must not break the rule of one error a line.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
