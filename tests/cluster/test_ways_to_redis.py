"""Users with few rights, passwords, TLS and unix sockets, with a real Redis."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.peers.certificates import Authority
from tests.support import PROJECT, RelayProcess, free_port
from tests.system.admin import Admin
from tests.system.support import RawUpstream, wait_until

from .polling import Poller, open_session, poll
from .support import RedisBox, Visitor, is_up, relay_ini, running_redis, several_relays

PASSWORD = "s3cr/et"
ROUTES = (
    "[route:io]\npool = io",
    "[route:two]\npath = /two\npool = raw\nconnections_per_ip = 2\nhandshakes_per_ip = 9/s",
)


def rules() -> list[str]:
    """Return the rights that the page says a relay needs."""
    page = (PROJECT / "docs" / "cluster.rst").read_text("utf-8")
    (found,) = re.findall(r"ACL SETUSER wsrelay (on .*?)\n\n", page, re.DOTALL)
    return [each.replace(">s3cret", f">{PASSWORD}") for each in found.split()]


def works(redis: RedisBox, url: str, folder: Path) -> Iterator[RelayProcess]:
    """Do with a relay all that it needs a Redis for, and yield it afterwards."""
    with ExitStack() as stack:
        raw = RawUpstream.tcp()
        stack.callback(raw.close)
        poller = stack.enter_context(Poller("a"))
        other = f"ws://127.0.0.1:{free_port()} name=b"
        pools = (
            f"[pool:io]\nbalancer = sticky-sid\nupstreams =\n    {poller.line}\n    {other}",
            f"[pool:raw]\nmax_fails = 0\nupstreams = {raw.url}",
        )
        text = relay_ini(url, ROUTES, *pools)
        one, two = relays = stack.enter_context(several_relays(2, text, folder))
        wait_until(lambda: all(map(is_up, relays)), "that Redis is there")
        visitor = Visitor(raw, "10.3.0.1")
        assert [visitor.come(each, b"/two") for each in (one, two, one)] == [101, 101, 429]
        visitor.leave()
        wait_until(lambda: not redis.counts("two", "10.3.0.1"), "that all is given back")
        sid = open_session(one)
        wait_until(lambda: redis.ask("EXISTS", f"wsrelay:session:io:{sid}"), "that it is written")
        assert poll(two, sid) == (200, b"a")
        Admin.of(one).order("PATCH", "/api/pools/io/upstreams/b", {"state": "drain"})
        Admin.of(two).wait_for("io", "b", state="drain")
        wait_until(
            lambda: Admin.of(one).metric("wsrelay_cluster_relays") == 2, "that both are seen"
        )
        for relay in relays:
            for kind in ("refused", "protocol"):
                assert Admin.of(relay).metric("wsrelay_cluster_errors_total", kind=kind) == 0
        yield one
        one.terminate()
        one.wait()
        wait_until(lambda: redis.ask("HLEN", "wsrelay:reports") == 1, "that it says goodbye")


def test_a_user_with_the_rights_that_the_page_names_can_do_all(tmp_path: Path) -> None:
    with running_redis() as redis:
        redis.ask("ACL", "SETUSER", "wsrelay", *rules())
        url = f"redis://wsrelay:s3cr%2Fet@127.0.0.1:{redis.port}"
        for relay in works(redis, url, tmp_path):
            shown = f"{relay.log()}{Admin.of(relay).get('/api/cluster')}{Admin.of(relay).status()}"
            assert "s3cr" not in shown
            assert f"redis://127.0.0.1:{redis.port}/0" in shown
        assert redis.ask("ACL", "LOG") == []


def test_none_of_these_rights_is_too_much(tmp_path: Path) -> None:
    """Each of the commands was used in the test above, by itself or by a script."""
    with running_redis() as redis:
        for _ in works(redis, redis.url, tmp_path):
            words = redis.ask("INFO", "commandstats").decode()
        used = set(re.findall(r"cmdstat_([a-z|]+):", words))
    named = {each[1:] for each in rules() if each.startswith("+")}
    # Users and databases are another matter; an order is taken back after a day, if at all.
    assert named - used <= {"auth", "select", "ping", "zrem"}


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    authority = Authority(folder)
    ca, pair = authority.certificate(), authority.issue("127.0.0.1")
    port = free_port()
    files = ("--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key))
    more = ("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    with running_redis(*more) as redis:
        for _ in works(redis, f"rediss://127.0.0.1:{port}/0?ca={ca}", tmp_path):
            pass
        text = relay_ini(f"rediss://127.0.0.1:{port}", ROUTES[:1], "[pool:io]\nupstreams = ws://a")
        other = tmp_path / "other"
        other.mkdir()
        with several_relays(1, text, other) as (relay,):
            relay.wait_for_words("is away")
            assert not is_up(relay)


def test_a_unix_socket_with_a_password_and_another_database() -> None:
    with TemporaryDirectory() as name:
        path = f"{name}/redis.sock"
        with running_redis("--unixsocket", path, "--requirepass", PASSWORD) as redis:
            text = relay_ini(
                f"unix://:s3cr%2Fet@{path}?db=3", ROUTES[:1], "[pool:io]\nupstreams = ws://a"
            )
            with several_relays(1, text, Path(name)) as (relay,):
                wait_until(lambda: is_up(relay), "that Redis is there")
                assert "s3cr" not in relay.log()
                with pytest.raises(AssertionError, match="NOAUTH"):
                    redis.ask("KEYS", "*")


def test_what_listens_there_and_never_answers_costs_no_client_anything(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(5)
        raw = RawUpstream.tcp()
        text = relay_ini(
            f"redis://127.0.0.1:{deaf.getsockname()[1]}",
            ROUTES[1:],
            f"[pool:raw]\nupstreams = {raw.url}",
        )
        with several_relays(1, text, tmp_path) as (relay,):
            visitor = Visitor(raw, "10.3.0.2")
            assert [visitor.come(relay, b"/two") for _ in range(3)] == [101, 101, 429]
            relay.wait_for_words("is away: it did not answer within 2 s")
            visitor.leave()
        raw.close()
