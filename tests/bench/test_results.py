"""Medians of paired rounds, limits and goals."""

from __future__ import annotations

import pytest

from bench.compare import changes
from bench.goals import GOALS, subject, verdicts
from bench.results import figures_of, limit_of
from bench.scenarios import SCENARIOS
from bench.screen import lines, number
from tests.bench.samples import memory, raw, run_of


def test_a_ratio_is_the_median_of_what_was_measured_together() -> None:
    figures = [(10, 1), (40, 20), (30, 100)]  # the ratio of the medians would be 1.5
    results = run_of(
        *({"echo-1m": {"ours": raw(ours), "nginx": raw(nginx)}} for ours, nginx in figures)
    )
    ratio = results.ratio("echo-1m", "ours", "nginx", "cpu_us")
    assert ratio is not None
    assert ratio.median == pytest.approx(2.0)
    assert ratio.least == pytest.approx(0.3)
    assert ratio.most == pytest.approx(10.0)
    assert ratio.rounds == 3
    assert results.median("echo-1m", "ours", "cpu_us") == pytest.approx(30)
    assert results.median("echo-1m", "nginx", "cpu_us") == pytest.approx(20)


def test_a_round_in_which_one_of_the_two_failed_has_no_ratio() -> None:
    results = run_of(
        {"echo-1m": {"ours": raw(20), "nginx": raw(10)}},
        {"echo-1m": {"ours": {"failed": "it fell over"}, "nginx": raw(10)}},
        {"echo-1m": {"ours": raw(20)}},
    )
    ratio = results.ratio("echo-1m", "ours", "nginx", "cpu_us")
    assert ratio is not None
    assert ratio.rounds == 1
    assert results.failure("echo-1m", "ours") is None
    assert results.ratio("echo-64-c1", "ours", "nginx", "cpu_us") is None


def test_a_proxy_that_failed_in_every_round_has_a_reason_and_no_figures() -> None:
    results = run_of({"echo-1m": {"ours": {"failed": "it fell over"}, "nginx": raw()}})
    assert results.failure("echo-1m", "ours") == "it fell over"
    assert results.median("echo-1m", "ours", "cpu_us") is None
    assert "ours failed: it fell over" in "\n".join(lines(results))


def test_figures_are_per_unit_per_second_and_per_session() -> None:
    assert figures_of(raw(12.5, units=400, elapsed=2.0)) == {
        "cpu_us": 12.5,
        "per_s": 200.0,
        "p50_us": 100.0,
        "p99_us": 200.0,
    }
    assert figures_of(memory(12)) == {"bytes": 12 * 1024}


@pytest.mark.parametrize(
    ("figures", "shared", "limit"),
    [
        ({"proxy_cpu_s": 0.95, "proxy_core_s": 0.99}, True, "proxy"),
        ({"load_cpu_s": 0.5, "upstream_cpu_s": 0.45, "load_core_s": 0.97}, True, "load"),
        ({"load_cpu_s": 0.5, "upstream_cpu_s": 0.45, "load_core_s": 0.97}, False, "wake-ups"),
        ({"load_cpu_s": 0.1, "upstream_cpu_s": 0.95, "load_core_s": 1.05}, False, "load"),
        ({"proxy_cpu_s": 0.5, "proxy_core_s": 0.65}, True, "others"),
        ({"load_cpu_s": 0.9, "load_core_s": 1.2}, False, "others"),
        ({"proxy_cpu_s": 0.5, "proxy_core_s": 0.55}, True, "wake-ups"),
    ],
)
def test_who_was_the_limit(figures: dict[str, float], shared: bool, limit: str) -> None:
    assert limit_of(raw(**figures), "closed-loop", shared_core=shared) == limit
    assert limit_of(raw(**figures), "fixed-rate", shared_core=shared) == "rate"


def test_a_throughput_that_is_not_the_proxys_is_marked() -> None:
    mine = raw(units=777_000, proxy_cpu_s=0.99)
    generators = raw(units=888_000, proxy_cpu_s=0.5, proxy_core_s=0.5, load_cpu_s=0.95)
    text = "\n".join(lines(run_of({"echo-64-c100": {"haproxy": mine, "nginx": generators}})))
    assert "777,000     " in text
    assert "888,000   L" in text


@pytest.mark.parametrize(
    ("figure", "text"),
    [(1234567.8, "1,234,568"), (12.34, "12.3"), (1.0, "1.00"), (0.0567, "0.0567"), (None, "")],
)
def test_small_figures_have_more_digits(figure: float | None, text: str) -> None:
    assert number(figure) == text


def test_a_goal_that_is_just_reached_is_met() -> None:
    found = {"wsrelay-python": raw(p99_us=120.0), "nginx": raw(p99_us=100.0)}
    [verdict] = verdicts(run_of({"latency": found}))
    assert verdict.met
    assert (verdict.ratio, verdict.rival) == (1.2, "nginx")


def test_a_goal_that_is_missed_is_so_on_the_screen() -> None:
    results = run_of({"wss-64": {"wsrelay-python": raw(15.1), "nginx": raw(10)}})
    assert [verdict.met for verdict in verdicts(results)] == [False]
    assert "MISSED" in "\n".join(lines(results))


def test_large_messages_are_held_against_the_better_of_two() -> None:
    found = {"wsrelay-native": raw(10), "nginx": raw(20), "haproxy": raw(8), "caddy": raw(12)}
    ratios = [(each.ratio, each.rival, each.met) for each in verdicts(run_of({"echo-1m": found}))]
    assert ratios == [
        (pytest.approx(0.5), "nginx", True),
        (pytest.approx(1.25), "haproxy", False),
    ]


def test_goals_are_those_of_the_native_pump_where_it_ran() -> None:
    both = {"wsrelay-python": raw(99), "wsrelay-native": raw(10), "nginx": raw(10)}
    assert subject(run_of({"echo-64-c100": both})) == "wsrelay-native"
    assert [each.ratio for each in verdicts(run_of({"echo-64-c100": both}))] == [1.0]
    assert subject(run_of({"echo-64-c100": {"nginx": raw()}})) is None


def test_memory_and_latency_have_goals_of_their_own_kind() -> None:
    found = {
        "latency": {"wsrelay-native": raw(99, p99_us=110.0), "nginx": raw(1, p99_us=100.0)},
        "memory": {"wsrelay-native": memory(9), "nginx": memory(12)},
    }
    ratios = {each.goal.scenario: (each.ratio, each.met) for each in verdicts(run_of(found))}
    assert ratios == {"latency": (pytest.approx(1.1), True), "memory": (0.75, False)}


def test_every_goal_belongs_to_a_scenario() -> None:
    assert {goal.scenario for goal in GOALS} <= {scenario.name for scenario in SCENARIOS}


def test_two_runs_are_compared_by_their_ratios_to_nginx() -> None:
    before = run_of({"wss-64": {"wsrelay-python": raw(20), "nginx": raw(10)}})
    after = run_of({"wss-64": {"wsrelay-python": raw(30), "nginx": raw(20)}})
    [_, line] = changes(before, after)
    assert line.split() == ["wss-64", "wsrelay-python", "CPU", "2.00", "1.50", "-25", "%"]
    [line] = changes(run_of({"wss-1m": {"nginx": raw()}}), after)
    assert "nothing in common" in line
