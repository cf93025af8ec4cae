"""Drains of upstreams and pools, at a rate or in a time, and what makes them end."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterable
from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import FakeTransport, frame_from
from tests.relay.world import ROUTE, SWITCHING, UPSTREAMS, World, close_code
from wsrelay.config.model import Rate
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.closing import Chosen, Closing
from wsrelay.relay.pump import Side
from wsrelay.relay.session import Session

Pair = tuple[FakeTransport, FakeTransport]


class DrainTestCase(SynchronousTestCase):
    """A relay with upstreams a and b, and a note of when each session was told to close."""

    def setUp(self) -> None:
        self.make()
        closes: list[tuple[float, str, str]] = []
        self.closes = closes
        close = Session.close

        def spy(session: Session, code: int, reason: str, why: str) -> None:
            closes.append((session.reactor.seconds(), session.upstream.name, why))
            close(session, code, reason, why)

        self.patch(Session, "close", spy)

    def make(self, **options: Any) -> None:
        self.target = "a"
        self.world = World(
            evolve(ROUTE, close_timeout=1000.0),
            UPSTREAMS[:2],
            balancer=lambda offered: next(each for each in offered if each.name == self.target),
            **options,
        )
        self.pool = self.world.pool
        self.a, self.b = self.pool.upstreams
        self.drains = self.world.relay.drains

    def relay_says(self, **options: Any) -> None:
        self.world.relay.config = evolve(self.world.relay.config, **options)

    def establish(self, name: str, count: int = 1) -> list[Pair]:
        self.target = name
        return [self.world.establish() for _ in range(count)]

    def times(self) -> list[float]:
        return [at for at, _, _ in self.closes]

    def codes(self, pairs: Iterable[Pair]) -> list[int | None]:
        return [close_code(client) for client, _ in pairs]

    def go(self, pairs: Iterable[Pair]) -> None:
        """Let both peers of sessions answer their close frames, and go."""
        for pair in pairs:
            for leg, side in zip(pair, Side, strict=True):
                leg.peer_sends(frame_from(side, 8, (1012).to_bytes(2, "big")))
                leg.peer_ends()
        self.world.settle()


class PaceTests(DrainTestCase):
    """When each session is closed."""

    def check_pace(self, step: float, first: int = 1) -> None:
        """
        Check the times from the *first* one on, which are one *step* apart.

        A turn is at most a quarter of the time since the last one too early or too late,
        and aims at its own time: so it is never off by more than a third of a step.
        """
        off = [at - step * number for number, at in enumerate(self.times()[first - 1 :])]
        self.assertLessEqual(max(map(abs, off)), step / 3 + 1e-9)
        self.assertGreater(max(off), step / 20)
        self.assertLess(min(off), -step / 20)

    def test_the_time_between_two_closes_varies_and_does_not_drift(self) -> None:
        random.seed(7)
        self.establish("a", 60)
        self.relay_says(drain_timeout=120.0)
        self.drains.drain_relay()
        self.world.advance(120)
        self.assertEqual(len(self.closes), 60)
        self.check_pace(2.0)

    def test_a_rate_begins_with_a_burst_and_does_not_drift_either(self) -> None:
        random.seed(8)
        self.establish("a", 50)
        self.relay_says(drain_timeout=None, drain_rate=Rate(2.0, 10))
        self.drains.drain_relay()
        self.assertEqual(self.times(), [0.0] * 10)
        self.world.advance(30)
        self.assertEqual(len(self.closes), 50)
        self.check_pace(0.5, first=10)

    def test_a_rate_without_burst_begins_with_one(self) -> None:
        self.establish("a", 3)
        self.relay_says(drain_rate=Rate(0.5))
        self.drains.drain_relay()
        self.assertEqual(len(self.closes), 1)
        self.world.advance(1.4)
        self.assertEqual(len(self.closes), 1)
        self.world.advance(1.3)
        self.assertEqual(len(self.closes), 2)

    def test_what_a_rate_leaves_is_closed_when_the_time_is_over(self) -> None:
        self.establish("a", 20)
        self.relay_says(drain_timeout=5.0, drain_rate=Rate(1.0))
        drain = self.drains.drain_relay()
        self.assertEqual(drain.seconds_left, 5.0)
        self.world.advance(4.9)
        self.assertIn(len(self.closes), (5, 6))
        self.world.advance(0.1)
        self.assertEqual(len(self.closes), 20)
        self.assertEqual((drain.left, drain.total, drain.seconds_left), (20, 20, 0.0))

    def test_sessions_that_end_by_themselves_make_nobodys_turn_come_sooner(self) -> None:
        pairs = self.establish("a", 10)
        self.relay_says(drain_timeout=100.0)
        self.drains.drain_relay()
        waiting = [pair for pair in pairs if close_code(pair[0]) is None]
        for pair in waiting[:5]:
            for leg in pair:
                self.world.end(leg)
        self.world.advance(70)
        # The tenth of a hundred seconds that each has: sixth to tenth from 60 on.
        own = [at for at in self.times()[1:] if at < 50]
        self.assertLessEqual(len(own), 1)
        self.world.advance(30)
        self.assertEqual(len(self.closes), 5)


class UpstreamTests(DrainTestCase):
    """An upstream or a pool is drained, and taken back."""

    def drain(self, upstream: Upstream) -> Closing:
        upstream.state = "drain"
        return self.drains.drain_upstream(self.pool, upstream)

    def test_only_its_own_sessions_are_closed(self) -> None:
        mine, others = self.establish("a", 2), self.establish("b", 2)
        drain = self.drain(self.a)
        self.world.advance(30)
        self.assertEqual(self.codes([*mine, *others]), [1012, 1012, None, None])
        self.assertNoResult(drain.done)
        self.go(mine)
        self.successResultOf(drain.done)
        self.assertEqual(self.drains.running, {})
        self.assertIs(self.drains.find(self.a), drain)

    def test_a_pool_is_drained_with_those_that_have_left_it(self) -> None:
        pairs = [*self.establish("a"), *self.establish("b")]
        self.make_keep()
        self.pool.set_members("file", UPSTREAMS[1:2])
        self.drains.drain_pool(self.pool)
        self.world.advance(30)
        self.assertEqual(self.codes(pairs), [1012, 1012])

    def make_keep(self) -> None:
        for each in (self.a, self.b):
            each.policy = evolve(each.policy, on_removed="keep")

    def test_the_sessions_of_another_pool_stay(self) -> None:
        self.establish("a")
        other = World().pool
        drain = self.drains.drain_pool(other)
        self.assertEqual((drain.total, self.closes), (0, []))
        self.assertTrue(drain.is_over)

    def test_ready_again_stops_it(self) -> None:
        pairs = self.establish("a", 4)
        drain = self.drain(self.a)
        self.world.advance(8)
        self.a.state = "ready"
        self.drains.stop(self.a)
        self.successResultOf(drain.done)
        self.world.advance(60)
        self.assertEqual(sorted(map(str, self.codes(pairs))), ["1012", "1012", "None", "None"])
        self.assertEqual((drain.left, drain.total, drain.elapsed), (4, 4, 8.0))
        self.establish("a")
        self.assertEqual(len(self.closes), 2)

    def test_a_second_drain_takes_the_place_of_the_first(self) -> None:
        pairs = self.establish("a", 4)
        first = self.drain(self.a)
        self.relay_says(drain_timeout=0.0)
        second = self.drain(self.a)
        self.successResultOf(first.done)
        self.world.settle()
        self.assertEqual(self.codes(pairs), [1012] * 4)
        self.go(pairs)
        self.successResultOf(second.done)
        self.assertIs(self.drains.find(self.a), second)

    def test_orders_that_come_again_and_again_do_not_put_the_deadline_off(self) -> None:
        pairs = self.establish("a", 20)
        self.drain(self.a)
        for _ in range(5):
            self.world.advance(5.5)
            drain = self.drain(self.a)
        self.assertEqual(drain.seconds_left, 2.5)
        self.world.advance(2.5)
        self.assertEqual(self.codes(pairs), [1012] * 20)

    def test_an_upstream_that_flaps_while_it_is_drained_is_empty_in_time(self) -> None:
        self.make(on_down="drain")
        pairs = self.establish("a", 20)
        drain = self.drain(self.a)
        for health in ("down", "up", "down"):
            self.world.advance(5)
            self.a.check_found(health, "a check")
        self.assertIs(self.drains.running[self.a], drain)
        self.world.advance(15)
        self.assertEqual(self.codes(pairs), [1012] * 20)

    def test_nothing_that_is_over_holds_a_session(self) -> None:
        self.establish("a", 4)
        drain = self.drain(self.a)
        self.drains.stop(self.a)
        known = [each for each in gc.get_referents(drain) if not isinstance(each, type)]
        self.assertFalse([each for each in known if isinstance(each, Session | Chosen)])
        self.assertEqual((drain.left, drain.closed), (4, 0))

    def handshake_under_way(self) -> Any:
        self.target = "a"
        client = self.world.ask()
        upstream = self.world.accept()

        def finish() -> tuple[int | None, int | None]:
            self.world.send(upstream, SWITCHING)
            client.received = client.received.partition(b"\r\n\r\n")[2]
            return close_code(client), close_code(upstream)

        self.world.transports[-1].received.clear()
        return finish

    def test_a_session_whose_handshake_was_under_way_is_closed_as_the_last(self) -> None:
        self.establish("a", 2)
        finish = self.handshake_under_way()
        drain = self.drain(self.a)
        self.assertEqual(finish(), (None, None))
        self.assertEqual((drain.total, drain.left), (3, 3))
        self.world.advance(30)
        self.assertEqual(len(self.closes), 3)

    def test_one_that_comes_when_all_the_others_are_closed_is_closed_at_once(self) -> None:
        pairs = self.establish("a")
        finish = self.handshake_under_way()
        drain = self.drain(self.a)
        self.assertEqual(finish(), (1012, 1012))
        self.go(pairs)
        self.assertNoResult(drain.done)
        self.assertEqual((drain.closed, drain.left, drain.total), (1, 1, 2))

    def test_one_that_comes_when_the_drain_is_over_is_closed_at_once(self) -> None:
        finish = self.handshake_under_way()
        self.assertTrue(self.drain(self.a).is_over)
        self.assertEqual(finish(), (1012, 1012))
        self.assertEqual(self.closes[-1][2], "drain")

    def remove_a(self) -> None:
        changes = self.pool.set_members("file", UPSTREAMS[1:2])
        self.world.relay.members_changed(self.pool, changes)

    def test_one_that_comes_when_its_upstream_was_removed_is_closed(self) -> None:
        finish = self.handshake_under_way()
        self.remove_a()
        self.assertEqual(finish(), (1012, 1012))
        self.assertEqual(self.closes[-1][2], "removed")

    def test_one_that_comes_when_its_upstream_was_removed_stays_where_the_pool_says_so(
        self,
    ) -> None:
        self.make(on_removed="keep")
        pairs = self.establish("a")
        finish = self.handshake_under_way()
        self.remove_a()
        self.assertEqual(finish(), (None, None))
        self.world.advance(60)
        self.assertEqual(self.codes(pairs), [None])
        self.assertEqual(self.closes, [])

    def test_a_handshake_that_succeeds_after_the_removal_does_not_keep_the_others(self) -> None:
        pairs = self.establish("a", 2)
        finish = self.handshake_under_way()
        self.a.check_found("down", "refused")
        self.a.check_found("unknown", "")
        self.remove_a()
        self.assertEqual(len(self.closes), 1)
        finish()
        self.assertEqual(self.a.history[-1].to, "up")
        self.world.advance(60)
        self.assertEqual(self.codes(pairs), [1012, 1012])


class LossTests(DrainTestCase):
    """An upstream goes down, or away, and the pool says what becomes of its sessions."""

    def down(self, **options: Any) -> list[Pair]:
        self.make(max_fails=1, **options)
        self.relay_says(drain_timeout=10.0)
        pairs = self.establish("a", 3)
        self.others = self.establish("b")
        self.a.failed("refused")
        self.world.settle()
        return pairs

    def test_they_stay(self) -> None:
        pairs = self.down()
        self.world.advance(60)
        self.assertEqual(self.codes(pairs), [None] * 3)

    def test_they_are_drained(self) -> None:
        pairs = self.down(on_down="drain")
        self.assertEqual(len(self.closes), 1)
        self.world.advance(10)
        self.assertEqual(self.codes([*pairs, *self.others]), [1012, 1012, 1012, None])
        self.assertEqual({why for _, _, why in self.closes}, {"down"})

    def test_they_are_closed_at_once_whatever_the_routes_code(self) -> None:
        self.patch(self, "make", lambda **options: None)
        world = World(
            evolve(ROUTE, drain_close_code=4000), UPSTREAMS[:1], max_fails=1, on_down="close"
        )
        pairs = [world.establish() for _ in range(3)]
        world.pool.upstreams[0].failed("refused")
        world.settle()
        self.assertEqual(self.codes(pairs), [1012] * 3)

    def test_when_it_is_up_again_those_that_are_left_stay(self) -> None:
        pairs = self.down(on_down="drain")
        self.a.succeeded()
        self.world.advance(60)
        self.assertEqual(sorted(map(str, self.codes(pairs))), ["1012", "None", "None"])

    def test_when_it_is_up_again_an_operators_drain_goes_on(self) -> None:
        pairs = self.down()
        self.a.state = "drain"
        self.drains.drain_upstream(self.pool, self.a)
        self.a.succeeded()
        self.world.advance(60)
        self.assertEqual(self.codes(pairs), [1012] * 3)

    def test_a_check_counts_like_a_handshake(self) -> None:
        self.make(on_down="close")
        pairs = self.establish("a", 2)
        self.a.check_found("down", "tcp check: refused")
        self.world.settle()
        self.assertEqual(self.codes(pairs), [1012] * 2)
        self.assertEqual(self.world.observer.health, [("pool", "a", "up"), ("pool", "a", "down")])

    def test_of_one_that_was_removed_they_end_as_the_pool_says(self) -> None:
        for how, at_once, later in (("keep", 0, 0), ("drain", 1, 2), ("close", 2, 2)):
            with self.subTest(how=how):
                self.make(on_removed=how)
                pairs = self.establish("a", 2)
                changes = self.pool.set_members("file", UPSTREAMS[1:2])
                self.world.relay.members_changed(self.pool, changes)
                self.world.settle()
                self.assertEqual(self.codes(pairs).count(1012), at_once)
                self.world.advance(30)
                self.assertEqual(self.codes(pairs).count(1012), later)


class RebalanceTests(DrainTestCase):
    """Sessions of a pool are levelled at a rate."""

    def test_those_above_the_shares_are_closed_at_the_rate(self) -> None:
        random.seed(9)
        pairs = self.establish("a", 9)
        closing = self.drains.rebalance(self.pool, Rate(1.0))
        self.assertEqual((closing.total, len(self.closes)), (4, 1))
        self.assertIsNone(closing.seconds_left)
        self.world.advance(4)
        self.assertEqual([(name, why) for _, name, why in self.closes], [("a", "rebalance")] * 4)
        self.target = "b"
        gone = [pair for pair in pairs if close_code(pair[0])]
        self.go(gone)
        self.successResultOf(closing.done)
        self.assertEqual((closing.closed, closing.total, closing.left), (4, 4, 0))
        self.assertEqual(self.a.sessions, 5)

    def test_it_goes_beside_the_drain_of_the_pool(self) -> None:
        self.establish("a", 4)
        self.drains.rebalance(self.pool, Rate(0.1))
        self.drains.drain_pool(self.pool)
        self.assertEqual(len(self.drains.running), 2)

    def test_what_is_spared_is_not_counted_as_closed(self) -> None:
        pairs = self.establish("a", 8)
        closing = self.drains.rebalance(self.pool, Rate(1.0))
        self.assertEqual(closing.total, 4)
        self.world.settle()
        told = [pair for pair in pairs if close_code(pair[0])]
        self.go(told)
        self.establish("b", 7)
        self.world.advance(5)
        self.successResultOf(closing.done)
        self.assertEqual((closing.closed, closing.total, len(self.closes)), (1, 4, 1))


class WordTests(DrainTestCase):
    """The log says what is done, and how it ended."""

    def said(self, events: Iterable[Any]) -> list[str | None]:
        return [formatEvent(each) for each in events]

    def test_a_drain_in_a_time(self) -> None:
        pairs = self.establish("a", 3)
        with capturedLogs() as events:
            self.drains.drain_relay()
            self.world.advance(30)
            self.go(pairs)
        self.assertEqual(
            self.said(events),
            [
                "relay: closing 3 sessions (drain) over 30 seconds",
                "relay: 3 of 3 sessions closed in 30.0 seconds (drain)",
            ],
        )

    def test_a_drain_at_a_rate(self) -> None:
        self.establish("a", 3)
        self.relay_says(drain_rate=Rate(2.0))
        with capturedLogs() as events:
            self.drains.drain_upstream(self.pool, self.a)
        self.assertEqual(
            self.said(events), ["upstream pool/a: closing 3 sessions (drain) at 2 a second"]
        )

    def test_a_drain_at_a_rate_for_which_there_is_no_time(self) -> None:
        self.establish("a", 3)
        self.relay_says(drain_rate=Rate(0.5), drain_timeout=4.0)
        with capturedLogs() as events:
            self.drains.drain_pool(self.pool)
        self.assertEqual(
            self.said(events),
            [
                "pool pool: closing 3 sessions (drain) at 0.5 a second,"
                " and what is left after 4 seconds at once"
            ],
        )

    def test_a_drain_that_is_called_off(self) -> None:
        pairs = self.establish("a", 4)
        with capturedLogs() as events:
            self.drains.drain_upstream(self.pool, self.a)
            self.world.advance(8)
            self.go([pair for pair in pairs if self.codes([pair]) == [1012]][:1])
            self.drains.stop(self.a)
        self.assertEqual(
            self.said(events)[-1],
            "upstream pool/a: 1 of 4 sessions closed in 8.0 seconds (drain)",
        )

    def test_a_drain_that_is_hurried(self) -> None:
        self.establish("a", 3)
        with capturedLogs() as events:
            self.drains.drain_relay()
            self.drains.hurry()
            self.world.settle()
            self.world.advance(1)
        self.assertEqual(
            self.said(events),
            [
                "relay: closing 3 sessions (drain) over 30 seconds",
                "relay: aborting 3 sessions",
                "relay: 3 of 3 sessions closed in 0.0 seconds (drain)",
            ],
        )

    def test_nobody_is_there(self) -> None:
        with capturedLogs() as events:
            self.drains.drain_relay()
        self.assertEqual(self.said(events), [])
