"""An opening handshake: upstreams are asked first, the client gets what one of them said."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import TEXT, FakeTransport, frame_from
from tests.relay.world import (
    KEY,
    REQUEST,
    ROUTE,
    SWITCHING,
    UPSTREAMS,
    World,
    answer_in,
)
from wsrelay.config.model import ListenerConfig, UpstreamConfig
from wsrelay.relay.answer import CLIENT_PATIENCE
from wsrelay.relay.client import LINGER, MAX_EARLY
from wsrelay.relay.pump import Side
from wsrelay.relay.upstream import MAX_HEAD

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Kind: mine\r\n\r\nnone"


class OpeningTestCase(SynchronousTestCase):
    """Has what every test of this module checks."""

    def check_answer(self, world: World, client: FakeTransport, status: int) -> None:
        """Check an answer of the relay's own, and that nothing is left of the client."""
        answer = answer_in(client)
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.header(b"Content-Type"), b"text/plain; charset=utf-8")
        self.assertEqual(answer.header(b"Content-Length"), str(len(answer.body)).encode())
        self.assertIn(b"close", answer.header(b"Connection") or b"")
        self.assertTrue((answer.header(b"Date") or b"").endswith(b" GMT"))
        self.assertEqual(answer.header(b"Retry-After") is not None, status in (502, 503, 504))
        self.assertEqual([each for each, _ in world.observer.refusals], [status])
        self.assertTrue(client.eof)
        self.assertEqual(world.active, {})
        world.leave_all()
        world.assert_clean()


class SwitchingTests(OpeningTestCase):
    """A valid 101 makes a session."""

    def test_the_handshake_goes_up_and_the_101_comes_down(self) -> None:
        world = World()
        client = world.ask()
        self.assertEqual(client.received, b"")
        self.assertEqual((world.dials[0].where, world.dials[0].port), ("192.0.2.100", 9000))
        upstream = world.accept()
        head = bytes(upstream.received)
        self.assertTrue(head.startswith(b"GET /chat?room=1 HTTP/1.1\r\nHost: chat.example.com\r\n"))
        self.assertIn(b"\r\nSec-WebSocket-Key: " + KEY + b"\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-For: 192.0.2.7\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-Proto: http\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-Port: 8080\r\n", head)
        self.assertEqual(client.received, b"")
        world.send(upstream, SWITCHING.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=1\r\n\r\n"))
        answer = answer_in(client)
        self.assertEqual((answer.status, answer.header(b"Set-Cookie")), (101, b"a=1"))
        self.assertEqual(world.active, {"a": 1})
        self.assertEqual(len(world.relay.sessions), 1)
        self.assertEqual(len(world.observer.opened), 1)
        facts = world.observer.opened[0]
        self.assertEqual(
            (facts.upstream, facts.pool, facts.route, facts.status, facts.attempts),
            ("a", "pool", "chat", 101, 1),
        )
        self.assertEqual(
            (facts.client, facts.path, facts.query), ("192.0.2.7:50123", "/chat", "room=1")
        )

    def test_data_flows_then_and_the_end_gives_the_lease_back(self) -> None:
        world = World()
        client, upstream = world.establish()
        world.send(client, frame_from(CLIENT, TEXT, b"up"))
        world.send(upstream, frame_from(UPSTREAM, TEXT, b"down"))
        self.assertEqual(bytes(upstream.received), frame_from(CLIENT, TEXT, b"up"))
        self.assertEqual(bytes(client.received), frame_from(UPSTREAM, TEXT, b"down"))
        world.leave_all()
        world.assert_clean()
        self.assertEqual(len(world.observer.ended), 1)

    def test_a_handshake_byte_by_byte_is_the_same(self) -> None:
        world = World()
        client = world.client()
        for byte in REQUEST:
            world.send(client, bytes([byte]))
        upstream = world.accept()
        for byte in SWITCHING:
            world.send(upstream, bytes([byte]))
        self.assertEqual(answer_in(client).status, 101)

    def test_an_empty_line_before_the_request_is_skipped(self) -> None:
        world = World()
        world.ask(b"\r\n" + REQUEST)
        self.assertEqual(len(world.dials), 1)

    def test_frames_behind_the_request_go_up_behind_the_handshake_in_order(self) -> None:
        world = World()
        one, two, three = (frame_from(CLIENT, TEXT, word) for word in (b"1", b"2", b"3"))
        client = world.ask(REQUEST + one)
        world.send(client, two)
        upstream = world.accept()
        head = bytes(upstream.received)
        self.assertTrue(head.endswith(b"\r\n\r\n"), "no frame goes up before the 101")
        world.send(upstream, SWITCHING)
        world.send(client, three)
        self.assertEqual(bytes(upstream.received), head + one + two + three)

    def test_frames_behind_the_101_come_down_behind_it_in_order(self) -> None:
        world = World()
        client = world.ask()
        upstream = world.accept()
        one, two = (frame_from(UPSTREAM, TEXT, word) for word in (b"1", b"2"))
        world.send(upstream, SWITCHING + one[:1])
        world.send(upstream, one[1:] + two)
        self.assertEqual(answer_in(client).body, one + two)

    def test_a_client_that_sends_much_before_the_answer_is_not_read_until_then(self) -> None:
        world = World()
        client = world.ask()
        frame = frame_from(CLIENT, TEXT, bytes(10_000))
        for _ in range(MAX_EARLY // len(frame) + 3):
            world.send(client, frame)
        self.assertFalse(client.reading)
        upstream = world.accept()
        head = len(upstream.received)
        world.send(upstream, SWITCHING)
        self.assertTrue(client.reading)
        expected = frame * (MAX_EARLY // len(frame) + 3)
        self.assertEqual(bytes(upstream.received[head:]), expected)

    def test_a_session_that_its_first_bytes_end_leaves_nothing(self) -> None:
        world = World()
        client = world.ask(REQUEST + frame_from(CLIENT, 3))
        upstream = world.accept()
        world.send(upstream, SWITCHING + frame_from(UPSTREAM, 8))
        self.assertEqual(answer_in(client).status, 101)
        world.leave_all()
        world.advance(10)
        world.assert_clean()
        self.assertEqual(len(world.observer.ended), 1)

    def test_interim_answers_are_skipped(self) -> None:
        world = World()
        client = world.ask()
        upstream = world.accept()
        world.send(upstream, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
        self.assertEqual(client.received, b"")
        world.send(upstream, SWITCHING)
        self.assertEqual(answer_in(client).status, 101)

    def test_many_interim_answers_in_one_read_are_skipped_too(self) -> None:
        world = World()
        client = world.ask()
        upstream = world.accept()
        world.send(upstream, b"HTTP/1.1 100 \r\n\r\n" * 1000 + SWITCHING)
        self.assertEqual(answer_in(client).status, 101)

    def test_interim_answers_count_for_the_size_of_the_head(self) -> None:
        world = World(evolve(ROUTE, retries=0))
        client = world.ask()
        upstream = world.accept()
        interim = b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 30_000 + b"\r\n\r\n"
        for _ in range(MAX_HEAD // len(interim) + 1):
            if not upstream.lost:
                world.send(upstream, interim)
        self.check_answer(world, client, 502)

    def test_a_name_is_resolved_and_a_unix_socket_is_dialled(self) -> None:
        world = World(upstreams=[UpstreamConfig("n", "ws://chat.internal:9000")])
        client = world.ask()
        self.assertEqual((world.dials[0].where, world.dials[0].port), ("127.0.0.1", 9000))
        world.send(world.accept(), SWITCHING)
        self.assertEqual(answer_in(client).status, 101)
        world = World(upstreams=[UpstreamConfig("u", "unix:/run/chat.sock")])
        client = world.ask()
        self.assertEqual(world.dials[0].where, "/run/chat.sock")
        world.send(world.accept(), SWITCHING)
        self.assertEqual(answer_in(client).status, 101)

    def test_a_client_on_a_unix_socket_has_no_address(self) -> None:
        world = World()
        client = world.client(UNIXAddress("/run/r.sock"))
        world.send(client, REQUEST)
        upstream = world.accept()
        self.assertNotIn(b"X-Forwarded-For", upstream.received)
        world.send(upstream, SWITCHING)
        self.assertEqual(world.observer.opened[0].client, "unix:")


class RetryTests(OpeningTestCase):
    """Another upstream is tried while none has answered."""

    def test_a_refused_connection_goes_to_the_next_and_is_answered_there(self) -> None:
        world = World()
        client = world.ask()
        world.refuse()
        self.assertEqual(world.names_dialled(), ["a", "b"])
        self.assertEqual(world.active, {"b": 1})
        world.send(world.accept(), SWITCHING)
        self.assertEqual(answer_in(client).status, 101)
        facts = world.observer.opened[0]
        self.assertEqual((facts.upstream, facts.attempts), ("b", 2))

    def test_after_retries_others_the_client_gets_a_502(self) -> None:
        for retries in (0, 1, 2):
            with self.subTest(retries=retries):
                world = World(evolve(ROUTE, retries=retries))
                client = world.ask()
                for _ in range(retries):
                    world.refuse()
                    self.assertEqual(client.received, b"")
                world.refuse()
                self.assertEqual(world.names_dialled(), list("abc")[: retries + 1])
                self.check_answer(world, client, 502)

    def test_when_no_other_is_left_the_last_problem_is_the_answer(self) -> None:
        world = World(upstreams=UPSTREAMS[:1])
        client = world.ask()
        world.refuse()
        self.check_answer(world, client, 502)

    def test_a_connection_that_is_not_accepted_in_time_is_called_off_and_answered_504(self) -> None:
        world = World(evolve(ROUTE, retries=1, connect_timeout=3.0))
        client = world.ask()
        world.advance(2.999)
        self.assertEqual(len(world.dials), 1)
        world.advance(0.001)
        self.assertEqual(world.names_dialled(), ["a", "b"])
        self.assertTrue(world.dials[0].called_off)
        world.advance(3)
        self.assertTrue(world.dials[1].called_off)
        self.check_answer(world, client, 504)

    def test_a_name_that_is_never_connected_is_called_off_too(self) -> None:
        world = World(upstreams=[UpstreamConfig("n", "ws://chat.internal:9000")])
        client = world.ask()
        world.advance(5)
        self.assertTrue(world.dials[0].called_off)
        self.check_answer(world, client, 504)

    def test_an_answer_that_does_not_come_in_time_is_answered_504(self) -> None:
        world = World(evolve(ROUTE, retries=0, upstream_handshake_timeout=7.0))
        client = world.ask()
        world.advance(4)
        upstream = world.accept()
        world.send(upstream, SWITCHING[:-1])
        world.advance(6.5)
        self.assertEqual(client.received, b"")
        world.advance(0.5)
        self.assertTrue(upstream.aborted)
        self.check_answer(world, client, 504)

    def test_an_upstream_that_is_lost_before_its_answer_counts_as_failed(self) -> None:
        world = World()
        world.ask()
        world.reset(world.accept())
        self.assertEqual(world.names_dialled(), ["a", "b"])
        self.assertEqual(world.active, {"b": 1})

    def test_an_invalid_answer_goes_to_the_next(self) -> None:
        bad_answers = {
            "wrong accept": SWITCHING.replace(b"Accept: ", b"Accept: x"),
            "no upgrade": SWITCHING.replace(b"Upgrade: websocket\r\n", b""),
            "a subprotocol nobody offered": SWITCHING[:-2] + b"Sec-WebSocket-Protocol: x\r\n\r\n",
            "no HTTP": b"220 mail.example.com ESMTP\r\n\r\n",
            "two lengths": b"HTTP/1.1 403 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "a huge head": b"HTTP/1.1 101 x\r\nX: " + b"x" * MAX_HEAD,
        }
        for name, answer in bad_answers.items():
            with self.subTest(name):
                world = World()
                client = world.ask()
                upstream = world.accept()
                world.send(upstream, answer)
                self.assertTrue(upstream.aborted)
                self.assertEqual(client.received, b"")
                self.assertEqual(world.names_dialled(), ["a", "b"])
                self.assertEqual(world.active, {"b": 1})
                world.send(world.accept(), SWITCHING)
                self.assertEqual(answer_in(client).status, 101)

    def test_failures_and_successes_are_noted_at_the_upstream(self) -> None:
        world = World(max_fails=1)
        world.ask()
        world.refuse()
        self.assertEqual(world.pool.upstreams[0].health, "down")
        world.send(world.accept(), SWITCHING)
        self.assertEqual(world.pool.upstreams[1].health, "up")

    def test_a_full_pool_is_answered_503(self) -> None:
        only = UpstreamConfig("a", "ws://192.0.2.100:9000", max_connections=1)
        world = World(upstreams=[only])
        world.establish()
        client = world.ask()
        self.assertEqual(answer_in(client).status, 503)
        self.assertEqual(len(world.dials), 1)


class RefusalTests(OpeningTestCase):
    """An upstream's answer that is no 101 is the client's answer."""

    def pass_on(self, *pieces: bytes) -> tuple[World, FakeTransport, FakeTransport]:
        world = World()
        client = world.ask()
        upstream = world.accept()
        for piece in pieces:
            world.send(upstream, piece)
        return world, client, upstream

    def check_over(self, world: World, client: FakeTransport, status: int) -> None:
        self.assertEqual(world.names_dialled(), ["a"])
        self.assertEqual(world.observer.refusals, [(status, "")])
        self.assertEqual(world.active, {})
        world.leave_all()
        world.assert_clean()

    def test_a_body_with_a_length_is_passed_on_and_then_both_connections_end(self) -> None:
        world, client, upstream = self.pass_on(NOT_FOUND[:-2], NOT_FOUND[-2:])
        answer = answer_in(client)
        self.assertEqual((answer.status, answer.body), (404, b"none"))
        self.assertEqual(answer.header(b"X-Kind"), b"mine")
        self.assertEqual(answer.header(b"Connection"), b"close")
        self.assertTrue(client.eof)
        self.assertTrue(upstream.aborted)
        self.check_over(world, client, 404)

    def test_every_piece_of_a_body_goes_at_once(self) -> None:
        world, client, upstream = self.pass_on(NOT_FOUND[:-4])
        self.assertEqual(answer_in(client).status, 404)
        world.send(upstream, b"no")
        self.assertEqual(answer_in(client).body, b"no")
        self.assertFalse(client.eof)
        self.assertEqual(world.active, {"a": 1})

    def test_a_chunked_body_is_passed_on_chunked(self) -> None:
        head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
        world, client, _ = self.pass_on(head, b"2\r\nno", b"\r\n3;x=y\r\npe!\r\n0\r\nT: x\r\n\r\n")
        answer = answer_in(client)
        self.assertEqual(answer.header(b"Transfer-Encoding"), b"chunked")
        self.assertEqual(answer.body, b"2\r\nno\r\n3\r\npe!\r\n0\r\n\r\n")
        self.assertTrue(client.eof)
        self.check_over(world, client, 403)

    def test_a_body_until_the_end_of_the_connection_ends_with_it(self) -> None:
        world, client, upstream = self.pass_on(b"HTTP/1.1 500 Oops\r\n\r\n", b"all ", b"broken")
        self.assertFalse(client.eof)
        world.end(upstream)
        self.assertEqual(answer_in(client).body, b"all broken")
        self.assertTrue(client.eof)
        self.check_over(world, client, 500)

    def test_an_answer_without_a_body_ends_at_once(self) -> None:
        world, client, _ = self.pass_on(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(answer_in(client).body, b"")
        self.assertTrue(client.eof)
        self.check_over(world, client, 204)

    def test_a_body_that_breaks_off_resets_the_client(self) -> None:
        for head in (
            NOT_FOUND[:-1],
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            with self.subTest(head=head):
                world, client, upstream = self.pass_on(head)
                world.end(upstream)
                self.assertTrue(client.aborted)
                self.assertFalse(client.eof)
                world.assert_clean()

    def test_a_reset_in_a_body_without_a_length_resets_the_client(self) -> None:
        world, client, upstream = self.pass_on(b"HTTP/1.1 500 Oops\r\n\r\nhalf of")
        world.reset(upstream)
        self.assertTrue(client.aborted)
        world.assert_clean()

    def test_broken_chunks_reset_the_client(self) -> None:
        world, client, upstream = self.pass_on(
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"
        )
        self.assertTrue(client.aborted)
        self.assertTrue(upstream.aborted)
        world.assert_clean()

    def test_a_body_that_stands_still_too_long_resets_the_client(self) -> None:
        world, client, upstream = self.pass_on(NOT_FOUND[:-4])
        world.advance(9.9)
        world.send(upstream, b"n")
        world.advance(9.9)
        self.assertFalse(client.aborted)
        world.advance(0.2)
        self.assertTrue(client.aborted)
        self.assertTrue(upstream.aborted)
        world.assert_clean()

    def test_bytes_behind_the_body_are_not_passed_on(self) -> None:
        _, client, _ = self.pass_on(NOT_FOUND + NOT_FOUND)
        self.assertEqual(answer_in(client).body, b"none")

    def test_a_client_that_leaves_in_the_body_ends_the_upstreams_connection(self) -> None:
        world, client, upstream = self.pass_on(NOT_FOUND[:-2])
        world.end(client)
        self.assertTrue(upstream.aborted)
        world.assert_clean()
        self.assertEqual(world.observer.refusals, [(404, "")])

    def test_a_client_that_takes_nothing_stops_the_upstream(self) -> None:
        world = World()
        client = world.ask()
        upstream = world.accept()
        client.stalled = True
        world.send(upstream, b"HTTP/1.1 500 Oops\r\n\r\n" + bytes(100_000))
        self.assertFalse(upstream.reading)
        client.stalled = False
        world.settle()
        self.assertTrue(upstream.reading)

    def test_what_the_client_sends_meanwhile_is_no_request(self) -> None:
        world, client, upstream = self.pass_on(NOT_FOUND[:-2])
        world.send(client, REQUEST)
        world.send(upstream, NOT_FOUND[-2:])
        world.send(client, REQUEST)
        self.assertEqual(answer_in(client).body, b"none")
        self.assertEqual(len(world.dials), 1)

    def test_a_client_that_does_not_go_is_aborted_after_a_while(self) -> None:
        world, client, _ = self.pass_on(NOT_FOUND)
        world.advance(CLIENT_PATIENCE)
        self.assertTrue(client.lost)
        world.assert_clean()

    def test_a_client_that_is_slow_does_not_cost_the_upstream_its_patience(self) -> None:
        world, client, upstream = self.pass_on(b"HTTP/1.1 403 No\r\nContent-Length: 300000\r\n\r\n")
        client.stalled = True
        world.send(upstream, bytes(200_000))
        self.assertFalse(upstream.reading)
        world.advance(CLIENT_PATIENCE - 1)
        self.assertFalse(client.lost, "the upstream could not go on")
        client.stalled = False
        world.send(upstream, bytes(100_000))
        world.advance(1)
        self.assertTrue(client.eof)

    def test_a_client_that_takes_nothing_of_a_body_is_aborted(self) -> None:
        world, client, upstream = self.pass_on(b"HTTP/1.1 403 No\r\nContent-Length: 300000\r\n\r\n")
        client.stalled = True
        world.send(upstream, bytes(200_000))
        world.advance(CLIENT_PATIENCE)
        self.assertTrue(client.lost)
        world.assert_clean()


class LeavingTests(OpeningTestCase):
    """A client that leaves before it is answered takes everything with it."""

    def check_left(self, world: World) -> None:
        world.assert_clean()
        self.assertEqual([status for status, _ in world.observer.refusals], [499])
        self.assertEqual(world.observer.opened, [])

    def test_while_the_upstream_is_dialled(self) -> None:
        for leave in (World.end, World.reset):
            with self.subTest(leave.__name__):
                world = World()
                leave(world, world.ask())
                self.assertTrue(world.dials[0].called_off)
                self.assertEqual(len(world.dials), 1)
                self.check_left(world)

    def test_while_a_name_is_dialled(self) -> None:
        world = World(upstreams=[UpstreamConfig("n", "ws://chat.internal:9000")])
        world.end(world.ask())
        self.assertTrue(world.dials[0].called_off)
        self.check_left(world)

    def test_while_the_upstream_thinks(self) -> None:
        world = World()
        client = world.ask()
        upstream = world.accept()
        world.end(client)
        self.assertTrue(upstream.aborted)
        self.check_left(world)

    def test_while_a_second_upstream_is_tried(self) -> None:
        world = World()
        client = world.ask()
        world.refuse()
        world.end(client)
        self.check_left(world)

    def test_while_the_balancer_thinks(self) -> None:
        cancelled: list[Any] = []
        world = World(balancer=lambda upstreams: Deferred(cancelled.append))
        world.end(world.ask())
        self.assertEqual(len(cancelled), 1)
        self.check_left(world)

    def test_before_its_request_is_complete(self) -> None:
        world = World()
        world.end(world.ask(REQUEST[:-1]))
        world.assert_clean()
        self.assertEqual(world.dials, [])

    def test_an_upstream_that_accepts_after_all_is_dropped(self) -> None:
        world = World()
        client = world.ask()
        dial = world.dials[0]
        dial.over = True  # it was accepted in the very moment in which it is called off
        world.end(client)
        late = FakeTransport()
        late.protocol = dial.factory.buildProtocol(None)
        late.protocol.makeConnection(late)
        self.assertTrue(late.aborted)
        self.assertEqual(late.received + late.dropped, b"")
        self.check_left(world)


class BalancerTests(OpeningTestCase):
    """Whatever a balancer does costs this one handshake only."""

    def test_an_exception_is_answered_500_and_logged(self) -> None:
        def broken(upstreams: Any) -> Any:
            raise RuntimeError("broken on purpose")

        world = World(balancer=broken)
        self.check_answer(world, world.ask(), 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_deferred_exception_is_answered_500_and_logged(self) -> None:
        world = World(balancer=lambda upstreams: fail(RuntimeError("broken on purpose")))
        self.check_answer(world, world.ask(), 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_none_is_answered_503(self) -> None:
        for answer in (lambda upstreams: None, lambda upstreams: succeed(None)):
            world = World(balancer=answer)
            self.check_answer(world, world.ask(), 503)

    def test_nonsense_is_answered_500(self) -> None:
        for nonsense in ("a", 7, object(), UPSTREAMS[0]):
            for wrap in (lambda value: value, succeed):
                with self.subTest(nonsense=nonsense, wrap=wrap):
                    world = World(balancer=lambda upstreams, n=nonsense, w=wrap: w(n))
                    self.check_answer(world, world.ask(), 500)
                    self.assertEqual(world.dials, [])

    def test_a_late_choice_is_used(self) -> None:
        choice: Deferred[Any] = Deferred()
        world = World(balancer=lambda upstreams: choice)
        client = world.ask()
        world.advance(9)
        self.assertEqual(world.dials, [])
        choice.callback(world.pool.upstreams[2])
        world.settle()
        self.assertEqual(world.names_dialled(), ["c"])
        world.send(world.accept(), SWITCHING)
        self.assertEqual(answer_in(client).status, 101)
        self.assertEqual(world.reactor.getDelayedCalls(), [])

    def test_a_choice_that_never_comes_is_answered_504_in_time(self) -> None:
        world = World(balancer=lambda upstreams: Deferred())
        client = world.ask()
        world.advance(9.999)
        self.assertEqual(client.received, b"")
        world.advance(0.001)
        self.check_answer(world, client, 504)

    def test_a_choice_after_the_answer_changes_nothing(self) -> None:
        choice: Deferred[Any] = Deferred(lambda _: None)
        world = World(balancer=lambda upstreams: choice)
        client = world.ask()
        world.advance(10)
        if not choice.called:
            choice.callback(world.pool.upstreams[0])
        self.assertEqual(world.dials, [])
        self.check_answer(world, client, 504)

    def test_it_is_asked_again_without_those_that_failed(self) -> None:
        world = World(balancer=lambda upstreams: upstreams[-1])
        client = world.ask()
        world.refuse()
        world.refuse()
        world.refuse()
        assert world.balancer is not None
        self.assertEqual(world.balancer.offers, [list("abcd"), list("abc"), list("ab")])
        self.check_answer(world, client, 502)

    def test_a_refusal_by_the_balancer_after_a_failure_is_answered_by_the_failure(self) -> None:
        answers = iter([0, None])
        world = World(balancer=lambda upstreams: None if next(answers) is None else upstreams[0])
        client = world.ask()
        world.refuse()
        self.check_answer(world, client, 502)


class OwnAnswerTests(OpeningTestCase):
    """What the relay answers without asking an upstream."""

    def check_early(self, request: bytes, status: int, world: World | None = None) -> None:
        world = world or World()
        client = world.ask(request)
        self.assertEqual(world.dials, [])
        self.check_answer(world, client, status)

    def test_a_malformed_request_is_answered_400(self) -> None:
        self.check_early(b"GET / HTTP/1.1\r\n\r\n", 400)
        self.check_early(REQUEST.replace(b"Host:", b"Host :"), 400)
        self.check_early(REQUEST.replace(KEY, b"short"), 400)

    def test_another_version_is_answered_426(self) -> None:
        world = World()
        client = world.ask(REQUEST.replace(b"Version: 13", b"Version: 8"))
        self.assertEqual(answer_in(client).header(b"Sec-WebSocket-Version"), b"13")
        self.check_answer(world, client, 426)

    def test_plain_http_is_answered_426_with_upgrade(self) -> None:
        world = World(evolve(ROUTE, http=False))
        client = world.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertEqual(answer_in(client).header(b"Upgrade"), b"websocket")
        self.check_answer(world, client, 426)

    def test_a_path_without_a_route_is_answered_404(self) -> None:
        self.check_early(REQUEST, 404, World(evolve(ROUTE, host="other.example.com")))

    def test_a_head_that_is_too_large_is_answered_431(self) -> None:
        listener = ListenerConfig("web", "tcp:8080", max_header_size=len(REQUEST))
        world = World(listener=listener)
        world.ask(REQUEST)
        self.assertEqual(len(world.dials), 1, "one of just that size passes")
        longer = REQUEST.replace(b"User-Agent: test", b"User-Agent: test5")
        self.check_early(longer, 431, World(listener=listener))
        self.check_early(longer[:-2] + b"X: ", 431, World(listener=listener))

    def test_a_head_that_is_too_slow_is_answered_408(self) -> None:
        world = World(listener=ListenerConfig("web", "tcp:8080", handshake_timeout=3.0))
        client = world.ask(REQUEST[:-1])
        world.advance(2)
        world.send(client, b"")
        world.advance(0.999)
        self.assertEqual(client.received, b"")
        world.advance(0.001)
        self.check_answer(world, client, 408)

    def test_a_head_that_is_completed_after_its_408_is_not_read(self) -> None:
        world = World()
        client = world.ask(REQUEST[:-1])
        world.advance(10)
        world.send(client, REQUEST[-1:])
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)
        self.assertEqual(world.dials, [])

    def test_a_complete_head_stops_the_clock_for_408(self) -> None:
        world = World(listener=ListenerConfig("web", "tcp:8080", handshake_timeout=3.0))
        client = world.ask()
        world.advance(4)
        self.assertEqual(client.received, b"")

    def test_while_draining_the_answer_is_503(self) -> None:
        world = World()
        world.relay.is_draining = True
        self.check_early(REQUEST, 503, world)

    def test_what_follows_a_refused_request_is_not_read_as_another(self) -> None:
        world = World(evolve(ROUTE, http=False))
        client = world.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + REQUEST)
        world.send(client, REQUEST)
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)
        self.assertEqual(world.dials, [])

    def test_a_refused_client_that_does_not_go_is_aborted_after_a_while(self) -> None:
        world = World(evolve(ROUTE, http=False))
        client = world.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        world.advance(LINGER - 0.001)
        self.assertFalse(client.lost)
        world.advance(0.001)
        self.assertTrue(client.aborted)
        world.assert_clean()

    def test_a_fault_of_the_relays_own_ends_that_client_only(self) -> None:
        world = World()
        with_fault = World()

        def broken(*_: Any) -> None:
            raise RuntimeError("broken on purpose")

        with_fault.relay.dialers = dict.fromkeys(with_fault.relay.dialers, _Broken(broken))
        client = with_fault.ask()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.check_answer(with_fault, client, 500)
        world.establish()


class _Broken:
    def __init__(self, dial: Any) -> None:
        self.dial = dial
