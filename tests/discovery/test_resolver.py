"""Names looked up at real name servers on loopback, one of them a process of its own."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.names import dns
from twisted.names.dns import AAAA, SRV, A
from twisted.trial.unittest import TestCase

from tests.support import Process, free_port
from wsrelay.config.model import PluginCall, UpstreamConfig
from wsrelay.discovery import resolver
from wsrelay.discovery.resolver import Answer, LookupFailed, Resolver, read_servers
from wsrelay.discovery.source import Source

NAME = b"chat.test"
HERE = "127.0.0.1"


@define
class DnsServer:
    """A DNS server in a process of its own; see `tests.discovery.dns_server`."""

    process: Process = field(init=False)
    port: int = field(init=False)
    orders: int = 0

    def __attrs_post_init__(self) -> None:
        self.process = Process([sys.executable, "-m", "tests.discovery.dns_server"])
        self.port = self.process.wait_for_event(event="listens")[1]["port"]

    def order(self, **what: object) -> None:
        """Change what it does, and wait until it does so."""
        self.orders += 1
        self.process.write_line(json.dumps({**what, "number": self.orders}))
        self.process.wait_for_event(event="done", number=self.orders)

    def records(self, *records: list[Any], name: str = NAME.decode()) -> None:
        """Let *name* be all there is, and have these records."""
        self.order(records={name: records})

    def was_asked(self) -> list[str]:
        """Return each kind of record that it was asked for, and how."""
        self.order()  # so that all that was printed before has arrived
        lines = [json.loads(line) for line in self.process.log().splitlines()]
        return [f"{each['kind']} by {each['over']}" for each in lines if each["event"] == "asked"]


class Impostor(DatagramProtocol):
    """Answers each question with what a test wants, one datagram after the other."""

    noisy = False

    def __init__(self, answers: Callable[[dns.Message], list[bytes]]) -> None:
        self.answers = answers

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802
        question = dns.Message()
        question.fromStr(datagram)
        for answer in self.answers(question):
            self.transport.write(answer, addr)


def answer_to(question: dns.Message, address: str, **changes: Any) -> bytes:
    message = dns.Message(question.id, answer=1)
    message.queries = question.queries
    message.answers = [dns.RRHeader(NAME, A, ttl=9, payload=dns.Record_A(address))]
    for attribute, value in changes.items():
        setattr(message, attribute, value)
    return message.toStr()


def addresses(answer: Answer) -> list[str]:
    family = {4: socket.AF_INET, 16: socket.AF_INET6}
    raw = [each.address for each in answer.records]
    return sorted(socket.inet_ntop(family[len(each)], each) for each in raw)


class NameServerTests(TestCase):
    """On the real reactor, whose cleanliness trial checks: no socket or timer is left."""

    timeout = 60

    def be_impatient(self, *seconds: float) -> None:
        """Wait so long for a server that is silent; where one answers in the end, last long."""
        self.patch(resolver, "PATIENCE", seconds)
        self.patch(resolver, "TCP_PATIENCE", seconds[-1])

    def start_server(self) -> DnsServer:
        server = DnsServer()
        self.addCleanup(server.process.stop)
        return server

    def start_impostor(
        self, answers: Callable[[dns.Message], list[bytes]], interface: str = HERE
    ) -> int:
        port = reactor.listenUDP(0, Impostor(answers), interface=interface)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def ask(self, *ports: int, kind: int = A) -> Deferred[Answer]:
        return Resolver(reactor, tuple((HERE, port) for port in ports)).ask(NAME, kind)

    async def failure(self, *ports: int) -> str:
        try:
            answer = await self.ask(*ports)
        except LookupFailed as error:
            return str(error)
        raise AssertionError(f"it has not failed but found {answer}")

    def log_texts(self) -> DeferredQueue[str]:
        """Return what discoveries log from now on."""
        texts: DeferredQueue[str] = DeferredQueue()

        def observe(event: dict[str, Any]) -> None:
            if "about" in event:
                texts.put(event.get("text", ""))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return texts

    def start_source(self, call: PluginCall) -> DeferredQueue[tuple[UpstreamConfig, ...]]:
        changes: DeferredQueue[tuple[UpstreamConfig, ...]] = DeferredQueue()
        self.source = Source("chat", call, reactor, changes.put)
        self.source.start()
        self.addCleanup(self.source.stop)
        return changes


class ResolverTests(NameServerTests):
    """One question."""

    async def test_addresses_of_both_families_are_found(self) -> None:
        server = self.start_server()
        server.records(["A", "10.0.0.1"], ["A", "10.0.0.2"], ["AAAA", "2001:db8::1"])
        found = await self.ask(server.port)
        assert addresses(found) == ["10.0.0.1", "10.0.0.2"]
        assert found.ttl == 1
        assert addresses(await self.ask(server.port, kind=AAAA)) == ["2001:db8::1"]

    async def test_no_such_name_and_no_such_record_are_answers(self) -> None:
        server = self.start_server()
        server.records(["AAAA", "2001:db8::1"])
        assert await self.ask(server.port) == Answer()
        server.records(["A", "10.0.0.1"], name="other.test")
        assert await self.ask(server.port) == Answer()

    async def test_an_alias_is_followed_and_its_time_to_live_counts(self) -> None:
        def answers(question: dns.Message) -> list[bytes]:
            alias = dns.RRHeader(NAME, dns.CNAME, ttl=5, payload=dns.Record_CNAME(b"a.test"))
            address = dns.RRHeader(b"a.test", A, ttl=9, payload=dns.Record_A("10.0.0.1"))
            return [answer_to(question, "10.0.0.9", answers=[alias, address])]

        found = await self.ask(self.start_impostor(answers))
        assert (addresses(found), found.ttl) == (["10.0.0.1"], 5)

    async def test_srv_records_are_found(self) -> None:
        server = self.start_server()
        server.records(["SRV", 10, 5, 9000, "a.test"])
        (record,) = (await self.ask(server.port, kind=SRV)).records
        found = (record.priority, record.weight, record.port, record.target.name)
        assert found == (10, 5, 9000, b"a.test")

    async def test_an_answer_that_is_too_long_for_a_datagram_is_fetched_by_tcp(self) -> None:
        server = self.start_server()
        many = [f"10.0.0.{number}" for number in range(1, 61)]
        server.records(*[["A", each] for each in many])
        assert addresses(await self.ask(server.port)) == sorted(many)
        assert server.was_asked() == ["A by udp", "A by tcp"]
        await deferToThread(server.process.wait_for_event, event="closed")

    async def test_a_named_server_is_asked_whatever_the_hosts_file_says(self) -> None:
        server = self.start_server()
        asked = Resolver(reactor, ((HERE, server.port),)).ask(b"localhost", A)
        assert await asked == Answer()
        assert server.was_asked() == ["A by udp"]

    async def test_a_cut_answer_is_never_taken_for_the_whole(self) -> None:
        server = self.start_server()
        server.records(*[["A", f"10.0.0.{number}"] for number in range(1, 61)])
        server.order(tcp="silent")
        self.patch(resolver, "TCP_PATIENCE", 0.2)
        assert await self.failure(server.port) == (
            f"name server 127.0.0.1:{server.port} does not answer"
        )
        server.order(tcp="servfail")
        self.patch(resolver, "TCP_PATIENCE", 20.0)
        assert (await self.failure(server.port)).endswith(" answered SERVFAIL")
        everyone = self.start_impostor(lambda question: [answer_to(question, "10.0.0.1", trunc=1)])
        assert "Connection was refused" in await self.failure(everyone)

    async def test_a_server_that_is_silent_or_fails_is_told_of(self) -> None:
        self.be_impatient(0.2, 0.2)
        server = self.start_server()
        for mode, what in [
            ("silent", "does not answer"),
            ("servfail", "answered SERVFAIL"),
            ("refused", "answered REFUSED"),
        ]:
            server.order(udp=mode)
            assert await self.failure(server.port) == f"name server 127.0.0.1:{server.port} {what}"

    async def test_nobody_there_is_told_at_once(self) -> None:
        self.be_impatient(3600.0)
        port = free_port()
        assert await self.failure(port) == (
            f"name server 127.0.0.1:{port} cannot be asked: Connection refused"
        )

    async def test_the_next_server_is_asked_whatever_the_first_one_does(self) -> None:
        self.be_impatient(0.1, 0.4, 20.0)
        bad, good = self.start_server(), self.start_server()
        good.records(["A", "10.0.0.1"])
        for mode in ("silent", "servfail", "refused"):
            bad.order(udp=mode)
            assert addresses(await self.ask(bad.port, good.port)) == ["10.0.0.1"]
        assert addresses(await self.ask(free_port(), good.port)) == ["10.0.0.1"]

    async def test_a_lost_datagram_is_sent_again(self) -> None:
        self.be_impatient(0.1, 20.0)
        asked: list[int] = []

        def answers(question: dns.Message) -> list[bytes]:
            asked.append(question.id)
            return [answer_to(question, "10.0.0.1")] if len(asked) > 1 else []

        assert addresses(await self.ask(self.start_impostor(answers))) == ["10.0.0.1"]

    async def test_only_an_answer_to_the_question_counts(self) -> None:
        def answers(question: dns.Message) -> list[bytes]:
            other_name, other_kind = [dns.Query(b"a.test", A)], [dns.Query(NAME, AAAA)]
            return [
                b"",
                b"\0" * 12,
                bytes([0xC0]) * 40,
                answer_to(question, "10.0.0.1", id=question.id ^ 1),
                answer_to(question, "10.0.0.2", answer=0),
                answer_to(question, "10.0.0.3", queries=other_name),
                answer_to(question, "10.0.0.4", queries=other_kind),
                answer_to(question, "10.0.0.5")[:-3],
                answer_to(question, "10.0.0.9"),
            ]

        assert addresses(await self.ask(self.start_impostor(answers))) == ["10.0.0.9"]

    async def test_a_name_server_may_have_an_ipv6_address(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("there is no IPv6 on this machine")
        port = self.start_impostor(lambda question: [answer_to(question, "10.0.0.1")], "::1")
        assert addresses(await Resolver(reactor, (("::1", port),)).ask(NAME, A)) == ["10.0.0.1"]

    async def test_a_question_can_be_cancelled_wherever_it_is(self) -> None:
        self.be_impatient(3600.0)
        server = self.start_server()
        server.records(*[["A", f"10.0.0.{number}"] for number in range(1, 61)])
        for over in ("udp", "tcp"):
            server.order(**{"udp": "answer", "tcp": "answer", over: "silent"})
            asked = self.ask(server.port)
            arrived = partial(server.process.wait_for_event, event="asked", over=over)
            await deferToThread(arrived)
            asked.cancel()
            await self.assertFailure(asked, CancelledError)
        await deferToThread(server.process.wait_for_event, event="closed")

    async def test_nothing_is_logged(self) -> None:
        server = self.start_server()
        server.records(*[["A", f"10.0.0.{number}"] for number in range(1, 61)])
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.ask(server.port)
        assert server.was_asked() == ["A by udp", "A by tcp"]
        assert events == []


class DiscoveryTests(NameServerTests):
    """A pool's discovery with a real name server."""

    async def test_upstreams_follow_the_addresses_of_a_name(self) -> None:
        server = self.start_server()
        server.records(["A", "10.0.0.2"], ["A", "10.0.0.1"])
        changes = self.start_source(self.dns(server))
        assert await self.names(changes) == ["10.0.0.1:9000", "10.0.0.2:9000"]
        server.records(["A", "10.0.0.3"], ["A", "10.0.0.1"])
        assert await self.names(changes) == ["10.0.0.1:9000", "10.0.0.3:9000"]

    async def test_both_families_are_upstreams(self) -> None:
        server = self.start_server()
        server.records(["A", "10.0.0.1"], ["AAAA", "2001:db8::1"])
        changes = self.start_source(self.dns(server, family="any"))
        while await self.names(changes) != ["10.0.0.1:9000", "[2001:db8::1]:9000"]:
            pass

    async def test_while_dns_fails_the_last_answer_stays(self) -> None:
        server = self.start_server()
        server.records(["A", "10.0.0.1"])
        changes, log = self.start_source(self.dns(server)), self.log_texts()
        await changes.get()
        for mode, what in [("silent", "does not answer"), ("servfail", "answered SERVFAIL")]:
            self.be_impatient(0.2, 0.2)
            server.order(udp=mode)
            assert f"{what}; what was known stays" in await log.get()
            assert what in self.source.problem
        server.order(udp="answer")
        while await log.get():
            pass
        assert self.source.problem == ""
        assert changes.pending == []
        server.records(["A", "10.0.0.2"])
        assert await self.names(changes) == ["10.0.0.2:9000"]

    async def test_while_there_is_no_such_name_the_last_answer_stays(self) -> None:
        server = self.start_server()
        server.records(["A", "10.0.0.1"])
        changes, log = self.start_source(self.dns(server, every="1s")), self.log_texts()
        await changes.get()
        server.records()
        text = "there is no upstream in the answer; the last answer (1 upstreams) stays"
        assert await log.get() == text
        server.records(["A", "10.0.0.1"])
        assert await log.get() == ""
        assert changes.pending == []

    async def test_a_service_is_followed_with_priorities_and_weights(self) -> None:
        server = self.start_server()
        server.records(["SRV", 10, 3, 9000, "a.test"], ["SRV", 20, 0, 9001, "b.test"])
        options = {"name": NAME.decode(), "resolver": f"127.0.0.1:{server.port}", "every": "1s"}
        changes = self.start_source(PluginCall("srv", options))
        assert await changes.get() == (
            UpstreamConfig("a.test:9000", "ws://a.test:9000", weight=3),
            UpstreamConfig("b.test:9001", "ws://b.test:9001", backup=True),
        )
        server.records(["SRV", 20, 0, 9001, "b.test"])
        assert await changes.get() == (UpstreamConfig("b.test:9001", "ws://b.test:9001"),)

    async def test_sixty_addresses_are_sixty_upstreams(self) -> None:
        server = self.start_server()
        server.records(*[["A", f"10.0.0.{number}"] for number in range(1, 61)])
        changes = self.start_source(self.dns(server))
        assert await self.names(changes) == [f"10.0.0.{number}:9000" for number in range(1, 61)]

    def dns(self, server: DnsServer, **options: str) -> PluginCall:
        own = {"resolver": f"127.0.0.1:{server.port}", "family": "4"}
        return PluginCall("dns", {"name": NAME.decode(), "port": "9000", **own, **options})

    async def names(self, changes: DeferredQueue[tuple[UpstreamConfig, ...]]) -> list[str]:
        return [each.name for each in await changes.get()]


# What the system's files say


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Resolver]:
    """What makes a resolver that reads these files."""

    def make(hosts: str = "", resolv_conf: str = "", **more: Any) -> Resolver:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(resolv_conf)
        return Resolver(
            Clock(), resolv_conf=tmp_path / "resolv.conf", hosts=tmp_path / "hosts", **more
        )

    return make


def answered_at_once(asked: Deferred[Answer]) -> Answer:
    answers: list[Answer] = []
    asked.addCallback(answers.append)
    (answer,) = answers
    return answer


def test_the_hosts_file_comes_first_and_nobody_is_asked(files) -> None:
    asked = files("10.0.0.1 a Chat.Test # x\n10.0.0.2 chat.test\n2001:db8::1 chat.test\n")
    assert addresses(answered_at_once(asked.ask(NAME, A))) == ["10.0.0.1", "10.0.0.2"]
    assert addresses(answered_at_once(asked.ask(NAME, AAAA))) == ["2001:db8::1"]


def test_a_name_of_the_hosts_file_has_the_addresses_there_and_no_others(files) -> None:
    asked = files("10.0.0.1 chat.test\nfe80::1%eth0 chat.test\n")
    assert answered_at_once(asked.ask(NAME, AAAA)) == Answer()


def test_name_servers_are_those_of_resolv_conf(files) -> None:
    text = "# x\nsearch a b\nnameserver 10.0.0.2\nnameserver\nnameserver ::1 # y\noptions z\n"
    assert read_servers(files("", text).resolv_conf) == (("10.0.0.2", 53), ("::1", 53))


def test_no_more_servers_are_asked_than_the_system_asks(files) -> None:
    text = "".join(f"nameserver 10.0.0.{number}\n" for number in range(9))
    assert len(read_servers(files("", text).resolv_conf)) == 3


def test_without_any_it_is_this_machine(files) -> None:
    assert read_servers(files().resolv_conf) == (("127.0.0.1", 53),)
    assert read_servers(Path("/nowhere/resolv.conf")) == (("127.0.0.1", 53),)


def test_what_is_no_address_there_is_left_out(files) -> None:
    """A name would have to be looked up, and the reactor would wait for it."""
    text = "nameserver ns.test\nnameserver x\0y\nnameserver fe80::1%eth0\n"
    assert read_servers(files("", text).resolv_conf) == (("fe80::1%eth0", 53),)
