"""Several processes that share, step by step, beside plain dicts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wsrelay.commons import Tally
from wsrelay.guards.rates import Buckets as OwnBuckets
from wsrelay.sharing import Region, SharedCommons, Sizes
from wsrelay.sharing.counting import SharedPlace
from wsrelay.sharing.region import WIDTH

ONE_BUCKET = Sizes(names=WIDTH, clients=WIDTH, rates=WIDTH, sessions=WIDTH)
PROCESSES = range(3)
NAMES = [f"upstream-{number}" for number in range(WIDTH + 4)]

process = st.sampled_from(PROCESSES)
name = st.sampled_from(NAMES)


class Tallies(RuleBasedStateMachine):
    """More names than slots, of which never more than there are slots have a count."""

    def __init__(self) -> None:
        super().__init__()
        self.region = Region.create(len(PROCESSES), ONE_BUCKET)
        self.commons = [SharedCommons(self.region, index) for index in PROCESSES]
        self.tallies: dict[tuple[int, str], Tally] = {}
        self.model: list[Counter[str]] = [Counter() for _ in PROCESSES]

    def tally(self, process: int, name: str) -> Tally:
        """Return one that was there before, whose slot may be another's by now."""
        key = process, name
        if key not in self.tallies:
            self.tallies[key] = self.commons[process].tally(name)
        return self.tallies[key]

    def total(self, name: str) -> int:
        return sum(model[name] for model in self.model)

    def has_room(self, name: str) -> bool:
        return self.total(name) > 0 or sum(self.total(each) > 0 for each in NAMES) < WIDTH

    @rule(process=process, name=name, n=st.integers(-3, 3))
    def add(self, process: int, name: str, n: int) -> None:
        if n <= 0 or self.has_room(name):
            self.tally(process, name).add(n)
            self.model[process][name] = max(self.model[process][name] + n, 0)

    @rule(process=process, name=name, most=st.integers(0, 5))
    def add_below(self, process: int, name: str, most: int) -> None:
        if self.has_room(name):
            is_below = self.total(name) < most
            assert self.tally(process, name).add_below(most) is is_below
            self.model[process][name] += is_below

    @rule(process=process, name=name)
    def drop(self, process: int, name: str) -> None:
        self.tallies.pop((process, name), None)

    @rule(name=name)
    def empty(self, name: str) -> None:
        for process in PROCESSES:
            self.tally(process, name).add(-self.model[process].pop(name, 0))

    @rule(process=process)
    def die(self, process: int) -> None:
        self.region.clear(process)
        self.commons[process] = SharedCommons(self.region, process)
        self.model[process].clear()
        self.tallies = {key: each for key, each in self.tallies.items() if key[0] != process}

    @rule(asker=process, name=name)
    def look(self, asker: int, name: str) -> None:
        tally = self.tally(asker, name)
        assert tally.total == self.total(name)
        assert tally.own == self.model[asker][name]
        assert list(tally.parts) == [model[name] for model in self.model]

    @invariant()
    def nothing_is_counted_apart(self) -> None:
        assert self.region.overflows == 0

    def teardown(self) -> None:
        for each in NAMES:
            assert self.tally(0, each).total == self.total(each)
        self.region.close()


class Places(RuleBasedStateMachine):
    """More clients than a bucket takes: what does not fit is counted by each process alone."""

    def __init__(self) -> None:
        super().__init__()
        self.region = Region.create(len(PROCESSES), ONE_BUCKET)
        self.counts = [SharedCommons(self.region, each).counts("chat") for each in PROCESSES]
        self.places: list[tuple[int, bytes, SharedPlace]] = []

    def own(self, process: int, key: bytes) -> int:
        return sum((process, key) == place[:2] for place in self.places)

    @rule(process=process, number=st.integers(0, WIDTH + 20), most=st.integers(1, 3))
    def take(self, process: int, number: int, most: int) -> None:
        key = b"%d" % number
        place = self.counts[process].take(key, most)
        if place is None:
            assert sum(self.own(each, key) for each in PROCESSES) >= most
        else:
            assert self.own(process, key) < most
            self.places.append((process, key, place))

    @precondition(lambda self: self.places)
    @rule(data=st.data(), again=st.booleans())
    def release(self, data: st.DataObject, again: bool) -> None:
        place = self.places.pop(data.draw(st.integers(0, len(self.places) - 1)))
        place[2].release()
        if again:
            place[2].release()

    @invariant()
    def each_process_knows_its_own(self) -> None:
        for process in PROCESSES:
            keys = {key for number, key, _ in self.places if number == process}
            assert len(self.counts[process]) == len(keys)
            for key in keys:
                assert self.counts[process].of(key) >= self.own(process, key)

    def teardown(self) -> None:
        for *_, place in self.places:
            place.release()
            place.release()
        for number in range(WIDTH + 20):
            assert [counts.of(b"%d" % number) for counts in self.counts] == [0, 0, 0]
        assert [len(counts) for counts in self.counts] == [0, 0, 0]
        self.region.close()


TestTallies = Tallies.TestCase
TestTallies.settings = settings(max_examples=100, stateful_step_count=60)
TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=50, stateful_step_count=80)


@given(
    st.sampled_from([0.25, 1.0, 4.0]),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.lists(st.tuples(process, st.integers(0, 4), st.integers(0, 12)), max_size=60),
)
def test_buckets_of_several_processes_are_those_of_one(
    per_second: float, size: float, visits: list[tuple[int, int, int]]
) -> None:
    region, now = Region.create(len(PROCESSES), ONE_BUCKET), 5000.0
    shared = [SharedCommons(region, each).buckets("chat", per_second, size) for each in PROCESSES]
    own = OwnBuckets(per_second, size)
    for number, client, pause in visits:
        now += pause / 8
        key = b"%d" % client
        assert abs(shared[number].take(key, now) - own.take(key, now)) < 1e-6
    region.close()


@given(st.lists(st.tuples(process, st.integers(0, 200), st.integers(0, 9)), max_size=80))
def test_a_session_is_at_its_last_place_or_forgotten_but_never_at_anothers(
    puts: list[tuple[int, int, int]],
) -> None:
    region, now = Region.create(len(PROCESSES), ONE_BUCKET), 5000.0
    tables = [
        SharedCommons(region, each).memory("chat", "learnt", lambda: now, 30.0, 100)
        for each in PROCESSES
    ]
    last: dict[str, tuple[bytes, float]] = {}
    for number, session, pause in puts:
        now += pause
        mark, key = b"%08d" % now, f"{session}"
        tables[number].put(key, mark)
        last[key] = mark, now
        alive = [each for each, (_, at) in last.items() if now - at < 30]
        newest = sorted(alive, key=lambda each: last[each][1])[-WIDTH:]
        for table in tables:
            assert table.get(key) == mark
            found = {each: table.get(each) for each in last}
            assert {found[each] for each in last if each not in alive} <= {None}
            assert all(found[each] in (None, last[each][0]) for each in alive)
            assert sum(found[each] is not None for each in alive) == len(newest)
    region.close()
