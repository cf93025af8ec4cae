"""A pool with a sticky cookie, three real upstreams, and clients that keep their cookies."""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from attrs import define, field

from tests.peers.certificates import Authority
from tests.peers.upstreams import run
from tests.support import RelayProcess, started_relay
from tests.system.echo import Echo
from tests.system.secure import connect_tls
from tests.system.support import LOCAL, RawUpstream, Stage, handshake, wait_until

pytestmark = pytest.mark.peers

VISITS = 50


@pytest.fixture(scope="module")
def three() -> Iterator[dict[str, Echo]]:
    echoes = {name: Echo() for name in "abc"}
    yield echoes
    for each in echoes.values():
        each.process.stop()


def sticky_ini(three: dict[str, Echo], *more: str, sticky: str = "cookie") -> str:
    rows = [
        f"[listener:main]\nendpoint = {LOCAL}",
        "[route:main]\npool = main",
        f"[pool:main]\nbalancer = round-robin\nmax_fails = 1\nsticky = {sticky}\nupstreams =",
        *(f"    {echo.url} name={name}" for name, echo in three.items()),
        *more,
    ]
    return "\n".join(rows) + "\n"


@define(eq=False)
class Visitor:
    """A browser: its jar keeps the cookies from one visit to the next."""

    relay: RelayProcess
    three: dict[str, Echo]
    jar: aiohttp.CookieJar
    visits: int = field(default=0, init=False)

    async def visit(self) -> str:
        """Say something to an upstream, and return which one it was."""
        self.visits += 1
        path = f"/echo?{id(self)}-{self.visits}"
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession(cookie_jar=self.jar) as session,
            session.ws_connect(self.relay.url + path) as client,
        ):
            await client.send_str("hello")
            assert await client.receive_str() == "hello"
        found: str = wait_until(
            lambda: next((n for n, e in self.three.items() if path in e.process.log()), ""),
            "a word of an upstream",
        )
        return found

    @property
    def cookies(self) -> dict[str, str]:
        return {each.key: each.value for each in self.jar}

    async def lands(self, times: int) -> set[str]:
        """Return where it landed."""
        return {await self.visit() for _ in range(times)}


def test_a_client_that_comes_back_lands_where_it_was_through_a_restart_of_the_relay_too(
    three: dict[str, Echo], tmp_path: Path
) -> None:
    async def visits(relay: RelayProcess, jar: aiohttp.CookieJar | None) -> aiohttp.CookieJar:
        visitor = Visitor(relay, three, jar or aiohttp.CookieJar(unsafe=True))
        landed.update(await visitor.lands(VISITS // 2))
        assert set(visitor.cookies) == {"wsrelay", "a", "b"}  # the upstreams', too
        values.add(visitor.cookies["wsrelay"])
        strangers = [Visitor(relay, three, aiohttp.CookieJar(unsafe=True)) for _ in range(3)]
        assert {await each.visit() for each in strangers} == set(three)
        return visitor.jar

    landed, values, jar = set[str](), set[str](), None
    for _ in range(2):
        with started_relay(sticky_ini(three), tmp_path) as relay:
            jar = run(visits(relay, jar))
    assert len(landed) == 1
    assert len(values) == 1


def test_a_client_whose_upstream_died_lands_on_another_one_and_stays_there(
    three: dict[str, Echo], tmp_path: Path
) -> None:
    async def visits() -> None:
        visitor = Visitor(relay, three, aiohttp.CookieJar(unsafe=True))
        first = await visitor.visit()
        cookie = visitor.cookies["wsrelay"]
        three[first].end(signal.SIGKILL)
        second = await visitor.visit()
        assert second != first
        assert visitor.cookies["wsrelay"] != cookie
        assert await visitor.lands(5) == {second}
        three[first].start()
        assert await visitor.lands(5) == {second}

    with started_relay(sticky_ini(three), tmp_path) as relay:
        run(visits())


def test_a_reload_keeps_clients_where_they_are_while_there_is_a_place(
    three: dict[str, Echo], tmp_path: Path
) -> None:
    async def visits() -> None:
        visitor = Visitor(relay, three, aiohttp.CookieJar(unsafe=True))
        first = await visitor.visit()
        relay.reload(sticky_ini(three).replace("round-robin", "least-connections"), "balancer")
        assert await visitor.lands(5) == {first}
        others = {name: echo for name, echo in three.items() if name != first}
        relay.reload(sticky_ini(others), "removed")
        (second,) = await visitor.lands(5)
        assert second != first
        relay.reload(sticky_ini(three, sticky="cookie name=other"), "sticky")
        assert len(await visitor.lands(5)) == 1
        assert "other" in visitor.cookies
        relay.reload(sticky_ini(three, sticky="off"), "sticky")
        assert await visitor.lands(6) == set(three)

    with started_relay(sticky_ini(three), tmp_path) as relay:
        run(visits())


def cookie_in(head: bytes, name: bytes = b"wsrelay") -> set[str]:
    """Return the attributes of the relay's Set-Cookie, in small letters."""
    (found,) = re.findall(rb"\r\nSet-Cookie: %b=[^;]+; ([^\r]+)" % name, head, re.IGNORECASE)
    return {part.strip().lower() for part in found.decode().split(";")}


def test_the_cookie_is_secure_on_a_tls_listener_and_only_there(
    three: dict[str, Echo], upstream: RawUpstream, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("relay.test")
    context = ssl.create_default_context(cafile=str(authority.certificate()))
    rows = f"certificate = {pair.certificate}\nkey = {pair.key}"
    config = sticky_ini(three, f"[listener:tls]\nendpoint = {LOCAL}\n{rows}")
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        heads = []
        for client in (stage.connect("main"), connect_tls(stage, context)):
            client.send(handshake(b"/echo"))
            heads.append(client.read_head())
            assert heads[-1].startswith(b"HTTP/1.1 101 ")
        stage.close()
    plain, secure = map(cookie_in, heads)
    assert plain == {"path=/", "httponly", "samesite=lax"}
    assert secure == {*plain, "secure"}


def test_a_cookie_that_was_made_up_is_replaced(
    three: dict[str, Echo], upstream: RawUpstream, tmp_path: Path
) -> None:
    with started_relay(sticky_ini(three), tmp_path) as relay:
        stage = Stage(relay, upstream)
        for value in (b"a", b"1.zzz.AAAA", b'"1.1.\xff"', b"1." + b"9" * 5000 + b".x"):
            client = stage.ask(b"/echo", b"Cookie: x=1; wsrelay=%b" % value)
            head = client.read_head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert cookie_in(head)
        stage.close()
