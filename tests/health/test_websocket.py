"""The websocket check in memory: a short conversation, and all that can be wrong with it."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.health.support import URL, Checking
from tests.relay.support import BINARY, CLOSE, PING, PONG, TEXT, close_payload
from tests.relay.support import Frame as Heard
from wsrelay import __version__
from wsrelay.health.websocket import MAX_PONGS
from wsrelay.wire.frames import MAX_CONTROLS, encode_frame

NORMAL = encode_frame(CLOSE, close_payload(1000))
WELL = "opened, answered the ping and closed"


def opened(line: str = "websocket", *more: bytes) -> Checking:
    """Return a check whose handshake was answered well."""
    checking = Checking(line)
    checking.accept()
    checking.send(checking.switching(*more))
    return checking


def pong(checking: Checking) -> bytes:
    """Return the pong for the ping that the check has sent."""
    ping = checking.frames()[0]
    assert ping.opcode == PING
    return encode_frame(PONG, ping.payload)


def say(checking: Checking, opcode: int, payload: bytes = b"") -> None:
    checking.send(encode_frame(opcode, payload))


# the handshake


def test_the_handshake_is_a_whole_one() -> None:
    checking = Checking("websocket path=/chat?check subprotocol=chat.v2", f"{URL}/base")
    checking.accept()
    rows = checking.heard.split(b"\r\n")
    key = rows.pop(6)
    assert rows == [
        b"GET /base/chat?check HTTP/1.1",
        b"Host: 192.0.2.1:9000",
        f"User-Agent: wsrelay/{__version__} (health check)".encode(),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: chat.v2",
        b"",
        b"",
    ]
    match = re.fullmatch(rb"Sec-WebSocket-Key: (\S{24})", key)
    assert match
    assert len(base64.b64decode(match[1], validate=True)) == 16


def test_nothing_is_offered_that_was_not_asked_for_and_every_key_is_new() -> None:
    first, second = Checking("websocket"), Checking("websocket")
    first.accept()
    second.accept()
    assert b"sec-websocket-protocol" not in first.heard.lower()
    assert first.heard != second.heard


@pytest.mark.parametrize("status", [200, 404, 503])
def test_another_status_than_101_fails(status: int) -> None:
    checking = Checking("websocket")
    checking.accept()
    checking.send(b"HTTP/1.1 %d Something\r\nContent-Length: 0\r\n\r\n" % status)
    checking.assert_result(False, f"answered {status} instead of 101")


def test_a_wrong_accept_key_fails() -> None:
    checking = Checking("websocket")
    checking.accept()
    checking.send(checking.switching(key=b"another"))
    checking.assert_result(
        False,
        "broke the opening handshake:"
        " The 101's Sec-WebSocket-Accept does not answer the key it was sent.",
    )


def test_an_extension_that_was_not_offered_fails() -> None:
    checking = opened("websocket", b"Sec-WebSocket-Extensions: permessage-deflate")
    (result,) = checking.results
    assert result.what.startswith("broke the opening handshake: The 101's Sec-WebSocket-Ext")
    checking.assert_clean()


def test_a_subprotocol_that_is_wanted_must_be_chosen() -> None:
    line = "websocket subprotocol=chat.v2"
    right = opened(line, b"Sec-WebSocket-Protocol: chat.v2")
    right.send(pong(right) + NORMAL)
    right.assert_result(True, WELL)
    silent = opened(line)
    silent.assert_result(False, "did not choose the subprotocol chat.v2")
    wrong = opened(line, b"Sec-WebSocket-Protocol: chat.v1")
    (result,) = wrong.results
    assert result.what.startswith("broke the opening handshake: The 101's Sec-WebSocket-Protocol")
    wrong.assert_clean()


# the conversation


def test_a_ping_a_pong_and_a_close_are_all_that_it_takes() -> None:
    checking = opened()
    transport = checking.transports[0]
    (ping,) = checking.frames()
    assert (ping.opcode, len(ping.payload)) == (PING, 8)
    say(checking, PONG, ping.payload)
    assert checking.frames() == [ping, Heard(CLOSE, close_payload(1000))]
    assert checking.results == []
    checking.advance(0.25)
    checking.send(NORMAL)
    checking.assert_result(True, WELL, 0.25)
    assert transport.eof
    assert not transport.aborted


def test_every_frame_is_masked() -> None:
    checking = opened()
    say(checking, PING, b"you?")
    say(checking, PONG, checking.frames()[0].payload)
    data = checking.heard.partition(b"\r\n\r\n")[2]
    seconds, masks = [], []
    while data:
        length = data[1] & 127
        seconds.append(data[1])
        masks.append(data[2:6])
        data = data[6 + length :]
    assert [second >> 7 for second in seconds] == [1, 1, 1]
    assert len(set(masks)) == 3


def test_without_a_ping_the_close_comes_at_once() -> None:
    checking = opened("websocket ping=no")
    assert checking.frames() == [Heard(CLOSE, close_payload(1000))]
    checking.send(NORMAL)
    checking.assert_result(True, "opened and closed")


def test_what_comes_with_the_101_is_read() -> None:
    checking = Checking("websocket ping=no")
    checking.accept()
    checking.send(checking.switching() + encode_frame(TEXT, b"welcome") + NORMAL)
    checking.assert_result(True, "opened and closed")


def test_what_the_upstream_has_to_say_is_no_concern() -> None:
    checking = opened()
    answer = pong(checking)
    say(checking, TEXT, b"welcome")
    checking.send(encode_frame(BINARY, b"x" * 300_000)[:-1])
    assert checking.results == []
    checking.send(b"x")
    checking.send(encode_frame(TEXT, b"begun", final=False))
    say(checking, PONG, b"nobody asked")
    checking.send(answer)
    checking.send(encode_frame(0, b" and ended"))
    say(checking, TEXT, b"goodbye")
    checking.send(NORMAL)
    checking.assert_result(True, WELL)


def test_data_is_not_kept() -> None:
    checking = opened()
    checking.send(encode_frame(BINARY, b"x" * 5_000_000)[:4_000_000])
    assert len(checking.check._scanner._held) < 200  # type: ignore[attr-defined]


def test_pings_are_answered_but_not_without_end() -> None:
    checking = opened()
    answer = pong(checking)
    checking.send(b"".join(encode_frame(PING, b"%d" % n) for n in range(3 * MAX_CONTROLS)))
    pongs = checking.frames()[1:]
    assert pongs == [Heard(PONG, b"%d" % n) for n in range(MAX_PONGS)]
    checking.send(answer + NORMAL)
    checking.assert_result(True, WELL)


def test_nothing_follows_the_close_frame() -> None:
    checking = opened()
    checking.send(pong(checking))
    say(checking, PING, b"still there?")
    assert [frame.opcode for frame in checking.frames()] == [PING, CLOSE]
    checking.send(NORMAL)
    checking.assert_result(True, WELL)


def test_a_pong_behind_many_pings_in_one_read_counts() -> None:
    checking = opened()
    flood = encode_frame(PING, b"") * (2 * MAX_CONTROLS)
    checking.send(flood + pong(checking) + NORMAL)
    checking.assert_result(True, WELL)


@given(st.data())
def test_how_bytes_are_cut_does_not_matter(data: st.DataObject) -> None:
    checking = Checking("websocket")
    checking.accept()
    head = checking.switching()
    size = data.draw(st.integers(1, len(head)), label="head's first piece")
    checking.send(head[:size])
    checking.send(head[size:])
    rest = encode_frame(TEXT, b"welcome") + pong(checking) + encode_frame(PING, b"") + NORMAL
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        checking.send(rest[:size])
        rest = rest[size:]
    checking.assert_result(True, WELL)


@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans())
def test_whatever_comes_there_is_one_result_and_nothing_is_left(
    pieces: list[bytes], ends: bool
) -> None:
    checking = opened()
    for piece in pieces:
        checking.send(piece)
    if ends:
        checking.end()
    checking.advance(1.0)
    assert [result.ok for result in checking.results] == [False]
    checking.assert_clean()


# what is wrong


def test_without_a_pong_it_fails_in_time() -> None:
    checking = opened()
    say(checking, PONG, b"not this")
    say(checking, PONG)
    checking.advance(1.0)
    checking.assert_result(False, "did not answer the ping within 1s", 1.0)


def test_without_a_close_frame_it_fails_in_time() -> None:
    checking = opened()
    checking.send(pong(checking))
    checking.advance(0.5)
    assert checking.results == []
    checking.advance(0.5)
    checking.assert_result(False, "did not answer the close frame within 1s", 1.0)


def test_garbage_fails() -> None:
    checking = opened()
    checking.send(b"\xff\xff\xff\xff")
    checking.assert_result(False, "broke the websocket protocol: reserved opcode 15")


def test_a_masked_frame_fails() -> None:
    checking = opened()
    checking.send(encode_frame(TEXT, b"hello", b"mask"))
    checking.assert_result(False, "broke the websocket protocol: masked frame from an upstream")


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (close_payload(1011, b"broken"), "closed with 1011 instead of 1000"),
        (close_payload(1001), "closed with 1001 instead of 1000"),
        (b"", "closed without a code instead of 1000"),
    ],
)
def test_another_code_than_1000_fails(payload: bytes, what: str) -> None:
    checking = opened()
    checking.send(pong(checking))
    say(checking, CLOSE, payload)
    checking.assert_result(False, what)


@pytest.mark.parametrize("code", [1000, 1011, 1013])
def test_an_upstream_that_closes_before_its_pong_fails(code: int) -> None:
    checking = opened()
    say(checking, CLOSE, close_payload(code))
    checking.assert_result(False, f"closed with {code} instead of answering the ping")


def test_an_upstream_that_leaves_without_a_close_frame_fails() -> None:
    checking = opened()
    checking.end()
    checking.assert_result(False, "did not answer the ping: closed by the upstream")
    checking = opened()
    checking.send(pong(checking))
    checking.reset()
    checking.assert_result(False, "did not answer the close frame: reset, or cut off")


def test_what_follows_the_close_frame_is_not_looked_at() -> None:
    checking = opened()
    checking.send(pong(checking) + NORMAL + b"\xff" * 100)
    checking.assert_result(True, WELL)
