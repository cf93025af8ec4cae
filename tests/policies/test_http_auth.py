"""What http-auth asks about a client, and what it makes of the answer."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers as WebHeaders
from zope.interface.verify import verifyObject

from tests.policies.support import FakeAgent, FakeResponse, handshake, result_of
from wsrelay.interfaces import Admit, CannotTell, Deny, IAccessPolicy
from wsrelay.policies.asking import AT_ONCE
from wsrelay.policies.cache import Digest
from wsrelay.policies.http_auth import MOST_READ, REMEMBERED, HttpAuth
from wsrelay.policies.question import lifetime

URL = "http://auth.test/check?key=geheim"
ME = ("Authorization", "Bearer abc")


@define(eq=False)
class Scene:
    options: dict[str, str] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    agent: FakeAgent = field(factory=FakeAgent)
    policy: HttpAuth = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.policy = HttpAuth(self.clock, agent=self.agent, **{"url": URL, **self.options})

    def ask(self, *fields: tuple[str, str], **facts: Any) -> Any:
        return self.policy.admit(handshake(*fields, **facts))

    def let_in(self, *fields: tuple[str, str], **facts: Any) -> Admit:
        """Ask, and answer 204 if the server is asked."""
        before = len(self.agent.asked)
        answer = self.ask(*fields, **facts)
        for each in self.agent.asked[before:]:
            each.answer()
        found = result_of(answer)
        assert isinstance(found, Admit)
        return found

    @property
    def questions(self) -> int:
        return len(self.agent.asked)


def scene(**options: str) -> Scene:
    return Scene(options)


def test_it_is_a_policy() -> None:
    assert verifyObject(IAccessPolicy, scene().policy)


# what is asked


def test_the_question_has_the_clients_headers_and_what_is_known_of_it() -> None:
    asked = scene()
    asked.ask(ME, ("Cookie", "a=1"), ("Cookie", "b=2"), ("Origin", "https://x.test"))
    assert asked.agent.last.url == URL
    assert asked.agent.last.fields() == {
        "authorization": ["Bearer abc"],
        "cookie": ["a=1", "b=2"],
        "origin": ["https://x.test"],
        "x-original-method": ["GET"],
        "x-original-uri": ["/chat?room=1"],
        "x-original-host": ["chat.example.com:8080"],
        "x-forwarded-host": ["chat.example.com:8080"],
        "x-real-ip": ["192.0.2.7"],
        "x-forwarded-for": ["192.0.2.7"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "X-Real-IP",
        "x_real_ip",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Proto",
        "X-Original-URI",
        "X-Original-Method",
        "X-Original-URL",
        "Forwarded",
        "X-SSL-Client-Verify",
    ],
)
def test_what_a_client_claims_of_itself_is_not_passed_on(name: str) -> None:
    asked = scene()
    asked.ask((name, "forged"))
    assert "forged" not in str(asked.agent.last.fields())


@pytest.mark.parametrize(
    "name", ["Sec-WebSocket-Protocol", "Content-Length", "Transfer-Encoding", "Expect", "Range"]
)
def test_what_belongs_to_the_clients_own_request_is_left_out(name: str) -> None:
    asked = scene()
    asked.ask((name, "17"))
    assert name.lower() not in asked.agent.last.fields()


def test_what_connection_lists_is_for_the_relay_only() -> None:
    asked = scene()
    asked.ask(("Connection", "X-Hop"), ("X-Hop", "secret"), ("X-Stays", "1"))
    assert "x-hop" not in asked.agent.last.fields()
    assert asked.agent.last.fields()["x-stays"] == ["1"]


def test_a_target_without_a_query_has_no_question_mark() -> None:
    asked = scene()
    asked.ask(query="", method="POST", is_websocket=False, client_address="")
    fields = asked.agent.last.fields()
    assert fields["x-original-uri"] == ["/chat"]
    assert fields["x-original-method"] == ["POST"]
    assert "x-real-ip" not in fields


# what the answer means


@pytest.mark.parametrize("status", [200, 204, 299])
def test_2xx_lets_in(status: int) -> None:
    asked = scene()
    answer = asked.ask()
    asked.agent.last.answer(status, body=b"whatever")
    assert result_of(answer) == Admit(headers=[], tags=[])


@pytest.mark.parametrize("status", [401, 403])
def test_401_and_403_keep_out_with_the_challenge(status: int) -> None:
    asked = scene()
    answer = asked.ask()
    asked.agent.last.answer(status, {"WWW-Authenticate": 'Basic realm="Zürich"', "Set-Cookie": "a"})
    assert result_of(answer) == Deny(status, [("WWW-Authenticate", 'Basic realm="Zürich"')])


@pytest.mark.parametrize("status", [100, 199, 300, 302, 400, 402, 404, 429, 500, 503, 999])
def test_anything_else_is_a_failure_that_names_the_url_without_its_query(status: int) -> None:
    asked = scene()
    answer = asked.ask()
    asked.agent.last.answer(status)
    with pytest.raises(CannotTell, match=rf"^http://auth.test/check answered {status}; "):
        result_of(answer)


@pytest.mark.parametrize("error", [Refused(), ResponseNeverReceived([Failure(Refused())])])
def test_who_cannot_be_asked_is_a_failure_in_plain_words(error: Exception) -> None:
    asked = scene()
    answer = asked.ask()
    asked.agent.last.deferred.errback(error)
    with pytest.raises(CannotTell) as caught:
        result_of(answer)
    assert str(caught.value) == "http://auth.test/check could not be asked: refused"


def test_who_does_not_answer_in_time_is_given_up() -> None:
    asked = scene(timeout="3s")
    answer = asked.ask()
    asked.clock.advance(2.9)
    assert not answer.called
    asked.clock.advance(0.2)
    assert asked.agent.last.cancelled
    with pytest.raises(CannotTell, match="did not answer in 3s"):
        result_of(answer)
    assert asked.clock.getDelayedCalls() == []


def test_a_body_that_does_not_end_runs_into_the_timeout() -> None:
    asked = scene(timeout="3s")
    answer = asked.ask()
    asked.agent.last.deferred.callback(FakeResponse(200, WebHeaders(), b"x", holds=True))
    assert not answer.called
    asked.clock.advance(3)
    with pytest.raises(CannotTell, match="did not answer"):
        result_of(answer)


def test_of_a_long_body_the_beginning_is_enough() -> None:
    asked = scene()
    answer = asked.ask()
    asked.agent.last.answer(200, body=bytes(MOST_READ + 1))
    assert isinstance(result_of(answer), Admit)


# what goes upstream


def test_headers_of_the_answer_go_upstream_and_become_tags() -> None:
    asked = scene(**{"pass": "X-User,X-Roles", "tag": "X-Tags"})
    assert asked.policy.headers == ("X-User", "X-Roles")
    answer = asked.ask()
    asked.agent.last.answer(
        200, {"x-user": "Ünal", "X-Other": "1", "X-Tags": "user:7, room:1,,", "X-Roles": "a, b"}
    )
    assert result_of(answer) == Admit(
        headers=[("X-User", "Ünal"), ("X-Roles", "a, b")], tags=["user:7", "room:1"]
    )


def test_bytes_that_are_no_text_go_upstream_as_they_are() -> None:
    asked = scene(**{"pass": "X-User"})
    answer = asked.ask()
    found = WebHeaders()
    found.addRawHeader(b"X-User", b"\xfcnal")
    asked.agent.last.deferred.callback(FakeResponse(200, found))
    [(_, value)] = result_of(answer).headers
    assert value.encode("utf-8", "surrogateescape") == b"\xfcnal"


# asked once


def test_the_same_question_is_asked_once_at_a_time() -> None:
    asked = scene(cache="off")
    answers = [asked.ask(ME) for _ in range(3)]
    assert asked.questions == 1
    asked.agent.last.answer(403)
    assert [result_of(each) for each in answers] == [Deny(403, [])] * 3
    asked.ask(ME)
    assert asked.questions == 2


def test_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    asked = scene()
    first, second = asked.ask(ME), asked.ask(ME)
    first.cancel()
    with pytest.raises(CancelledError):
        result_of(first)
    assert not asked.agent.last.cancelled
    asked.agent.last.answer()
    assert isinstance(result_of(second), Admit)


def test_with_the_last_who_leaves_the_question_is_called_off() -> None:
    asked = scene()
    both = [asked.ask(ME), asked.ask(ME)]
    for each in both:
        each.addErrback(lambda failure: failure.trap(CancelledError))
        each.cancel()
    assert asked.agent.last.cancelled
    assert asked.clock.getDelayedCalls() == []
    later = asked.ask(ME)
    assert asked.questions == 2
    asked.agent.last.answer()
    assert isinstance(result_of(later), Admit)


def test_one_failure_is_told_to_all_and_forgotten() -> None:
    asked = scene()
    answers = [asked.ask(ME), asked.ask(ME)]
    asked.agent.last.answer(500)
    for each in answers:
        with pytest.raises(CannotTell):
            result_of(each)
    asked.let_in(ME)


def test_who_is_told_may_cancel_the_others() -> None:
    asked = scene()
    first, second, third = asked.ask(ME), asked.ask(ME), asked.ask(ME)
    first.addCallback(lambda _: second.cancel())
    second.addErrback(lambda failure: failure.trap(CancelledError))
    asked.agent.last.answer()
    assert isinstance(result_of(third), Admit)


def test_so_many_questions_are_under_way_and_no_more() -> None:
    asked = scene()
    answers = [asked.ask(("X-Number", str(number))) for number in range(AT_ONCE + 2)]
    assert asked.questions == AT_ONCE
    asked.agent.asked[0].answer()
    assert asked.questions == AT_ONCE + 1
    answers[-1].addErrback(lambda failure: failure.trap(CancelledError))
    answers[-1].cancel()  # it waited for its turn
    asked.agent.asked[1].answer()
    assert asked.questions == AT_ONCE + 1


def test_those_that_wait_for_their_turn_do_not_wait_for_ever() -> None:
    asked = scene(timeout="3s")
    answers = [asked.ask(("X-Number", str(number))) for number in range(AT_ONCE + 1)]
    asked.clock.advance(3)
    for each in answers:
        with pytest.raises(CannotTell):
            result_of(each)


def test_once_stopped_it_waits_for_nothing() -> None:
    asked = scene()
    answer = asked.ask(ME)
    asked.policy.stop()
    assert asked.agent.last.cancelled
    with pytest.raises(CancelledError):
        result_of(answer)
    assert asked.clock.getDelayedCalls() == []


# remembered


def test_who_was_let_in_stays_so_for_a_while() -> None:
    asked = scene(**{"pass": "X-User", "cache": "10s"})
    answer = asked.ask(ME)
    asked.agent.last.answer(200, {"X-User": "ada"})
    first = result_of(answer)
    asked.clock.advance(9.9)
    assert asked.let_in(ME) == first
    assert asked.questions == 1
    asked.clock.advance(0.2)
    asked.let_in(ME)
    assert asked.questions == 2


@pytest.mark.parametrize("status", [401, 403, 500])
def test_who_was_not_let_in_is_asked_about_again(status: int) -> None:
    asked = scene()
    answer = asked.ask(ME)
    asked.agent.last.answer(status)
    answer.addErrback(lambda failure: failure.trap(CannotTell))
    asked.let_in(ME)
    assert asked.questions == 2


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ([("Authorization", "Bearer other")], {}),
        ([], {}),
        ([ME, ("Cookie", "a=1")], {}),
        ([ME, ("Origin", "https://evil.test")], {}),
        ([ME], {"path": "/other"}),
        ([ME], {"query": "room=2"}),
        ([ME], {"method": "POST"}),
        ([ME], {"client_address": "192.0.2.8"}),
    ],
)
def test_another_question_has_an_answer_of_its_own(
    fields: list[tuple[str, str]], facts: dict[str, Any]
) -> None:
    asked = scene()
    asked.let_in(ME)
    answer = asked.ask(*fields, **facts)
    assert asked.questions == 2
    asked.agent.last.answer(403)
    assert result_of(answer) == Deny(403, [])


def test_borders_between_fields_count() -> None:
    asked = scene()
    asked.let_in(("X-A", "b"), ("X-C", "d"))
    asked.ask(("X-A", "bX-C"), ("d", ""))
    assert asked.questions == 2


def test_what_is_another_one_each_time_makes_no_other_question() -> None:
    asked = scene()
    asked.let_in(ME, ("X-Request-ID", "1"), ("Sec-WebSocket-Extensions", "a"))
    asked.let_in(ME, ("X-Request-ID", "2"), ("Sec-WebSocket-Extensions", "b"))
    assert asked.questions == 1


def test_an_operator_may_say_what_the_answer_depends_on() -> None:
    asked = scene(cache_key="cookie:sid,header:Authorization,ip")
    asked.let_in(ME, ("Cookie", "sid=1; t=1"), query="t=1")
    asked.let_in(ME, ("Cookie", "sid=1; t=2"), query="t=2", path="/else")
    assert asked.questions == 1
    asked.let_in(ME, ("Cookie", "sid=2"))
    asked.let_in(("Cookie", "sid=1"))
    asked.let_in(ME, ("Cookie", "sid=1"), client_address="192.0.2.9")
    assert asked.questions == 4


def test_the_answer_depends_on_all_cookies_of_a_name() -> None:
    """Whoever is asked may look at the last."""
    asked = scene(cache_key="cookie:sid")
    asked.let_in(("Cookie", "sid=2; sid=1"))
    asked.let_in(("Cookie", "sid=1"))
    assert asked.questions == 2


def test_nothing_is_remembered_with_cache_off() -> None:
    asked = scene(cache="off")
    asked.let_in(ME)
    asked.let_in(ME)
    assert asked.questions == 2
    assert len(asked.policy._known) == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 5.0),
        ("public", 5.0),
        ("no-store", 0.0),
        ("private, no-cache", 0.0),
        ("max-age=2", 2.0),
        ("Max-Age=2 , public", 2.0),
        ('max-age="2"', 2.0),
        ("max-age=3600", 5.0),
        ("max-age=0", 0.0),
        ("max-age=3, s-maxage=1", 1.0),
        ("no-store, max-age=4", 0.0),
        ("max-age=4, no-store", 0.0),
        ("max-age=-1", 5.0),
    ],
)
def test_the_answer_may_shorten_the_time(said: str, seconds: float) -> None:
    assert lifetime([said], 5.0) == seconds


def test_what_must_not_be_stored_is_not() -> None:
    asked = scene()
    answer = asked.ask(ME)
    asked.agent.last.answer(200, {"Cache-Control": "no-store"})
    result_of(answer)
    asked.let_in(ME)
    assert asked.questions == 2


def test_what_is_remembered_is_bounded_and_holds_no_secrets() -> None:
    asked = scene()
    for number in range(REMEMBERED + 10):
        asked.let_in(("Authorization", f"Bearer secret-{number}"))
    known = asked.policy._known
    assert len(known) == REMEMBERED
    assert b"secret" not in repr(known._known).encode()


# options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": ""}, "url is missing; say url=http://127.0.0.1:9000/auth"),
        ({"url": "127.0.0.1:9000"}, "url: '127.0.0.1:9000' is not a URL"),
        ({"url": "ws://127.0.0.1/"}, "is not a URL"),
        ({"url": "http://a/#b"}, "without user or fragment"),
        ({"url": "http://a b/"}, "url: 'a b' is not a host"),
        ({"url": "http://a:99999/"}, "url: '99999' is out of place"),
        ({"ca_file": "/x.pem"}, "ca_file: without https:// there is no TLS"),
        ({"url": "https://a/", "ca_file": "/no/such.pem"}, "cannot read /no/such.pem"),
        ({"pass": "Host"}, "pass: 'Host' belongs to the relay"),
        ({"pass": "X-A,,X-B"}, "nothing between two commas"),
        ({"tag": "a b"}, "tag: 'a b' is not a header's name"),
        ({"timeout": "0s"}, "timeout: '0s' leaves no time"),
        ({"cache": "5"}, "did you mean 5s?"),
        ({"cache_key": "user"}, "cache_key: 'user' is unknown; expected ip, "),
    ],
)
def test_bad_options_are_refused_with_a_sentence(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        HttpAuth(None, **{"url": URL, **options})
    assert said in str(caught.value)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="without user") as caught:
        HttpAuth(None, url="http://ada:geheim@127.0.0.1/")
    assert "geheim" not in str(caught.value)


@given(st.lists(st.binary(max_size=4)), st.lists(st.binary(max_size=4)))
def test_keys_are_the_same_for_the_same_parts_only(one: list[bytes], other: list[bytes]) -> None:
    digest = Digest()
    assert digest.of(one) == digest.of(list(one))
    assert (digest.of(one) == digest.of(other)) is (one == other)
    assert digest.of([b"".join(one)]) != digest.of(one) or len(one) == 1
