"""Aligned columns."""

from __future__ import annotations

from collections.abc import Container, Sequence

from attrs import frozen

from wsrelay.operate.text import Style, cut, width

__all__ = ["Cell", "Column", "table"]

_GAP = "  "
_NARROWEST = 8


@frozen
class Column:
    """A column; an ``elastic`` one gives way where a line would get too long."""

    title: str
    right: bool = False
    elastic: bool = False


@frozen
class Cell:
    """A text as it came, and the name of a colour."""

    text: str
    colour: str = ""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], style: Style, indent: str = ""
) -> list[str]:
    """
    Lay *rows* out below the titles; each has as many cells as there are columns.

    Lines that are too long for the style even so are cut.
    """
    titles = [Cell(column.title, "bold") for column in columns]
    safe = [[Cell(style.safe(each.text), each.colour) for each in row] for row in [titles, *rows]]
    widths = [max(width(row[index].text) for row in safe) for index in range(len(columns))]
    room = None if style.columns is None else style.columns - len(indent)
    _shrink(widths, columns, room)
    return [_line(row, columns, widths, style, indent) for row in safe]


def without(
    titles: Container[str], columns: Sequence[Column], rows: Sequence[Sequence[Cell]]
) -> tuple[list[Column], list[list[Cell]]]:
    """Leave some columns out."""
    kept = [index for index, column in enumerate(columns) if column.title not in titles]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def _shrink(widths: list[int], columns: Sequence[Column], room: int | None) -> None:
    """Take from the widest elastic column, as long as there is too little room."""
    elastic = [index for index, column in enumerate(columns) if column.elastic]
    while room is not None and elastic and _total(widths) > room:
        widest = max(elastic, key=lambda index: widths[index])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(
    row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], style: Style, indent: str
) -> str:
    """Put one line together; what is beyond the style's width is left out."""
    line, used = indent, len(indent)
    for index, (cell, column, wanted) in enumerate(zip(row, columns, widths, strict=True)):
        gap = _GAP if index else ""
        room = wanted
        if style.columns is not None:
            room = min(wanted, style.columns - used - len(gap))
        if room <= 0:
            break
        text = cut(cell.text, room, style.ellipsis)
        pad = " " * (room - width(text))
        before, after = (pad, "") if column.right else ("", pad)
        line += gap + before + style.paint(text, cell.colour) + after
        used += len(gap) + room
    return line.rstrip(" ")
