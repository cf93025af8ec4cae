"""Stopping: nobody new, and everybody else closed one after the other."""

from __future__ import annotations

import random
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import FakeTransport, frame_from
from tests.relay.world import REQUEST, ROUTE, World, answer_in, close_code
from wsrelay.relay import closing
from wsrelay.relay.closing import Closing
from wsrelay.relay.pump import Side

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
Pair = tuple[FakeTransport, FakeTransport]


def closed(pairs: list[Pair]) -> list[int]:
    """Return the numbers of the sessions whose both peers were told 1012."""
    told = [[close_code(leg) for leg in pair] for pair in pairs]
    assert all(codes in ([None, None], [1012, 1012]) for codes in told)
    return [number for number, codes in enumerate(told) if codes == [1012, 1012]]


def answer(pair: Pair) -> None:
    """Let both peers of a session answer the close frame, and go."""
    for leg, side in zip(pair, Side, strict=True):
        leg.peer_sends(frame_from(side, 8, (1012).to_bytes(2, "big")))
        leg.peer_ends()


class DrainTests(SynchronousTestCase):
    """Every session is closed in its turn."""

    def setUp(self) -> None:
        self.patch(random, "uniform", lambda low, high: (low + high) / 2)

    def begin(self, world: World, timeout: float) -> tuple[Closing, Any]:
        world.relay.config = evolve(world.relay.config, drain_timeout=timeout)
        drain = world.relay.drains.drain_relay()
        world.settle()
        return drain, drain.done

    def test_without_sessions_it_is_done_at_once(self) -> None:
        world = World()
        _, done = self.begin(world, 30)
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(world.relay.is_draining)
        world.assert_clean()

    def test_closes_are_spread_evenly_in_a_random_order(self) -> None:
        self.patch(random, "shuffle", lambda items: items.reverse())
        world = World()
        pairs = [world.establish() for _ in range(4)]
        _, done = self.begin(world, 8)
        for turn in range(4):
            order = list(range(3 - turn, 4))
            self.assertEqual(closed(pairs), order)
            world.advance(1.75)
            self.assertEqual(closed(pairs), order)
            world.advance(0.25)
        self.assertNoResult(done)
        for pair in pairs:
            answer(pair)
        world.settle()
        self.successResultOf(done)
        world.assert_clean()

    def test_the_order_is_another_one_each_time(self) -> None:
        firsts = set()
        for seed in range(20):
            random.seed(seed)
            world = World()
            pairs = [world.establish() for _ in range(4)]
            self.begin(world, 8)
            firsts.update(closed(pairs))
        self.assertEqual(firsts, {0, 1, 2, 3})

    def test_a_timeout_of_zero_closes_all_at_once(self) -> None:
        world = World()
        pairs = [world.establish() for _ in range(5)]
        self.begin(world, 0)
        self.assertEqual(closed(pairs), [0, 1, 2, 3, 4])

    def test_many_that_are_due_at_once_are_closed_in_several_turns_of_the_reactor(self) -> None:
        self.patch(closing, "MOST", 2)
        world = World()
        pairs = [world.establish() for _ in range(5)]
        self.begin(world, 0)
        counts: list[int] = []

        def look(turns: int) -> None:
            world.settle()
            counts.append(len(closed(pairs)))
            if turns:
                world.reactor.callLater(0, look, turns - 1)

        look(2)
        world.advance(0)
        self.assertEqual(counts, [2, 4, 5])

    def test_any_number_of_sessions_is_closed_by_the_timeout_and_none_is_forgotten(self) -> None:
        for count, timeout in ((1, 30.0), (3, 1.0), (7, 0.3), (11, 30.0)):
            with self.subTest(count=count, timeout=timeout):
                world = World(evolve(ROUTE, close_timeout=100.0))
                pairs = [world.establish() for _ in range(count)]
                _, done = self.begin(world, timeout)
                self.assertEqual(len(closed(pairs)), 1)
                world.advance(timeout / 2)
                self.assertLessEqual(abs(len(closed(pairs)) - count / 2), 1)
                world.advance(timeout / 2)
                self.assertEqual(len(closed(pairs)), count)
                self.assertNoResult(done)
                for pair in pairs:
                    answer(pair)
                world.settle()
                self.successResultOf(done)
                world.assert_clean()

    def test_it_ends_early_when_all_sessions_have(self) -> None:
        world = World()
        pairs = [world.establish() for _ in range(2)]
        _, done = self.begin(world, 30)
        for pair in pairs:
            answer(pair)
        world.settle()
        self.successResultOf(done)
        world.assert_clean()

    def test_sessions_that_do_not_answer_are_gone_with_their_close_timeout(self) -> None:
        world = World(evolve(ROUTE, close_timeout=3.0))
        for _ in range(2):
            world.establish()
        _, done = self.begin(world, 4)
        world.advance(2 + 2.75)
        self.assertNoResult(done)
        world.advance(0.25)
        self.successResultOf(done)
        world.advance(0.5)
        world.assert_clean()

    def test_the_routes_own_code_is_used(self) -> None:
        world = World(evolve(ROUTE, drain_close_code=4100))
        client, upstream = world.establish()
        self.begin(world, 1)
        self.assertEqual((close_code(client), close_code(upstream)), (4100, 4100))
        session = next(iter(world.relay.sessions.values()))
        assert session.cause is not None
        self.assertEqual(session.cause.initiator, "relay:drain")

    def test_a_session_in_the_middle_of_a_frame_is_closed_behind_it(self) -> None:
        world = World()
        client, upstream = world.establish()
        frame = frame_from(UPSTREAM, 2, bytes(50_000))
        world.send(upstream, frame[:20_000])
        self.begin(world, 1)
        self.assertEqual(close_code(upstream), 1012)
        self.assertEqual(bytes(client.received), frame[:20_000])
        world.send(upstream, frame[20_000:])
        self.assertTrue(client.received.startswith(frame))
        self.assertEqual(close_code(client), 1012)

    def test_a_second_signal_ends_everything_at_once(self) -> None:
        world = World()
        for _ in range(3):
            world.establish()
        drain, done = self.begin(world, 30)
        drain.hurry()
        world.settle()
        self.successResultOf(done)
        world.assert_clean()
        self.assertEqual(len(world.observer.ended), 3)
        drain.hurry()
        world.assert_clean()

    def test_openings_are_answered_503_and_their_upstreams_let_go(self) -> None:
        world = World()
        dialled = world.ask()
        self.assertEqual(len(world.dials), 1)
        waiting = world.ask()
        upstream = world.accept()
        _, done = self.begin(world, 30)
        self.assertTrue(world.dials[0].called_off)
        self.assertTrue(upstream.aborted)
        for client in (dialled, waiting):
            self.assertEqual(answer_in(client).status, 503)
            self.assertIsNotNone(answer_in(client).header(b"Retry-After"))
        self.successResultOf(done)
        self.assertEqual([status for status, _ in world.observer.refusals], [503, 503])
        world.leave_all()
        world.advance(0)
        world.assert_clean()

    def test_a_client_that_asks_while_it_drains_is_answered_503(self) -> None:
        world = World()
        session = world.establish()
        connected = world.client()
        _, done = self.begin(world, 30)
        world.send(connected, REQUEST)
        self.assertEqual(answer_in(connected).status, 503)
        answer(session)
        world.settle()
        self.successResultOf(done)

    def test_a_session_that_ends_by_itself_meanwhile_is_not_closed_again(self) -> None:
        self.patch(random, "shuffle", lambda items: None)
        world = World()
        pairs = [world.establish() for _ in range(2)]
        _, done = self.begin(world, 4)
        world.reset(pairs[1][0])
        self.assertEqual(close_code(pairs[1][1]), 1001)
        world.advance(2)
        self.assertEqual(close_code(pairs[1][1]), 1001)
        world.end(pairs[1][1])
        answer(pairs[0])
        world.settle()
        self.successResultOf(done)
        world.assert_clean()
