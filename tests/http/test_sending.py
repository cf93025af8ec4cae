"""A file goes to a client as fast as the client takes it, and is closed whatever happens."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests.http.support import cut
from tests.peers.certificates import Authority
from tests.relay.support import HIGH_WATER, FakeTransport, settle
from wsrelay.http.answers import FileAnswer, Span
from wsrelay.http.sending import BURST, PATIENCE, PIECE, FileSender
from wsrelay.relay.transports import make_lean, unsent

LONG = os.urandom(PIECE * 5 + 1234)


@define(eq=False)
class Ear(Protocol):
    """A protocol that learns of its connection's end."""

    is_lost: bool = False

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True


@define(eq=False)
class Scene:
    """A file on its way to a client in memory."""

    answer: FileAnswer
    transport: FakeTransport = field(factory=lambda: FakeTransport(protocol=Ear()))
    clock: Clock = field(factory=Clock)
    told: list[str] = field(factory=list)
    sender: FileSender = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sender = FileSender(
            self.answer,
            self.transport,
            self.clock,
            lambda: self.told.append("done"),
            self.told.append,
        )

    def run(self) -> None:
        """Let turns of the reactor pass until nothing happens any more."""
        settle(self.transport)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            settle(self.transport)

    @property
    def is_cleared(self) -> bool:
        """Whether nothing is left of it."""
        assert self.answer.file is not None
        calls = self.clock.getDelayedCalls()
        return self.answer.file.closed and not calls and self.transport.producer is None


def opened(path: Path, content: bytes) -> FileIO:
    path.write_bytes(content)
    return FileIO(path, "rb")


def whole(path: Path, content: bytes) -> FileAnswer:
    return FileAnswer(200, (), (Span(0, len(content)),), opened(path, content))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A long file, and a client who takes nothing yet."""
    scene = Scene(whole(tmp_path / "long", LONG))
    scene.transport.stalled = True
    scene.sender.start()
    yield scene
    scene.sender.stop()
    assert scene.is_cleared


@pytest.mark.parametrize("content", [b"", b"a", LONG[: PIECE - 1], LONG[:PIECE], LONG])
def test_all_of_a_file_is_sent(tmp_path: Path, content: bytes) -> None:
    scene = Scene(whole(tmp_path / "file", content))
    scene.sender.start()
    scene.run()
    assert bytes(scene.transport.received) == content
    assert scene.told == ["done"]
    assert scene.is_cleared


pieces = st.one_of(
    st.binary(max_size=20),
    st.builds(Span, st.integers(0, len(LONG) - 200_000), st.integers(0, 200_000)),
)


@given(st.lists(pieces, max_size=5).map(tuple))
def test_pieces_are_sent_in_their_order(wanted: tuple[bytes | Span, ...]) -> None:
    with tempfile.TemporaryDirectory() as name:
        answer = FileAnswer(206, (), wanted, opened(Path(name, "file"), LONG))
        scene = Scene(answer)
        scene.sender.start()
        scene.run()
    assert bytes(scene.transport.received) == b"".join(cut(each, LONG) for each in wanted)
    assert len(scene.transport.received) == answer.length
    assert scene.told == ["done"]
    assert scene.is_cleared


def test_an_answer_without_a_file_is_done_at_once() -> None:
    scene = Scene(FileAnswer(304, ()))
    scene.sender.start()
    assert scene.told == ["done"]
    assert scene.transport.producer is None


def test_no_more_is_read_than_a_client_takes(scene: Scene) -> None:
    assert len(scene.transport.buffer) <= HIGH_WATER + PIECE
    scene.run()
    assert len(scene.transport.buffer) <= HIGH_WATER + PIECE
    assert scene.told == []


def test_a_client_that_takes_something_gets_more(scene: Scene) -> None:
    for _ in range(10):
        scene.clock.advance(PATIENCE - 1)  # each time anew
        scene.transport.peer_takes(len(scene.transport.buffer))
        scene.run()
        assert len(scene.transport.buffer) <= HIGH_WATER + PIECE
    assert bytes(scene.transport.received) == LONG
    assert scene.told == ["done"]


def test_a_client_that_takes_nothing_is_given_up(scene: Scene) -> None:
    scene.clock.advance(PATIENCE - 0.1)
    assert scene.told == []
    scene.clock.advance(0.1)
    assert scene.told == ["the client took nothing for 60 seconds"]
    assert scene.is_cleared


def test_of_a_client_that_is_gone_nobody_is_told(scene: Scene) -> None:
    scene.sender.stop()
    assert scene.is_cleared
    scene.sender.stop()
    scene.clock.advance(PATIENCE)
    assert scene.told == []


def test_whoever_sends_next_is_left_alone(scene: Scene) -> None:
    scene.transport.stalled = False
    scene.run()
    following = object()
    scene.transport.producer = following
    scene.sender.stop()
    assert scene.transport.producer is following
    scene.transport.producer = None


def test_a_transport_that_ends_stops_it(scene: Scene) -> None:
    scene.sender.stopProducing()
    scene.transport.producer = None  # the transport's own business
    assert scene.is_cleared
    scene.sender.pauseProducing()
    assert scene.is_cleared
    scene.sender.resumeProducing()
    assert scene.is_cleared
    assert scene.told == []


def test_a_transport_that_has_ended_gets_nothing(tmp_path: Path) -> None:
    scene = Scene(whole(tmp_path / "file", LONG))
    scene.transport.lost = True
    scene.sender.start()
    assert scene.is_cleared
    assert scene.told == []
    assert not scene.transport.dropped


def test_a_file_that_becomes_shorter_breaks_the_answer(scene: Scene, tmp_path: Path) -> None:
    os.truncate(tmp_path / "long", len(LONG) - 1)
    scene.transport.stalled = False
    scene.run()
    assert scene.told == ["the file became shorter while it was sent"]
    assert bytes(scene.transport.received) == LONG[:-1]
    assert scene.is_cleared


def test_a_file_that_becomes_longer_is_sent_as_it_was(scene: Scene, tmp_path: Path) -> None:
    with (tmp_path / "long").open("ab") as file:
        file.write(b"more")
    scene.transport.stalled = False
    scene.run()
    assert bytes(scene.transport.received) == LONG
    assert scene.told == ["done"]


def test_a_file_that_is_replaced_is_sent_as_it_was(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(tmp_path / "long")
    scene.transport.stalled = False
    scene.run()
    assert bytes(scene.transport.received) == LONG


def test_a_file_that_cannot_be_read_breaks_the_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    scene.transport.stalled = False
    scene.run()
    assert scene.told == ["the file could not be read (Input/output error)"]
    assert scene.is_cleared


@define(eq=False)
class Sieve(FakeTransport):
    """A transport whose connection is gone, and which has told nobody yet."""

    written: int = 0

    @override
    def write(self, data: bytes) -> None:
        self.written += 1


def test_a_transport_that_never_pauses_leaves_time_for_others(tmp_path: Path) -> None:
    scene = Scene(whole(tmp_path / "file", LONG * 3), Sieve())
    scene.sender.start()
    assert isinstance(scene.transport, Sieve)
    assert scene.transport.written == BURST
    assert len(scene.clock.getDelayedCalls()) == 1
    scene.sender.stop()
    assert scene.is_cleared
    scene.clock.advance(1)
    assert scene.transport.written == BURST


# real connections

BIG = os.urandom(1 << 20) * 16


class Sending(Protocol):
    """Sends a file as soon as there is a connection."""

    transport: Any
    most = 0

    def __init__(self, case: ConnectionTests) -> None:
        self.case = case

    @override
    def connectionMade(self) -> None:
        self.answer = whole(self.case.path, BIG)
        self.told: list[str] = []
        self.ended: Deferred[None] = Deferred()
        sender = FileSender(
            self.answer, self.transport, self.case.reactor, self._done, self.told.append
        )
        write = self.transport.write

        def watch(data: bytes) -> None:
            write(data)
            self.most = max(self.most, unsent(self.transport))

        self.transport.write = watch
        sender.start()

    def _done(self) -> None:
        self.told.append("done")
        self.transport.loseConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.answer.file is not None
        self.was_closed = self.answer.file.closed
        self.ended.callback(None)


class Taking(Protocol):
    """Takes all, or goes away in the middle."""

    transport: Any

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.received = bytearray()
        self.ended: Deferred[None] = Deferred()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.limit is not None and len(self.received) > self.limit:
            self.transport.abortConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


@define(eq=False)
class Only(Factory):
    """Has one protocol, for one connection."""

    noisy = False
    only: Protocol

    @override
    def buildProtocol(self, addr: object) -> Protocol:
        return self.only


class ConnectionTests(TestCase):
    """Over sockets of the real reactor, with TLS and without."""

    timeout = 60

    @override
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        self.path = folder / "big"
        pair = Authority(folder).issue("relay.test")
        pem = pair.certificate.read_bytes() + pair.key.read_bytes()
        self.certificate = PrivateCertificate.loadPEM(pem).options()

    async def _talk(self, *, secure: bool, limit: int | None = None) -> tuple[Sending, Taking]:
        sending, taking = Sending(self), Taking(limit)
        server: Any = Only(sending)
        client: Any = Only(taking)
        if secure:
            server = TLSMemoryBIOFactory(self.certificate, False, server)
            client = TLSMemoryBIOFactory(CertificateOptions(), True, client)
        port = self.reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        make_lean(port)
        await TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port).connect(client)
        await taking.ended
        await sending.ended
        return sending, taking

    async def _all_of_it(self, *, secure: bool) -> None:
        sending, taking = await self._talk(secure=secure)
        self.assertTrue(taking.received == BIG)
        self.assertEqual((sending.told, sending.was_closed), (["done"], True))
        # What TLS adds is a little more than 20 bytes for each record of 16 KiB.
        self.assertLess(sending.most, 2 * PIECE + 2 * HIGH_WATER)

    async def _gone(self, *, secure: bool) -> None:
        sending, _ = await self._talk(secure=secure, limit=len(BIG) // 4)
        self.assertEqual((sending.told, sending.was_closed), ([], True))

    def test_a_file_is_sent_over_tcp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._all_of_it(secure=False))

    def test_a_file_is_sent_over_tls(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._all_of_it(secure=True))

    def test_the_file_is_closed_when_a_client_goes_away(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._gone(secure=False))

    def test_the_file_is_closed_when_a_client_with_tls_goes_away(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._gone(secure=True))
