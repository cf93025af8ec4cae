"""The options that filters are given in relay.ini: texts in, values out."""

from __future__ import annotations

from typing import Any

from wsrelay.config.values import Parser, one_of
from wsrelay.interfaces import DOWN, UP

__all__ = ["directions", "parsed"]


def parsed(option: str, text: str, parse: Parser) -> Any:
    """
    Parse an option of a filter.

    :raises ValueError: it is bad; the text names it.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def directions(text: str) -> frozenset[str]:
    """Parse ``up``, ``down`` or ``both`` into the directions that are meant."""
    word = one_of(UP, DOWN, "both")(text)
    return frozenset((UP, DOWN)) if word == "both" else frozenset((word,))
