"""What a run counts as lost, and as an end that nobody caused."""

from __future__ import annotations

from attrs import evolve

from soak.plain import Asking
from soak.run import MANNERS, PLAIN, Outcome, State
from soak.table import lines
from soak.talk import Manner, Talk
from soak.tally import AFTERMATH, Restart, Row, Tally

MANNER = Manner("text")


def talk(
    *,
    code: int = 1000,
    sent: int = 5,
    lost: int = 0,
    at: float = 100.0,
    trouble: str = "",
    manner: Manner = MANNER,
) -> Talk:
    """Return a session of upstream *b* that is over."""
    over = Talk("ws://127.0.0.1/", manner)
    over.upstream, over.code, over.ended_at, over.trouble = "b", code, at, trouble
    over.sent, over._expected.count = sent, sent - lost
    return over


def row(*over: Talk, restarts: tuple[Restart, ...] = ()) -> Row:
    tally = Tally(restarts=list(restarts))
    for each in over:
        tally.talked(each)
    assert bool(tally.troubles) == bool(tally.total.losses or tally.total.unexpected)
    return tally.total


def test_good_sessions_are_summed_up() -> None:
    assert row(talk(), talk(sent=7)) == Row(sessions=2, up=12, down=12)


def test_an_answer_that_did_not_come_is_a_loss() -> None:
    assert row(talk(lost=2)) == Row(sessions=1, up=5, down=3, losses=2)


def test_a_wrong_message_is_a_loss_whatever_ended_the_session() -> None:
    restart = Restart("b", 99.0)
    for over in (talk(trouble="damaged"), talk(trouble="damaged", code=1011)):
        assert row(over, restarts=(restart,)).losses == 1


def test_a_close_that_nobody_asked_for_is_unexpected_and_what_was_under_way_is_lost() -> None:
    assert row(talk(code=1011, lost=2)) == Row(1, 5, 3, losses=2, unexpected=1)


def test_a_session_may_end_with_its_upstream_and_only_soon_after_it() -> None:
    own = Restart("b", 99.0)
    over = talk(code=1011, lost=2)
    assert row(over, restarts=(own,)) == Row(1, 5, 3, restarted=1)
    for other in (Restart("a", 99.0), Restart("b", 100.1), Restart("b", 99.9 - AFTERMATH)):
        assert row(over, restarts=(other,)).unexpected == 1
    assert row(talk(code=1002), restarts=(own,)).unexpected == 1


def test_a_client_that_vanishes_loses_nothing_but_must_have_heard_no_wrong_message() -> None:
    gone = evolve(MANNER, vanishes=True)
    assert row(talk(code=1006, lost=3, manner=gone)) == Row(1, 5, 2)
    assert row(talk(code=1006, manner=gone, trouble="damaged")).losses == 1


def test_a_client_that_gets_no_session_is_unexpected() -> None:
    refused = Talk("ws://127.0.0.1/", MANNER)
    refused.refused = "503"
    assert row(refused).unexpected == 1


def test_a_plain_request_may_fail_only_when_an_upstream_ended() -> None:
    asking = Asking("ws://127.0.0.1/")
    asking.sent, asking.heard, asking.trouble = 3, 2, "502"
    tally = Tally()
    tally.asked(PLAIN, asking, was_hit=True)
    assert tally.total == Row(1, 3, 2, restarted=1)
    tally.asked(PLAIN, asking, was_hit=False)
    assert tally.total == Row(2, 6, 4, losses=1, restarted=1, unexpected=1)


def test_kinds_of_clients_have_names_of_their_own() -> None:
    assert len({each.name for each in MANNERS}) == len(MANNERS)


def test_the_table_says_all_and_whether_it_is_good() -> None:
    tally = Tally()
    tally.talked(talk())
    before, after = State(11, 60 << 20, 0), State(11, 61 << 20, 0)
    good = Outcome(tally, 60.0, 4, "the native pump", before, after, ())
    text = "\n".join(lines(good))
    assert "11 at the start, 11 at the end" in text
    assert "60.0 MiB warm, 61.0 MiB at the end" in text
    assert text.endswith("\ngood")
    bad = "\n".join(lines(evolve(good, faults=("1 sessions are left",))))
    assert bad.endswith("FAULT: 1 sessions are left\nNOT GOOD")
