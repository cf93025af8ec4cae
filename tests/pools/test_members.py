"""Which upstreams a pool has when several sources name them, and who stays the same."""

from __future__ import annotations

from attrs import define, evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from wsrelay.balancers.first import First
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.pools.members import Roll
from wsrelay.pools.pool import MemberChanges, Pool
from wsrelay.pools.upstream import Lease, Upstream


def line(name: str, port: int = 9000, **options) -> UpstreamConfig:
    return UpstreamConfig(name, f"ws://{name}:{port}", **options)


A, B, C = map(line, "abc")


def pool_of(*lines: UpstreamConfig) -> Pool:
    return Pool(PoolConfig("chat", lines), First(), Clock().seconds)


def names(upstreams) -> str:
    return "".join(each.name for each in upstreams)


def words(changes: MemberChanges) -> tuple[str, str, str]:
    return names(changes.added), names(changes.removed), names(changes.changed)


def test_what_another_process_is_told_has_the_weights_that_changed() -> None:
    here, there = pool_of(A, B), pool_of(A, B)
    here.upstreams[1].weight = 7
    changes = there.recall(here.memo())
    assert [each.weight for each in there.upstreams] == [1, 7]
    assert words(changes) == ("", "", "b")


# The roll


def test_the_file_counts_before_discovery_and_that_before_the_operator() -> None:
    roll = Roll()
    roll.say("api", [line("a", 3), line("b", 3), line("c", 3)])
    roll.say("discovery", [line("b", 2), line("a", 2)])
    roll.say("file", [line("a", 1)])
    found = [(name, each.source, each.config.url[-1]) for name, each in roll.members().items()]
    assert found == [("a", "file", "1"), ("b", "discovery", "2"), ("c", "api", "3")]
    roll.say("file", [])
    assert [each.source for each in roll.members().values()] == ["discovery", "discovery", "api"]


def test_what_a_source_says_takes_the_place_of_what_it_said() -> None:
    roll = Roll()
    roll.say("discovery", [A, B])
    roll.say("discovery", [C])
    assert list(roll.members()) == ["c"]
    assert roll.said("discovery") == (C,)
    assert roll.said("api") == ()


def test_one_that_was_removed_stays_away_until_its_line_changes() -> None:
    for source in ("file", "discovery"):
        roll = Roll()
        roll.say(source, [A, B])
        roll.hide("a")
        for _ in range(2):
            roll.say(source, [A, B])
            roll.say("api", [C])
            assert list(roll.members()) == ["b", "c"]
        roll.say(source, [evolve(A, weight=2), B])
        assert list(roll.members()) == ["a", "b", "c"]
        roll.say(source, [A, B])
        assert list(roll.members()) == ["a", "b", "c"]


def test_the_operators_own_is_forgotten_when_it_is_removed() -> None:
    roll = Roll()
    roll.say("api", [A, B])
    roll.hide("a")
    assert (list(roll.members()), roll.said("api")) == (["b"], (B,))
    roll.say("api", [*roll.said("api"), A])
    assert list(roll.members()) == ["b", "a"]


def test_removing_takes_away_every_line_of_the_name() -> None:
    roll = Roll()
    roll.say("file", [A])
    roll.say("api", [line("a", 1)])
    roll.hide("a")
    assert list(roll.members()) == []


def test_the_operator_may_put_another_one_in_the_place_of_one_that_was_removed() -> None:
    roll = Roll()
    roll.say("file", [A, B])
    roll.hide("a")
    roll.hide("nobody")
    other = line("a", 9001)
    roll.say("api", [other, C])
    for _ in range(2):
        found = [(each.config, each.source) for each in roll.members().values()]
        assert found == [(B, "file"), (C, "api"), (other, "api")]
        roll.say("file", [A, B])
    roll.say("file", [evolve(A, weight=2), B])
    assert [each.source for each in roll.members().values()] == ["file", "file", "api"]


# The pool


def test_the_same_name_and_url_stay_the_same_upstream_with_its_sessions() -> None:
    pool = pool_of(A, B)
    a, b = pool.upstreams
    a.take()
    changes = pool.set_members("file", [B, evolve(A, weight=3), C])
    assert words(changes) == ("c", "", "a")
    assert pool.upstreams[:2] == (b, a)
    assert (a.active, a.weight) == (1, 3)
    assert bool(changes)


def test_saying_the_same_again_is_no_change() -> None:
    pool = pool_of(A, B)
    before = pool.upstreams
    pool.upstreams[0].weight = 9
    assert not pool.set_members("file", [A, B])
    assert not pool.update(evolve(pool.config, fail_timeout=99.0))
    assert pool.upstreams == before
    assert [each.policy.fail_timeout for each in before] == [99.0, 99.0]


def test_another_url_is_another_upstream() -> None:
    pool = pool_of(A)
    old = pool.upstreams[0]
    old.take()
    changes = pool.set_members("file", [line("a", 9001)])
    assert words(changes) == ("a", "a", "")
    assert changes.removed == (old,)
    assert pool.upstreams[0] is not old
    assert pool.upstreams[0].active == 0
    assert (pool.gone, old.source) == ([old], "gone")


def test_one_that_left_is_remembered_for_as_long_as_it_has_sessions() -> None:
    pool = pool_of(A, B)
    a = pool.upstreams[0]
    lease = a.take()
    pool.set_members("file", [B])
    assert pool.gone == [a]
    lease.release()
    assert pool.gone == []
    assert words(pool.set_members("file", [A, B])) == ("a", "", "")
    assert pool.upstreams[0] is not a


def test_one_that_comes_back_in_time_is_the_same_with_its_sessions() -> None:
    pool = pool_of(A, B)
    a = pool.upstreams[0]
    a.take()
    pool.set_members("file", [B])
    changes = pool.set_members("discovery", [evolve(A, weight=4)])
    assert words(changes) == ("a", "", "")
    assert pool.upstreams[1] is a
    assert (a.active, a.weight, a.source, pool.gone) == (1, 4, "discovery", [])


def test_those_that_have_gone_follow_the_options_of_the_pool() -> None:
    pool = pool_of(A, B)
    a = pool.upstreams[0]
    a.take()
    config = PoolConfig("chat", (B,), on_removed="keep")
    pool.update(config)
    newer = evolve(config, on_removed="drain")
    pool.update(newer)
    assert a.policy is newer


def test_a_source_may_change_under_an_upstream() -> None:
    pool = pool_of(A)
    a = pool.upstreams[0]
    pool.set_members("discovery", [A])
    assert a.source == "file"
    assert not pool.set_members("file", [])
    assert (pool.upstreams, a.source) == ((a,), "discovery")


def test_one_that_the_operator_removes_leaves_with_its_sessions_and_stays_away() -> None:
    pool = pool_of(A, B)
    a = pool.upstreams[0]
    a.take()
    assert words(pool.hide("a")) == ("", "a", "")
    assert not pool.hide("a")
    assert not pool.update(pool.config)
    assert pool.gone == [a]
    assert words(pool.set_members("api", [A])) == ("a", "", "")
    assert pool.upstreams[1] is a
    assert a.source == "api"


@define
class Known:
    """What the model knows of an upstream: its object, its last line, and its sessions."""

    upstream: Upstream
    config: UpstreamConfig
    weight: int
    active: int = 0


LINES = st.builds(
    line,
    st.sampled_from("abcd"),
    st.sampled_from([1, 2]),
    weight=st.integers(1, 2),
    backup=st.booleans(),
)
SOURCES = st.sampled_from(["file", "discovery", "api"])


class MembersInUse(RuleBasedStateMachine):
    """Sources say this and that, the operator too, and sessions come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool_of()
        self.said: dict[str, list[UpstreamConfig]] = {"file": [], "discovery": [], "api": []}
        self.hidden: dict[str, tuple[UpstreamConfig, str]] = {}
        self.here: list[Known] = []
        self.gone: list[Known] = []
        self.leases: list[tuple[Known, Lease]] = []

    def named(self) -> dict[str, tuple[UpstreamConfig, str]]:
        found: dict[str, tuple[UpstreamConfig, str]] = {}
        for source in ("file", "discovery", "api"):
            for each in self.said[source]:
                if each.name not in found:
                    found[each.name] = (each, source)
        return found

    def expect(self, changes: MemberChanges) -> None:
        """Compare what the pool did with what it should have done."""
        before, old = self.here, [*self.here, *[each for each in self.gone if each.active]]
        shown = {name: each for name, each in self.named().items() if name not in self.hidden}
        for each in self.said["api"]:
            shown.setdefault(each.name, (each, "api"))
        wanted = list(shown.values())
        assert len(self.pool.upstreams) == len(wanted)
        self.here, changed = [], []
        for upstream, (config, source) in zip(self.pool.upstreams, wanted, strict=True):
            known = next((each for each in old if each.config.url == config.url), None)
            if known is None:
                assert all(upstream is not each.upstream for each in old)
                known = Known(upstream, config, config.weight)
            assert upstream is known.upstream
            was = (known.weight, known.config.backup)
            if known.config.weight != config.weight:
                known.weight = config.weight
            known.config = config
            if known in before and was != (known.weight, config.backup):
                changed.append(upstream)
            assert (upstream.config, upstream.source) == (config, source)
            self.here.append(known)
        left = [each for each in before if each not in self.here]
        self.gone = [each for each in [*self.gone, *left] if each.active and each not in self.here]
        assert changes.added == tuple(e.upstream for e in self.here if e not in before)
        assert changes.removed == tuple(each.upstream for each in left)
        assert changes.changed == tuple(changed)

    @rule(source=SOURCES, lines=st.lists(LINES, max_size=4, unique_by=lambda each: each.name))
    def say(self, source, lines: list[UpstreamConfig]) -> None:
        changes = self.pool.set_members(source, lines)
        self.said[source] = lines
        named = self.named()
        self.hidden = {name: it for name, it in self.hidden.items() if named.get(name) == it}
        self.expect(changes)

    @rule(name=st.sampled_from("abcd"))
    def remove(self, name: str) -> None:
        changes = self.pool.hide(name)
        self.said["api"] = [each for each in self.said["api"] if each.name != name]
        if name in self.named():
            self.hidden[name] = self.named()[name]
        self.expect(changes)

    @precondition(lambda self: self.here)
    @rule(data=st.data(), weight=st.integers(1, 3))
    def set_weight(self, data, weight: int) -> None:
        known = data.draw(st.sampled_from(self.here))
        known.upstream.weight = known.weight = weight

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def open_session(self, data) -> None:
        known = data.draw(st.sampled_from(self.here))
        known.active += 1
        self.leases.append((known, known.upstream.take()))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def end_session(self, data) -> None:
        known, lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        known.active -= 1
        lease.release()

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert [each.upstream for each in self.here] == list(self.pool.upstreams)
        left = [each.upstream for each in self.gone if each.active]
        assert set(self.pool.gone) == set(left)
        assert len(self.pool.gone) == len(left)
        assert all(each.source == "gone" for each in left)
        for each in [*self.here, *self.gone]:
            assert (each.upstream.active, each.upstream.weight) == (each.active, each.weight)


TestMembersInUse = MembersInUse.TestCase
TestMembersInUse.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
