"""Addresses of a name, with a DNS that answers when it is told to."""

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.discovery.fakes import NOTHING, FakeDns, Heard, v4, v6
from wsrelay.discovery.dns import Dns
from wsrelay.discovery.resolver import Answer, LookupFailed
from wsrelay.interfaces import IDiscovery

A, AAAA = "A chat.internal", "AAAA chat.internal"
FAILURE = LookupFailed("name server 10.0.0.2:53 answered SERVFAIL")


@define(eq=False)
class World:
    """A discovery that has started."""

    options: dict[str, str] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    dns: FakeDns = field(factory=FakeDns)
    heard: Heard = field(factory=Heard)
    discovery: Dns = field(init=False)

    def __attrs_post_init__(self) -> None:
        options = {"name": "chat.internal", "port": "9000", "every": "30s", **self.options}
        self.discovery = Dns(self.clock, **options, ask=self.dns.ask)
        self.discovery.start(self.heard)

    def asks_after(self, seconds: float) -> list[str]:
        """Check that nothing is asked until just before, and return what is then."""
        self.dns.news()
        self.clock.advance(seconds - 0.01)
        assert self.dns.news() == []
        self.clock.advance(0.01)
        return self.dns.news()


def test_it_is_a_discovery_that_asks_nothing_before_its_start() -> None:
    dns = FakeDns()
    discovery = Dns(Clock(), name="chat.internal", port="9000", ask=dns.ask)
    assert verifyObject(IDiscovery, discovery)
    assert dns.news() == []


def test_both_families_are_asked_for_side_by_side() -> None:
    assert World().dns.news() == [A, AAAA]


@pytest.mark.parametrize(("family", "asked"), [("4", [A]), ("6", [AAAA])])
def test_one_family_alone_may_be_asked_for(family: str, asked: list[str]) -> None:
    world = World({"family": family})
    assert world.dns.news() == asked
    world.dns.answer(asked[0], v4("10.0.0.1") if family == "4" else v6("2001:db8::1"))
    assert len(world.heard.news()) == 1


def test_the_addresses_come_in_one_order_whatever_the_order_of_the_answer() -> None:
    world = World({"scheme": "wss", "base": "/x/"})
    world.dns.answer(AAAA, v6("2001:db8::10", "2001:db8::2"))
    world.heard.news()
    world.dns.answer(A, v4("10.0.0.10", "10.0.0.9", "10.0.0.10"))
    assert world.heard.news() == [
        [
            "wss://10.0.0.9:9000/x",
            "wss://10.0.0.10:9000/x",
            "wss://[2001:db8::2]:9000/x",
            "wss://[2001:db8::10]:9000/x",
        ]
    ]


def test_the_first_family_counts_at_once() -> None:
    world = World()
    world.dns.answer(A, v4("10.0.0.1"))
    assert world.heard.news() == [["ws://10.0.0.1:9000"]]


def test_an_empty_answer_waits_for_the_other_family() -> None:
    world = World()
    world.dns.answer(A, NOTHING)
    assert world.heard.news() == []
    world.dns.answer(AAAA, v6("2001:db8::1"))
    assert world.heard.news() == [["ws://[2001:db8::1]:9000"]]


def test_no_address_at_all_is_an_answer() -> None:
    world = World()
    world.dns.answer(A, NOTHING)
    world.dns.answer(AAAA, NOTHING)
    assert world.heard.news() == [[]]
    assert world.discovery.problem == ""


def test_nothing_is_said_while_one_family_is_empty_and_the_other_fails() -> None:
    world = World()
    world.dns.answer(A, NOTHING)
    world.dns.answer(AAAA, FAILURE)
    assert world.heard.news() == []
    assert world.discovery.problem == f"{FAILURE}; what was known stays"


def test_a_family_that_fails_keeps_what_was_known_of_it() -> None:
    world = World()
    world.dns.answer(A, v4("10.0.0.1", ttl=5))
    world.dns.answer(AAAA, v6("2001:db8::1", ttl=5))
    world.heard.news()
    world.clock.advance(5)
    world.dns.answer(AAAA, FAILURE)
    world.dns.answer(A, v4("10.0.0.2"))
    assert world.heard.news() == [["ws://10.0.0.2:9000", "ws://[2001:db8::1]:9000"]]


def test_a_family_that_is_empty_takes_what_was_known_of_it_away() -> None:
    world = World()
    world.dns.answer(A, v4("10.0.0.1"))
    world.dns.answer(AAAA, v6("2001:db8::1", ttl=5))
    world.heard.news()
    world.clock.advance(5)
    world.dns.answer(AAAA, NOTHING)
    assert world.heard.news() == [["ws://10.0.0.1:9000"]]


# When it is asked again


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(5, 5), (29.5, 29.5), (30, 30), (300, 30), (1, 1), (0, 1), (None, 30)]
)
def test_it_is_asked_again_when_its_time_to_live_is_over(ttl: float | None, seconds: int) -> None:
    world = World({"family": "4"})
    world.dns.answer(A, v4("10.0.0.1", ttl=ttl))
    assert world.asks_after(seconds) == [A]


def test_the_time_counts_from_the_answer() -> None:
    world = World({"family": "4"})
    world.clock.advance(3)
    assert world.dns.news() == [A]
    world.dns.answer(A, v4("10.0.0.1", ttl=5))
    assert world.asks_after(5) == [A]


def test_each_family_has_its_own_time() -> None:
    world = World()
    world.dns.answer(A, v4("10.0.0.1", ttl=4))
    world.dns.answer(AAAA, v6("2001:db8::1", ttl=6))
    assert world.asks_after(4) == [A]
    assert world.asks_after(2) == [AAAA]


def test_after_failures_it_is_asked_soon_and_then_ever_later() -> None:
    world = World({"family": "4", "every": "5s"})
    for seconds in (1, 2, 4, 5, 5):
        world.dns.answer(A, FAILURE)
        assert world.asks_after(seconds) == [A]


def test_an_answer_ends_the_waiting() -> None:
    world = World({"family": "4"})
    world.dns.answer(A, FAILURE)
    world.clock.advance(1)
    world.dns.answer(A, FAILURE)
    world.clock.advance(2)
    world.dns.answer(A, v4("10.0.0.1", ttl=7))
    assert world.asks_after(7) == [A]
    world.dns.answer(A, FAILURE)
    assert world.asks_after(1) == [A]


def test_an_answer_that_never_comes_is_a_failure() -> None:
    world = World({"family": "4"})
    world.clock.advance(30)
    assert world.dns.cancelled == [A]
    assert world.discovery.problem == "there is no answer; what was known stays"
    assert world.asks_after(1) == [A]


def test_a_question_that_cannot_even_be_asked_is_a_failure() -> None:
    clock = Clock()
    asked: list[object] = []

    def ask(name: bytes, kind: int) -> None:
        asked.append(name)
        raise OSError(24, "Too many open files")

    discovery = Dns(clock, name="a", port="1", family="4", ask=ask)
    discovery.start(Heard())
    clock.advance(1)
    assert len(asked) == 2
    assert "Too many open files" in discovery.problem


# What it says in the log


def test_a_problem_is_logged_once_and_when_it_is_over() -> None:
    with capturedLogs() as events:
        world = World({"family": "4", "every": "1s"})
        for _ in range(3):
            world.dns.answer(A, FAILURE)
            world.clock.advance(1)
        world.dns.answer(A, LookupFailed("another"))
        world.clock.advance(1)
        world.dns.answer(A, v4("10.0.0.1"))
    assert [(each["log_level"].name, each["about"], each.get("text")) for each in events] == [
        ("warn", "A records of chat.internal", f"{FAILURE}; what was known stays"),
        ("warn", "A records of chat.internal", "another; what was known stays"),
        ("info", "A records of chat.internal", None),
    ]


def test_a_fault_of_the_program_is_logged_with_its_traceback_and_asked_again() -> None:
    with capturedLogs() as events:
        world = World({"family": "4"})
        world.dns.answer(A, KeyError("x"))
    assert [each["log_failure"].type for each in events if "log_failure" in each] == [KeyError]
    assert world.asks_after(1) == [A]


# The end


def test_once_stopped_it_asks_nothing_and_says_nothing() -> None:
    world = World()
    world.dns.answer(A, v4("10.0.0.1"))
    world.heard.news()
    world.discovery.stop()
    assert world.dns.cancelled == [AAAA]
    world.dns.news()
    world.clock.advance(100)
    assert (world.dns.news(), world.heard.news()) == ([], [])
    assert world.clock.getDelayedCalls() == []
    assert world.discovery.problem == ""


def test_an_answer_that_comes_all_the_same_is_not_heard() -> None:
    clock, heard = Clock(), Heard()

    def ask(name: bytes, kind: int) -> Deferred[Answer]:
        return Deferred(lambda deferred: deferred.callback(v4("10.0.0.1")))

    discovery = Dns(clock, name="a", port="1", family="4", ask=ask)
    discovery.start(heard)
    discovery.stop()
    assert heard.news() == []
    assert clock.getDelayedCalls() == []


def test_it_may_be_stopped_by_what_it_says() -> None:
    clock, dns = Clock(), FakeDns()
    discovery = Dns(clock, name="chat.internal", port="1", family="4", ask=dns.ask)
    discovery.start(lambda lines: discovery.stop())
    dns.answer(A, v4("10.0.0.1"))
    assert clock.getDelayedCalls() == []


def test_it_may_be_stopped_twice() -> None:
    world = World()
    world.discovery.stop()
    world.discovery.stop()
    assert world.clock.getDelayedCalls() == []
