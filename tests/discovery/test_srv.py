"""Targets of SRV records."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.names.dns import Record_SRV
from zope.interface.verify import verifyObject

from tests.discovery.fakes import NOTHING, FakeDns, Heard, srv
from wsrelay.config.lines import upstream
from wsrelay.discovery.options import Form
from wsrelay.discovery.resolver import Answer
from wsrelay.discovery.srv import Srv, lines, targets
from wsrelay.interfaces import IDiscovery

QUESTION = "SRV _ws._tcp.chat.internal"


def found(answer: Answer, **options: str) -> tuple[list[list[str]], str]:
    """Return what a discovery says to one answer, and its problem."""
    dns, heard = FakeDns(), Heard()
    discovery = Srv(Clock(), name="_ws._tcp.chat.internal", **options, ask=dns.ask)
    assert verifyObject(IDiscovery, discovery)
    assert dns.news() == []
    discovery.start(heard)
    assert dns.news() == [QUESTION]
    dns.answer(QUESTION, answer)
    return heard.news(), discovery.problem


def test_the_lowest_priority_comes_first_and_all_others_are_backups() -> None:
    answer = srv(
        (20, 5, 9000, "c.test"),
        (10, 3, 9001, "b.test"),
        (30, 1, 9000, "d.test"),
        (10, 60, 9000, "A.test"),
    )
    assert found(answer, scheme="wss", base="/x") == (
        [
            [
                "wss://a.test:9000/x weight=60",
                "wss://b.test:9001/x weight=3",
                "wss://c.test:9000/x weight=5 backup",
                "wss://d.test:9000/x weight=1 backup",
            ]
        ],
        "",
    )


def test_a_weight_of_nothing_is_the_least() -> None:
    assert found(srv((0, 0, 80, "a.test"))) == ([["ws://a.test:80 weight=1"]], "")


def test_of_one_target_twice_the_first_priority_counts() -> None:
    answer = srv((20, 7, 80, "a.test"), (10, 2, 80, "A.test"), (20, 1, 81, "a.test"))
    assert found(answer) == (
        [["ws://a.test:80 weight=2", "ws://a.test:81 weight=1 backup"]],
        "",
    )


def test_a_dot_and_no_record_mean_no_service() -> None:
    assert found(srv((0, 0, 0, ""))) == ([[]], "")
    assert found(NOTHING) == ([[]], "")


def test_a_target_that_could_be_read_as_more_than_a_name_is_refused_with_the_answer() -> None:
    answer = srv((0, 1, 80, "good.test"), (0, 1, 80, "a.test:1 weight=9"))
    heard, problem = found(answer)
    assert heard == []
    assert problem.startswith("there is a record that cannot be used: 'a.test:1 weight=9' is not")


def test_a_port_of_nothing_is_refused_with_the_answer() -> None:
    heard, problem = found(srv((0, 1, 0, "a.test")))
    assert heard == []
    assert problem.startswith("there is a record that cannot be used: '0' is out of place")


def test_it_is_stopped() -> None:
    clock, dns, heard = Clock(), FakeDns(), Heard()
    discovery = Srv(clock, name="_ws._tcp.chat.internal", ask=dns.ask)
    discovery.start(heard)
    dns.answer(QUESTION, srv((0, 0, 80, "a.test")))
    discovery.stop()
    assert clock.getDelayedCalls() == []


WORD = st.integers(0, 65535)
RECORDS = st.lists(
    st.builds(
        Record_SRV, WORD, WORD, st.integers(1, 65535), st.sampled_from(["a.test", "B.test", "c"])
    )
)


@given(RECORDS)
def test_every_answer_becomes_upstreams_with_names_of_their_own(records: list[Record_SRV]) -> None:
    parsed = [upstream(line) for line in lines(targets(records), Form("ws", ""))]
    assert {each.name for each in parsed} == {
        f"{record.target.name.decode().lower()}:{record.port}" for record in records
    }
    assert len(parsed) == len({each.name for each in parsed})
    assert [each.backup for each in parsed] == sorted(each.backup for each in parsed)
    assert not parsed or not parsed[0].backup


@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_answer_does_not_count(records: list[Record_SRV], random) -> None:
    shuffled = random.sample(records, len(records))
    assert targets(shuffled) == targets(records)
