"""Which processes there are, who has which number, and when: with processes that are none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from errno import EAGAIN
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.workers.world import Fake, World, lines
from wsrelay.workers.backoff import LONGEST, STEADY, Backoff
from wsrelay.workers.command import Command
from wsrelay.workers.process import ANSWER_WITHIN, START_WITHIN
from wsrelay.workers.supervisor import Stage, Supervisor, Worker

made: list[Watched] = []


@pytest.fixture(autouse=True)
def _channels_are_closed() -> Iterator[None]:
    yield
    while made:
        made.pop().world.close()


@define(eq=False)
class Watched:
    """A supervisor; *seen* is what it asked of its owner, in order."""

    world: World = field(factory=World)
    seen: list[tuple[Any, ...]] = field(factory=list)
    orders: list[Deferred[None]] = field(factory=list)
    answers_at_once: bool = True
    supervisor: Supervisor = field(init=False)

    def __attrs_post_init__(self) -> None:
        made.append(self)
        self.supervisor = Supervisor(
            self.world,
            2,
            Command(("/bin/worker",), {}),
            on_start=self.give,
            on_end=self.end,
            on_call=lambda worker, name, arguments, descriptors: (worker.number, name, arguments),
        )

    def give(self, worker: Worker) -> Deferred[None] | None:
        self.seen.append(("start", worker.number, worker.pid))
        if self.answers_at_once:
            return None
        self.orders.append(Deferred())
        return self.orders[-1]

    def end(self, worker: Worker, fate: str) -> str:
        self.seen.append(("end", worker.number, worker.pid))
        return "its 12 sessions are lost"

    def ask_to_go(self, worker: Worker) -> None:
        self.seen.append(("stop", worker.number, worker.pid))

    def hello(self, *fakes: Fake) -> None:
        for each in fakes:
            each.hello()
            self.world.turn()

    def dies(self, fake: Fake, **how: Any) -> str:
        with lines() as said:
            fake.dies(**how)
        return said[0]

    @property
    def pids(self) -> list[int]:
        return self.supervisor.pids

    def fake(self, number: int) -> Fake:
        found = next(each for each in self.supervisor.workers if each.number == number)
        return next(each for each in self.world.started if each.pid == found.pid)


def begun() -> Watched:
    """Return one whose processes are about to start."""
    watched = Watched()
    watched.supervisor.start()
    return watched


def running() -> Watched:
    """Return one whose workers 0 (pid 101) and 1 (pid 102) work, with the spare pid 103."""
    watched = begun()
    watched.hello(*watched.world.started)
    return watched


def test_as_many_processes_start_as_there_are_numbers_and_one_more() -> None:
    watched = begun()
    assert watched.pids == [101, 102, 103]
    assert watched.seen == []


def test_numbers_are_given_in_the_order_of_being_ready_and_the_last_is_spare() -> None:
    watched = begun()
    first, second, third = watched.world.started
    watched.hello(third, first, second)
    assert watched.seen == [("start", 0, 103), ("start", 1, 101)]
    assert [each.stage for each in watched.supervisor.workers] == [Stage.WORKING] * 2
    assert len(watched.world.started) == 3


def test_calls_of_a_process_are_answered_by_the_owner() -> None:
    watched = running()
    found: list[Any] = []
    watched.fake(1).channel.call("status", "x").addCallback(found.append)
    watched.world.turn()
    assert found == [(1, "status", ("x",))]


def test_the_spare_takes_the_number_of_the_dead_at_once_and_after_it_was_cleared_up() -> None:
    watched = running()
    said = watched.dies(watched.fake(1))
    assert watched.seen[2:] == [("end", 1, 102), ("start", 1, 103)]
    assert watched.pids == [101, 103, 104]
    assert said == (
        "worker 1 (pid 102) was killed by signal 9 (SIGKILL); its 12 sessions are lost;"
        " another one takes its place now"
    )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"signal": 11}, "was killed by signal 11 (SIGSEGV)"),
        ({"signal": 40}, "was killed by signal 40;"),
        ({"signal": None, "code": 3}, "has ended with exit code 3"),
        ({"code": 0}, "has ended;"),
    ],
)
def test_the_log_says_how_a_worker_has_ended(how: dict[str, Any], words: str) -> None:
    watched = running()
    assert words in watched.dies(watched.fake(0), **how)
    assert watched.seen[-1] == ("start", 0, 103)


def test_a_second_death_waits_for_the_next_process_that_is_ready() -> None:
    watched = running()
    watched.fake(0).dies()
    said = watched.dies(watched.fake(1))
    assert said.endswith("another one takes its place when it has started")
    assert watched.pids == [103, 104, 105]
    watched.hello(watched.world.started[4])
    assert watched.seen[-1] == ("start", 1, 105)


def test_the_same_number_dying_young_again_and_again_waits_longer_and_longer() -> None:
    watched = running()
    pauses = []
    for _ in range(9):
        watched.fake(0).dies()
        watched.hello(*(each for each in watched.world.started if not is_known(watched, each)))
        waited = 0.0
        while 0 not in [each.number for each in watched.supervisor.workers]:
            watched.world.advance(0.25)
            waited += 0.25
        pauses.append(waited)
        watched.hello(*(each for each in watched.world.started if not is_known(watched, each)))
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [each.number for each in watched.supervisor.workers] == [0, 1]


def is_known(watched: Watched, fake: Fake) -> bool:
    return fake.has_ended or fake.protocol.stage is not Stage.STARTING


def test_the_log_says_when_the_next_one_comes() -> None:
    watched = running()
    watched.fake(0).dies()
    assert watched.dies(watched.fake(0)).endswith("another one takes its place in 0.5 s")


def test_one_number_that_dies_young_does_not_delay_another() -> None:
    watched = running()
    watched.fake(0).dies()
    watched.hello(watched.world.started[-1])
    watched.fake(0).dies()  # has a pause now
    watched.hello(watched.world.started[-1])
    watched.fake(1).dies()
    assert watched.seen[-1][:2] == ("start", 1)


def test_a_worker_that_has_lived_long_enough_has_its_successor_at_once() -> None:
    watched = running()
    watched.fake(0).dies()
    watched.hello(watched.world.started[-1])
    watched.world.seconds_pass(int(STEADY))
    watched.fake(0).dies()
    assert watched.seen[-1][:2] == ("start", 0)


@given(st.lists(st.floats(0, 60), max_size=30))
def test_pauses_are_never_too_long_and_there_is_none_after_a_long_life(lives: list[float]) -> None:
    backoff = Backoff()
    for lived in lives:
        pause = backoff.died(lived)
        assert 0 <= pause <= LONGEST
        assert pause == 0 or lived < STEADY


def test_a_spare_one_that_dies_has_a_successor() -> None:
    watched = running()
    said = watched.dies(watched.world.started[2])
    assert said == (
        "a spare process (pid 103) was killed by signal 9 (SIGKILL); another one is started at once"
    )
    assert watched.pids == [101, 102, 104]
    assert watched.seen == [("start", 0, 101), ("start", 1, 102)]


def test_processes_that_cannot_even_start_are_tried_less_and_less_often() -> None:
    watched = begun()
    for _ in range(100):
        for each in list(watched.world.started):
            if not each.has_ended:
                each.dies(signal=None, code=1)
        watched.world.advance(0.25)
    # 25 s: at once, after 0.5, 1, 2, 4 and 8 s, three of them each time.
    assert len(watched.world.started) in range(12, 22)
    assert watched.seen == []
    watched.world.advance(60)
    watched.hello(*(each for each in watched.world.started if not each.has_ended))
    assert [each[:2] for each in watched.seen] == [("start", 0), ("start", 1)]


def test_a_process_that_the_system_cannot_start_is_tried_again() -> None:
    watched = Watched()
    watched.world.cannot_start = [OSError(EAGAIN, "no room", "/bin/python")] * 2
    with lines() as said:
        watched.supervisor.start()
        watched.world.advance(1)
    why = f"[Errno {int(EAGAIN)}] no room: '/bin/python'"
    assert f"a process cannot be started: {why}; the next attempt is in 1 s" in said
    watched.world.advance(1)
    watched.world.advance(1)
    assert watched.pids == [101, 102, 103]


# orders


def test_a_worker_whose_orders_cannot_be_given_is_killed_and_has_a_successor() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    with lines() as said:
        watched.orders[0].errback(LookupError("no listener"))
    assert said[0] == "worker 0 (pid 101) could not be told what to do"
    assert watched.world.started[0].signals == ["KILL"]
    assert watched.seen[2:] == [("end", 0, 101), ("start", 0, 103)]


def test_a_worker_that_dies_while_it_gets_its_orders_has_a_successor() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    watched.world.started[1].channel.close()
    watched.world.turn()
    with lines() as said:
        watched.orders[1].errback(LookupError("as the channel is lost"))
        assert watched.world.started[1].signals == []
        watched.world.started[1].dies()
    assert watched.seen[2:] == [("end", 1, 102), ("start", 1, 103)]
    assert len(said) == 1


def test_orders_that_end_after_the_workers_death_change_nothing() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    watched.world.started[0].dies()
    with lines() as said:
        watched.orders[0].callback(None)
        watched.orders.clear()
        gc.collect()
    assert watched.world.started[0].protocol.stage is Stage.ENDED
    assert said == []


def test_what_the_owner_raises_at_the_end_of_one_keeps_nobody_from_its_place() -> None:
    watched = running()
    watched.supervisor._on_end = lambda worker, fate: str(1 / 0)
    with lines() as said:
        watched.fake(0).dies()
    assert "could not be cleared up" in said[0]
    assert watched.seen[-1] == ("start", 0, 103)


# those that hang


def test_a_process_that_never_says_hello_is_killed() -> None:
    watched = begun()
    with lines() as said:
        watched.world.seconds_pass(START_WITHIN)
        assert [each.signals for each in watched.world.started] == [[]] * 3
        watched.world.seconds_pass(1)
    assert [each.signals for each in watched.world.started[:3]] == [["KILL"]] * 3
    assert said[0] == ("a spare process (pid 101) is killed: it has not begun to work within 60 s")


def test_a_worker_that_does_not_answer_is_killed_and_has_a_successor() -> None:
    watched = running()
    watched.world.seconds_pass(100)
    watched.fake(1).hang()
    with lines() as said:
        watched.world.seconds_pass(ANSWER_WITHIN)
        assert watched.seen[2:] == []
        watched.world.seconds_pass(1)
    assert said[0] == "worker 1 (pid 102) is killed: it has not answered for 30 s"
    assert watched.seen[2:] == [("end", 1, 102), ("start", 1, 103)]


def test_a_worker_that_answers_at_the_last_moment_lives() -> None:
    watched = running()
    hanging = watched.fake(1)
    hanging.hang()
    watched.world.seconds_pass(ANSWER_WITHIN - 1)
    watched.world.addReader(hanging.channel._stream)
    watched.world.turn()
    watched.world.seconds_pass(200)
    assert hanging.signals == []


def test_hours_in_which_the_parent_did_not_run_do_not_count() -> None:
    watched = running()
    for _ in range(ANSWER_WITHIN * 2):
        watched.world.advance(0)
        watched.world.rightNow += 3600
        watched.world.advance(0)
        watched.world.turn()
    assert [each.signals for each in watched.world.started] == [[]] * 3


def test_a_worker_that_never_takes_its_orders_is_killed() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    with lines() as said:
        watched.world.seconds_pass(START_WITHIN + 1)
    assert "worker 0 (pid 101) is killed: it has not taken its orders within 60 s" in said
    assert ("end", 0, 101) in watched.seen


def test_a_spare_one_that_hangs_is_replaced() -> None:
    watched = running()
    watched.world.started[2].hang()
    with lines():
        watched.world.seconds_pass(ANSWER_WITHIN + 1)
    assert watched.pids == [101, 102, 104]


def test_a_process_that_has_closed_its_channel_and_lives_on_is_killed() -> None:
    watched = running()
    watched.fake(0).channel.close()
    watched.world.turn()
    with lines() as said:
        watched.world.advance(1.1)
    assert said[0] == "worker 0 (pid 101) is killed: its connection is closed"
    assert watched.seen[-1] == ("start", 0, 103)


def test_the_time_to_start_and_the_time_to_take_orders_are_counted_apart() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.world.seconds_pass(START_WITHIN - 5)
    watched.hello(*watched.world.started)
    watched.world.seconds_pass(START_WITHIN - 5)
    assert [each.signals for each in watched.world.started] == [[]] * 3


def test_a_spare_one_that_is_dying_gets_no_number_and_is_none_any_more() -> None:
    watched = running()
    hanging = watched.world.started[2]
    hanging.cannot_be_killed = True  # not yet
    hanging.hang()
    with lines():
        watched.world.seconds_pass(ANSWER_WITHIN + 1)
    assert watched.pids == [101, 102, 103, 104]
    watched.fake(0).dies()
    assert watched.seen[-1] == ("end", 0, 101)
    watched.hello(watched.world.started[3])
    assert watched.seen[-1] == ("start", 0, 104)


def test_a_spare_one_that_has_closed_its_channel_gets_no_number() -> None:
    watched = running()
    watched.world.started[2].channel.close()
    watched.world.turn()
    watched.fake(0).dies()
    assert watched.seen[-1] == ("end", 0, 101)


def test_once_a_spare_one_was_of_use_the_next_that_dies_is_the_first_again() -> None:
    watched = running()
    for _ in range(2):
        watched.world.started[-1].dies()
    watched.world.advance(1)
    watched.hello(watched.world.started[-1])
    watched.fake(0).dies()
    assert watched.dies(watched.world.started[-1]).endswith("another one is started at once")


# another count


def test_more_workers_are_started_when_more_are_wanted() -> None:
    watched = running()
    watched.supervisor.set_count(4, watched.ask_to_go, 10)
    assert watched.seen[2:] == [("start", 2, 103)]
    assert watched.pids == [101, 102, 103, 104, 105]
    watched.hello(*watched.world.started[3:])
    assert watched.seen[3:] == [("start", 3, 104)]


def test_those_too_many_are_asked_to_go_and_have_no_successors() -> None:
    watched = running()
    watched.supervisor.set_count(1, watched.ask_to_go, 10)
    assert watched.seen[2:] == [("stop", 1, 102)]
    said = watched.dies(watched.fake(1), code=0)
    assert said == "worker 1 (pid 102) has ended; its 12 sessions are lost"
    assert watched.seen[3:] == [("end", 1, 102)]
    assert watched.pids == [101, 103]
    watched.world.seconds_pass(100)
    assert watched.pids == [101, 103]


def test_one_that_does_not_go_in_time_is_killed() -> None:
    watched = running()
    watched.supervisor.set_count(1, watched.ask_to_go, 10)
    with lines() as said:
        watched.world.seconds_pass(11)
    assert said[0] == "worker 1 (pid 102) is killed: its time is over"
    assert watched.pids == [101, 103]


def test_a_number_wanted_again_is_given_when_the_one_that_leaves_is_gone() -> None:
    watched = running()
    watched.supervisor.set_count(1, watched.ask_to_go, 10)
    watched.supervisor.set_count(2, watched.ask_to_go, 10)
    assert watched.seen[3:] == []
    said = watched.dies(watched.fake(1), code=0)
    assert said == "worker 1 (pid 102) has ended; its 12 sessions are lost"
    assert watched.seen[3:] == [("end", 1, 102), ("start", 1, 103)]
    said = watched.dies(watched.fake(1))
    assert said.endswith("takes its place when it has started")  # the first that has died


def test_a_number_in_a_pause_is_dropped_when_it_is_not_wanted_any_more() -> None:
    watched = running()
    watched.fake(1).dies()
    watched.fake(1).dies()
    watched.supervisor.set_count(1, watched.ask_to_go, 10)
    watched.hello(*(each for each in watched.world.started if not is_known(watched, each)))
    watched.world.seconds_pass(60)
    assert [each.number for each in watched.supervisor.workers] == [0]
    assert len(watched.pids) == 2


def test_one_that_is_getting_its_orders_is_asked_to_go_when_it_has_them() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    watched.supervisor.set_count(1, watched.ask_to_go, 10)
    assert watched.seen[2:] == []
    watched.orders[1].callback(None)
    assert watched.seen[2:] == [("stop", 1, 102)]


# the end


def stopped(watched: Watched, patience: float = 10.0) -> list[object]:
    done: list[object] = []
    watched.supervisor.stop(watched.ask_to_go, patience).addCallback(done.append)
    return done


def test_stopping_ends_the_spare_at_once_and_waits_for_the_workers() -> None:
    watched = running()
    with lines() as said:
        done = stopped(watched)
        assert watched.seen[2:] == [("stop", 0, 101), ("stop", 1, 102)]
        assert watched.pids == [101, 102]
        watched.fake(0).dies(code=0)
        assert done == []
        watched.fake(1).dies(code=0)
    assert done == [None]
    assert watched.world.getDelayedCalls() == watched.world.readers == []
    assert [each for each in said if "spare" in each or "another" in each] == []


def test_stopping_while_all_start_leaves_none() -> None:
    watched = begun()
    assert stopped(watched) == [None]
    assert [each.signals for each in watched.world.started] == [["KILL"]] * 3
    assert watched.world.getDelayedCalls() == []


def test_stopping_while_one_gets_its_orders_asks_it_to_go_afterwards() -> None:
    watched = begun()
    watched.answers_at_once = False
    watched.hello(*watched.world.started)
    done = stopped(watched)
    watched.orders[0].callback(None)
    assert watched.seen[2:] == [("stop", 0, 101)]
    with lines() as said:
        watched.world.seconds_pass(11)
    assert done == [None]
    assert "worker 1 (pid 102) is killed: its time is over" in said


def test_stopping_in_a_pause_starts_nobody_any_more() -> None:
    watched = running()
    watched.fake(0).dies()
    watched.fake(0).dies()
    stopped(watched)
    watched.fake(1).dies(code=0)
    assert watched.pids == watched.world.getDelayedCalls() == []


def test_stopping_while_processes_cannot_be_started_tries_no_more() -> None:
    watched = Watched()
    watched.world.cannot_start = [OSError(EAGAIN, "no room")]
    with lines():
        watched.supervisor.start()
    assert stopped(watched) == [None]
    assert watched.world.getDelayedCalls() == []


def test_a_deadline_is_never_put_off() -> None:
    watched = running()
    done = stopped(watched, 10)
    watched.supervisor.hurry(1000)
    with lines():
        watched.world.seconds_pass(11)
    assert done == [None]


def test_a_worker_that_dies_while_all_stop_has_no_successor() -> None:
    watched = running()
    stopped(watched)
    watched.fake(0).dies()
    assert [each[0] for each in watched.seen[4:]] == ["end"]
    assert watched.pids == [102]


def test_stopping_twice_fires_both_and_asks_each_once() -> None:
    watched = running()
    first, second = stopped(watched, 10), stopped(watched, 5)
    assert watched.seen[2:] == [("stop", 0, 101), ("stop", 1, 102)]
    for number in (0, 1):
        watched.fake(number).dies(code=0)
    assert first == second == [None]


def test_in_a_hurry_all_are_killed() -> None:
    watched = running()
    done = stopped(watched, 1000)
    watched.supervisor.hurry(2)
    watched.world.seconds_pass(1)
    assert done == []
    watched.world.seconds_pass(2)
    assert done == [None]
    assert watched.world.getDelayedCalls() == []


def test_a_worker_that_cannot_be_asked_to_go_is_killed() -> None:
    watched = running()
    done: list[object] = []
    with lines() as said:
        watched.supervisor.stop(lambda worker: 1 / 0, 10).addCallback(done.append)
    assert done == [None]
    assert "worker 0 (pid 101) could not be told what to do" in said


def test_a_process_that_cannot_even_be_killed_is_not_waited_for_forever() -> None:
    watched = running()
    watched.fake(1).cannot_be_killed = True
    with lines() as said:
        done = stopped(watched, 40)
        watched.fake(0).dies(code=0)
        watched.fake(1).hang()  # killed for that first, and not again when its time is over
        watched.world.seconds_pass(46)
    assert done == [None]
    assert said[-1] == "[102] cannot be killed"
    assert watched.world.started[1].signals == ["KILL"]


def test_a_worker_that_is_leaving_and_hangs_is_killed_early() -> None:
    watched = running()
    done = stopped(watched, 1000)
    for number in (0, 1):
        watched.fake(number).hang()
    with lines():
        watched.world.seconds_pass(ANSWER_WITHIN + 1)
    assert done == [None]
