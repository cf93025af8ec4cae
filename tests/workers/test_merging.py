"""What several processes say of themselves is put together."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.admin.support import DRAIN, SESSION, STATUS
from wsrelay.observe.bounds import FORGOTTEN_AFTER, MAX_LABEL_SETS
from wsrelay.observe.families import FAMILIES
from wsrelay.observe.samples import Observed, Samples
from wsrelay.workers.ledger import Ledger
from wsrelay.workers.merging import (
    lasting,
    merged_closing,
    merged_publication,
    merged_sessions,
    merged_status,
    part_of,
)
from wsrelay.workers.numbers import Numbers, lasting_samples, merged_samples

SMALL = st.integers(0, 1000)
NUMBERS = ("connections", "openings", "sessions", "requests", "handshakes", "refused")
OF_UPSTREAM = ("sessions", "handshakes", "answered", "failures", "bytes_up", "idle_connections")


@st.composite
def closings(draw: st.DrawFn) -> dict[str, Any]:
    total = draw(SMALL)
    closed = draw(st.integers(0, total))
    return {
        **DRAIN,
        "total": total,
        "closed": closed,
        "left": total - closed,
        "elapsed_s": float(draw(SMALL)),
        "deadline_s": draw(st.none() | st.integers(0, 30).map(float)),
        "done": draw(st.booleans()),
    }


@st.composite
def statuses(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a worker says: the same pool and route, and numbers of its own."""
    status = copy.deepcopy(STATUS)
    status.update({name: draw(SMALL) for name in NUMBERS})
    status["refusals"] = draw(st.dictionaries(st.sampled_from(["origin", "full"]), SMALL))
    status["http"] = {kind: draw(SMALL) for kind in status["http"]}
    status["routes"][0]["http"] = {kind: draw(SMALL) for kind in status["http"]}
    status["drain"] = draw(st.none() | closings())
    (upstream,) = status["pools"][0]["upstreams"]
    upstream.update({name: draw(SMALL) for name in OF_UPSTREAM})
    return status


def zero() -> dict[str, Any]:
    """Return what a parent says."""
    status = copy.deepcopy(STATUS)
    status.update(dict.fromkeys(NUMBERS, 0), refusals={})
    for each in (status, status["routes"][0]):
        each["http"] = dict.fromkeys(status["http"], 0)
    (upstream,) = status["pools"][0]["upstreams"]
    upstream.update({name: 0 for name, value in upstream.items() if type(value) is int})
    upstream["weight"] = 1
    return status


@given(st.lists(statuses(), max_size=4))
def test_the_numbers_of_a_status_are_the_sums_of_its_parts(parts: list[dict[str, Any]]) -> None:
    merged = merged_status(zero(), parts)
    for name in NUMBERS:
        assert merged[name] == sum(each[name] for each in parts)
    refusals = Counter[str]()
    for each in parts:
        refusals.update(each["refusals"])
    assert Counter(merged["refusals"] or {}) == refusals
    for kind, count in merged["routes"][0]["http"].items():
        assert count == sum(each["routes"][0]["http"][kind] for each in parts)
    (upstream,) = merged["pools"][0]["upstreams"]
    for name in OF_UPSTREAM:
        assert upstream[name] == sum(each["pools"][0]["upstreams"][0][name] for each in parts), name
    for name in ("version", "pid", "config", "last_reload", "max_connections"):
        assert merged[name] == STATUS[name]


def test_states_and_health_are_the_parents() -> None:
    own, part = zero(), copy.deepcopy(STATUS)
    part["pools"][0]["upstreams"][0].update(state="down", health="down", weight=9)
    part["pools"].append({**part["pools"][0], "name": "of the next configuration"})
    (pool,) = merged_status(own, [part])["pools"]
    (upstream,) = pool["upstreams"]
    assert (upstream["state"], upstream["health"], upstream["weight"]) == ("ready", "up", 1)


def test_upstreams_that_are_gone_are_those_of_all_workers() -> None:
    parts = [copy.deepcopy(STATUS), copy.deepcopy(STATUS)]
    for part in parts:
        (upstream,) = part["pools"][0]["upstreams"]
        part["pools"][0]["upstreams"] += [
            {**upstream, "name": "old", "source": "gone"},
            {**upstream, "name": "not yet known", "source": "api"},
        ]
    (pool,) = merged_status(zero(), parts)["pools"]
    assert [(each["name"], each["sessions"]) for each in pool["upstreams"]] == [
        ("a", 8),
        ("old", 8),
    ]


@given(st.lists(st.none() | closings(), max_size=5), st.integers(0, 5))
def test_drains_are_merged_in_any_grouping(parts: list[Any], cut: int) -> None:
    merged = merged_closing(parts)
    assert merged == merged_closing([merged_closing(parts[:cut]), merged_closing(parts[cut:])])
    found = [each for each in parts if each is not None]
    if merged is None:
        assert not found
        return
    for key in ("total", "closed", "left"):
        assert merged[key] == sum(each[key] for each in found)
    assert merged["done"] == all(each["done"] for each in found)
    going_on = [each for each in found if not each["done"]]
    if going_on:
        known = [each["deadline_s"] for each in going_on if each["deadline_s"] is not None]
        assert merged["deadline_s"] == max(known, default=None)


@given(st.lists(st.lists(st.integers(0, 99)), max_size=4), st.integers(0, 20))
def test_the_oldest_sessions_are_listed_in_an_order_that_stays(
    ages: list[list[int]], limit: int
) -> None:
    parts = [
        (number, {"total": len(each), "sessions": [row(age) for age in sorted(each)[:limit]]})
        for number, each in enumerate(ages)
    ]
    merged = merged_sessions(parts, limit)
    assert merged == merged_sessions(parts[::-1], limit)
    everything = sorted((age, number) for number, each in enumerate(ages) for age in each)
    assert merged["total"] == len(everything)
    assert [(each["opened"], each["worker"]) for each in merged["sessions"]] == [
        (row(age)["opened"], number) for age, number in everything[:limit]
    ]


def row(age: int) -> dict[str, Any]:
    return {**SESSION, "opened": f"2026-11-21T14:00:01.0{age:02}Z"}


def test_a_publication_has_been_sent_as_often_as_all_together_say() -> None:
    parts = [{"sent": 2, "skipped": {"busy": 1}}, {"sent": 3, "skipped": {"busy": 1, "ending": 4}}]
    assert merged_publication(parts) == {"sent": 5, "skipped": {"busy": 2, "ending": 4}}
    assert merged_publication([]) == {"sent": 0, "skipped": {}}


# samples

COUNTER, HISTOGRAM, GAUGE = (
    *("wsrelay_handshakes_total", "wsrelay_session_seconds"),
    "wsrelay_sessions",
)
WHERE = ("web", "chat", "pool")
OBSERVED = st.lists(SMALL, min_size=3, max_size=3).map(
    lambda counts: Observed((1.0, 2.0), tuple(counts), float(sum(counts)))
)


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    labels = st.sampled_from([(*WHERE, name, "101") for name in "abc"])
    return {
        COUNTER: draw(st.dictionaries(labels, SMALL)),
        HISTOGRAM: {(): draw(OBSERVED)},
        GAUGE: draw(st.dictionaries(labels.map(lambda each: each[1:4]), SMALL)),
        "wsrelay_reactor_lag_seconds": {(): float(draw(SMALL))},
        "wsrelay_accepting": {(): draw(st.integers(0, 1))},
        "wsrelay_draining": {(): 1},
    }


def flat(samples: Samples) -> dict[Any, Any]:
    return {(name, *key): value for name, each in samples.items() for key, value in each.items()}


@given(samples(), samples(), samples())
def test_samples_are_merged_in_any_grouping(one: Samples, two: Samples, three: Samples) -> None:
    assert flat(merged_samples(merged_samples(one, [two]), [three])) == flat(
        merged_samples(one, [merged_samples(two, [three])])
    )


@given(samples(), st.lists(samples(), max_size=3))
def test_each_family_is_merged_as_it_says(own: Samples, parts: list[Samples]) -> None:
    merged, everything = flat(merged_samples(own, parts)), [own, *parts]
    for labels in {each for part in everything for each in part[COUNTER]}:
        assert merged[COUNTER, *labels] == sum(part[COUNTER].get(labels, 0) for part in everything)
    histogram = merged[(HISTOGRAM,)]
    for place, count in enumerate(histogram.counts):
        assert count == sum(part[HISTOGRAM][()].counts[place] for part in everything)
    lag, accepting = "wsrelay_reactor_lag_seconds", "wsrelay_accepting"
    assert merged[(lag,)] == max(part[lag][()] for part in everything)
    assert merged[(accepting,)] == min(part[accepting][()] for part in everything)
    assert merged[("wsrelay_draining",)] == 1


def test_merging_changes_nothing_that_was_given() -> None:
    own: Samples = {COUNTER: {("x",) * 5: 1}}
    merged_samples(own, [{COUNTER: {("x",) * 5: 2}}])
    assert own == {COUNTER: {("x",) * 5: 1}}


def test_what_stays_of_the_dead_is_bounded() -> None:
    table = {(*WHERE, str(number), "101"): number for number in range(MAX_LABEL_SETS + 5)}
    half = len(table) // 2
    first = dict(list(table.items())[:half])
    second = dict(list(table.items())[half:])
    merged = merged_samples({COUNTER: first}, [{COUNTER: second}])[COUNTER]
    assert len(merged) == MAX_LABEL_SETS
    assert (*WHERE, "4", "101") not in merged
    assert merged[*WHERE, "5", "101"] == 5


# lives and deaths

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("look"), st.integers(0, 2), st.none()),
        st.tuples(st.just("die"), st.integers(0, 2), st.none()),
        st.tuples(st.just("late"), st.integers(0, 2), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(EVENTS)
def test_no_counter_falls_over_a_history_of_deaths(events: list[tuple[str, int, Any]]) -> None:
    numbers = Numbers()
    statuses: Ledger[Any, Counter[tuple[str, ...]]] = Ledger(
        lasting, lambda one, other: one + other, Counter()
    )
    pids, counts, words = {0: 1, 1: 2, 2: 3}, Counter[int](), []
    known: dict[tuple[int, int], int] = {}
    before = 0
    where = (*WHERE, "a", "101")
    for event, number, amount in events:
        if event == "count":
            counts[number] += amount
        if event == "look":
            said = {COUNTER: {where: counts[number]}, HISTOGRAM: {(): observed(counts[number])}}
            status = {**zero(), "handshakes": counts[number]}
            words.append((number, pids[number], said, status))
            known[number, pids[number]] = counts[number]
            numbers.ledger.learn(number, pids[number], said)
            statuses.learn(number, pids[number], status)
        if event == "die":
            pids[number] += 10
            counts[number] = 0
        if event == "late" and words:  # the same answer once more, when its worker may be dead
            again = [each for each in words if each[0] == number and each[1] != pids[number]]
            for number_of, pid, said, status in again[-1:]:
                numbers.ledger.learn(number_of, pid, said)
                statuses.learn(number_of, pid, status)
        numbers.ledger.keep(pids)
        statuses.keep(pids)
        merged = numbers.merged({}, 0.0)
        total = merged.get(COUNTER, {}).get(where, 0)
        assert isinstance(total, int)
        assert total == sum(known.values()) >= before
        before = total
        histogram = merged.get(HISTOGRAM, {}).get((), observed(0))
        assert isinstance(histogram, Observed)
        assert sum(histogram.counts) == total
        own = zero()
        parts = [*statuses.said.values(), part_of(statuses.retired, own)]
        assert merged_status(own, parts)["handshakes"] == total


def observed(count: int) -> Observed:
    return Observed((1.0,), (count, 0), float(count))


def test_gauges_of_the_dead_are_gone() -> None:
    kept = lasting_samples({name: {(): 1} for name in FAMILIES})
    assert COUNTER in kept
    assert HISTOGRAM in kept
    assert not {"wsrelay_sessions", "wsrelay_upstream_up", "wsrelay_reloads_total"} & set(kept)


def test_upstreams_that_are_long_gone_are_forgotten_by_all_at_once() -> None:
    numbers = Numbers()
    counter = {COUNTER: {(*WHERE, name, "101"): 3 for name in "ab"}}
    live: Samples = {**counter, GAUGE: {("chat", "pool", "b"): 1}}
    own: Samples = {"wsrelay_upstream_weight": {("pool", "c"): 1}}
    numbers.ledger.learn(0, 1, counter)
    numbers.ledger.learn(1, 2, live)
    numbers.ledger.learn(2, 3, counter)
    numbers.ledger.keep({0: 1, 1: 2})
    merged = numbers.merged(own, 0.0)
    assert merged[COUNTER] == {(*WHERE, name, "101"): 9 for name in "ab"}
    merged = numbers.merged(own, FORGOTTEN_AFTER - 1)
    assert len(merged[COUNTER]) == 2
    merged = numbers.merged(own, FORGOTTEN_AFTER)
    assert numbers.gone == {("pool", "a")}
    assert merged[COUNTER] == {(*WHERE, "b", "101"): 9}, "a worker has a session there"
