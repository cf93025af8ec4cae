"""Numbers as people read them; None, which stands for "not known", is ``-``."""

from __future__ import annotations

__all__ = ["milliseconds", "pace", "size", "some", "span", "whole"]

_STEPS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def span(seconds: float | None) -> str:
    """Write a duration: ``0.4s``, ``12s``, ``3m 5s``, ``2h 5m``, ``3d 4h``."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole_seconds = round(seconds)
    for length, unit, part, small_unit in _STEPS:
        if whole_seconds >= length:
            left = whole_seconds % length // part
            return f"{whole_seconds // length}{unit} {left}{small_unit}"
    return f"{whole_seconds}s"


def milliseconds(value: float | None) -> str:
    """Write a short time that is given in milliseconds: ``0.4 ms``, ``12 ms``."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if abs(value) < 9.95 else f"{value:.0f} ms"


def size(value: float | None) -> str:
    """Write a number of bytes: ``512 B``, ``3.9 KiB``."""
    if value is None:
        return "-"
    if abs(value) < 1023.5:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if abs(value) < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def pace(value: float | None) -> str:
    """Write how often something happens in a second: ``0.3``, ``1200``."""
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"


def whole(value: float | None) -> str:
    """Write a count."""
    return "-" if value is None else str(int(value))


def some(value: int, word: str) -> str:
    """Write so many of something: ``1 session``, ``2 sessions``."""
    return f"{value} {word}" if value == 1 else f"{value} {word}s"
