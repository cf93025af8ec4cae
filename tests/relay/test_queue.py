"""Clients that wait for an upstream, first come, first served."""

from __future__ import annotations

from itertools import chain
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import FakeTransport
from tests.relay.world import REQUEST, ROUTE, SWITCHING, UPSTREAMS, World, answer_in

ONE = [evolve(UPSTREAMS[0], max_connections=1)]
ROUND = 0.25


def world_with(upstreams: Any = ONE, **options: Any) -> World:
    return World(evolve(ROUTE, retries=0), upstreams, **{"queue_timeout": 10.0, **options})


class Crowd:
    """Clients who ask for a room each, so that an upstream can tell them apart."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients: list[FakeTransport] = []
        self._upstreams: dict[int, FakeTransport] = {}
        self._dealt_with = 0

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            request = REQUEST.replace(b"room=1", b"room=%d." % len(self.clients))
            self.clients.append(self.world.ask(request))

    @property
    def answered(self) -> dict[int, int]:
        """The number of each client that has an answer, and its status."""
        return {
            number: answer_in(client).status
            for number, client in enumerate(self.clients)
            if client.received
        }

    def new_dials(self) -> list[int]:
        """Return the numbers of the dials that nobody has dealt with."""
        new = [
            number
            for number in range(self._dealt_with, len(self.world.dials))
            if not self.world.dials[number].over
        ]
        self._dealt_with = len(self.world.dials)
        return new

    def accept(self) -> list[int]:
        """Accept every new dial; return for whom they are."""
        rooms = []
        for dial in self.new_dials():
            upstream = self.world.accept(dial)
            rooms.append(int(bytes(upstream.received).partition(b"room=")[2].partition(b".")[0]))
            self._upstreams[rooms[-1]] = upstream
            self.world.send(upstream, SWITCHING)
        return rooms

    def refuse(self) -> int:
        """Refuse every new dial, and those that follow at once; return how many."""
        count = 0
        while dials := self.new_dials():
            count += len(dials)
            for dial in dials:
                self.world.refuse(dial)
        return count

    def leave(self, number: int) -> None:
        """Let a client go, and after it its upstream's end of the session, if it has one."""
        self.world.reset(self.clients[number])
        if number in self._upstreams:
            self.world.end(self._upstreams[number])


class QueueTestCase(SynchronousTestCase):
    """Nothing is left over when everybody has gone."""

    def check_clean(self, world: World) -> None:
        for _ in range(3):
            world.leave_all()
            world.advance(ROUND)
            for dial in world.dials:
                if not dial.over:
                    world.refuse(world.dials.index(dial))
        world.assert_clean()
        self.assertEqual(len(world.pool.line), 0)


class FullTests(QueueTestCase):
    """An upstream has a limit, and is full."""

    def setUp(self) -> None:
        self.world = world_with()
        self.crowd = Crowd(self.world)
        self.crowd.ask()
        self.assertEqual(self.crowd.accept(), [0])

    def tearDown(self) -> None:
        self.check_clean(self.world)

    def test_a_place_that_is_free_is_the_first_ones_and_nobody_elses(self) -> None:
        self.crowd.ask(3)
        self.world.advance(3.1)
        self.assertEqual(self.crowd.answered, {0: 101})
        self.assertEqual(len(self.world.dials), 1)
        for number in range(3):
            self.crowd.leave(number)
            self.assertEqual(self.crowd.accept(), [number + 1])
            self.assertEqual(len(self.world.pool.line), 2 - number)
        self.assertEqual(self.crowd.answered, {0: 101, 1: 101, 2: 101, 3: 101})

    def test_a_client_that_leaves_is_passed_over(self) -> None:
        self.crowd.ask(3)
        self.crowd.leave(1)
        self.assertEqual(len(self.world.pool.line), 2)
        self.assertEqual(self.world.observer.refusals[-1][0], 499)
        self.crowd.leave(0)
        self.assertEqual(self.crowd.accept(), [2])

    def test_who_leaves_while_its_try_is_under_way_makes_room_for_the_next(self) -> None:
        self.crowd.ask(2)
        self.crowd.leave(0)
        [dial] = self.crowd.new_dials()
        self.crowd.leave(1)
        self.assertTrue(self.world.dials[dial].called_off)
        self.assertEqual(self.crowd.accept(), [2])

    def test_who_waited_long_enough_is_told_to_come_again(self) -> None:
        self.crowd.ask()
        self.world.advance(4)
        self.crowd.ask()
        self.world.advance(5.875)
        self.assertEqual(self.crowd.answered, {0: 101})
        self.world.advance(0.125)
        self.assertEqual(self.crowd.answered, {0: 101, 1: 503})
        self.assertIsNotNone(answer_in(self.crowd.clients[1]).header(b"Retry-After"))
        facts = self.world.observer.refused_facts[-1]
        self.assertEqual((facts.refusal, facts.phases["queue"]), ("queue-timeout", 10.0))
        self.world.advance(4)
        self.assertEqual(self.crowd.answered, {0: 101, 1: 503, 2: 503})
        self.assertEqual(len(self.world.dials), 1)

    def test_how_long_it_waited_is_noted(self) -> None:
        self.crowd.ask()
        self.world.advance(2)
        self.crowd.leave(0)
        self.world.advance(1)
        self.assertEqual(self.crowd.accept(), [1])
        phases = self.world.observer.phases[-1]
        self.assertEqual((phases["queue"], phases["connect"]), (2.0, 1.0))
        self.assertNotIn("queue", self.world.observer.phases[0])

    def test_the_relay_that_drains_sends_everybody_away_and_dials_nobody(self) -> None:
        for seconds in (0.0, 2.0):
            self.crowd.ask(3)
            self.world.advance(seconds)
        self.crowd.leave(0)
        self.assertEqual(len(self.world.dials), 2)
        self.world.relay.drains.drain_relay()
        self.world.settle()
        self.assertEqual(self.crowd.answered, {0: 101, **dict.fromkeys(range(1, 7), 503)})
        for client in self.crowd.clients[1:]:
            self.assertIsNotNone(answer_in(client).header(b"Retry-After"))
        self.assertEqual(len(self.world.dials), 2)
        self.assertEqual({each.refusal for each in self.world.observer.refused_facts}, {"draining"})

    def test_an_upstream_that_is_added_takes_those_who_wait(self) -> None:
        self.crowd.ask(2)
        changes = self.world.pool.set_members("api", UPSTREAMS[1:2])
        self.world.relay.members_changed(self.world.pool, changes)
        self.assertEqual(self.crowd.accept(), [1, 2])

    def test_a_try_that_fails_when_the_time_is_over_is_the_answer(self) -> None:
        self.crowd.ask()
        self.world.advance(9)
        self.crowd.leave(0)
        self.world.advance(2)
        self.assertEqual(self.crowd.answered, {0: 101})
        self.crowd.refuse()
        self.assertEqual(self.crowd.answered, {0: 101, 1: 502})
        self.world.advance(ROUND)
        self.assertEqual(len(self.world.dials), 2)

    def test_a_try_that_succeeds_when_the_time_is_over_is_the_answer(self) -> None:
        self.crowd.ask()
        self.world.advance(9)
        self.crowd.leave(0)
        self.world.advance(2)
        self.crowd.accept()
        self.assertEqual(self.crowd.answered, {0: 101, 1: 101})
        phases = self.world.observer.phases[-1]
        self.assertEqual((phases["queue"], phases["connect"]), (9.0, 2.0))

    def test_a_second_wait_counts_from_the_beginning_of_the_first(self) -> None:
        self.crowd.ask()
        self.world.advance(9)
        self.crowd.leave(0)
        self.world.advance(0.5)
        self.world.pool.upstreams[0].max_connections = 0
        self.crowd.refuse()
        self.assertEqual(self.crowd.answered, {0: 101})
        self.world.advance(0.5)
        self.assertEqual(self.crowd.answered, {0: 101, 1: 503})
        self.assertEqual(self.world.observer.refused_facts[-1].phases["queue"], 9.5)


class OutOfReachTests(QueueTestCase):
    """An upstream cannot be connected to for a while."""

    def check_two_seconds_of_refusals(self, crowd_size: int, **options: Any) -> None:
        world = world_with(UPSTREAMS[:1], **options)
        crowd = Crowd(world)
        crowd.ask(crowd_size)
        crowd.refuse()
        self.assertEqual(len(world.pool.line), crowd_size)
        dials = []
        for _ in range(8):
            world.advance(ROUND)
            dials.append(crowd.refuse())
            self.assertEqual(len(world.pool.line), crowd_size)
        # Without passive health the place that the first gives back is the ninth's.
        self.assertLessEqual(set(dials), {min(crowd_size, 8), min(crowd_size, 9)})
        world.advance(ROUND)
        served = []
        while served[-1:] != [[]]:
            served.append(crowd.accept())
        if world.pool.line:  # nobody said that it is up
            world.advance(ROUND)
            served.append(crowd.accept())
        self.assertEqual(list(chain.from_iterable(served)), list(range(crowd_size)))
        self.assertEqual(crowd.answered, dict.fromkeys(range(crowd_size), 101))
        self.check_clean(world)

    def test_everybody_gets_through_in_order_and_few_dial_at_a_time(self) -> None:
        for max_fails in (0, 1, 3):
            for crowd_size in (1, 3, 8, 30):
                with self.subTest(max_fails=max_fails, crowd_size=crowd_size):
                    self.check_two_seconds_of_refusals(crowd_size, max_fails=max_fails)

    def test_the_log_tells_of_failures_until_it_tells_that_the_upstream_is_down(self) -> None:
        seen: list[Any] = []
        globalLogPublisher.addObserver(seen.append)
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)
        world = world_with(UPSTREAMS[:1], max_fails=3, fail_timeout=10.0)
        crowd = Crowd(world)
        crowd.ask(5)
        refused = crowd.refuse()
        for _ in range(4):
            world.advance(ROUND)
            refused += crowd.refuse()
        self.assertGreater(refused, 20)
        texts = [eventAsText(each, includeSystem=False, includeTimestamp=False) for each in seen]
        self.assertEqual(sum("refused" in each and "session" in each for each in texts), 3)
        self.assertEqual(sum("is down" in each for each in texts), 1)
        world.leave_all()

    def test_who_is_called_in_vain_keeps_its_place_however_long_its_try_takes(self) -> None:
        world = world_with(UPSTREAMS[:1], max_fails=1)
        crowd = Crowd(world)
        crowd.ask(3)
        crowd.refuse()
        world.advance(ROUND)
        dials = crowd.new_dials()
        for dial in (dials[2], dials[0], dials[1]):
            world.refuse(dial)
        crowd.ask()
        world.advance(ROUND)
        self.assertEqual(crowd.accept(), [0, 1, 2, 3])
        self.check_clean(world)

    def test_newcomers_do_not_overtake_those_who_wait(self) -> None:
        world = world_with(UPSTREAMS[:1])
        world.pool.upstreams[0].state = "drain"
        crowd = Crowd(world)
        crowd.ask(2)
        world.pool.upstreams[0].state = "ready"
        crowd.ask(2)
        self.assertEqual(world.dials, [])
        world.advance(ROUND)
        self.assertEqual(crowd.accept(), [0, 1, 2, 3])
        self.check_clean(world)

    def test_only_queue_size_clients_wait(self) -> None:
        world = world_with(UPSTREAMS[:1], queue_size=2)
        world.pool.upstreams[0].state = "drain"
        crowd = Crowd(world)
        crowd.ask(4)
        self.assertEqual(crowd.answered, {2: 503, 3: 503})
        self.assertIsNotNone(answer_in(crowd.clients[2]).header(b"Retry-After"))
        self.assertEqual(world.observer.refused_facts[-1].refusal, "queue-full")
        crowd.leave(0)
        crowd.ask(2)
        self.assertEqual(set(crowd.answered), {2, 3, 5})
        self.check_clean(world)

    def test_who_was_called_in_vain_comes_back_to_a_queue_that_is_full(self) -> None:
        world = world_with(UPSTREAMS[:1], queue_size=1)
        crowd = Crowd(world)
        crowd.ask()
        crowd.refuse()
        world.advance(ROUND)
        world.pool.upstreams[0].state = "drain"
        crowd.ask(2)
        crowd.refuse()
        self.assertEqual(crowd.answered, {2: 503})
        self.assertEqual(len(world.pool.line), 2)
        world.pool.upstreams[0].state = "ready"
        world.advance(ROUND)
        self.assertEqual(crowd.accept(), [0, 1])
        self.check_clean(world)

    def test_an_upstream_that_does_not_answer_keeps_few_busy_and_its_timeout_counts(self) -> None:
        world = world_with(UPSTREAMS[:1], max_fails=1, queue_timeout=20.0)
        crowd = Crowd(world)
        crowd.ask(20)
        crowd.refuse()
        world.advance(10)
        # Connects that time out after five seconds: two of them in ten.
        self.assertLessEqual(len(world.dials), 20 + 8 + 8)
        self.assertLessEqual(sum(not dial.over for dial in world.dials), 8)
        world.advance(15)
        self.assertEqual(set(crowd.answered.values()), {503, 504})
        self.assertEqual(len(crowd.answered), 20)
        self.check_clean(world)

    def test_retries_begin_anew_with_each_turn(self) -> None:
        world = World(evolve(ROUTE, retries=1), UPSTREAMS[:2], queue_timeout=10.0, max_fails=0)
        crowd = Crowd(world)
        crowd.ask()
        self.assertEqual(crowd.refuse(), 2)
        world.advance(ROUND)
        self.assertEqual(crowd.refuse(), 2)
        self.assertEqual(world.names_dialled(), ["a", "b", "a", "b"])
        world.advance(ROUND)
        self.assertEqual(crowd.accept(), [0])
        self.assertEqual(world.observer.opened[0].attempts, 5)
        self.check_clean(world)


class SlowBalancerTests(QueueTestCase):
    """The balancer answers later."""

    def setUp(self) -> None:
        self.asked: list[tuple[Deferred[Any], Any]] = []
        self.world = world_with(balancer=self.answer)
        self.crowd = Crowd(self.world)
        self.crowd.ask()
        self.decide()
        self.assertEqual(self.crowd.accept(), [0])
        self.crowd.ask(3)
        self.assertEqual(self.asked, [])

    def answer(self, upstreams: Any) -> Deferred[Any]:
        self.asked.append((Deferred(), upstreams[0]))
        return self.asked[-1][0]

    def decide(self) -> None:
        """Let the balancer answer all that it was asked."""
        asked, self.asked = self.asked, []
        for waiting, choice in asked:
            waiting.callback(choice)

    def test_a_place_that_is_free_is_the_first_ones(self) -> None:
        for number in range(3):
            self.crowd.leave(number)
            self.world.advance(ROUND)
            self.decide()
            self.assertEqual(self.crowd.accept(), [number + 1])
            self.assertEqual(len(self.world.pool.line), 2 - number)
        self.check_clean(self.world)

    def test_the_time_to_wait_does_not_end_a_question_under_way(self) -> None:
        self.world.advance(9)
        self.crowd.leave(0)
        self.world.advance(2)
        self.assertEqual(self.crowd.answered, {0: 101})
        self.decide()
        self.assertEqual(self.crowd.accept(), [1])
        self.assertEqual(self.crowd.answered, {0: 101, 1: 101, 2: 503, 3: 503})
        self.check_clean(self.world)

    def test_who_leaves_is_no_longer_asked_about(self) -> None:
        self.crowd.leave(0)
        self.crowd.leave(1)
        self.assertTrue(self.asked[0][0].called)
        del self.asked[0]
        self.decide()
        self.assertEqual(self.crowd.accept(), [2])
        self.check_clean(self.world)

    def test_a_balancer_that_takes_too_long_is_504_and_the_next_is_served(self) -> None:
        self.crowd.leave(0)
        self.world.advance(10)
        self.assertEqual(self.crowd.answered[1], 504)
        self.check_clean(self.world)
