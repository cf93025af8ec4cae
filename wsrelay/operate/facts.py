"""
Reading a JSON answer that may be of an older or newer relay, or of something else.

What is missing, or not what it should be, is as good as empty: a table with a gap helps
an operator more than no table.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Json", "count", "items", "member", "number", "text"]

Json = dict[str, Any]

_LARGEST = 2.0**63


def member(facts: Json, key: str) -> Json:
    """Return the object under *key*; an empty one if there is none."""
    value = facts.get(key)
    return value if isinstance(value, dict) else {}


def items(facts: Json, key: str) -> list[Json]:
    """Return the objects in the list under *key*."""
    value = facts.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(facts: Json, key: str) -> str:
    """Return the text under *key*; empty if there is none."""
    value = facts.get(key)
    return value if isinstance(value, str) else ""


def number(facts: Json, key: str) -> float | None:
    """Return the number under *key*; None also for one that no counter reaches."""
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


def count(facts: Json, key: str) -> int:
    """Return the whole number under *key*; 0 if there is none."""
    return int(number(facts, key) or 0)
