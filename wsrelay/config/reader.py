"""
The lines of an INI file, with their numbers.

The rules are those of ``configparser`` (no interpolation, no inline comments,
no ``DEFAULT`` section), which itself forgets line numbers and stops at the
first duplicate.  A test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import Factory, define, frozen

__all__ = ["Item", "Report", "Section", "WrittenOption", "read"]

_SECTION = re.compile(r"\[(?P<header>.+)\]")
_OPTION = re.compile(r"(?P<name>[^=:]+?)\s*[=:]\s*(?P<value>.*)")

Report = Callable[[int, str, str, str], None]
"""Is called with line, section, option and what is wrong there."""


@frozen
class Item:
    """One line of an option's value, without the space around it; never empty."""

    line: int
    text: str


@define
class WrittenOption:
    """An option as written: its name in lower case, its line, its value line by line."""

    name: str
    line: int
    items: list[Item] = Factory(list)

    def add(self, line: int, text: str) -> None:
        """Take one more line of the value."""
        if text:
            self.items.append(Item(line, text))


@define
class Section:
    """A section as written; ``header`` is what stands between the brackets."""

    header: str
    line: int
    options: dict[str, WrittenOption] = Factory(dict)


def read(text: str, report: Report) -> list[Section]:
    """
    Read a whole file.

    :param report: called for each line that is not INI, each duplicate section
        and each duplicate option.  The rest is read all the same; of
        duplicates the first stays, and a second section is returned too.
    """
    reader = _Reader(report)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        content = line.strip()
        if content and content[0] not in "#;":
            reader.take(number, len(line) - len(line.lstrip()), content)
    return reader.sections


class _Reader:
    def __init__(self, report: Report) -> None:
        self.sections: list[Section] = []
        self._lines: dict[str, int] = {}  # header -> its first line
        self._report = report
        self._section: Section | None = None
        self._option: WrittenOption | None = None
        self._indent = 0

    def take(self, number: int, indent: int, content: str) -> None:
        """Take a line that is neither empty nor a comment."""
        if self._option is not None and indent > self._indent:
            self._option.add(number, content)
            return
        self._indent = indent
        if match := _SECTION.match(content):
            self._start_section(number, match["header"])
        elif content.startswith("["):
            self._skip_section(number, "not a section header; expected [kind] or [kind:name]")
        elif self._section is None:
            self._skip_section(number, _no_section(content))
        else:
            self._start_option(self._section, number, content)

    def _start_section(self, number: int, header: str) -> None:
        self._section = Section(header, number)
        self._option = None
        self.sections.append(self._section)
        first = self._lines.setdefault(header, number)
        if first != number:
            self._report(number, header, "", f"this section is on line {first} already")

    def _skip_section(self, number: int, message: str) -> None:
        # What follows belongs to nobody: one message about it is enough.
        self._report(number, "", "", message)
        self._section = Section("", number)
        self._option = None

    def _start_option(self, section: Section, number: int, content: str) -> None:
        match = _OPTION.fullmatch(content)
        name = match["name"].lower() if match else ""
        # Also in case of an error: the lines indented below belong to this one.
        self._option = WrittenOption(name, number)
        if not match:
            from wsrelay.config.guides import answer_to  # only a file with an error needs that

            message = f"'{content}' is no option; {answer_to(content) or 'expected name = value'}"
            self._report_option(section, number, "", message)
            return
        self._option.add(number, match["value"])
        first = section.options.setdefault(name, self._option)
        if first is not self._option:
            self._report_option(section, number, name, f"is set on line {first.line} already")

    def _report_option(self, section: Section, number: int, option: str, message: str) -> None:
        if section.header:
            self._report(number, section.header, option, message)


def _no_section(content: str) -> str:
    """Say what is wrong with a line above all sections."""
    if content.endswith(("{", "}", ";")):
        return (
            "this is no INI file; write sections like [listener:web], [route:web] and [pool:web],"
            " and nginx's directives as docs/compatibility.rst has them"
        )
    return "every option stands in a section; expected [relay], say"
