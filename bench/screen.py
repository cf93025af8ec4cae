"""A finished run as text for a terminal.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bench.goals import subject, verdicts
from bench.proxies import BASE
from bench.results import Metric, Results

__all__ = ["LEGEND", "MARKS", "METRIC_NAMES", "lines", "number", "table"]

METRIC_NAMES: dict[Metric, str] = {
    "cpu_us": "CPU",
    "per_s": "throughput",
    "p50_us": "p50",
    "p99_us": "p99",
    "bytes": "memory",
}
MARKS = {"proxy": "", "load": " L", "others": " !", "wake-ups": " w", "rate": "", None: ""}
LEGEND = """\
CPU: the proxy's, in microseconds a unit.  to nginx: the median of the ratios that were taken
within each round, least and most behind it.  A throughput with L was limited by the load
program or the echo upstream, one with w by wake-ups while nobody was busy: the proxy could
do more, and only its CPU is to be compared.  With ! other processes used the same cores;
such a figure is worth little: have the machine do nothing else."""


def number(value: float | None) -> str:
    """Return a figure with about three digits that count."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lay a table out: the first column to the left, the others to the right."""
    all_rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*all_rows, strict=True)]
    for row in all_rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def _ratio_text(results: Results, scenario: str, proxy: str, metric: Metric) -> str:
    """Return a ratio to nginx with its least and most."""
    ratio = results.ratio(scenario, proxy, BASE, metric)
    if ratio is None:
        return ""
    return f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"


def lines(results: Results) -> Iterator[str]:
    """Return everything there is to say of a run."""
    for scenario in results.document["scenarios"]:
        yield ""
        yield f"{scenario['title']}  [{scenario['name']}; unit: {scenario['unit']}]"
        yield from (f"  {line}" for line in _scenario(results, scenario))
    yield from ("", LEGEND, "")
    yield from _goals(results)
    for name, reason in results.document["absent"].items():
        yield f"absent: {name}: {reason}"


def _scenario(results: Results, scenario: dict[str, Any]) -> Iterator[str]:
    if scenario["kind"] == "idle":
        head = ["", "KiB a session", "to nginx"]
        yield from table(head, (_memory_row(results, scenario, name) for name in results.proxies))
        return
    head = ["", "CPU µs", "to nginx", "a second", "  ", "p50 µs", "p99 µs", "p99 to nginx"]
    yield from table(head, (_row(results, scenario, name) for name in results.proxies))
    for name in results.proxies:
        if why := results.failure(scenario["name"], name):
            yield f"{name} failed: {why}"


def _memory_row(results: Results, scenario: dict[str, Any], proxy: str) -> list[str]:
    name = scenario["name"]
    size = results.median(name, proxy, "bytes")
    kib = None if size is None else size / 1024
    return [proxy, number(kib), _ratio_text(results, name, proxy, "bytes")]


def _row(results: Results, scenario: dict[str, Any], proxy: str) -> list[str]:
    name = scenario["name"]
    figures = {metric: results.median(name, proxy, metric) for metric in METRIC_NAMES}
    return [
        proxy,
        number(figures["cpu_us"]),
        _ratio_text(results, name, proxy, "cpu_us"),
        number(figures["per_s"]),
        MARKS[results.limit(scenario, proxy)],
        number(figures["p50_us"]),
        number(figures["p99_us"]),
        _ratio_text(results, name, proxy, "p99_us"),
    ]


def _goals(results: Results) -> Iterator[str]:
    found = list(verdicts(results))
    if not found:
        return
    yield f"goals, for {subject(results)}:"
    yield from table(
        ["", "what", "to", "goal", "is", ""],
        (
            [
                verdict.goal.scenario,
                METRIC_NAMES[verdict.goal.metric],
                verdict.rival,
                f"{verdict.goal.at_most:.2f}",
                f"{verdict.ratio:.2f}",
                "met" if verdict.met else "MISSED",
            ]
            for verdict in found
        ),
    )
