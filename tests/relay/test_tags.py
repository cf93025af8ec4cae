"""Which sessions have which tag, at every moment."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.world import SWITCHING, World
from wsrelay.relay.facts import Facts
from wsrelay.relay.tags import Tags


@define(eq=False)
class Life:
    """As much of a session as the index looks at."""

    facts: Facts
    is_over: bool = False


def life(*tags: str) -> Any:
    facts = Facts("1", "web", "192.0.2.7:1")
    facts.tags = frozenset(tags)
    return Life(facts)


@pytest.mark.parametrize("name", ["", None, 42, b"user"])
def test_a_tag_that_is_no_text_is_refused(name: Any) -> None:
    tags, session = Tags(), life()
    with pytest.raises(ValueError, match="a tag has to be a text that is not empty, not "):
        tags.tag(session, name)
    assert session.facts.tags == frozenset()
    assert len(tags) == 0


def test_a_session_that_has_ended_is_tagged_no_more() -> None:
    tags, session = Tags(), life("a")
    tags.opened(session)
    session.is_over = True
    tags.ended(session)
    tags.tag(session, "b")
    tags.untag(session, "a")
    assert len(tags) == 0
    assert session.facts.tags == {"a"}, "what it had is what the log says"


NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "end", "tag", "untag"]), st.integers(0, 3), NAMES)
)


@given(st.lists(st.frozensets(NAMES), min_size=4, max_size=4), STEPS)
def test_the_index_is_what_the_live_sessions_say(
    first: list[frozenset[str]], steps: list[tuple[str, int, str]]
) -> None:
    tags = Tags()
    sessions = [life(*each) for each in first]
    live: set[Any] = set()
    for what, number, name in steps:
        session = sessions[number]
        if what == "open" and session not in live and not session.is_over:
            tags.opened(session)
            live.add(session)
        elif what == "end" and session in live:
            session.is_over = True
            tags.ended(session)
            live.discard(session)
        elif what in ("tag", "untag") and (session in live or session.is_over):
            getattr(tags, what)(session, name)
        wanted = {each: {one for one in live if each in one.facts.tags} for each in "abc"}
        assert {each: set(tags.sessions(each)) for each in "abc"} == wanted
        assert len(tags) == sum(map(bool, wanted.values())), "no name is kept for nobody"
    for session in live:
        session.is_over = True
        tags.ended(session)
    assert len(tags) == 0


def test_the_relay_knows_the_tags_of_its_sessions_until_they_end() -> None:
    world = World()
    client = world.ask()
    (opening,) = world.relay.openings
    opening.facts.tags = frozenset({"user:1"})
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    (session,) = world.relay.sessions.values()
    world.relay.tags.tag(session, "room:2")
    for name in ("user:1", "room:2"):
        assert set(world.relay.tags.sessions(name)) == {session}
    world.reset(client)
    world.advance(10)
    assert not world.relay.sessions
    assert len(world.relay.tags) == 0
