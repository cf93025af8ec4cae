"""docs/scaling.rst: its tables and its picture are those that the figures make."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bench.curves import HEAD, PLOT, SCALE_END, Case, curves
from bench.records import recorded
from bench.redis_load import ASKED
from bench.scaling import BLOCKS, PICTURE, asked_of_redis, filled
from bench.screen import number
from bench.sizing import PROFILES, Core, Machine, needs
from bench.sources import Sources, cell
from bench.storm import SOCKET_IO, Loss, Site, simulate
from bench.storm_tables import picture
from tests.support import PROJECT

DOCS = PROJECT / "docs"
REMEDY = "If that is meant: python -m bench.scaling docs/"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def sources() -> Sources:
    performance = (DOCS / "performance.rst").read_text("utf-8")
    return Sources(performance, recorded(DOCS / "scaling.json"))


def test_the_page_has_the_tables_that_the_figures_make(sources: Sources) -> None:
    page = (DOCS / "scaling.rst").read_text("utf-8")
    assert filled(page, sources) == page, REMEDY
    assert set(re.findall(r"\.\. Figures \((.+?)\) begin", page)) == BLOCKS.keys()


def test_the_picture_is_the_one_that_the_figures_make(sources: Sources) -> None:
    assert (DOCS / PICTURE).read_text("utf-8") == picture(sources), REMEDY


PERFORMANCE = """
.. list-table:: Resident KiB a session (ratio to nginx)
   :header-rows: 1

   * - scenario
     - wsrelay, native pump
     - HAProxy
   * - idle sessions, 1,000 open
     - 6.66 (0.38)
     - 4.52 (0.26)

.. list-table:: CPU of the proxy, µs a unit (ratio to nginx)
   :header-rows: 1

   * - scenario
     - HAProxy
     - wsrelay, native pump
   * - 64 B echo, 1,000 connections
     - 28.8 (1.15)
     - 18.0 (0.82)
   * - 1 MiB echo over TLS, 8 connections
     - 2,534 (0.59)
     - 1,666 (0.46)

What is not of a table.
"""


def test_figures_are_those_of_the_page_of_performance(sources: Sources) -> None:
    of_a_page = Sources(PERFORMANCE, sources.records)
    title = "Resident KiB a session (ratio to nginx)"
    assert cell(PERFORMANCE, title, "idle sessions, 1,000 open", "HAProxy") == "4.52 (0.26)"
    assert of_a_page.cpu_us("1 MiB echo over TLS, 8 connections") == 1666
    assert of_a_page.core.message_us == 9.0


@pytest.mark.parametrize(
    ("title", "row", "column"),
    [
        ("Units a second", "64 B echo", "nginx"),
        ("Units a second", "64 B echo, 1 connection", "Apache"),
        ("Units a day", "64 B echo, 1 connection", "nginx"),
    ],
)
def test_a_figure_that_is_not_there_is_an_error(
    sources: Sources, title: str, row: str, column: str
) -> None:
    with pytest.raises(ValueError, match="There is no"):
        cell(sources.performance, title, row, column)


def test_redis_is_asked_for_handshakes_and_for_being_there() -> None:
    machine, core = Machine(cores=4), Core(10.0, 1000.0, 20.0, 20_000.0)
    need = needs(PROFILES[0], 1_800_000, core, machine)
    asked = asked_of_redis(need, 1_800_000, machine)
    assert asked.keys() <= ASKED.keys()
    assert asked["admit"] == asked["count"] == 500
    assert asked["renewed"] == 15_000
    assert asked["beat"] == need.relays * 5 / 2
    assert asked["report"] == need.relays**2 / 2


def test_curves_are_cut_at_the_end_of_the_scale_and_say_so() -> None:
    site = Site(relays=2, sessions=300, capacity=20.0)
    crash, drain = simulate(site, Loss(), SOCKET_IO), simulate(site, Loss(60.0), SOCKET_IO)
    text = curves("Storms", [Case("crash", crash), Case("drain", drain)])
    svg = ElementTree.fromstring(text)
    words = [each.text or "" for each in svg.iter(f"{SVG}text")]
    assert [each for each in words if each.startswith("↑")] == [
        f"↑ up to {number(crash.peak)} times"
    ]
    heights = [
        [float(point.split(",")[1]) for point in each.get("points", "").split()]
        for each in svg.iter(f"{SVG}polyline")
    ]
    crash_offered, *others = heights[2:]
    assert min(crash_offered) == HEAD
    assert max(map(max, heights[2:])) == HEAD + PLOT
    assert all(min(each) >= HEAD for each in others)
    assert crash.peak > SCALE_END
    assert "prefers-color-scheme: dark" in text
    description = svg.find(f"{SVG}desc")
    assert description is not None
    assert "drain: at most" in (description.text or "")
