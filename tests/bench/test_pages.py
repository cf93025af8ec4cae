"""Tables and pictures for the manual."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import docutils.core
import pytest

from bench.pictures import PICTURES, pictures
from bench.results import Results
from bench.scenarios import SCENARIOS
from bench.tables import BEGIN, END, insert, rst
from tests.bench.samples import memory, raw, run_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def everything() -> Results:
    """Give a run with figures of each scenario."""
    cpu = {"wsrelay-native": 8.0, "nginx": 10.0, "haproxy": 95.0}
    return run_of(
        {
            scenario.name: {
                name: memory(value) if scenario.kind == "idle" else raw(value, p99_us=value)
                for name, value in cpu.items()
            }
            for scenario in SCENARIOS
        }
    )


def test_tables_are_sound_rst_with_every_figure(everything: Results) -> None:
    page = rst(everything)
    docutils.core.publish_doctree(
        page, settings_overrides={"halt_level": 2, "report_level": 2, "warning_stream": ""}
    )
    for scenario in SCENARIOS:
        assert f"* - {scenario.title}" in page
    assert "8.00 (0.80)" in page
    assert "95.0 (9.50)" in page
    assert "14 of 14 checked" in page
    assert "**missed**" in page  # 0.8 is not 0.7
    assert "absent: caddy is not on the PATH" in page


def test_a_failure_stands_in_the_tables() -> None:
    page = rst(run_of({"echo-1m": {"caddy": {"failed": "it fell over"}, "nginx": raw()}}))
    assert "- failed" in page


def test_figures_replace_the_ones_in_a_page() -> None:
    page = f"before\n\n{BEGIN}\nold\n\n{END}\nafter\n"
    once = insert(page, "new")
    assert once == f"before\n\n{BEGIN}\nnew\n\n{END}\nafter\n".replace(
        f"new\n\n{END}", f"new\n{END}"
    )
    assert insert(once, "new") == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_the_comments_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs these two lines"):
        insert(page, "new")


def test_pictures_show_every_scenario_and_ratio(everything: Results) -> None:
    drawn = pictures(everything)
    assert drawn.keys() == PICTURES.keys()
    titles = []
    for text in drawn.values():
        svg = ElementTree.fromstring(text)
        assert svg.tag == f"{SVG}svg"
        titles += [
            each.text or "" for each in svg.iter(f"{SVG}text") if each.get("class") == "title"
        ]
        assert len(list(svg.iter(f"{SVG}rect"))) == 3 * text.count('class="one"')
        assert {"0.80", "1.00", "→ 9.50"} <= {each.text for each in svg.iter(f"{SVG}text")}
        assert "prefers-color-scheme: dark" in text
    assert sorted(title.rpartition(": ")[0] for title in titles) == sorted(
        scenario.title for scenario in SCENARIOS
    )


def test_bars_are_as_long_as_the_ratios_up_to_the_end_of_the_scale(everything: Results) -> None:
    svg = ElementTree.fromstring(pictures(everything)["performance-streams.svg"])
    ours, nginx, long = (float(each.get("width", "")) for each in list(svg.iter(f"{SVG}rect"))[:3])
    assert ours == pytest.approx(0.8 * nginx, abs=0.01)
    assert long == pytest.approx(3 * nginx, abs=0.01)
    edges = {each.get("class"): each.get("x1") for each in svg.iter(f"{SVG}line")}
    assert float(edges["goal"] or 0) < float(edges["one"] or 0)


def test_a_picture_without_figures_is_not_drawn() -> None:
    assert list(pictures(run_of({"up-64": {"nginx": raw()}}))) == ["performance-streams.svg"]


def test_names_in_a_picture_are_escaped() -> None:
    results = run_of(
        {"up-64": {"nginx": raw(), "haproxy": raw()}}, titles={"nginx": "<&>", "haproxy": "h"}
    )
    [text] = pictures(results).values()
    assert "<&>" in {each.text for each in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert re.search("&lt;&amp;&gt;", text)
