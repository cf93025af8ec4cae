"""Filters in a relay that runs: the shipped ones, one of a user's own, and the examples."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection
from websockets.typing import Subprotocol

from tests.examples.support import EXAMPLES, example
from tests.support import PATIENCE, RelayProcess, started_relay
from tests.system.support import LOCAL
from tests.test_readme import echo_upstream

pytestmark = pytest.mark.peers

OWN = '''
from twisted.internet.task import deferLater
from zope.interface import implementer
from wsrelay.interfaces import DOWN, DROP, UP, Close, ISessionFilter

@implementer(ISessionFilter)
class Own:
    """Does what a message from the client says."""

    def __init__(self, reactor):
        self.reactor = reactor

    def opened(self, session):
        session.send(DOWN, f"welcome {session.client_address} to {session.path}")

    def ended(self, session):
        print("ended", session.id, flush=True)

    def message(self, session, direction, payload, is_binary):
        if direction != UP:
            return payload
        word, _, rest = payload.decode().partition(" ")
        return getattr(self, word, self.same)(session, rest)

    def same(self, session, text):
        return text

    def nothing(self, session, text):
        return None

    def later(self, session, text):
        return deferLater(self.reactor, 0.2, lambda: text)

    def never(self, session, text):
        return deferLater(self.reactor, 3600, lambda: text)

    def answer(self, session, text):
        session.send(DOWN, text)
        session.send(DOWN, text.encode(), True)
        return DROP

    def close(self, session, text):
        return Close(4000, text)
'''
PLUGIN = """
from wsrelay.plugins import FilterPlugin
own = FilterPlugin("own", "own.Own")
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as given:
        yield given


def with_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the processes that are started find what is in a folder."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def ini(port: int, *route: str) -> str:
    lines = [
        "[listener:main]",
        f"endpoint = {LOCAL}",
        "[route:main]",
        "pool = main",
        "mode = messages",
        *route,
        "[pool:main]",
        f"upstreams = ws://127.0.0.1:{port}",
        "[log]",
        "format = json",
    ]
    return "\n".join(lines) + "\n"


def started(stack: ExitStack, folder: Path, *route: str) -> RelayProcess:
    return start_at(stack, folder, stack.enter_context(echo_upstream()), *route)


def start_at(stack: ExitStack, folder: Path, port: int, *route: str) -> RelayProcess:
    return stack.enter_context(started_relay(ini(port, *route), folder))


def opened(stack: ExitStack, relay: RelayProcess, path: str = "/") -> ClientConnection:
    return stack.enter_context(connect(relay.url + path, open_timeout=PATIENCE))


def said(client: ClientConnection, message: str | bytes) -> str | bytes:
    """Say something and return the answer."""
    client.send(message)
    return client.recv(PATIENCE)


def closed_with(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


# the shipped ones


def test_deny_binary_closes_with_1003(stack: ExitStack, tmp_path: Path) -> None:
    relay = started(stack, tmp_path, "filters = deny-binary")
    client = opened(stack, relay)
    assert said(client, "text") == "text"
    client.send(b"\x00")
    assert closed_with(client) == (1003, "binary messages are not accepted here")
    relay.wait_for_event(event="end", close_code=1003, initiator="relay:filter")


def test_deny_pattern_drops_a_message_and_the_next_one_passes(
    stack: ExitStack, tmp_path: Path
) -> None:
    relay = started(stack, tmp_path, "filters = deny-pattern pattern=(?i)secret action=drop")
    client = opened(stack, relay)
    client.send("a SECRET")
    client.send(["in two frames, a sec", "ret"])
    assert said(client, "hello") == "hello"


def test_log_writes_one_line_for_a_message_whatever_is_in_it(
    stack: ExitStack, tmp_path: Path
) -> None:
    relay = started(stack, tmp_path, "filters = log payload=100")
    client = opened(stack, relay)
    evil = "a\nevent: forged\x1b[2J\u2028"
    assert said(client, evil) == evil
    line = relay.wait_for_words("text down, ")
    assert r"'a\nevent: forged\x1b[2J\u2028'" in line
    assert "\nevent: forged" not in relay.log()


# one of a user's own


@pytest.fixture
def echo(stack: ExitStack) -> int:
    return stack.enter_context(echo_upstream())


@pytest.fixture
def own(
    stack: ExitStack, echo: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RelayProcess:
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (tmp_path / "own.py").write_text(OWN)
    (plugins / "own_plugin.py").write_text(PLUGIN)
    with_path(monkeypatch, tmp_path)
    return start_at(stack, tmp_path, echo, "filters = own", "filter_timeout = 1s")


def greeted(stack: ExitStack, relay: RelayProcess) -> ClientConnection:
    client = opened(stack, relay, "/room")
    assert client.recv(PATIENCE) == "welcome 127.0.0.1 to /room"
    return client


def test_a_filter_answers_itself_and_its_messages_come_first(
    stack: ExitStack, own: RelayProcess
) -> None:
    client = greeted(stack, own)
    client.send("answer grün")
    client.send("same hello")
    assert [client.recv(PATIENCE) for _ in range(3)] == ["grün", "grün".encode(), "hello"]


def test_a_slow_answer_keeps_the_order(stack: ExitStack, own: RelayProcess) -> None:
    client = greeted(stack, own)
    said_words = [f"{'later' if number % 3 == 0 else 'same'} {number}" for number in range(10)]
    for words in said_words:
        client.send(words)
    assert [client.recv(PATIENCE) for _ in said_words] == [str(number) for number in range(10)]


def test_a_filter_closes_and_hears_of_the_end(stack: ExitStack, own: RelayProcess) -> None:
    client = greeted(stack, own)
    client.send("close " + "ü" * 100)
    assert closed_with(client) == (4000, "ü" * 61)
    own.wait_for_words("ended ")
    own.wait_for_event(event="end", close_code=4000, initiator="relay:filter")


@pytest.mark.parametrize(
    ("words", "logged"),
    [
        ("nothing", "filter own of route main returned None; return the payload"),
        ("never", "filter own of route main did not answer within 1 s"),
    ],
)
def test_a_filter_that_fails_closes_with_1011_or_lets_pass(
    stack: ExitStack, own: RelayProcess, echo: int, words: str, logged: str
) -> None:
    client = greeted(stack, own)
    client.send(words)
    assert closed_with(client) == (1011, "a filter failed")
    own.wait_for_words(logged)
    own.wait_for_event(event="end", close_code=1011, initiator="relay:filter")
    own.reload(ini(echo, "filters = own", "filter_timeout = 1s", "on_error = pass"))
    tolerant = greeted(stack, own)
    assert said(tolerant, words) == words
    own.wait_for_words(f"{logged}, DROP" if words == "nothing" else f"{logged}; the message")


# reloads


def test_a_reload_gives_new_sessions_new_filters_and_the_others_keep_theirs(
    stack: ExitStack, echo: int, tmp_path: Path
) -> None:
    denied = tmp_path / "denied.txt"
    denied.write_text("red\n")
    relay = start_at(stack, tmp_path, echo, "filters = deny-pattern file=denied.txt action=drop")
    before = opened(stack, relay)
    denied.write_text("blue\n")
    assert "route main: a file of its filters changed" in relay.hang_up()
    after = opened(stack, relay)
    check_passes(before, "blue", not_="red")
    check_passes(after, "red", not_="blue")
    bad = ini(echo, "filters = deny-pattern pattern=a(")
    assert "not a regular expression" in relay.reload(bad, "reload refused")
    check_passes(opened(stack, relay), "red", not_="blue")
    assert "route main: filters changed" in relay.reload(ini(echo))
    assert said(opened(stack, relay), "blue") == "blue"
    check_passes(before, "blue", not_="red")
    check_passes(after, "red", not_="blue")


def check_passes(client: ClientConnection, good: str, *, not_: str) -> None:
    client.send(not_)
    assert said(client, good) == good


# the examples


def example_relay(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path, file: str, port: int
) -> RelayProcess:
    with_path(monkeypatch, EXAMPLES / "filters")
    text = example(f"filters/{file}", {"ws://127.0.0.1:3000": f"ws://127.0.0.1:{port}"})
    return stack.enter_context(started_relay(text, folder))


def test_the_anonymiser_of_the_examples(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = stack.enter_context(echo_upstream())
    relay = example_relay(stack, monkeypatch, tmp_path, "anonymise.ini", port)
    client = opened(stack, relay)
    assert said(client, "ada@example.com, 192.0.2.7") == "[e-mail], [address]"


def test_the_graphql_guard_of_the_examples(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(connection: ServerConnection, offered: list[str]) -> str:
        return offered[0]

    port = stack.enter_context(echo_upstream(select_subprotocol=choose))
    relay = example_relay(stack, monkeypatch, tmp_path, "graphql-guard.ini", port)
    protocols = [Subprotocol("graphql-transport-ws")]
    client = stack.enter_context(connect(f"{relay.url}/graphql", subprotocols=protocols))
    init = '{"type": "connection_init"}'
    assert said(client, init) == init
    for query, passes in [("subscription Typing { who }", True), ("subscription { who }", False)]:
        message = {"id": "1", "type": "subscribe", "payload": {"query": query}}
        answer = json.loads(said(client, json.dumps(message)))
        assert answer["type"] == ("subscribe" if passes else "error")
    client.send("hello")
    assert closed_with(client) == (4400, "Invalid message")


def test_the_rate_of_the_examples(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = stack.enter_context(echo_upstream())
    relay = example_relay(stack, monkeypatch, tmp_path, "user-rate.ini", port)
    one, two = opened(stack, relay), opened(stack, relay)
    assert [said(each, "x") for each in (one, two)] == ["x", "x"]
    with suppress(ConnectionClosed):
        for _ in range(100):
            said(one, "x")
    assert closed_with(one) == (1008, "too many messages")
