"""The whole relay is shown and steered where it has several workers."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, eventAsText

from tests.observe.support import Page, read
from tests.relay.support import TEXT, frame_from
from tests.workers.crowd import Crowd, now
from wsrelay.admin.control import Control, Publication, Refused
from wsrelay.observe.traffic import KEPT_FOR
from wsrelay.relay.pump import Side
from wsrelay.workers.answering import answer
from wsrelay.workers.control import WorkersControl
from wsrelay.workers.view import LATEST, LOOK_EVERY

NOONE = "192.0.2.99:1"


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


def page_of(crowd: Crowd) -> Page:
    crowd.advance(KEPT_FOR)
    return read(now(crowd.control.metrics()))


def logged(events: list[Any]) -> list[str]:
    texts = [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]
    return [text for text in texts if "worker" in text]


def test_it_is_a_control(crowd: Crowd) -> None:
    control: Control = crowd.control
    assert isinstance(control, WorkersControl)


# what is shown


def test_the_status_is_of_the_whole_relay(crowd: Crowd) -> None:
    crowd.workers[0].fill(a=2)
    crowd.workers[1].fill(a=1, b=1)
    crowd.workers[1].ask(b"nonsense\r\n\r\n")
    crowd.advance(KEPT_FOR)
    status = now(crowd.control.status())
    own = crowd.parent.control.status()
    for key in ("version", "pid", "config", "pump", "last_reload"):
        assert status[key] == own[key]
    assert (status["sessions"], status["handshakes"], status["refused"]) == (4, 4, 1)
    assert status["refusals"] == {"malformed": 1}
    assert status["routes"][0]["sessions"] == 4
    assert status["pools"][0]["sessions"] == 4
    upstreams = {each["name"]: each for each in status["pools"][0]["upstreams"]}
    assert [upstreams[name]["sessions"] for name in "ab"] == [3, 1]
    assert [upstreams[name]["handshakes"] for name in "ab"] == [3, 1]
    assert (status["ready"], status["not_ready"], status["accepting"]) == (True, "", True)
    rows = status["workers"]
    assert [(each["number"], each["state"], each["sessions"]) for each in rows] == [
        (0, "up", 2),
        (1, "up", 2),
    ]
    assert [each["pid"] for each in rows] == [each.pid for each in crowd.crew.workers]
    assert now(crowd.control.pools()) == status["pools"]


def test_a_relay_of_one_process_has_no_workers(crowd: Crowd) -> None:
    assert crowd.parent.control.status()["workers"] == []


def test_who_does_not_answer_is_late_and_its_last_numbers_stay(crowd: Crowd) -> None:
    crowd.workers[1].fill(a=3)
    now(crowd.control.status())
    crowd.crew.late.add(1)
    status = now(crowd.control.status())
    assert [each["state"] for each in status["workers"]] == ["up", "late"]
    assert (status["sessions"], status["handshakes"]) == (3, 3)


def test_nothing_that_is_counted_falls_when_a_worker_dies(crowd: Crowd) -> None:
    for worker in crowd.workers:
        worker.fill(a=2, b=1)
    before, page = now(crowd.control.status()), page_of(crowd)
    where = {"listener": "web", "route": "chat", "pool": "pool", "upstream": "a", "status": "101"}
    assert page.value("wsrelay_handshakes_total", **where) == 4
    assert page.value("wsrelay_handshake_seconds_count", phase="total") == 6
    assert page.value("wsrelay_workers") == 2
    crowd.crew.die(1)
    for restarts in (0, 1):
        status, page = now(crowd.control.status()), page_of(crowd)
        assert (status["handshakes"], status["sessions"]) == (before["handshakes"], 3)
        upstream = status["pools"][0]["upstreams"][0]
        assert (upstream["handshakes"], upstream["sessions"]) == (4, 2)
        assert page.value("wsrelay_handshakes_total", **where) == 4
        assert page.value("wsrelay_handshake_seconds_count", phase="total") == 6
        assert page.value("wsrelay_sessions", route="chat", pool="pool", upstream="a") == 2
        assert page.value("wsrelay_workers") == 1 + restarts
        assert page.value("wsrelay_worker_restarts_total") == restarts
        if not restarts:
            assert [each["state"] for each in status["workers"]] == ["up", "waiting"]
            crowd.crew.begin(1)
    crowd.crew.processes[1].fill(a=1)
    assert page_of(crowd).value("wsrelay_handshakes_total", **where) == 5
    assert now(crowd.control.status())["handshakes"] == 7


def test_numbers_are_kept_although_nobody_looks(crowd: Crowd) -> None:
    crowd.control.start()
    crowd.workers[1].fill(a=2)
    crowd.advance(LOOK_EVERY)
    crowd.crew.die(1)
    crowd.advance(2 * LOOK_EVERY)
    assert now(crowd.control.status())["handshakes"] == 2
    crowd.control.stop()


def test_a_look_that_never_ends_is_given_up_and_another_one_follows(crowd: Crowd) -> None:
    crowd.crew.held = []
    crowd.control.start()
    with capturedLogs() as events:
        crowd.advance(LOOK_EVERY + LATEST - 0.1)
        assert crowd.crew.asked == ["samples"]
        crowd.advance(LOOK_EVERY + 0.2)
    assert len([each for each in events if "log_failure" in each]) == 1
    assert crowd.crew.asked == ["samples"] * 2
    crowd.control.stop()
    assert not [
        call for call in crowd.reactor.getDelayedCalls() if "workers" in call.func.__module__
    ]


def test_last_words_count(crowd: Crowd) -> None:
    worker = crowd.workers[1]
    worker.fill(a=2)
    crowd.advance(KEPT_FOR)
    pid = crowd.crew.facts[1].pid
    assert pid is not None
    crowd.control.learn(1, pid, worker.control.status(), worker.control.samples(()))
    crowd.crew.die(1)
    assert now(crowd.control.status())["handshakes"] == 2


def test_the_metrics_of_each_family_are_put_together_as_it_says(crowd: Crowd) -> None:
    crowd.workers[0].fill(a=2)
    crowd.workers[1].fill(b=1)
    for process in (crowd.parent, *crowd.workers):
        process.pool.upstreams[0].weight = 7
        process.relay.config = evolve(process.relay.config, max_connections=100)
    crowd.workers[1].relay.descriptors.is_accepting = False
    page = page_of(crowd)
    assert page.value("wsrelay_upstream_weight", pool="pool", upstream="a") == 7
    assert page.value("wsrelay_max_connections", listener="") == 100
    assert page.value("wsrelay_connections", listener="web") == 3
    assert page.value("wsrelay_accepting") == 0
    assert [page.value("wsrelay_worker_sessions", worker=each) for each in "01"] == [2, 1]


def test_it_is_not_ready_for_its_own_reason_or_without_workers(crowd: Crowd) -> None:
    assert crowd.control.not_ready() == ""
    for worker in crowd.workers:
        worker.relay.descriptors.is_accepting = False
        now(crowd.control.status())
    assert "descriptors" in crowd.control.not_ready()
    for number in (0, 1):
        crowd.crew.die(number)
    assert crowd.control.not_ready() == "no worker is up"
    crowd.parent.relay.is_draining = True
    assert crowd.control.not_ready() == "the relay is draining"


# sessions


def test_sessions_are_those_of_all_the_oldest_first_with_their_worker(crowd: Crowd) -> None:
    for number in (0, 1, 0, 1):
        crowd.workers[number].establish()
        crowd.advance(1.0)
    found = now(crowd.control.sessions({}, 3))
    assert found["total"] == 4
    assert [each["worker"] for each in found["sessions"]] == [0, 1, 0]
    assert now(crowd.control.sessions({"client": NOONE}, 3)) == {"total": 0, "sessions": []}
    with pytest.raises(Refused, match="filter"):
        crowd.control.sessions({"wieght": "1"}, 3)


def test_a_session_is_found_and_closed_where_it_is(crowd: Crowd) -> None:
    client, upstream = crowd.workers[1].establish()
    (id,) = crowd.workers[1].relay.sessions
    assert now(crowd.control.session(id))["worker"] == 1
    closed = now(crowd.control.close_session(id, 1000, "enough"))
    assert (closed["id"], closed["worker"]) == (id, 1)
    assert "enough" in closed["closing"]
    with pytest.raises(Refused) as refused:
        now(crowd.control.close_session(id, 1000, "enough"))
    assert refused.value.status == 409
    crowd.workers[1].end(client)
    crowd.workers[1].end(upstream)
    with pytest.raises(Refused) as refused:
        now(crowd.control.session(id))
    assert refused.value.status == 404


def test_a_session_may_be_of_a_worker_that_does_not_answer(crowd: Crowd) -> None:
    crowd.crew.late.add(1)
    with pytest.raises(Refused) as refused:
        now(crowd.control.session("77"))
    assert refused.value.status == 503
    crowd.crew.die(1)  # and with it its sessions
    with pytest.raises(Refused) as refused:
        now(crowd.control.session("77"))
    assert refused.value.status == 404


def test_a_message_goes_to_the_sessions_of_all_workers(crowd: Crowd) -> None:
    clients = [crowd.workers[number].establish()[0] for number in (0, 1, 1)]
    message = Publication("route", "chat", "down", b"hello", False)
    published = crowd.control.publish(message)
    crowd.advance(1.0)
    assert now(published) == {"sent": 3, "skipped": {}}
    assert all(frame_from(Side.UPSTREAM, TEXT, b"hello") == client.received for client in clients)
    crowd.crew.late.add(0)
    assert now(crowd.control.publish(message)) == {"sent": 2, "skipped": {}, "late": 1}
    with pytest.raises(Refused):
        crowd.control.publish(evolve(message, name="gone"))


# orders


def test_an_order_reaches_the_parent_and_all_workers(crowd: Crowd) -> None:
    for worker in crowd.workers:
        worker.fill(a=2)
    words = now(crowd.control.change_upstream("pool", "a", "drain", 3))
    assert (words["state"], words["weight"], words["sessions"]) == ("drain", 3, 4)
    assert (words["drain"]["total"], words["drain"]["done"]) == (4, False)
    for process in (crowd.parent, *crowd.workers):
        assert (process.pool.upstreams[0].state, process.pool.upstreams[0].weight) == ("drain", 3)


def test_what_the_parent_refuses_no_worker_hears_of(crowd: Crowd) -> None:
    for order in (
        lambda: crowd.control.change_upstream("pool", "z", "drain", None),
        lambda: crowd.control.add_upstream("pool", "ws://192.0.2.1:1 name=a"),
        lambda: crowd.control.add_upstream("pool", "nonsense"),
        lambda: crowd.control.remove_upstream("pool", "z"),
        lambda: crowd.control.rebalance("z", 1.0),
        lambda: crowd.control.drain("z"),
        lambda: crowd.control.ready("z"),
    ):
        with pytest.raises(Refused):
            order()
    assert crowd.crew.asked == []


def test_an_upstream_comes_and_goes_everywhere_and_is_shown_while_it_has_sessions(
    crowd: Crowd,
) -> None:
    assert now(crowd.control.add_upstream("pool", "ws://192.0.2.9:9 name=c"))["source"] == "api"
    assert all(len(each.pool.upstreams) == 3 for each in crowd.workers)
    for worker in crowd.workers:
        worker.fill(c=2)
    words = now(crowd.control.remove_upstream("pool", "c"))
    assert (words["source"], words["sessions"]) == ("gone", 4)
    (gone,) = [each for each in now(crowd.control.pools())[0]["upstreams"] if each["name"] == "c"]
    assert (gone["source"], gone["sessions"], gone["drain"]["total"]) == ("gone", 4, 4)


def test_a_worker_that_refuses_or_is_late_is_told_of_in_the_log(crowd: Crowd) -> None:
    crowd.workers[0].relay.pools.clear()
    crowd.crew.late.add(1)
    with capturedLogs() as events:
        assert now(crowd.control.change_upstream("pool", "a", None, 2))["weight"] == 2
    assert logged(events)[0].startswith("1 workers have not done change_upstream yet")
    assert logged(events)[1].startswith("worker 0 refuses to change_upstream: ")


def test_the_relay_is_drained_and_takes_clients_again(crowd: Crowd) -> None:
    for worker in crowd.workers:
        worker.fill(a=3)
    words = now(crowd.control.drain(None))
    assert (words["total"], words["done"]) == (6, False)
    assert all(each.relay.is_draining for each in (crowd.parent, *crowd.workers))
    status = now(crowd.control.status())
    assert (status["ready"], status["drain"]["total"]) == (False, 6)
    assert now(crowd.control.ready(None)) == {"ready": True}
    assert not any(each.relay.is_draining for each in (crowd.parent, *crowd.workers))


def test_a_pool_is_drained_and_takes_clients_again(crowd: Crowd) -> None:
    for worker in crowd.workers:
        worker.fill(a=1, b=1)
    assert now(crowd.control.drain("pool"))["total"] == 4
    assert now(crowd.control.pools())[0]["drain"]["total"] == 4
    ready = now(crowd.control.ready("pool"))
    assert (ready["drain"], ready["sessions"]) == (None, 4)
    assert {each["state"] for each in ready["upstreams"]} == {"ready"}
    assert not crowd.workers[1].pool.is_draining


def close_politely(crowd: Crowd) -> None:
    """Let clients that are told to close do so."""
    for worker in crowd.workers:
        for each in worker.transports:
            if each.received.startswith(b"\x88"):
                each.peer_ends()
        worker.settle()


def test_what_is_askew_on_two_workers_in_opposite_ways_is_level(crowd: Crowd) -> None:
    crowd.workers[0].fill(a=4)
    crowd.workers[1].fill(b=4)
    assert now(crowd.control.rebalance("pool", 10.0))["total"] == 0


def test_workers_together_close_what_is_too_much_at_the_rate_that_was_ordered() -> None:
    crowd = Crowd(3)
    for worker, count in zip(crowd.workers, (8, 4, 0), strict=True):
        worker.fill(a=count)
    words = now(crowd.control.rebalance("pool", 1.0))
    assert (words["what"], words["total"], words["done"]) == ("pool pool", 6, False)
    rates = [
        closing.terms.rate.per_second
        for worker in crowd.workers
        for closing in worker.relay.drains.running.values()
        if closing.terms.rate is not None
    ]
    assert sorted(rates) == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    for _ in range(40):
        crowd.advance(0.5)
        close_politely(crowd)
    left = [worker.levels()["a"] for worker in crowd.workers]
    assert (sum(left), left[2]) == (6, 0)
    rebalance = now(crowd.control.pools())[0]["rebalance"]
    assert (rebalance["closed"], rebalance["done"]) == (6, True)


# answers that come later


def test_answers_come_when_the_crew_has_them(crowd: Crowd) -> None:
    crowd.workers[0].fill(a=1)
    crowd.crew.held = []
    status = crowd.control.status()
    assert not status.called
    crowd.crew.held.pop().callback(None)
    assert now(status)["sessions"] == 1


def test_an_answer_that_outlives_its_worker_is_not_taken_for_its_successors(crowd: Crowd) -> None:
    crowd.workers[1].fill(a=2)
    crowd.crew.held = []
    first = crowd.control.status()
    waiting: list[Deferred[None]] = list(crowd.crew.held)
    crowd.crew.die(1)
    crowd.crew.begin(1)
    crowd.crew.held = None
    waiting[0].callback(None)
    assert now(first)["handshakes"] == 2
    assert now(crowd.control.status())["handshakes"] == 2


def test_a_worker_answers_what_it_is_meant_to_and_nothing_else(crowd: Crowd) -> None:
    for method in ("reload", "metrics", "service", "__init__", "session_called"):
        with pytest.raises(ValueError, match="has no answer to"):
            answer(crowd.workers[0].control, method, ())
