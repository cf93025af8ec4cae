"""A client of the run notices what an upstream, or a relay, does to its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from soak import talk as talking
from soak.messages import make
from soak.talk import Manner, Talk
from soak.upstream import WRONG, talk

pytestmark = pytest.mark.peers

Serving = Callable[[ServerConnection], Awaitable[None]]
QUICK = Manner("quick", pause=0.0)


def converse(serving: Serving, manner: Manner = QUICK, most: int = 20) -> Talk:
    """Let a client talk to an upstream, and return what it has found."""

    async def both() -> Talk:
        async with serve(serving, "127.0.0.1", 0, ping_interval=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            client = Talk(f"ws://127.0.0.1:{port}/", manner)
            await client.run(asyncio.Event(), most)
            return client

    return asyncio.run(both())


def saying(*numbers: int) -> Serving:
    """Return an upstream that says these messages, one for each that it gets."""

    async def serving(connection: ServerConnection) -> None:
        for number in numbers:
            await connection.recv()
            await connection.send(make(number, 9))
        await connection.wait_closed()

    return serving


@pytest.mark.parametrize(
    "manner",
    [
        QUICK,
        Manner("text", is_text=True, pause=0.0, pieces=7, compression="deflate"),
        Manner("bytes", pause=0.0, pieces=3, sizes=(1, 100_000), reads_every=0.001),
    ],
    ids=lambda manner: manner.name,
)
def test_a_good_upstream_gives_an_answer_to_each_message(manner: Manner) -> None:
    client = converse(talk, manner)
    assert (client.sent, client.heard, client.code, client.trouble) == (20, 20, 1000, "")


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1, 1), (0, 1, 0)])
def test_answers_that_are_left_out_or_come_twice_are_noticed(numbers: tuple[int, ...]) -> None:
    client = converse(saying(*numbers))
    assert "was due" in client.trouble
    assert client.code != 1000


def test_an_answer_that_stays_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "PATIENCE", 0.05)
    client = converse(saying(0, 1), most=4)
    assert client.trouble == "2 answers did not come within 0.05 s"


def test_the_upstream_notices_what_comes_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "make", lambda number, size, **_: make(number // 2, size))
    client = converse(talk)
    assert (client.code, client.reason) == (WRONG, "message 0 came where 1 was due")


def test_a_client_that_vanishes_does_not_say_so() -> None:
    assert converse(talk, Manner("gone", pause=0.0, vanishes=True)).code == 1006


def test_a_client_that_gets_no_session_says_why() -> None:
    client = Talk("ws://127.0.0.1:1/", QUICK)
    asyncio.run(client.run(asyncio.Event()))
    assert "Connect call failed" in client.refused
