"""
The figures of docs/performance.rst, made from a run's JSON file.

``python -m bench.tables result.json`` prints them; with the page as a second argument they
take the place of what stands there between the two comments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.goals import GOALS, subject, verdicts
from bench.proxies import BASE
from bench.results import Results, main_metric
from bench.screen import METRIC_NAMES, number

__all__ = ["BEGIN", "END", "insert", "list_table", "rst"]

BEGIN = ".. The figures begin here: python -m bench.tables makes them.\n"
END = ".. The figures end here.\n"
MARKS = {"load": " [L]", "wake-ups": " [w]", "others": " [!]"}

Scenario = dict[str, Any]
Cell = Callable[[Results, Scenario, str], str]


def rst(results: Results) -> str:
    """Return all tables, as reST."""
    return "\n".join(_lines(results))


def insert(page: str, figures: str, begins: str = BEGIN, ends: str = END) -> str:
    """
    Put *figures* between the two comments of *page*.

    :param begins: the line of the first comment, as *ends* is the second's.

    :raises ValueError: they are not there.
    """
    head, begin, rest = page.partition(begins)
    _, end, tail = rest.partition(ends)
    if not begin or not end:
        raise ValueError(f"The page needs these two lines:\n{begins}{ends}")
    return f"{head}{begin}\n{figures}\n{end}{tail}"


def _lines(results: Results) -> Iterator[str]:
    document = results.document
    driven = [each for each in document["scenarios"] if each["kind"] != "idle"]
    timed = [each for each in driven if each["kind"] in ("closed-loop", "fixed-rate", "handshakes")]
    idle = [each for each in document["scenarios"] if each["kind"] == "idle"]
    yield from _machine(results)
    yield from _goals(results)
    yield from _by_scenario("CPU of the proxy, µs a unit (ratio to nginx)", results, driven, _cpu)
    yield from _by_scenario("Units a second", results, driven, _throughput)
    yield from _by_scenario("Latency, p50 / p99, µs", results, timed, _latency)
    yield from _by_scenario("Resident KiB a session (ratio to nginx)", results, idle, _memory)


def _machine(results: Results) -> Iterator[str]:
    document = results.document
    machine = document["machine"]
    yield from list_table(
        "Machine and versions",
        ["", ""],
        [
            ["date", document["date"]],
            ["machine", f"{machine['cpu']}, {machine['cores']} cores"],
            ["system", f"{machine['system']}, Linux {machine['kernel']}"],
            ["Python", f"{machine['python']}, {machine['openssl']}"],
            *([document["titles"][name], document["versions"][name]] for name in results.proxies),
            *([name, f"absent: {reason}"] for name, reason in document["absent"].items()),
            ["command", f"``{machine['command']}``"],
            ["cores", _cores(machine)],
            ["rounds", f"{len(results.rounds)}, {document['seconds']} s a figure"],
        ],
    )


def _cores(machine: dict[str, Any]) -> str:
    names = ("proxy", "load", "upstream")
    return ", ".join(f"{name}: {machine[f'{name}_cores']}" for name in names)


def _goals(results: Results) -> Iterator[str]:
    titles = {each["name"]: each["title"] for each in results.document["scenarios"]}
    rows = [
        [
            titles[verdict.goal.scenario],
            METRIC_NAMES[verdict.goal.metric],
            results.document["titles"][verdict.rival],
            f"{verdict.goal.at_most:.1f}",
            f"{verdict.ratio:.2f}",
            "met" if verdict.met else "**missed**",
        ]
        for verdict in verdicts(results)
    ]
    if rows:
        name = results.document["titles"][subject(results)]
        head = ["scenario", "figure", "ratio to", "at most", "is", ""]
        yield from list_table(f"Goals, for {name}; {len(rows)} of {len(GOALS)} checked", head, rows)


def _by_scenario(
    title: str, results: Results, scenarios: Sequence[Scenario], cell: Cell
) -> Iterator[str]:
    if not scenarios:
        return
    head = ["scenario", *(results.document["titles"][name] for name in results.proxies)]
    rows = (
        [scenario["title"], *(cell(results, scenario, name) for name in results.proxies)]
        for scenario in scenarios
    )
    yield from list_table(title, head, rows)


def _cpu(results: Results, scenario: Scenario, proxy: str) -> str:
    if results.failure(scenario["name"], proxy):
        return "failed"
    ratio = results.ratio(scenario["name"], proxy, BASE, "cpu_us")
    cpu = number(results.median(scenario["name"], proxy, "cpu_us"))
    return f"{cpu} ({ratio.median:.2f})" if ratio else cpu


def _throughput(results: Results, scenario: Scenario, proxy: str) -> str:
    limit = results.limit(scenario, proxy)
    figure = number(results.median(scenario["name"], proxy, "per_s"))
    return figure + MARKS.get(str(limit), "")


def _latency(results: Results, scenario: Scenario, proxy: str) -> str:
    p50 = results.median(scenario["name"], proxy, "p50_us")
    p99 = results.median(scenario["name"], proxy, "p99_us")
    return "" if p50 is None else f"{number(p50)} / {number(p99)}"


def _memory(results: Results, scenario: Scenario, proxy: str) -> str:
    metric = main_metric(scenario["kind"])
    size = results.median(scenario["name"], proxy, metric)
    if size is None:
        return "failed"
    ratio = results.ratio(scenario["name"], proxy, BASE, metric)
    return number(size / 1024) + (f" ({ratio.median:.2f})" if ratio else "")


def list_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; empty heads: it has no header."""
    yield f".. list-table:: {title}"
    if any(head):
        yield "   :header-rows: 1"
    yield ""
    for row in [head, *rows] if any(head) else rows:
        for place, cell in enumerate(row):
            yield f"   {' ' if place else '*'} - {cell}".rstrip()
    yield ""


def main(arguments: Sequence[str]) -> None:
    """Print the figures, or put them into a page."""
    results = Results(json.loads(Path(arguments[0]).read_text("utf-8")))
    if len(arguments) == 1:
        print(rst(results))
        return
    page = Path(arguments[1])
    page.write_text(insert(page.read_text("utf-8"), rst(results)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
