"""Orders and the status of several relays, with a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.support import RelayProcess, free_port, started_relay
from tests.system.admin import Admin
from tests.system.support import wait_until

from .support import RedisBox, is_up, relay_ini, running_redis, several_relays, wait_for_cluster

ROUTES = ("[route:chat]\npool = chat", "[route:game]\npath = /game\npool = game")


def pools(*chat: str) -> str:
    lines = "".join(f"\n    ws://127.0.0.1:{free_port()} name={each}" for each in chat)
    game = f"\n    ws://127.0.0.1:{free_port()} name=g1\n    ws://127.0.0.1:{free_port()} name=g2"
    return f"[pool:chat]\nupstreams ={lines}\n[pool:game]\nupstreams ={game}"


@frozen
class Place:
    redis: RedisBox
    relays: list[RelayProcess]
    text: str

    @property
    def admins(self) -> list[Admin]:
        return [Admin.of(each) for each in self.relays]

    def agree(self, pool: str, name: str, **facts: object) -> None:
        """Wait until all relays say the same of an upstream."""
        for admin in self.admins:
            admin.wait_for(pool, name, **facts)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        text = relay_ini(redis.url, ROUTES, pools("a", "b", "c", "d", "e"))
        folder = tmp_path_factory.mktemp("relays")
        relays = stack.enter_context(several_relays(3, text, folder))
        wait_for_cluster(*relays)
        for relay in relays:
            relay.wait_for_words("Redis, for orders, at")
        yield Place(redis, relays, text)


def patch(admin: Admin, pool: str, name: str, **wanted: Any) -> None:
    admin.order("PATCH", f"/api/pools/{pool}/upstreams/{name}", wanted)


def test_an_order_holds_on_all_relays_and_says_whose_it_was(place: Place) -> None:
    first, second, third = place.admins
    patch(first, "chat", "a", state="drain", weight=7)
    place.agree("chat", "a", state="drain", weight=7)
    name = first.get("/api/cluster")["name"]
    for relay in place.relays[1:]:
        relay.wait_for_words(f"chat/a drain, by order of relay {name}")
    patch(third, "chat", "a", state="ready")
    place.agree("chat", "a", state="ready", weight=7)
    assert f"by order of relay {name}" not in place.relays[0].log()
    assert second.upstream("chat", "b")["state"] == "ready"


def test_a_drained_pool_is_drained_everywhere_and_so_is_who_comes_later(place: Place) -> None:
    first, second, _ = place.admins
    first.order("POST", "/api/pools/game/drain")
    place.agree("game", "g1", state="drain")
    place.agree("game", "g2", state="drain")
    patch(second, "game", "g1", state="ready")
    place.agree("game", "g1", state="ready")
    second.order("POST", "/api/pools/game/ready")
    place.agree("game", "g2", state="ready")


def test_a_relay_that_starts_later_follows_what_was_ordered_before(
    place: Place, tmp_path: Path
) -> None:
    first = place.admins[0]
    patch(first, "chat", "b", state="down")
    patch(first, "chat", "c", weight=5)
    first.order("POST", "/api/pools/game/drain")
    patch(first, "game", "g2", state="ready")
    place.agree("chat", "b", state="down")
    with started_relay(place.text, tmp_path) as late:
        admin = Admin.of(late)
        admin.wait_for("chat", "b", state="down")
        admin.wait_for("chat", "c", weight=5)
        admin.wait_for("game", "g1", state="drain")
        admin.wait_for("game", "g2", state="ready")
        patch(admin, "chat", "b", state="ready")
        place.agree("chat", "b", state="ready")
    first.order("POST", "/api/pools/game/ready")
    place.agree("game", "g1", state="ready")


def test_an_order_waits_for_what_it_is_about(place: Place) -> None:
    """Upstream f is added at one relay, drained there, and comes to the others later."""
    first, second, third = place.admins
    url = f"ws://127.0.0.1:{free_port()} name=f"
    first.order("POST", "/api/pools/chat/upstreams", {"upstream": url}, status=201)
    patch(first, "chat", "f", state="drain")
    patch(first, "chat", "d", state="drain")  # what comes after it has been heard
    place.agree("chat", "d", state="drain")
    assert "f" not in second.upstreams("chat")
    second.order("POST", "/api/pools/chat/upstreams", {"upstream": url}, status=201)
    second.wait_for("chat", "f", state="drain")
    assert "f" not in third.upstreams("chat")


def test_every_relay_knows_all_of_them(place: Place, tmp_path: Path) -> None:
    admins = place.admins
    seen = wait_until(
        lambda: (found := admins[0].get("/api/cluster")) and len(found["relays"]) == 3 and found,
        "that all relays are seen",
    )
    assert seen["up"] is True
    assert seen["redis"] == f"redis://127.0.0.1:{place.redis.port}/0"
    names = {admin.get("/api/cluster")["name"] for admin in admins}
    assert {each["name"] for each in seen["relays"]} == names
    assert {each["pid"] for each in seen["relays"]} == {each.pid for each in place.relays}
    for each in seen["relays"]:
        assert each["ready"] is True
        assert each["age_s"] < 10
        assert {pool["name"] for pool in each["pools"]} == {"chat", "game"}
    wait_until(
        lambda: all(admin.metric("wsrelay_cluster_relays") == 3 for admin in admins),
        "that all relays count three",
    )
    with started_relay(place.text, tmp_path) as fourth:
        wait_until(lambda: len(admins[2].get("/api/cluster")["relays"]) == 4, "that a fourth comes")
        fourth.terminate()
        fourth.wait()
    wait_until(lambda: len(admins[2].get("/api/cluster")["relays"]) == 3, "that it is gone", 5)


def test_orders_are_heard_where_they_are_written(place: Place) -> None:
    """A new primary is found by the connection that writes; the other one may live on."""

    def hearing() -> set[bytes]:
        lines = place.redis.ask("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
        return {line.split()[0] for line in lines}

    before = hearing()
    assert len(before) == 3
    place.redis.ask("CLIENT", "KILL", "TYPE", "normal")
    wait_until(lambda: len(hearing() - before) == 3, "that all listen anew")


def test_relays_that_were_apart_agree_again_when_redis_comes_back_empty(place: Place) -> None:
    first, second, third = place.admins
    patch(first, "chat", "e", state="drain")
    place.agree("chat", "e", state="drain")
    place.redis.kill()
    wait_until(lambda: not any(map(is_up, place.relays)), "that Redis is missed")
    assert first.get("/api/cluster")["problem"]
    patch(first, "chat", "a", state="down")
    patch(second, "chat", "b", state="drain")
    patch(first, "chat", "e", state="ready")  # given apart, and first
    patch(third, "chat", "e", state="down")  # given apart, and last
    assert second.upstream("chat", "a")["state"] == "ready"
    place.redis.start()
    place.agree("chat", "a", state="down")
    place.agree("chat", "b", state="drain")
    place.agree("chat", "e", state="down")
    assert place.redis.ask("HLEN", "wsrelay:orders") >= 3
