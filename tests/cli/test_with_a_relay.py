"""The commands and a real relay understand each other."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.support import RelayProcess, started_relay

from .stand_in import TOKEN, Ran, run

Output = pytest.CaptureFixture[str]


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture
def relay(folder: Path) -> Iterator[RelayProcess]:
    (folder / "token").write_text(TOKEN)
    with serve(_echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        text = f"""\
[relay]
listen = tcp:0:interface=127.0.0.1
drain_timeout = 100ms
[route:chat]
pool = chat
[pool:chat]
upstreams = ws://127.0.0.1:{server.socket.getsockname()[1]} name=a/1
[admin]
listen = tcp:0:interface=127.0.0.1
token_file = token
"""
        try:
            with started_relay(text, folder) as running:
                yield running
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def echoed(relay: RelayProcess) -> Iterator[ClientConnection]:
    with connect(relay.url) as client:
        client.send("hello")
        assert client.recv(10) == "hello"
        yield client


def good(capsys: Output, *words: str) -> Ran:
    ran = run(capsys, *words)
    assert (ran.code, ran.err) == (0, "")
    return ran


def test_sessions_are_seen_closed_and_drained(relay: RelayProcess, capsys: Output) -> None:
    with echoed(relay) as client:
        seen = json.loads(good(capsys, "sessions", "--upstream", "a/1", "--json").out)
        (session,) = seen["sessions"]
        assert "upstream leg" in good(capsys, "sessions", "--id", session["id"]).out
        assert session["id"] in good(capsys, "sessions").out
        good(capsys, "close", session["id"], "--code", "4001", "--reason", "go & rest")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(10)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "go & rest")
    with echoed(relay) as client:
        drained = good(capsys, "drain", "chat/a/1", "--wait")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(10)
    assert drained.out.endswith("chat/a/1 is drained\n")
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1012
    assert "drain" in good(capsys, "status").out
    good(capsys, "ready", "chat/a/1")
    with echoed(relay):
        assert "1 session" in good(capsys, "status").out


def test_orders_are_carried_out(relay: RelayProcess, capsys: Output, folder: Path) -> None:
    good(capsys, "weight", "chat/a/1", "7")
    (pool,) = json.loads(good(capsys, "status", "--json").out)["pools"]
    assert pool["upstreams"][0]["weight"] == 7
    assert good(capsys, "rebalance", "chat", "--wait").out == "pool chat is rebalanced\n"
    assert good(capsys, "drain", "--all", "--wait").out == "the relay is drained\n"
    assert "not ready: " in good(capsys, "status").out
    good(capsys, "ready", "--all")
    good(capsys, "drain", "chat")
    good(capsys, "ready", "chat")
    assert "chat/a/1" in good(capsys, "top", "--count", "1", "--interval", "100ms").out


def test_a_message_is_published(relay: RelayProcess, capsys: Output) -> None:
    with echoed(relay) as client:
        said = good(capsys, "publish", "--route", "chat", "hello, all").out
        assert said == "sent to 1 session\n"
        assert client.recv(10) == "hello, all"
    assert good(capsys, "publish", "--tag", "nobody", "x").out == "sent to 0 sessions\n"
    ran = run(capsys, "publish", "--pool", "chta", "x")
    assert (ran.code, ran.out) == (1, "")
    assert "did you mean 'chat'?" in ran.err


def test_a_reload_is_told_and_refused(relay: RelayProcess, capsys: Output, folder: Path) -> None:
    file = folder / "relay.ini"
    text = file.read_text()
    assert good(capsys, "reload").out == "nothing changed\n"
    file.write_text(text.replace("name=a/1", "name=a/1\n    ws://127.0.0.1:9 name=b"))
    assert "b" in good(capsys, "reload").out
    file.write_text(f"{text}[pool:chat]\n")
    ran = run(capsys, "reload")
    assert (ran.code, ran.out) == (1, "")
    assert "relay.ini:" in ran.err.splitlines()[1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["drain", "chat/a"], "known: a/1"),
        (["weight", "chta/a/1", "2"], "did you mean 'chat'?"),
        (["close", "nope"], "There is no session nope"),
        (["rebalance", "chat", "--rate", "fast"], "'fast' is not a rate"),
    ],
)
def test_a_refusal_says_why(
    relay: RelayProcess, capsys: Output, words: list[str], why: str
) -> None:
    ran = run(capsys, *words)
    assert (ran.code, ran.out) == (1, "")
    assert why in ran.err


def test_a_wrong_token_is_told(
    relay: RelayProcess, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSRELAY_TOKEN", f"not-{TOKEN}")
    ran = run(capsys, "status")
    assert ran.code == 1
    assert "does not take this token" in ran.err
