"""
The little of SVG that the pictures need.

They are drawn here and not with a plotting library, because they follow the reader's light or
dark colours by a style sheet.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

__all__ = ["drawing", "group", "line", "lines", "rectangle", "text", "written"]


def drawing(title: str, words: str, style: str, width: float, height: float) -> Element:
    """
    Begin a picture.

    :param words: the picture, for those who do not see it.
    :param width: in pixels, as *height*.
    """
    svg = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
    )
    SubElement(svg, "title").text = title
    SubElement(svg, "desc").text = words
    SubElement(svg, "style").text = style
    return svg


def group(parent: Element, left: float, top: float) -> Element:
    """Return a part of the picture with an origin of its own."""
    return SubElement(parent, "g", transform=f"translate({left:g} {top:g})")


def text(parent: Element, x: float, y: float, words: str, kind: str = "", anchor: str = "") -> None:
    """Write *words*; *anchor* is ``middle`` or ``end``, else they begin at *x*."""
    place = {"x": f"{x:g}", "y": f"{y:g}", "class": kind}
    SubElement(parent, "text", place | ({"text-anchor": anchor} if anchor else {})).text = words


def line(parent: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    """Draw a straight line."""
    ends = {"x1": x1, "x2": x2, "y1": y1, "y2": y2}
    SubElement(parent, "line", {"class": kind, **{name: f"{at:g}" for name, at in ends.items()}})


def lines(parent: Element, kind: str, points: Iterable[tuple[float, float]]) -> None:
    """Draw a line through *points*."""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    SubElement(parent, "polyline", {"class": kind, "points": way})


def rectangle(parent: Element, kind: str, x: float, y: float, width: float, height: float) -> None:
    """Draw a filled rectangle."""
    sizes = {"x": x, "y": y, "height": height, "width": width}
    SubElement(parent, "rect", {"class": kind, **{name: f"{at:g}" for name, at in sizes.items()}})


def written(svg: Element) -> str:
    """Return the picture as the text of a file."""
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"
