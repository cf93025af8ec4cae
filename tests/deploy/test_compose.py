"""deploy/compose: its files fit together, and its relays relay to its upstreams."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.cluster.support import running_redis, several_relays, wait_for_cluster
from tests.deploy.support import DEPLOY, documents
from tests.support import PROJECT, Process, RelayProcess, free_port
from tests.system.admin import Admin
from tests.system.support import LOCAL
from wsrelay.config import Checks, parse
from wsrelay.config.model import RelayConfig

FOLDER = DEPLOY / "compose"
RELAY_INI = (FOLDER / "relay.ini").read_text("utf-8")
SERVICES: dict[str, dict[str, Any]] = documents(FOLDER / "compose.yaml")[0]["services"]
RELAYS = [name for name in SERVICES if name.startswith("relay-")]
UPSTREAMS = ["amber", "cobalt", "jade"]
OURS = [*RELAYS, *UPSTREAMS]


def config() -> RelayConfig:
    return parse(RELAY_INI.encode(), "relay.ini", FOLDER, {}, Checks())


def test_there_are_two_relays_three_upstreams_and_redis() -> None:
    assert list(SERVICES) == ["relay-a", "relay-b", "amber", "cobalt", "jade", "redis"]


def test_what_relay_ini_names_is_a_service_that_listens_there() -> None:
    (pool,) = config().pools
    assert [each.name for each in pool.upstreams] == UPSTREAMS
    for upstream in pool.upstreams:
        service = SERVICES[upstream.name]
        listen = service["entrypoint"][service["entrypoint"].index("--listen") + 1]
        assert upstream.url == f"ws://{upstream.name}:{listen.removeprefix('tcp:')}"
        assert service["command"] == ["--name", upstream.name]
    (redis,) = re.findall(r"(?m)^redis = redis://(\w+):6379$", RELAY_INI)
    assert redis in SERVICES


def test_the_relays_are_reached_on_different_ports_of_this_machine_only() -> None:
    (listener,) = config().listeners
    inside = listener.endpoint.removeprefix("tcp:")
    published = [SERVICES[name]["ports"] for name in RELAYS]
    assert published == [[f"127.0.0.1:8080:{inside}"], [f"127.0.0.1:8081:{inside}"]]
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == RELAYS


def test_the_relays_have_the_file_where_the_image_looks_for_it() -> None:
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    (folder,) = re.findall(r"(?m)^WORKDIR (/etc/\S+)$", dockerfile)
    for name in RELAYS:
        assert SERVICES[name]["volumes"] == [f"./relay.ini:{folder}/relay.ini:ro"]


def test_the_image_is_built_from_the_dockerfile() -> None:
    for name in OURS:
        build = SERVICES[name]["build"]
        context = (FOLDER / build["context"]).resolve()
        assert context == PROJECT
        assert (context / build["dockerfile"]).is_file()


def test_nobody_waits_for_a_service_that_says_nothing_of_its_health() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            checks = "test" in SERVICES[name].get("healthcheck", {})
            assert how["condition"] == ("service_healthy" if checks else "service_started")


def test_a_relay_is_given_the_time_to_drain() -> None:
    read = config()
    closing = max(route.close_timeout for route in read.routes)
    for name in RELAYS:
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert read.drain_timeout + closing < grace


def test_containers_have_no_rights_and_write_nothing() -> None:
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[list[RelayProcess]]:
    """Run the upstreams, Redis and both relays on loopback."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        text = RELAY_INI.replace("redis://redis:6379", redis.url)
        text = text.replace("tcp:9000", "tcp:0").replace("tcp:8080", LOCAL)
        for name in UPSTREAMS:
            port, service = free_port(), SERVICES[name]
            words = [*service["entrypoint"], *service["command"]]
            local = [each.replace("tcp:3000", f"tcp:{port}:interface=127.0.0.1") for each in words]
            upstream = stack.enter_context(Process([sys.executable, *local[1:]]))
            upstream.wait_for_words("listens")
            text = text.replace(f"ws://{name}:3000", f"ws://127.0.0.1:{port}")
        yield stack.enter_context(several_relays(len(RELAYS), text, folder))


def test_both_relays_reach_every_upstream_and_follow_each_others_drains(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        relays = stack.enter_context(scene(tmp_path))
        wait_for_cluster(*relays)
        for relay in relays:
            reached = set()
            for _ in UPSTREAMS:
                client = stack.enter_context(connect(f"{relay.url}/echo"))
                client.send("hello")
                assert client.recv(10) == "hello"
                assert client.response is not None
                reached.add(client.response.headers["X-Upstream"])
            assert reached == set(UPSTREAMS)
        here, there = map(Admin.of, relays)
        path = "/api/pools/upstreams/upstreams/cobalt"
        here.order("PATCH", path, {"state": "drain"})
        there.wait_for("upstreams", "cobalt", state="drain")
