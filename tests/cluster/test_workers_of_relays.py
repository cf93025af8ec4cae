"""Two relays of two processes each: all four count together, and each relay speaks for its two."""

from __future__ import annotations

from pathlib import Path

from tests.support import free_port, started_relay
from tests.system.admin import Admin
from tests.system.support import RawUpstream, wait_until
from wsrelay.cluster.order import Order

from .support import Visitor, is_up, relay_ini, running_redis, several_relays

UPSTREAMS = "/api/pools/main/upstreams"
POOL = "[pool:main]\nmax_fails = 0\nupstreams = {}"
ROUTE = "[route:ten]\npath = /ten\npool = main\nconnections_per_ip = 10"


def test_workers_of_several_relays_count_and_follow_orders_together(tmp_path: Path) -> None:
    upstream = RawUpstream.tcp()
    pool = f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url} name=a"
    with running_redis() as redis:
        text = "[relay]\nworkers = 2\n" + relay_ini(redis.url, [ROUTE], pool)
        with several_relays(2, text, tmp_path) as relays:
            wait_until(lambda: redis.ask("ZCARD", "wsrelay:alive") == 6, "that all take part")
            wait_until(lambda: all(map(is_up, relays)), "that Redis is there")
            visitor = Visitor(upstream, "10.4.0.1")
            found = [visitor.come(relays[number % 2], b"/ten") for number in range(15)]
            assert found == [101] * 10 + [429] * 5
            first, second = map(Admin.of, relays)

            def seen() -> list[int]:
                return [each["sessions"] for each in first.get("/api/cluster")["relays"]]

            wait_until(lambda: seen() == [5, 5], "that both say how many they have")
            first.order("PATCH", "/api/pools/main/upstreams/a", {"weight": 7, "state": "drain"})
            second.wait_for("main", "a", weight=7, state="drain")
            visitor.leave()
            wait_until(lambda: not redis.counts("ten", "10.4.0.1"), "that all is given back")
            second.order("PATCH", "/api/pools/main/upstreams/a", {"state": "ready"})
            first.wait_for("main", "a", state="ready")
            wait_until(lambda: visitor.come(relays[0], b"/ten") == 101, "that workers have heard")
            visitor.leave()
    upstream.close()


def test_workers_follow_orders_about_upstreams_that_come_later(tmp_path: Path) -> None:
    upstream = RawUpstream.tcp()
    away = f"ws://127.0.0.1:{free_port()}"
    with running_redis() as redis:
        for name in "afg":
            order = Order("state", "main", name, "drain", 1, "other")
            redis.ask("HSET", "wsrelay:orders", order.about, order.text)
        text = "[relay]\nworkers = 2\n" + relay_ini(
            redis.url, [ROUTE], POOL.format(f"{away} name=a")
        )
        with started_relay(text, tmp_path) as relay:
            admin, visitor = Admin.of(relay), Visitor(upstream, "10.4.0.2")
            admin.wait_for("main", "a", state="drain")
            admin.order("POST", UPSTREAMS, {"upstream": f"{away} name=f"}, status=201)
            admin.wait_for("main", "f", state="drain")
            assert [visitor.come(relay, b"/ten") for _ in range(4)] == [503] * 4
            two = f"\n    {away} name=a\n    {upstream.url} name=g"
            relay.reload(text.replace(f"{away} name=a", two), "upstream g added")
            admin.wait_for("main", "g", state="drain")
            assert [visitor.come(relay, b"/ten") for _ in range(4)] == [503] * 4
            admin.order("PATCH", f"{UPSTREAMS}/g", {"state": "ready"})
            assert visitor.come(relay, b"/ten") == 101
            visitor.leave()
    upstream.close()
