"""What the table of options is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from wsrelay.config.values import Parser

__all__ = ["Kind", "Option", "kind"]


@frozen
class Option:
    """
    One option of one kind of section.

    ``default`` is written as in relay.ini; empty: the option has none.  For a
    list it is the word that stands for the empty list.
    """

    name: str
    parse: Parser
    default: str
    help: str
    many: bool = False
    """A list: one item a line, each of them parsed."""

    must_exist: bool = False
    """The value is a file that has to be there."""


@frozen
class Kind:
    """One kind of section: ``[name]``, or ``[name:NAME]`` where it is ``named``."""

    name: str
    named: bool
    options: Mapping[str, Option]

    @property
    def form(self) -> str:
        """How its header is written, without brackets."""
        return f"{self.name}:NAME" if self.named else self.name


def kind(name: str, options: Iterable[Option], *, named: bool = False) -> Kind:
    """Make a `Kind` of a table."""
    return Kind(name, named, {option.name: option for option in options})
