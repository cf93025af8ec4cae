"""The room keeps people, history and counts, whatever it is told."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.demo.room import HISTORY, MESSAGE_LIMIT, NAME_LIMIT, TEXT_LIMIT, Room


class Member:
    """Remembers what it was sent."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.inbox: list[dict[str, Any]] = []

    def deliver(self, payload: bytes) -> None:
        self.inbox.append(json.loads(payload))

    def take(self) -> list[dict[str, Any]]:
        taken, self.inbox = self.inbox, []
        return taken


def say(room: Room, member: Member, text: str, now: float = 5.0) -> None:
    room.receive(member, json.dumps({"type": "say", "text": text}).encode(), now)


@pytest.fixture
def room() -> Room:
    return Room(["amber", "jade"])


@pytest.fixture
def ana(room: Room) -> Member:
    member = Member("amber")
    room.count_session("amber", 1)
    room.join(member, "Ana", 1.0)
    return member


def test_a_newcomer_is_welcomed_with_its_name_its_upstream_and_the_counts(ana: Member) -> None:
    assert ana.take() == [
        {
            "type": "welcome",
            "id": 1,
            "name": "Ana",
            "upstream": "amber",
            "history": [],
            "counts": {
                "amber": {"sessions": 1, "people": 1},
                "jade": {"sessions": 0, "people": 0},
            },
        }
    ]


def test_the_others_are_told_who_came_where_and_how_many_are_there(room: Room, ana: Member) -> None:
    ana.take()
    room.count_session("jade", 1)
    room.join(Member("jade"), "Ben", 2.0)
    assert ana.take() == [
        {
            "type": "joined",
            "id": 2,
            "name": "Ben",
            "upstream": "jade",
            "time": 2.0,
            "counts": {
                "amber": {"sessions": 1, "people": 1},
                "jade": {"sessions": 1, "people": 1},
            },
        }
    ]


def test_who_leaves_is_announced_once_and_hears_nothing_more(room: Room, ana: Member) -> None:
    ben = Member("jade")
    room.join(ben, "Ben", 2.0)
    ana.take(), ben.take()
    room.leave(ben, 3.0)
    room.leave(ben, 4.0)
    (left,) = ana.take()
    assert (left["type"], left["name"], left["counts"]["jade"]["people"]) == ("left", "Ben", 0)
    assert ben.take() == []


def test_a_message_reaches_people_on_every_upstream_and_its_author(room: Room, ana: Member) -> None:
    ben = Member("jade")
    room.join(ben, "Ben", 2.0)
    ana.take(), ben.take()
    say(room, ben, "hello", 3.0)
    said = {
        "type": "said",
        "id": 2,
        "name": "Ben",
        "upstream": "jade",
        "text": "hello",
        "time": 3.0,
    }
    assert ana.take() == ben.take() == [said]


def test_a_newcomer_sees_the_last_messages_and_no_older_ones(room: Room, ana: Member) -> None:
    for number in range(HISTORY + 7):
        say(room, ana, f"message {number}")
    late = Member("jade")
    room.join(late, "", 9.0)
    texts = [said["text"] for said in late.take()[0]["history"]]
    assert texts == [f"message {number}" for number in range(7, HISTORY + 7)]


def test_times_only_grow_even_when_the_clock_stands_still_or_goes_back(
    room: Room, ana: Member
) -> None:
    ana.take()
    for now in (5.0, 5.0, 1.0, 5.0):
        say(room, ana, "tick", now)
    times = [said["time"] for said in ana.take()]
    assert times == sorted(set(times))
    assert len(times) == 4


def test_a_new_name_is_told_to_everybody_and_used_from_then_on(room: Room, ana: Member) -> None:
    ana.take()
    room.receive(ana, b'{"type": "name", "name": "  Anna \\u0000 Lee "}', 2.0)
    say(room, ana, "me")
    renamed, said = ana.take()
    assert (renamed["type"], renamed["was"], renamed["name"]) == ("renamed", "Ana", "Anna Lee")
    assert said["name"] == "Anna Lee"


@pytest.mark.parametrize("name", ["", "   ", "\u202e\u200b", "\x00\x07"])
def test_a_name_of_nothing_readable_is_replaced(room: Room, name: str) -> None:
    member = Member("jade")
    room.join(member, name, 1.0)
    assert member.take()[0]["name"] == "guest 1"


def test_a_ping_is_answered_to_its_sender_alone(room: Room, ana: Member) -> None:
    ben = Member("jade")
    room.join(ben, "Ben", 2.0)
    ana.take(), ben.take()
    room.receive(ben, b'{"type": "ping", "id": 17}', 3.0)
    assert ben.take() == [{"type": "pong", "id": 17}]
    assert ana.take() == []


def test_sessions_are_announced_to_everybody(room: Room, ana: Member) -> None:
    ana.take()
    room.count_session("jade", 1)
    room.announce_sessions()
    (message,) = ana.take()
    assert message["type"] == "sessions"
    assert message["counts"]["jade"] == {"sessions": 1, "people": 0}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "JSON object"),
        (b"[1]", "JSON object"),
        (b"[" * 4000, "JSON object"),
        (b"1" * 4096, "JSON object"),
        (b"{" + b" " * MESSAGE_LIMIT + b"}", "at most 4096"),
        (b"{}", "'type' must be one of: say, name, ping"),
        (b'{"type": {}}', "'type' must be one of: say, name, ping"),
        (b'{"type": "said"}', "'type' must be one of: say, name, ping"),
        (b'{"type": "say"}', "'text' must be a text"),
        (b'{"type": "say", "text": ["x"]}', "'text' must be a text"),
        (b'{"type": "say", "text": " \\u0000 \\n"}', "nothing to read"),
        (b'{"type": "name", "name": "\\u200b"}', "nothing to read"),
        (b'{"type": "ping", "id": NaN}', "'id' must be an integer"),
    ],
)
def test_nonsense_is_answered_politely_and_nobody_else_notices(
    room: Room, ana: Member, payload: bytes, words: str
) -> None:
    ben = Member("jade")
    room.join(ben, "Ben", 2.0)
    ana.take(), ben.take()
    room.receive(ben, payload, 3.0)
    (error,) = ben.take()
    assert error["type"] == "error"
    assert words in error["message"]
    assert ana.take() == []


def test_text_keeps_its_lines_and_joined_emoji_but_not_what_turns_it_around(
    room: Room, ana: Member
) -> None:
    ana.take()
    say(room, ana, "one\n\u202etwo\x1b[2J \U0001f469\u200d\U0001f4bb\ud800")
    assert ana.take()[0]["text"] == "one\ntwo[2J \U0001f469\u200d\U0001f4bb"


def test_names_and_texts_are_cut_at_their_limits(room: Room, ana: Member) -> None:
    ana.take()
    for length in (NAME_LIMIT, NAME_LIMIT + 1):
        request = {"type": "name", "name": "n" * length}
        room.receive(ana, json.dumps(request).encode(), 2.0)
        assert ana.take()[0]["name"] == "n" * NAME_LIMIT
    for length in (TEXT_LIMIT, TEXT_LIMIT + 1):
        say(room, ana, "t" * length)
        assert ana.take()[0]["text"] == "t" * TEXT_LIMIT


# Letters, lines, controls, joiners, marks that turn text around, half a character, and emoji.
awkward = st.text("aZ \n\0\x1b\u00ad\u200b\u202e\ud800\u00e9\U0001f600", max_size=600)
json_values = st.none() | st.integers() | st.floats() | awkward | st.lists(awkward, max_size=2)
requests = st.fixed_dictionaries(
    {"type": st.sampled_from(["say", "name", "ping"])},
    optional={key: json_values for key in ("text", "name", "id")},
)


@given(st.lists(st.binary() | requests.map(lambda r: json.dumps(r).encode()), max_size=8))
def test_whatever_comes_what_goes_out_is_clean_and_bounded(payloads: list[bytes]) -> None:
    room = Room(["amber"])
    member = Member("amber")
    room.join(member, "Ana", 1.0)
    for payload in payloads:
        room.receive(member, payload, 2.0)
    for message in member.take():
        name, text = message.get("name", "x"), message.get("text", "x")
        assert 0 < len(name) <= NAME_LIMIT
        assert not {unicodedata.category(c)[0] for c in name} & {"C"}
        assert 0 < len(text) <= TEXT_LIMIT
        assert not {unicodedata.category(c) for c in text.replace("\n", "")} & {"Cc", "Cs"}
