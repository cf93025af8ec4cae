"""The filters of examples/filters: small, and they do what they say."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.examples.support import EXAMPLES
from wsrelay.interfaces import DOWN, DROP, UP, Close, IMessageFilterPlugin
from wsrelay.testing import FakeSession, check_filter_contract

FOLDER = EXAMPLES / "filters"
FILES = sorted(FOLDER.glob("*.py"))
PROTOCOL = "graphql-transport-ws"


@pytest.fixture(scope="module")
def plugins() -> Iterator[dict[str, IMessageFilterPlugin]]:
    """Give the plugins by name, with their folder on the path as in the examples."""
    sys.path.insert(0, str(FOLDER))
    named = runpy.run_path(str(FOLDER / "twisted" / "plugins" / "example_filters.py"))
    yield {each.name: each for each in named.values() if IMessageFilterPlugin.providedBy(each)}
    sys.path.remove(str(FOLDER))
    for file in FILES:
        sys.modules.pop(file.stem, None)


Plugins = dict[str, IMessageFilterPlugin]


def test_each_is_under_sixty_lines() -> None:
    assert [file.stem for file in FILES] == ["anonymise", "graphql_guard", "user_rate"]
    assert max(len(file.read_text("utf-8").splitlines()) for file in FILES) < 60


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("anonymise", {}),
        ("anonymise", {"direction": "up"}),
        ("graphql-guard", {}),
        ("graphql-guard", {"depth": "1", "names": "A,B"}),
        ("user-rate", {}),
        ("user-rate", {"rate": "1", "burst": "1"}),
    ],
)
def test_they_keep_the_contract(plugins: Plugins, name: str, options: dict[str, str]) -> None:
    check_filter_contract(plugins[name], options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("anonymise", {"direction": "left"}),
        ("graphql-guard", {"depth": "deep"}),
        ("user-rate", {"rate": "0"}),
        ("user-rate", {"burst": "many"}),
    ],
)
def test_they_refuse_bad_options(plugins: Plugins, name: str, options: dict[str, str]) -> None:
    (option,) = options
    with pytest.raises(ValueError, match=rf"{option}={options[option]}.*: expected"):
        plugins[name].create(options, None)


# anonymise


def anonymised(plugins: Plugins, text: str) -> str:
    of = plugins["anonymise"].create({}, None)
    answer: Any = of.message(FakeSession(), DOWN, text.encode(), False)
    return answer if isinstance(answer, str) else answer.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("ask ada@example.com.", "ask [e-mail]."),
        ('{"from": "Ada <ada.l+x@mail.example.co.uk>"}', '{"from": "Ada <[e-mail]>"}'),
        ("jürgen@bücher.example", "[e-mail]"),
        ("@ada said so at 12:30:45", "@ada said so at 12:30:45"),
        ("from 192.0.2.7, 10.0.0.1:8080 and 10.0.0.2.", "from [address], [address]:8080 and "),
        ("version 1.2.3, 1.2.3.4.5", "version 1.2.3, 1.2.3.4.5"),
        ("2001:db8::1 [::1] fe80::1%eth0", "[address] [[address]] [address]%eth0"),
        ("std::vector a::b::c 12:30 aa:bb:cc:dd:ee:ff", "std::vector"),
    ],
)
def test_addresses_are_hidden(plugins: Plugins, text: str, expected: str) -> None:
    assert anonymised(plugins, text).startswith(expected)
    assert "10.0.0.2" not in anonymised(plugins, text)


@given(text=st.text(alphabet="a1.:@-_+ %\n", max_size=200))
def test_nothing_that_looks_like_an_address_is_left(plugins: Plugins, text: str) -> None:
    hidden = anonymised(plugins, f"x {text} ada@example.com 192.0.2.7")
    assert hidden.endswith(" [e-mail] [address]")
    assert anonymised(plugins, hidden) == hidden


def test_only_text_in_the_direction_that_was_named_is_changed(plugins: Plugins) -> None:
    of = plugins["anonymise"].create({"direction": DOWN}, None)
    session, payload = FakeSession(), b"ada@example.com"
    assert of.message(session, UP, payload, False) == payload
    assert of.message(session, DOWN, payload, True) == payload
    assert of.message(session, DOWN, payload, False) == "[e-mail]"


# graphql-guard


class Guarded:
    """A session behind the guard."""

    def __init__(self, plugins: Plugins, subprotocol: str = PROTOCOL, **options: str) -> None:
        self.of = plugins["graphql-guard"].create(options, None)
        self.session = FakeSession(subprotocol=subprotocol)

    def say(self, message: Any, direction: str = UP) -> Any:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        answer = self.of.message(self.session, direction, payload, False)
        return "passed" if answer is payload else answer

    def init(self) -> None:
        assert self.say({"type": "connection_init"}) == "passed"

    def subscribe(self, query: Any) -> Any:
        return self.say({"id": "1", "type": "subscribe", "payload": {"query": query}})


def test_a_conversation_passes(plugins: Plugins) -> None:
    guarded = Guarded(plugins)
    assert guarded.say({"type": "ping"}) == "passed"
    guarded.init()
    assert guarded.say({"type": "connection_ack"}, DOWN) == "passed"
    assert guarded.subscribe("subscription { messages { text } }") == "passed"
    assert guarded.say({"id": "1", "type": "complete"}) == "passed"
    assert guarded.session.sent == []


def test_nothing_is_subscribed_to_before_connection_init(plugins: Plugins) -> None:
    assert Guarded(plugins).subscribe("{ a }") == Close(4401, "Unauthorized")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b"[" * 100_000,
        {"type": "subscribe"},
        {"type": "subscribe", "payload": "x"},
        {"type": "subscribe", "payload": {"extensions": {"persistedQuery": {}}}},
        {"type": "subscribe", "payload": {"query": None}},
    ],
    ids=repr,
)
def test_what_is_no_message_of_the_protocol_closes(plugins: Plugins, message: Any) -> None:
    guarded = Guarded(plugins)
    guarded.init()
    assert guarded.say(message) == Close(4400, "Invalid message")


def test_another_subprotocol_closes(plugins: Plugins) -> None:
    """It has other messages, in which operations would pass unseen."""
    guarded = Guarded(plugins, subprotocol="graphql-ws")
    assert guarded.say({"type": "start"}).code == 4406


@pytest.mark.parametrize(
    ("depth", "query"),
    [
        (1, "{ a }"),
        (1, "{ a } # { b { c { d } } }"),
        (1, "subscription S($in: In = {a: {b: {c: 1}}}) { a(in: {b: {c: 2}}) }"),
        (1, '{ a(text: "{ { {") b(text: """{ "" \\""" {""") }'),
        (1, r'{ a(text: "\"{{{") }'),
        (3, "{ a { b { c } d } }"),
        (3, "# comment\r{ a { b { c } } }"),
        (3, '{ a(text: "#") { b { c } } }'),
        (3, "query A { a { ...F } } fragment F on T { b }"),
        (3, "{ a { ... on T { b } } }"),
        (4, "query A { a { b } } query B { a { b } }"),
    ],
)
def test_a_document_may_be_so_deep(plugins: Plugins, depth: int, query: str) -> None:
    exact = Guarded(plugins, depth=str(depth))
    exact.init()
    assert exact.subscribe(query) == "passed"
    less = Guarded(plugins, depth=str(depth - 1))
    less.init()
    assert less.subscribe(query) is DROP
    [(direction, payload, is_binary)] = less.session.sent
    assert (direction, is_binary) == (DOWN, False)
    error = [{"message": "not allowed"}]
    assert json.loads(payload) == {"id": "1", "type": "error", "payload": error}


@pytest.mark.parametrize("text", ['"' + r"\"" * 100, '"""' + r'\"""' * 100])
def test_a_string_without_an_end_is_looked_at_once(plugins: Plugins, text: str) -> None:
    """Else 16,000 quotes in it would hold up the relay for seconds."""
    plugins["graphql-guard"].create({}, None)
    assert sys.modules["graphql_guard"].HIDDEN.findall(text) == [text]


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("subscription A { a }", True),
        ("query,B,@dir(a: 1){a}", True),
        ("query A($x: In = {a: 1}) { a }", True),
        ("query A { ...F } fragment F on T { c }", True),
        ("fragment F on T { c } mutation B { ...F }", True),
        ("{ a }", False),
        ("query { a }", False),
        ("subscription C { a }", False),
        ("query A { a } query C { c }", False),
        ("query A { a } { c }", False),
        ("query @A { a }", False),
    ],
)
def test_only_operations_with_these_names_pass(plugins: Plugins, query: str, passes: bool) -> None:
    guarded = Guarded(plugins, names="A,B")
    guarded.init()
    assert (guarded.subscribe(query) == "passed") is passes


# user-rate


class Users:
    """Sessions behind the limit."""

    def __init__(self, plugins: Plugins, **options: str) -> None:
        self.clock = Clock()
        self.of: Any = plugins["user-rate"].create(options, self.clock)

    def open(self, *tags: str, address: str = "192.0.2.7") -> FakeSession:
        session = FakeSession(tags=frozenset(tags), client_address=address)
        self.of.opened(session)
        return session

    def speak(self, session: FakeSession, direction: str = UP) -> bool:
        """Say something, and return whether it passed."""
        answer = self.of.message(session, direction, b"x", False)
        assert answer in (b"x", Close(1008, "too many messages"))
        return answer == b"x"


def test_a_user_has_one_limit_in_all_sessions(plugins: Plugins) -> None:
    users = Users(plugins, rate="2", burst="3")
    first, second, other = users.open("user:a"), users.open("user:a"), users.open("user:b")
    assert [users.speak(each) for each in (first, second, first)] == [True] * 3
    assert not users.speak(second)
    assert users.speak(other)
    assert users.speak(first, DOWN)
    users.clock.advance(0.5)
    assert users.speak(second)
    assert not users.speak(first)


def test_without_a_tag_the_address_is_the_user(plugins: Plugins) -> None:
    users = Users(plugins, burst="1")
    assert users.speak(users.open("room:1"))
    assert not users.speak(users.open())
    assert users.speak(users.open(address="192.0.2.8"))


def test_coming_back_does_not_fill_the_bucket_and_nothing_is_left_in_the_end(
    plugins: Plugins,
) -> None:
    users = Users(plugins, rate="1", burst="3")
    passed = 0
    for _ in range(20):
        session = users.open("user:a")
        passed += sum(users.speak(session) for _ in range(3))
        users.of.ended(session)
        users.clock.advance(0.5)
    assert passed == 3 + 9
    users.clock.advance(4)
    assert users.of.buckets == {}
    assert users.clock.getDelayedCalls() == []
