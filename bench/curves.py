"""Pictures of storms: what is offered to the relays that stay, and what they do, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from attrs import frozen

from bench import svg
from bench.screen import number
from bench.storm import Storm

__all__ = ["Case", "curves"]

STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.small { font-size: 11px; fill: #59636e } .most { font-size: 11px; fill: #bc4c00 }
line { stroke: #d1d9e0 } .all { stroke: #1f2328; stroke-dasharray: 4 3 }
polyline { fill: none; stroke-width: 1.5 }
.offered { stroke: #bc4c00 } .served { stroke: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .small { fill: #9198a1 } .most { fill: #f0883e }
  line { stroke: #3d444d } .all { stroke: #f0f6fc }
  .offered { stroke: #f0883e } .served { stroke: #4493f8 }
}
"""
COLUMNS, PANEL, MARGIN, LEFT, RIGHT = 2, 440, 16, 26, 20
LEGEND, HEAD, PLOT, FOOT = 30, 38, 110, 34
SCALE_END: Final = 2.0
"""Of what the relays that stay can do.  Curves are cut here; the panel says how far they go."""

SECONDS: Final = 120
TICK: Final = 30


@frozen
class Case:
    """A storm with its name."""

    title: str
    storm: Storm


def curves(title: str, cases: Sequence[Case]) -> str:
    """Draw all of them, two in a row."""
    rows = -(-len(cases) // COLUMNS)
    height = HEAD + PLOT + FOOT
    image = svg.drawing(
        title,
        ". ".join(map(_in_words, cases)) + ".",
        STYLE,
        COLUMNS * PANEL + 2 * MARGIN,
        LEGEND + rows * height,
    )
    _legend(image)
    for place, case in enumerate(cases):
        left, top = place % COLUMNS * PANEL, place // COLUMNS * height
        _draw(svg.group(image, MARGIN + left, LEGEND + top), case)
    return svg.written(image)


def _in_words(case: Case) -> str:
    back = "not all are back" if case.storm.back_at is None else f"back in {case.storm.back_at:.0f}"
    return f"{case.title}: at most {number(case.storm.peak)} of what the others can do, {back} s"


def _legend(image: Element) -> None:
    place = float(MARGIN + LEFT)
    for kind, words, width in (
        ("offered", "connections that are tried", 190),
        ("served", "handshakes that are done", 180),
        ("all", "1: all that the relays that stay can do", 0),
    ):
        if kind == "all":
            svg.line(image, kind, place, 16, place + 22, 16)
        else:
            svg.lines(image, kind, [(place, 16), (place + 22, 16)])
        svg.text(image, place + 28, 20, words, "small")
        place += 28 + width


def _x(second: float) -> float:
    return LEFT + second / SECONDS * (PANEL - LEFT - RIGHT)


def _y(load: float) -> float:
    return HEAD + PLOT * (1 - min(load, SCALE_END) / SCALE_END)


def _draw(group: Element, case: Case) -> None:
    svg.text(group, LEFT, 18, case.title, "title")
    _axes(group)
    for kind in ("offered", "served"):
        loads = case.storm.load(kind)[:SECONDS]
        middles = [(place + 0.5) * case.storm.step for place in range(len(loads))]
        points = [(_x(at), _y(load)) for at, load in zip(middles, loads, strict=True)]
        end = [] if not middles else [(_x(middles[-1] + 0.5), _y(0))]
        svg.lines(group, kind, [(_x(0), _y(loads[0] if loads else 0)), *points, *end])
    if case.storm.peak > SCALE_END:
        svg.text(group, _x(3), HEAD - 4, f"↑ up to {number(case.storm.peak)} times", "most")


def _axes(group: Element) -> None:
    for load in (0, 1, 2):
        svg.line(group, "all" if load == 1 else "", _x(0), _y(load), _x(SECONDS), _y(load))
        svg.text(group, LEFT - 6, _y(load) + 4, str(load), "small", "end")
    for second in range(0, SECONDS + 1, TICK):
        label = f"{second} s"
        svg.text(group, _x(second), HEAD + PLOT + 16, label, "small", "middle")
