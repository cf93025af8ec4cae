"""
Pictures of the ratios to nginx, made from a run's JSON file.

``python -m bench.pictures result.json docs/`` writes them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from attrs import frozen

from bench import svg
from bench.goals import GOALS
from bench.proxies import BASE
from bench.results import Results, main_metric
from bench.screen import METRIC_NAMES, number

__all__ = ["PICTURES", "picture", "pictures"]

PICTURES = {
    "performance-echo.svg": (
        "Echo",
        "echo-64-c1 echo-64-c100 echo-64-c1000 echo-1k-c1 echo-1k-c100 echo-1k-c1000 echo-1m",
    ),
    "performance-streams.svg": ("One-way streams", "up-64 down-64 up-1m down-1m"),
    "performance-more.svg": (
        "TLS, handshakes, latency, memory",
        "wss-64 wss-1m handshakes latency memory",
    ),
}
"""File -> its title, and the names of the scenarios in it."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.bar { fill: #9aa4af } .ours { fill: #0969da }
.one { stroke: #1f2328 } .goal { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 4 3 }
.goal-text { font-size: 11px; fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .small { fill: #9198a1 }
  .bar { fill: #656c76 } .ours { fill: #4493f8 }
  .one { stroke: #f0f6fc } .goal { stroke: #f0883e } .goal-text { fill: #f0883e }
}
"""
COLUMNS, PANEL, MARGIN, LABELS, ROW, HEAD, FOOT = 2, 440, 16, 156, 20, 44, 18
SCALE_END = 3.0
"""Longer bars are cut here; an arrow before their number says so."""


@frozen
class Bar:
    """One proxy's ratio in one panel."""

    name: str
    title: str
    ratio: float


@frozen
class Panel:
    """One scenario; ``goal`` is the ratio to nginx that wsrelay wants."""

    title: str
    goal: float | None
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        """In pixels."""
        return HEAD + ROW * len(self.bars) + FOOT


def pictures(results: Results) -> dict[str, str]:
    """Return file name -> SVG; without those that would be empty."""
    drawn = {name: picture(results, *what) for name, what in PICTURES.items()}
    return {name: text for name, text in drawn.items() if text is not None}


def picture(results: Results, title: str, scenarios: str) -> str | None:
    """Draw these scenarios side by side; None when the run has none of them."""
    known = {each["name"]: each for each in results.document["scenarios"]}
    panels = [_panel(results, known[name]) for name in scenarios.split() if name in known]
    if not panels:
        return None
    rows = math.ceil(len(panels) / COLUMNS)
    height = max(panel.height for panel in panels)
    image = svg.drawing(
        f"{title}: ratios to nginx, less is better",
        ". ".join(_in_words(panels)) + ".",
        STYLE,
        COLUMNS * PANEL + 2 * MARGIN,
        rows * height + MARGIN,
    )
    for place, panel in enumerate(panels):
        left, top = MARGIN + place % COLUMNS * PANEL, place // COLUMNS * height
        _draw(svg.group(image, left, top), panel)
    return svg.written(image)


def _panel(results: Results, scenario: dict[str, Any]) -> Panel:
    metric = main_metric(scenario["kind"])
    name = scenario["name"]
    goals = [goal.at_most for goal in GOALS if goal.scenario == name and BASE in goal.rivals]
    bars = [
        Bar(proxy, results.document["titles"][proxy], ratio.median)
        for proxy in results.proxies
        if (ratio := results.ratio(name, proxy, BASE, metric))
    ]
    title = f"{scenario['title']}: {METRIC_NAMES[metric]}"
    return Panel(title, goals[0] if goals else None, bars)


def _in_words(panels: Sequence[Panel]) -> Iterator[str]:
    for panel in panels:
        yield f"{panel.title}: " + ", ".join(f"{bar.title} {bar.ratio:.2f}" for bar in panel.bars)


def _x(ratio: float) -> float:
    room = PANEL - LABELS - 84
    return LABELS + min(ratio, SCALE_END) / SCALE_END * room


def _draw(group: Element, panel: Panel) -> None:
    svg.text(group, 0, 20, panel.title, "title")
    bottom = HEAD + ROW * len(panel.bars)
    for place, bar in enumerate(panel.bars):
        _draw_bar(group, bar, HEAD + ROW * place)
    svg.line(group, "one", _x(1.0), 36, _x(1.0), bottom)
    svg.text(group, _x(1.0), bottom + 13, "nginx", "small", "middle")
    if panel.goal is not None:
        svg.line(group, "goal", _x(panel.goal), 36, _x(panel.goal), bottom)
        svg.text(group, _x(panel.goal) + 4, 36, f"goal {panel.goal:g}", "goal-text")


def _draw_bar(group: Element, bar: Bar, y: float) -> None:
    kind = "ours" if bar.name.startswith("wsrelay") else "bar"
    svg.rectangle(group, kind, LABELS, y, _x(bar.ratio) - LABELS, ROW - 5)
    svg.text(group, LABELS - 6, y + 12, bar.title, "small", "end")
    more = "→ " if bar.ratio > SCALE_END else ""
    svg.text(group, PANEL - 24, y + 12, more + number(bar.ratio), "small", "end")


def main(arguments: Sequence[str]) -> None:
    """Write the pictures of one run into a folder."""
    results = Results(json.loads(Path(arguments[0]).read_text("utf-8")))
    for name, text in pictures(results).items():
        path = Path(arguments[1]) / name
        path.write_text(text, "utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
