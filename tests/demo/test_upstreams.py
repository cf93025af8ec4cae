"""The upstreams echo and chat over real sockets."""

from typing import Any

import txaio
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent
from typing_extensions import override

from tests.demo.support import connect
from wsrelay.demo.room import HISTORY, Room
from wsrelay.demo.service import make_demo
from wsrelay.demo.upstreams import (
    ECHO_LIMIT,
    MISSED_LIMIT,
    NAMES,
    UpstreamFactory,
    UpstreamProtocol,
)


class LoopbackTests(TestCase):
    """Clients on loopback, without a relay in between."""

    timeout = 20

    @override
    def setUp(self) -> None:
        self.demo = make_demo(reactor)
        self.demo.service.startService()
        self.addCleanup(self.demo.service.stopService)

    async def test_echo_returns_text_and_binary_as_they_came_and_nothing_else(self) -> None:
        client = await connect(self.demo, "amber", "/echo")
        sent = [("zwölf".encode(), False), (b"\x00\xff", True), (b"", False), (b"x" * 70000, True)]
        for payload, is_binary in sent:
            client.sendMessage(payload, is_binary)
        assert [await client.messages.get() for _ in sent] == sent
        await client.leave()
        assert client.messages.pending == []

    async def test_each_upstream_says_in_its_answer_who_it_is(self) -> None:
        for name in NAMES:
            for path in ("/echo", "/chat"):
                client = await connect(self.demo, name, path)
                assert client.response.headers["x-upstream"] == name
                assert client.response.protocol is None
                await client.leave()

    async def test_an_upstream_picks_its_own_name_among_the_offered_subprotocols(self) -> None:
        client = await connect(self.demo, "jade", "/echo", [*NAMES])
        assert client.response.protocol == "jade"
        await client.leave()

    async def test_another_path_is_refused_with_404_and_a_whole_answer(self) -> None:
        client = await connect(self.demo, "cobalt", "/nowhere")
        assert client.state == client.STATE_CLOSED
        await client.closed
        assert client.http_status_line.startswith("HTTP/1.1 404 ")
        assert client.http_headers["content-length"] == "0"
        assert client.http_headers["x-upstream"] == "cobalt"

    async def test_plain_http_is_told_to_upgrade(self) -> None:
        url = self.demo.upstream_urls["amber"].replace("ws:", "http:")
        response = await Agent(reactor).request(b"GET", url.encode() + b"/echo")
        assert response.code == 426
        assert response.length == 0

    async def test_the_close_code_and_reason_of_a_client_are_echoed(self) -> None:
        for code in (1000, 1001, 1011, 1012, 4321):
            client = await connect(self.demo, "amber", "/echo")
            client.sendCloseFrame(code=code, reasonUtf8=b"why not")
            await client.closed
            assert (client.remoteCloseCode, client.remoteCloseReason) == (code, "why not")

    async def test_a_message_that_is_too_large_is_refused_with_1009(self) -> None:
        client = await connect(self.demo, "amber", "/echo")
        client.beginMessage(True)
        client.beginMessageFrame(ECHO_LIMIT + 1)
        await client.closed
        assert client.remoteCloseCode == 1009

    async def test_people_on_different_upstreams_meet(self) -> None:
        ana = await connect(self.demo, "amber", "/chat?name=Ana%20%C3%96")
        assert (await ana.hear("welcome"))["name"] == "Ana Ö"
        ben = await connect(self.demo, "jade", "/chat?name=Ben")
        joined = await ana.hear("joined")
        assert (joined["name"], joined["upstream"]) == ("Ben", "jade")
        assert joined["counts"]["jade"] == {"sessions": 1, "people": 1}
        ben.say(type="say", text="hello")
        said = await ana.hear("said")
        assert (said["name"], said["upstream"], said["text"]) == ("Ben", "jade", "hello")
        await ben.leave()
        left = await ana.hear("left")
        assert left["counts"]["jade"] == {"sessions": 0, "people": 0}
        await ana.leave()

    async def test_echo_sessions_are_counted_for_those_who_chat(self) -> None:
        ana = await connect(self.demo, "amber", "/chat")
        echo = await connect(self.demo, "cobalt", "/echo")
        counts = (await ana.hear("sessions"))["counts"]
        assert counts["cobalt"] == {"sessions": 1, "people": 0}
        await echo.leave()
        counts = (await ana.hear("sessions"))["counts"]
        assert counts["cobalt"] == {"sessions": 0, "people": 0}
        await ana.leave()

    async def test_a_binary_message_is_answered_politely_in_the_chat(self) -> None:
        ana = await connect(self.demo, "amber", "/chat")
        ana.sendMessage(b"\xff", True)
        assert "text" in (await ana.hear("error"))["message"]
        ana.say(type="ping", id=3)
        assert (await ana.hear("pong"))["id"] == 3
        await ana.leave()

    async def test_a_newcomer_gets_a_full_history_of_the_longest_messages(self) -> None:
        ana = await connect(self.demo, "amber", "/chat")
        for _ in range(HISTORY):
            ana.say(type="say", text="\U0001f600" * 300)
        for _ in range(HISTORY):
            await ana.hear("said")
        ben = await connect(self.demo, "jade", "/chat")
        assert len((await ben.hear("welcome"))["history"]) == HISTORY
        await ben.leave()
        await ana.leave()


HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)


class InMemoryTests(SynchronousTestCase):
    """Transports back up, and sessions close, exactly when the test says so."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.room = Room(["jade"])

    def connect(self, path: bytes, headers: bytes = b"") -> tuple[Any, StringTransport]:
        factory = UpstreamFactory(self.clock, "jade", self.room)
        protocol = factory.buildProtocol(None)
        assert isinstance(protocol, UpstreamProtocol)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(HANDSHAKE % (path, headers))
        assert transport.value().startswith(b"HTTP/1.1 101 ")
        transport.clear()
        return protocol, transport

    def test_a_page_that_was_opened_from_a_file_may_connect(self) -> None:
        # Such a page's origin is "null".
        self.connect(b"/echo", b"Origin: null\r\n")

    def test_who_does_not_read_is_not_read_from(self) -> None:
        for path in (b"/echo", b"/chat"):
            protocol, transport = self.connect(path)
            assert transport.streaming
            transport.producer.pauseProducing()
            assert transport.producerState == "paused"
            transport.producer.resumeProducing()
            assert transport.producerState == "producing"
            protocol.connectionLost(Failure(ConnectionDone()))

    def test_messages_are_skipped_while_a_member_is_backed_up_and_it_is_told(self) -> None:
        _, slow = self.connect(b"/chat")
        fast, _ = self.connect(b"/chat")
        slow.clear()
        slow.producer.pauseProducing()
        for _ in range(3):
            fast.onMessage(b'{"type": "say", "text": "hi"}', False)
        assert slow.value() == b""
        slow.producer.resumeProducing()
        assert b'{"type": "missed", "count": 3}' in slow.value()
        slow.clear()
        fast.onMessage(b'{"type": "say", "text": "hi again"}', False)
        assert b"hi again" in slow.value()

    def test_a_member_that_missed_too_much_is_cut_off_and_the_others_stay(self) -> None:
        protocol, slow = self.connect(b"/chat")
        fast, transport = self.connect(b"/chat")
        slow.producer.pauseProducing()
        for _ in range(MISSED_LIMIT):
            fast.onMessage(b'{"type": "say", "text": "hi"}', False)
        assert protocol.state == protocol.STATE_OPEN
        fast.onMessage(b'{"type": "say", "text": "one too many"}', False)
        assert protocol.state == protocol.STATE_CLOSED
        assert slow.disconnecting
        transport.clear()
        fast.onMessage(b'{"type": "say", "text": "still here"}', False)
        assert b"still here" in transport.value()

    def test_a_member_that_is_closing_hears_nothing_more(self) -> None:
        leaving, transport = self.connect(b"/chat")
        fast, _ = self.connect(b"/chat")
        leaving.sendClose(1000)
        transport.clear()
        fast.onMessage(b'{"type": "say", "text": "hi"}', False)
        assert transport.value() == b""

    def test_what_arrives_after_the_close_frame_is_not_answered(self) -> None:
        for path in (b"/echo", b"/chat"):
            protocol, transport = self.connect(path)
            protocol.sendCloseFrame(code=1012)
            transport.clear()
            # One masked frame each; the mask is zero.
            for text in (b"ab", b'{"type":"ping","id":1}'):
                protocol.dataReceived(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            assert transport.value() == b""
