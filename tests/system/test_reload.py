"""A new relay.ini and SIGHUP: what it does not name anew goes on as if nothing had happened."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.peers.certificates import Authority
from tests.peers.upstreams import own_url, start_upstream
from tests.support import RelayProcess, require, started_relay
from tests.system.crowd import Crowd
from tests.system.several import Several
from tests.system.support import (
    LOCAL,
    RawUpstream,
    Stage,
    answer_close,
    check_log_is_calm,
    fd_count,
    rss,
    wait_until,
)
from wsrelay.relay.pumps import why_not_native

pytestmark = pytest.mark.peers

RELOADS = 50
WARM_UP = 10
GROWTH = {"native": 2 * 1024 * 1024, "python": 8 * 1024 * 1024}
"""
Bytes that a relay may grow by after `WARM_UP` reloads.

Measured: 0.1 to 0.7 MB with the native pump.  With the Python pump what is under way at the
moment is in Python's memory: 1 to 5 MB, and more or less the same without reloads.
"""


@define(eq=False)
class Papers:
    """The certificate that the relay's file names, which is another one after each `rotate`."""

    folder: Path
    authority: Authority = field(init=False)
    context: ssl.SSLContext = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.authority = Authority(self.folder)
        self.context = ssl.create_default_context(cafile=str(self.authority.certificate()))
        self.rotate()

    def rotate(self) -> bytes:
        """Write a new certificate in the place of the old one, and return it."""
        pair = self.authority.issue("relay.test")
        pair.certificate.replace(self.folder / "relay.pem")
        pair.key.replace(self.folder / "relay.key")
        return ssl.PEM_cert_to_DER_cert((self.folder / "relay.pem").read_text())

    def connect(self, port: int) -> ssl.SSLSocket:
        """Connect by TLS."""
        plain = socket.create_connection(("127.0.0.1", port), 20)
        return self.context.wrap_socket(plain, server_hostname="relay.test")

    def shown(self, port: int) -> bytes | None:
        """Return the certificate that a new client is shown."""
        with self.connect(port) as client:
            return client.getpeercert(binary_form=True)


@pytest.fixture(scope="module")
def four() -> Iterator[dict[str, RawUpstream]]:
    listening = {name: RawUpstream.tcp() for name in "abcd"}
    yield listening
    for each in listening.values():
        each.close()


@define(eq=False)
class Plan:
    """What relay.ini says in each turn: everything changes but the listeners and route main."""

    data_path: str
    url: str
    four: dict[str, RawUpstream]

    def weights(self, turn: int) -> dict[str, int]:
        return {"a": 1 + turn % 3, "b": 1 + turn % 2}

    def leaving(self, turn: int) -> str:
        """Return which upstream the pool of that name has."""
        return "cd"[turn % 2]

    def text(self, turn: int) -> str:
        rows = [
            f"[relay]\ndata_path = {self.data_path}\ndrain_timeout = {turn % 2}00ms",
            f"[listener:plain]\nendpoint = {LOCAL}",
            f"[listener:tls]\nendpoint = {LOCAL}\ncertificate = relay.pem\nkey = relay.key",
            f"[route:main]\npool = main\n[pool:main]\nupstreams = {self.url}",
            f"[route:other]\npath = /other\npool = other\nidle_timeout = {turn + 1}h",
            f"[pool:other]\nbalancer = round-robin\nmax_fails = {turn}\nupstreams =",
        ]
        for name, weight in self.weights(turn).items():
            rows.append(f"  {self.four[name].url} name={name} weight={weight}")
        name = self.leaving(turn)
        rows.append("[route:leaving]\npath = /leaving\npool = leaving")
        rows.append(f"[pool:leaving]\nupstreams = {self.four[name].url} name={name}")
        rows.append(f"[route:guest{turn % 2}]\npath = /guest{turn % 2}\npool = guests")
        rows.append(f"[pool:guests]\nupstreams = {self.four['d'].url} name=d")
        if turn % 2:
            rows.append(f"[listener:odd]\nendpoint = {LOCAL}")
        return "\n".join([*rows, "[log]\nformat = json"])


@define(eq=False)
class Reloads:
    """Reloads one relay again and again, and checks what should have come of it."""

    relay: RelayProcess
    plan: Plan
    papers: Papers
    several: Several
    turn: int = field(default=0, init=False)

    def reload(self) -> None:
        """Write the next relay.ini, and check that it is so, down to the last detail."""
        _, *guest = self.several.begin(b"/guest%d" % (self.turn % 2))
        name, *leaving = self.several.begin(b"/leaving")
        assert name == self.plan.leaving(self.turn)
        self.turn += 1
        certificate = self.papers.rotate()
        self.relay.reload(self.plan.text(self.turn))
        answer_close(*guest, reason=b"the route is removed")
        answer_close(*leaving, reason=b"the upstream is removed")
        assert self.papers.shown(self.relay.ports["tls"]) == certificate
        weights = self.plan.weights(self.turn)
        assert Counter(self.several.names(b"/other", sum(weights.values()))) == weights


@pytest.mark.parametrize("data_path", ["native", "python"])
def test_500_sessions_talk_through_50_reloads_of_everything_else(
    data_path: str, four: dict[str, RawUpstream], tmp_path: Path
) -> None:
    require(data_path == "python" or not why_not_native(), "the native pump was not built")
    papers = Papers(tmp_path)
    with start_upstream("websockets") as echo:
        plan = Plan(data_path, own_url(echo), four)
        with started_relay(plan.text(0), tmp_path) as relay, Crowd() as crowd:
            ports = dict(relay.ports)
            stage = Stage(relay, four["a"])
            reloads = Reloads(relay, plan, papers, Several(stage, four))
            crowd.join(lambda: socket.create_connection(("127.0.0.1", ports["plain"])), 250)
            crowd.join(lambda: papers.connect(ports["tls"]), 250)
            crowd.hears(crowd.talkers, 5)
            descriptors = fd_count(relay.pid)
            for _ in range(WARM_UP):
                reloads.reload()
            before = rss(relay.pid)
            for _ in range(RELOADS - WARM_UP):
                reloads.reload()
            growth = rss(relay.pid) - before
            crowd.hears(crowd.talkers, 5)
            assert [each.trouble for each in crowd.talkers if each.trouble] == []
            assert not any(each.close or each.is_over for each in crowd.talkers)
            wait_until(lambda: fd_count(relay.pid) <= descriptors, "the end of all other sessions")
            assert growth < GROWTH[data_path]
            stage.close()
            log = relay.log()
    assert log.count("reload: pool other: upstream a changed") == RELOADS
    check_log_is_calm(log)
