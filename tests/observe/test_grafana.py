"""The dashboard for Grafana asks for nothing that the relay does not say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.support import PROJECT
from wsrelay.observe.families import FAMILIES

DASHBOARD: dict[str, Any] = json.loads((PROJECT / "examples" / "grafana.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
BUILT_IN = {"__rate_interval"}

METRIC = re.compile(r"\b(wsrelay_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
MATCHER = re.compile(r'(\w+)=~"\$(\w+)"')


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in CHARTS:
        for target in panel["targets"]:
            yield panel["title"], target


TARGETS = [pytest.param(target, id=f"{title} {target['refId']}") for title, target in targets()]


def labels_of(metric: str) -> set[str]:
    """Return the labels of a metric; fails for a name that the page does not have."""
    if metric in FAMILIES:
        assert FAMILIES[metric].kind != "histogram", f"{metric} has no sample by its own name"
        return set(FAMILIES[metric].labels)
    base, _, suffix = metric.rpartition("_")
    assert base in FAMILIES, metric
    assert FAMILIES[base].kind == "histogram", metric
    assert suffix in ("bucket", "sum", "count"), metric
    return {*FAMILIES[base].labels, *(["le"] if suffix == "bucket" else [])}


@pytest.mark.parametrize("target", TARGETS)
def test_an_expression_has_only_metrics_and_labels_that_there_are(target: dict[str, Any]) -> None:
    expression = target["expr"]
    metrics = METRIC.findall(expression)
    assert len(metrics) == 1, "so that every label is this metric's"
    ((metric, matchers),) = metrics
    known = labels_of(metric)
    found = MATCHER.findall(matchers)
    assert ", ".join(f'{label}=~"${variable}"' for label, variable in found) == matchers
    assert {label for label, _ in found} <= known
    groupings = [each.split(", ") for each in GROUPING.findall(expression)]
    grouped = {label for each in groupings for label in each}
    assert grouped <= known
    assert ("histogram_quantile" in expression) == ("le" in grouped)
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert shown == grouped - {"le"}, "the legend tells the lines apart"


@pytest.mark.parametrize("target", TARGETS)
def test_a_counter_is_shown_as_a_rate_and_a_gauge_is_not(target: dict[str, Any]) -> None:
    expression = target["expr"]
    ((metric, _),) = METRIC.findall(expression)
    is_gauge = metric in FAMILIES and FAMILIES[metric].kind == "gauge"
    ranged = re.findall(r"\b(?:rate|increase)\(wsrelay_[^()]*\[\$__rate_interval\]\)", expression)
    assert len(ranged) == (0 if is_gauge else 1)
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {metric for _, target in targets() for metric, _ in METRIC.findall(target["expr"])}
    assert {re.sub("_bucket$", "", each) for each in shown} == set(FAMILIES)


def test_variables_choose_among_values_of_labels_that_there_are() -> None:
    source, *others = VARIABLES
    assert (source["name"], source["type"], source["query"]) == (
        *("datasource", "datasource"),
        "prometheus",
    )
    assert {each["name"] for each in others} == {"pool", "route"}
    for each in others:
        query = each["query"]["query"]
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        assert found
        assert found[2] in labels_of(found[1])
        assert each["datasource"] == SOURCE
        assert each["includeAll"]
        assert each["allValue"] == ".*", "also what never got to a pool"


def test_only_variables_that_there_are_are_used() -> None:
    text = json.dumps(PANELS)
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used == {each["name"] for each in VARIABLES} | BUILT_IN


def test_every_chart_asks_the_chosen_source() -> None:
    for panel in CHARTS:
        assert panel["datasource"] == SOURCE
        assert [each["datasource"] for each in panel["targets"]] == [SOURCE] * len(panel["targets"])
        names = [each["refId"] for each in panel["targets"]]
        assert len(set(names)) == len(names) > 0
        assert panel["title"]
        assert panel["description"]


def test_it_can_be_imported_into_any_grafana() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] is None
    assert DASHBOARD["schemaVersion"] <= 39, "what Grafana 10 and 11 read without a migration back"
    numbers = [panel["id"] for panel in PANELS]
    assert len(set(numbers)) == len(numbers)


def test_no_panel_covers_another() -> None:
    places = [panel["gridPos"] for panel in PANELS]
    assert all(min(each["x"], 24 - each["x"] - each["w"]) >= 0 for each in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
