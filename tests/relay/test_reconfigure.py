"""A new configuration for a relay that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.relay.support import FakeTransport
from tests.relay.world import REQUEST, ROUTE, SWITCHING, UPSTREAMS, World, answer_in, close_code
from wsrelay import plugins
from wsrelay.config.model import (
    ListenerConfig,
    PluginCall,
    PoolConfig,
    Rate,
    RelayConfig,
    RouteConfig,
    StickyConfig,
    UpstreamConfig,
)
from wsrelay.interfaces import IAccessPolicy
from wsrelay.pools import choosing
from wsrelay.pools.pool import Pool
from wsrelay.relay import admission
from wsrelay.relay.reconfigure import prepare

A, B, C, D = UPSTREAMS
MISSING = Path("/none/such.pem")
SECURE = UpstreamConfig("s", "wss://192.0.2.110:9000")


@define(eq=False)
class Listening:
    """A balancer that remembers what it was told."""

    told: list[list[tuple[str, int]]] = field(factory=list)

    def choose(self, request: Any, upstreams: Any) -> Any:
        return upstreams[-1]

    def upstreams_changed(self, upstreams: Any) -> None:
        self.told.append([(each.name, each.weight) for each in upstreams])


@implementer(IAccessPolicy)
@define(eq=False)
class Policy:
    """A policy that lets everybody in, and counts."""

    asked: int = 0
    stopped: int = 0

    def admit(self, request: Any) -> None:
        self.asked += 1

    def stop(self) -> None:
        self.stopped += 1


def everything(relay: Any) -> Any:
    """Return what a new configuration may change, with the very objects."""
    pools = {
        name: (pool, pool.config, pool.balancer, pool.sticky, pool.upstreams, tuple(pool.gone))
        for name, pool in relay.pools.items()
    }
    upstreams = {
        each: (each.config, each.policy, each.weight, each.source)
        for pool in relay.pools.values()
        for each in pool.upstreams
    }
    routes = [(each, each.config, each.routes) for each in relay.listeners.values()]
    dialers, policies = dict(relay.dialers), dict(relay.policies)
    return relay.config, pools, upstreams, dialers, policies, routes, dict(relay.drains.running)


class ReconfigureTests(SynchronousTestCase):
    """One listener, one route and one pool, until something is changed."""

    def setUp(self) -> None:
        self.world = World(upstreams=[A, B], max_fails=3)
        self.relay = self.world.relay
        self.pool = self.world.pool
        self.changed: list[Pool] = []
        self.relay.on_members = self.changed.append

    @property
    def config(self) -> RelayConfig:
        return self.relay.config

    def apply(self, config: RelayConfig) -> list[str]:
        lines = prepare(self.relay, config).apply()
        self.world.settle()
        self.assertIs(self.relay.config, config)
        return lines

    def with_pool(self, **changes: Any) -> RelayConfig:
        """Return the configuration with another pool of the same name."""
        return evolve(self.config, pools=(evolve(self.config.pools[0], **changes),))

    def with_routes(self, *routes: RouteConfig) -> RelayConfig:
        return evolve(self.config, routes=routes)

    def establish(self, path: bytes = b"/chat") -> tuple[FakeTransport, FakeTransport]:
        client = self.world.ask(REQUEST.replace(b"/chat", path))
        upstream = self.world.accept()
        self.world.send(upstream, SWITCHING)
        for leg in (client, upstream):
            leg.received.clear()
        return client, upstream

    def check_untouched(self, pair: tuple[FakeTransport, FakeTransport]) -> None:
        for leg in pair:
            self.assertEqual(bytes(leg.received), b"")
            self.assertFalse(leg.eof or leg.aborted)

    # what cannot be used

    def check_refused(self, config: RelayConfig, why: str) -> None:
        pair = self.establish()
        before = everything(self.relay)
        with self.assertRaisesRegex(ValueError, why):
            prepare(self.relay, config)
        self.assertEqual(everything(self.relay), before)
        self.assertEqual(self.changed, [])
        self.check_untouched(pair)
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_a_bad_balancer_changes_nothing(self) -> None:
        changed = self.with_pool(
            balancer=PluginCall("hash", {"key": "nonsense"}), upstreams=(C,), slow_start=3.0
        )
        self.check_refused(changed, "key=nonsense")

    def test_a_bad_balancer_of_a_new_pool_changes_nothing(self) -> None:
        changed = self.with_pool(upstreams=(C,))
        bad = PoolConfig("other", (D,), PluginCall("none-such"))
        self.check_refused(evolve(changed, pools=(*changed.pools, bad)), "none-such")

    def test_a_bad_tls_file_changes_nothing(self) -> None:
        changed = self.with_pool(upstreams=(C, SECURE), tls_ca=MISSING)
        self.check_refused(changed, str(MISSING))

    def test_a_bad_tls_file_of_a_new_pool_changes_nothing(self) -> None:
        bad = PoolConfig("other", (SECURE,), tls_ca=MISSING)
        self.check_refused(evolve(self.config, pools=(*self.config.pools, bad)), str(MISSING))

    # nothing new

    def test_an_equal_configuration_changes_nothing(self) -> None:
        pair = self.establish()
        before = everything(self.relay)
        routes = self.world.listener.routes
        self.assertEqual(self.apply(evolve(self.config)), [])
        after = everything(self.relay)
        self.assertEqual(after[:4], before[:4])
        self.assertIsNot(self.world.listener.routes, routes)
        self.assertEqual(self.changed, [])
        self.check_untouched(pair)
        self.assertEqual(self.relay.drains.running, {})

    def test_what_was_changed_at_runtime_stays(self) -> None:
        a, b = self.pool.upstreams
        a.weight, b.state = 7, "drain"
        extra = self.pool.set_members("api", (C,))
        self.relay.members_changed(self.pool, extra)
        self.relay.members_changed(self.pool, self.pool.hide("b"))
        self.assertEqual(self.apply(evolve(self.config)), [])
        self.apply(self.with_pool(fail_timeout=99.0))
        self.assertEqual(
            [(each.name, each.weight) for each in self.pool.upstreams], [("a", 7), ("c", 1)]
        )

    # pools

    def test_pools_come_and_go_with_their_routes(self) -> None:
        old = self.establish()
        self.world.advance(0)
        config = evolve(
            self.config,
            pools=(PoolConfig("new", (C,), PluginCall("first")),),
            routes=(RouteConfig("chat", "new", keepalive=None),),
        )
        lines = self.apply(config)
        self.assertEqual(lines, ["pool new added", "route chat: pool changed", "pool pool removed"])
        self.assertEqual(set(self.relay.pools), {"new"})
        self.assertEqual({each.name for each in self.relay.dialers}, {"c"})
        self.assertEqual(self.changed[0].name, "new")
        self.assertIn(self.pool, self.changed)
        self.assertEqual([close_code(leg) for leg in old], [1012, 1012])
        self.establish()
        self.assertEqual(self.world.names_dialled(), ["a", "c"])

    def test_the_sessions_of_a_removed_pool_are_kept_where_it_says_so(self) -> None:
        self.apply(self.with_pool(on_removed="keep"))
        pair = self.establish()
        upstream = self.pool.upstreams[0]
        other = PoolConfig("new", (C,), PluginCall("first"))
        self.apply(evolve(self.config, pools=(other,), routes=(evolve(ROUTE, pool="new"),)))
        self.check_untouched(pair)
        self.assertEqual((upstream.source, upstream.active), ("gone", 1))
        self.assertEqual(self.pool.gone, [upstream])

    def test_upstreams_come_go_and_change_in_words_and_deeds(self) -> None:
        pairs = [self.establish()]
        a, b = self.pool.upstreams
        a.state = "drain"
        pairs.append(self.establish())
        a.state = "ready"
        changed = (evolve(A, weight=5, max_connections=10), C)
        lines = self.apply(self.with_pool(upstreams=changed))
        self.assertEqual(
            lines,
            [
                "pool pool: upstream c added",
                "pool pool: upstream b removed",
                "pool pool: upstream a changed (weight 1 to 5)",
            ],
        )
        self.assertIs(self.pool.upstreams[0], a)
        self.assertEqual((a.weight, a.max_connections, a.active), (5, 10, 1))
        self.assertEqual(set(self.relay.dialers), set(self.pool.upstreams))
        self.assertEqual(self.changed, [self.pool])
        self.check_untouched(pairs[0])
        self.assertEqual([close_code(leg) for leg in pairs[1]], [1012, 1012])
        self.assertEqual((b.source, b.active), ("gone", 1))

    def test_an_upstream_that_is_added_begins_slowly_and_no_other(self) -> None:
        self.apply(self.with_pool(slow_start=10.0))
        self.apply(self.with_pool(upstreams=(A, B, C)))
        turns = [[each.takes_turn() for _ in range(10)] for each in self.pool.upstreams]
        self.assertEqual(turns, [[True] * 10, [True] * 10, [False] * 10])

    def test_an_upstream_with_another_url_is_another_upstream(self) -> None:
        pair = self.establish()
        a = self.pool.upstreams[0]
        moved = evolve(A, url="ws://192.0.2.200:9000")
        lines = self.apply(self.with_pool(upstreams=(moved, B)))
        self.assertEqual(lines, ["pool pool: upstream a added", "pool pool: upstream a removed"])
        self.assertIsNot(self.pool.upstreams[0], a)
        self.assertEqual([close_code(leg) for leg in pair], [1012, 1012])
        self.establish()
        self.assertEqual(self.world.names_dialled(), ["a", "192.0.2.200"])

    def test_an_upstream_that_comes_back_keeps_its_sessions_and_is_connected_to(self) -> None:
        pairs = [self.establish(), self.establish()]
        a = self.pool.upstreams[0]
        self.apply(self.with_pool(upstreams=(B,)))
        self.assertEqual(len(self.relay.drains.running), 1)
        told = [pair for pair in pairs if close_code(pair[0]) is not None]
        self.assertEqual(len(told), 1)
        self.assertEqual(
            self.apply(self.with_pool(upstreams=(A, B))), ["pool pool: upstream a added"]
        )
        self.assertIs(self.pool.upstreams[0], a)
        self.assertEqual((a.active, a.source), (2, "file"))
        self.assertEqual(self.relay.drains.running, {})
        self.world.advance(60)
        self.check_untouched(next(pair for pair in pairs if pair not in told))
        self.establish()
        self.assertEqual(self.world.names_dialled()[-1], "a")

    def test_a_handshake_under_way_ends_as_it_would_have(self) -> None:
        client = self.world.ask()
        upstream = self.world.accept()
        lines = self.apply(self.with_pool(fail_timeout=1.0))
        self.assertEqual(lines, ["pool pool: fail_timeout changed"])
        self.world.send(upstream, SWITCHING)
        self.assertEqual(answer_in(client).status, 101)
        self.assertEqual(bytes(upstream.received).count(b"HTTP/1.1"), 1)

    def test_options_of_a_pool_count_at_once(self) -> None:
        lines = self.apply(
            self.with_pool(max_fails=1, fail_timeout=1.0, sticky=StickyConfig(name="stay"))
        )
        self.assertEqual(lines, ["pool pool: sticky, max_fails, fail_timeout changed"])
        self.assertEqual(self.changed, [self.pool])
        a = self.pool.upstreams[0]
        a.failed("refused")
        self.assertEqual(a.health, "down")
        self.world.advance(1)
        self.assertEqual(a.health, "unknown")
        client = self.world.ask()
        self.world.send(self.world.accept(), SWITCHING)
        self.assertIn(b"stay=", answer_in(client).header(b"Set-Cookie") or b"")

    # balancers

    def test_a_new_balancer_is_told_of_everybody_once_and_is_asked(self) -> None:
        new = Listening()
        old = self.pool.balancer = Listening()
        self.patch(choosing, "make_balancer", lambda call, reactor: new)
        lines = self.apply(self.with_pool(balancer=PluginCall("round-robin")))
        self.assertEqual(lines, ["pool pool: balancer changed"])
        self.assertEqual((new.told, old.told), ([[("a", 1), ("b", 1)]], []))
        self.establish()
        self.assertEqual(self.world.names_dialled(), ["b"])

    def test_a_new_balancer_and_new_upstreams_are_told_once(self) -> None:
        new = Listening()
        self.patch(choosing, "make_balancer", lambda call, reactor: new)
        self.apply(
            self.with_pool(balancer=PluginCall("round-robin"), upstreams=(evolve(A, weight=2), C))
        )
        self.assertEqual(new.told, [[("a", 2), ("c", 1)]])

    def test_a_balancer_that_stays_keeps_what_it_knows(self) -> None:
        self.patch(plugins, "make_balancer", None)
        balancer = self.pool.balancer = Listening()
        self.apply(self.with_pool(upstreams=(A, B, C)))
        self.assertIs(self.pool.balancer, balancer)
        self.assertEqual(balancer.told, [[("a", 1), ("b", 1), ("c", 1)]])
        self.apply(self.with_pool(fail_timeout=3.0))
        self.assertEqual(len(balancer.told), 1)

    # routes

    def test_routes_are_exchanged_and_sessions_of_those_that_stay_are_untouched(self) -> None:
        pair = self.establish()
        session = next(iter(self.relay.sessions.values()))
        lines = self.apply(self.with_routes(evolve(ROUTE, retries=0, host="chat.example.com")))
        self.assertEqual(lines, ["route chat: host, retries changed"])
        self.check_untouched(pair)
        self.assertIs(next(iter(self.relay.sessions.values())), session)
        client = self.world.ask(REQUEST.replace(b"chat.example.com", b"other.example.com"))
        self.assertEqual(answer_in(client).status, 404)

    def test_the_sessions_of_a_route_that_is_removed_are_drained_and_no_others(self) -> None:
        other = RouteConfig(
            "other", "pool", path=evolve(ROUTE.path, value="/other"), keepalive=None
        )
        self.assertEqual(self.apply(self.with_routes(ROUTE, other)), ["route other added"])
        chat, others = self.establish(), self.establish(b"/other")
        self.assertEqual(self.apply(self.with_routes(ROUTE)), ["route other removed"])
        self.check_untouched(chat)
        self.assertEqual([close_code(leg) for leg in others], [1012, 1012])
        cause = [each.cause for each in self.relay.sessions.values() if each.cause]
        self.assertEqual([each.initiator for each in cause], ["relay:removed"])
        self.apply(self.with_routes(other))
        self.assertEqual([close_code(leg) for leg in chat], [1012, 1012])

    def test_the_sessions_of_a_removed_route_stay_where_its_pool_says_keep(self) -> None:
        self.apply(self.with_pool(on_removed="keep"))
        pair = self.establish()
        self.apply(self.with_routes(evolve(ROUTE, name="another")))
        self.check_untouched(pair)
        self.assertEqual(self.relay.drains.running, {})

    def test_a_handshake_under_way_on_a_route_that_is_removed_is_drained_too(self) -> None:
        self.establish()
        self.establish()
        client = self.world.ask()
        upstream = self.world.accept()
        self.apply(self.with_routes(evolve(ROUTE, name="another")))
        self.world.send(upstream, SWITCHING)
        self.world.advance(self.config.drain_timeout)
        head, _, frames = bytes(client.received).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101"))
        self.assertEqual(frames[2:4], (1012).to_bytes(2, "big"))

    def test_each_listener_gets_its_own_routes(self) -> None:
        self.relay.make_listener(ListenerConfig("inside", "tcp:8081"))
        self.apply(self.with_routes(evolve(ROUTE, listeners=("inside",))))
        tables = {name: each.routes for name, each in self.relay.listeners.items()}
        self.assertIsNone(tables["web"].match("chat.example.com", "/chat"))
        self.assertIsNotNone(tables["inside"].match("chat.example.com", "/chat"))

    # how sessions end

    def test_the_new_configuration_says_how_fast_what_it_removes_is_drained(self) -> None:
        for change in ("upstream", "route", "pool"):
            with self.subTest(change=change):
                self.setUp()
                for _ in range(3):
                    self.establish()
                config = evolve(self.config, drain_timeout=90.0, drain_rate=Rate(2.0, 1))
                if change == "upstream":
                    config = evolve(config, pools=(evolve(config.pools[0], upstreams=(B,)),))
                elif change == "route":
                    config = evolve(config, routes=(evolve(ROUTE, name="another"),))
                else:
                    new = PoolConfig("new", (C,))
                    config = evolve(config, pools=(new,), routes=(evolve(ROUTE, pool="new"),))
                self.apply(config)
                [closing] = self.relay.drains.running.values()
                self.assertEqual((closing.terms.timeout, closing.terms.rate), (90.0, Rate(2.0, 1)))

    # TLS

    def test_tls_files_of_upstreams_are_read_again_each_time(self) -> None:
        self.apply(self.with_pool(upstreams=(A, SECURE), tls_verify=False))
        a, secure = (self.relay.dialers[each] for each in self.pool.upstreams)
        self.assertEqual(self.apply(evolve(self.config)), [])
        self.assertIs(self.relay.dialers[self.pool.upstreams[0]], a)
        self.assertIsNot(self.relay.dialers[self.pool.upstreams[1]], secure)

    # what comes back, and what is in the middle of something

    def test_sessions_of_a_route_that_comes_back_go_on_and_new_ones_are_left_alone(self) -> None:
        before = self.config
        pairs = [self.establish() for _ in range(3)]
        self.apply(self.with_routes(evolve(ROUTE, name="other")))
        closed = [pair for pair in pairs if close_code(pair[0]) is not None]
        self.assertEqual(len(closed), 1)
        self.apply(before)
        newcomer = self.establish()
        self.world.advance(60)
        for pair in pairs:
            if pair not in closed:
                self.check_untouched(pair)
        self.check_untouched(newcomer)

    def test_who_connected_to_a_listener_that_is_gone_is_led_by_the_new_routes(self) -> None:
        client = self.world.client()
        pool = evolve(self.config.pools[0], name="another")
        self.relay.listeners.clear()  # as `Listeners.change` does
        self.apply(evolve(self.with_routes(evolve(ROUTE, pool="another")), pools=(pool,)))
        self.world.send(client, REQUEST)
        self.assertEqual(len(self.world.dials), 1)
        (opening,) = self.relay.openings
        self.assertEqual(opening.pool.name, "another")

    def test_who_waits_for_a_pool_that_is_removed_is_told_to_come_again(self) -> None:
        self.apply(self.with_pool(queue_timeout=30.0))
        for upstream in self.pool.upstreams:
            upstream.state = "down"
        client = self.world.ask()
        self.assertEqual(len(self.pool.line), 1)
        pool = evolve(self.config.pools[0], name="another")
        self.apply(evolve(self.with_routes(evolve(ROUTE, pool="another")), pools=(pool,)))
        self.assertEqual(answer_in(client).status, 503)
        self.assertEqual(len(self.pool.line), 0)

    def test_another_order_is_told_to_the_balancer(self) -> None:
        told = self.listen()
        lines = self.apply(self.with_pool(upstreams=(B, A)))
        self.assertEqual(lines, ["pool pool: upstreams are in another order"])
        self.assertEqual(told.told, [[("b", 1), ("a", 1)]])

    # policies

    def make_policies(self) -> dict[PluginCall, Policy]:
        """Let policies be made, one for each call; returns them as they come."""
        made: dict[PluginCall, Policy] = {}

        def make(call: PluginCall, reactor: Any) -> Any:
            if call.name == "bad":
                raise ValueError("no such policy as bad")
            return made.setdefault(call, Policy())

        self.patch(admission, "make_policy", make)
        return made

    def test_new_policies_are_asked_and_old_ones_are_stopped(self) -> None:
        made = self.make_policies()
        one, two = PluginCall("one"), PluginCall("two")
        lines = self.apply(self.with_routes(evolve(ROUTE, policies=(one,))))
        self.assertEqual(lines, ["route chat: policies changed"])
        self.world.ask()
        self.apply(self.with_routes(evolve(ROUTE, policies=(two,))))
        self.world.ask()
        self.assertEqual((made[one].asked, made[one].stopped), (1, 1))
        self.assertEqual((made[two].asked, made[two].stopped), (1, 0))
        self.apply(self.with_routes(ROUTE))
        self.world.ask()
        self.assertEqual((made[two].asked, made[two].stopped), (1, 1))
        self.assertEqual(self.relay.policies, {})

    def test_policies_that_stay_keep_what_they_know(self) -> None:
        made = self.make_policies()
        one = PluginCall("one")
        self.apply(self.with_routes(evolve(ROUTE, policies=(one,))))
        before = self.relay.policies["chat"]
        self.apply(self.with_routes(evolve(ROUTE, policies=(one,), retries=5)))
        self.assertIs(self.relay.policies["chat"], before)
        self.assertEqual(made[one].stopped, 0)

    def test_a_bad_policy_changes_nothing(self) -> None:
        self.make_policies()
        route = evolve(ROUTE, policies=(PluginCall("one"), PluginCall("bad")))
        self.check_refused(self.with_routes(route), "no such policy as bad")

    def listen(self) -> Listening:
        balancer: Any = Listening()
        self.pool.balancer = balancer
        return balancer
