"""What changed between two runs.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bench.proxies import BASE
from bench.results import Metric, Results, main_metric
from bench.screen import METRIC_NAMES, table

__all__ = ["changes"]


def changes(before: Results, after: Results) -> Iterator[str]:
    """
    Set the ratios to nginx of two runs side by side.

    Ratios, because two runs have different neighbours, or even different machines.
    """
    rows = list(_rows(before, after))
    if not rows:
        yield "The two runs have nothing in common that could be compared with nginx."
        return
    yield from table(["", "proxy", "what", "before", "after", "change"], rows)


def _rows(before: Results, after: Results) -> Iterator[list[str]]:
    for scenario in after.document["scenarios"]:
        metric = main_metric(scenario["kind"])
        for proxy in after.proxies:
            if proxy != BASE:
                yield from _row(before, after, scenario["name"], proxy, metric)


def _row(
    before: Results, after: Results, scenario: str, proxy: str, metric: Metric
) -> Iterator[list[str]]:
    old = before.ratio(scenario, proxy, BASE, metric)
    new = after.ratio(scenario, proxy, BASE, metric)
    if old and new:
        change = (new.median / old.median - 1) * 100
        ratios = [f"{old.median:.2f}", f"{new.median:.2f}", f"{change:+.0f} %"]
        yield [scenario, proxy, METRIC_NAMES[metric], *ratios]
