"""Who is let in with a password, and what it costs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.policies.support import handshake, header_of, result_of
from wsrelay.interfaces import Admit, Deny, IAccessPolicy
from wsrelay.policies.basic import AT_ONCE, MOST_WAITING, Basic, _credentials

PASSWORDS = {"ada": "geheim", "bob": "p:ß", "Ünal": "", "long": "x" * 100}


def line(user: str, password: str) -> str:
    hashed = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4))
    return f"{user}:{hashed.decode()}\n"


FILE = "".join(line(user, password) for user, password in PASSWORDS.items())


@define(eq=False)
class Threads:
    """Threads that run when a test says so."""

    waiting: list[tuple[Callable[[], bool], Deferred[bool]]] = field(factory=list)
    runs: list[bytes] = field(factory=list)
    most: int = 0

    def start(self, check: Callable[..., bool], password: bytes, hashed: bytes) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self.waiting.append((lambda: check(password, hashed), done))
        self.most = max(self.most, len(self.waiting))
        self.runs.append(hashed)
        return done

    def run(self) -> None:
        while self.waiting:
            check, done = self.waiting.pop(0)
            done.callback(check())


@define(eq=False)
class Scene:
    path: Path
    options: dict[str, str] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    threads: Threads = field(factory=Threads)
    policy: Basic = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.policy = Basic(
            self.clock, in_thread=self.threads.start, **{"file": str(self.path), **self.options}
        )

    def ask(self, user: str, password: str) -> Any:
        sent = base64.b64encode(f"{user}:{password}".encode()).decode()
        return self.policy.admit(handshake(("Authorization", f"Basic {sent}")))

    def log_in(self, user: str, password: str) -> Any:
        answer = self.ask(user, password)
        self.threads.run()
        return result_of(answer)

    def lets_in(self, user: str, password: str) -> bool:
        return isinstance(self.log_in(user, password), Admit)

    @property
    def checks(self) -> int:
        return len(self.threads.runs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text(FILE, "utf-8")
    return file


@pytest.fixture
def scene(path: Path) -> Scene:
    return Scene(path)


def test_it_is_a_policy(scene: Scene) -> None:
    assert verifyObject(IAccessPolicy, scene.policy)


@pytest.mark.parametrize("user", PASSWORDS)
def test_the_right_password_lets_in_and_tags_the_session(scene: Scene, user: str) -> None:
    assert scene.log_in(user, PASSWORDS[user]) == Admit(headers=[], tags=[f"user:{user}"])


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("ada", "Geheim"),
        ("ada", ""),
        ("ada", "p:ß"),
        ("Ada", "geheim"),
        ("eve", "geheim"),
        ("", ""),
    ],
)
def test_anything_else_gets_a_challenge(scene: Scene, user: str, password: str) -> None:
    denial = scene.log_in(user, password)
    assert isinstance(denial, Deny)
    assert denial.status == 401
    assert header_of(denial, "WWW-Authenticate") == 'Basic realm="wsrelay", charset="UTF-8"'


def test_of_a_long_password_bcrypt_looks_at_72_bytes(scene: Scene) -> None:
    assert scene.lets_in("long", "x" * 72)
    assert not scene.lets_in("long", "x" * 71)


@pytest.mark.parametrize(
    "sent",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YWRh",  # no colon
        "Basic YWRhOmdlaGVpbQ",  # no padding
        "Basic YWRhOmdlaGVpbQ== x",
        "Basic /zpnZWhlaW0=",  # no UTF-8
        "Basic YWRhOmdlaGVpbQB4",  # geheim, NUL, x
        "Bearer YWRhOmdlaGVpbQ==",
        "basicYWRhOmdlaGVpbQ==",
        "Basic \xfc",
    ],
)
def test_what_is_malformed_is_not_even_checked(scene: Scene, sent: str) -> None:
    assert result_of(scene.policy.admit(handshake(("Authorization", sent)))).status == 401
    assert scene.checks == 0


def test_the_scheme_is_in_any_case(scene: Scene) -> None:
    answer = scene.policy.admit(handshake(("authorization", "bAsIc  YWRhOmdlaGVpbQ==")))
    scene.threads.run()
    assert isinstance(result_of(answer), Admit)


def test_two_passwords_at_once_are_refused(scene: Scene) -> None:
    fields = [("Authorization", "Basic YWRhOmdlaGVpbQ=="), ("Authorization", "Basic eDp5")]
    denial = scene.policy.admit(handshake(*fields))
    assert (denial.status, denial.body) == (400, "Authorization was sent more than once.")


def test_without_credentials_there_is_a_challenge_at_once(scene: Scene) -> None:
    assert scene.policy.admit(handshake()).status == 401
    assert scene.checks == 0


def test_upstreams_are_told_who_it_is(path: Path) -> None:
    scene = Scene(path, {"user_header": "X-Remote-User", "realm": "Staff/1"})
    assert scene.policy.headers == ("X-Remote-User",)
    assert scene.log_in("Ünal", "").headers == [("X-Remote-User", "Ünal")]
    assert 'realm="Staff/1"' in header_of(scene.log_in("ada", "x"), "WWW-Authenticate")


# what it costs


def test_an_unknown_user_costs_as_much_as_a_known_one(path: Path) -> None:
    costly = bcrypt.hashpw(b"x", bcrypt.gensalt(6)).decode()
    path.write_text(f"{FILE}eve:{costly}\n", "utf-8")
    scene = Scene(path, {"cache": "off"})
    for number in range(30):
        scene.ask(f"nobody-{number}", "x")
        scene.threads.run()
    assert scene.checks == 30
    assert len(set(scene.threads.runs)) > 1  # not one cost for all who do not exist
    before = scene.threads.runs[:]
    for number in range(30):
        scene.ask(f"nobody-{number}", "y")
        scene.threads.run()
    assert scene.threads.runs[30:] == before  # but the same one for each


def test_an_unknown_user_does_not_get_in_with_the_password_it_is_compared_with(
    path: Path,
) -> None:
    path.write_text(line("ada", "geheim"))
    scene = Scene(path)
    assert not scene.lets_in("eve", "geheim")
    assert scene.checks == 1
    assert not scene.lets_in("eve", "geheim")


def test_a_right_password_is_not_checked_again_for_a_while(path: Path) -> None:
    scene = Scene(path, {"cache": "10s"})
    assert scene.lets_in("ada", "geheim")
    scene.clock.advance(9.9)
    assert scene.lets_in("ada", "geheim")
    assert scene.checks == 1
    scene.clock.advance(0.2)
    assert scene.lets_in("ada", "geheim")
    assert scene.checks == 2


def test_a_wrong_password_is_checked_each_time(scene: Scene) -> None:
    scene.log_in("ada", "geheim")
    scene.log_in("ada", "wrong")
    assert not scene.lets_in("ada", "wrong")
    assert scene.checks == 3


def test_with_cache_off_all_are_checked_each_time(path: Path) -> None:
    scene = Scene(path, {"cache": "off"})
    assert scene.lets_in("ada", "geheim")
    assert scene.lets_in("ada", "geheim")
    assert scene.checks == 2


def test_no_password_is_kept(scene: Scene) -> None:
    scene.log_in("ada", "geheim")
    known = repr(scene.policy._known._known)
    assert "geheim" not in known
    assert base64.b64encode(b"ada:geheim").decode() not in known


def test_the_same_password_is_checked_once_at_a_time(scene: Scene) -> None:
    answers = [scene.ask("ada", "geheim") for _ in range(5)]
    scene.threads.run()
    assert scene.checks == 1
    assert all(isinstance(result_of(each), Admit) for each in answers)


def test_so_many_are_checked_at_once_and_the_others_wait(scene: Scene) -> None:
    answers = [scene.ask("ada", f"wrong-{number}") for number in range(AT_ONCE + 3)]
    assert len(scene.threads.waiting) == AT_ONCE
    scene.threads.run()
    assert scene.threads.most == AT_ONCE
    assert [result_of(each).status for each in answers] == [401] * (AT_ONCE + 3)


def test_beyond_that_they_are_told_to_come_again(scene: Scene) -> None:
    answers = [scene.ask("ada", f"wrong-{number}") for number in range(MOST_WAITING)]
    denial = scene.ask("ada", "one-too-many")
    assert denial.status == 503
    assert header_of(denial, "Retry-After") == "1"
    joined = scene.ask("ada", "wrong-0")  # this one costs nothing more
    scene.threads.run()
    assert {result_of(each).status for each in [*answers, joined]} == {401}
    assert scene.lets_in("ada", "geheim")


def test_who_is_known_gets_in_however_many_wait(scene: Scene) -> None:
    scene.log_in("ada", "geheim")
    for number in range(MOST_WAITING):
        scene.ask("ada", f"wrong-{number}")
    assert isinstance(scene.ask("ada", "geheim"), Admit)


def test_who_leaves_in_its_turn_does_not_free_a_thread_that_still_runs(scene: Scene) -> None:
    leaving = [scene.ask("ada", f"wrong-{number}") for number in range(AT_ONCE)]
    staying = scene.ask("ada", "geheim")
    for each in leaving:
        each.addErrback(lambda failure: failure.trap(CancelledError))
        each.cancel()
    assert scene.checks == AT_ONCE
    scene.threads.run()
    assert isinstance(result_of(staying), Admit)
    assert scene.threads.most == AT_ONCE


def test_who_leaves_before_its_turn_is_never_checked(scene: Scene) -> None:
    first = [scene.ask("ada", f"wrong-{number}") for number in range(AT_ONCE)]
    leaving = scene.ask("ada", "late")
    leaving.addErrback(lambda failure: failure.trap(CancelledError))
    leaving.cancel()
    scene.threads.run()
    assert scene.checks == len(first)
    assert scene.lets_in("ada", "geheim")


def test_stopped_it_answers_nobody(scene: Scene) -> None:
    answers = [scene.ask("ada", f"wrong-{number}") for number in range(AT_ONCE + 1)]
    scene.policy.stop()
    for each in answers:
        with pytest.raises(CancelledError):
            result_of(each)
    scene.threads.run()
    assert scene.checks == AT_ONCE


# the file changes


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    new.replace(path)


def test_a_changed_file_counts_within_a_second(scene: Scene, path: Path) -> None:
    assert scene.lets_in("ada", "geheim")
    replace(path, line("ada", "neu") + line("eve", "x"))
    scene.clock.advance(1)
    assert not scene.lets_in("ada", "geheim")  # although it was remembered
    assert scene.lets_in("ada", "neu")
    assert scene.lets_in("eve", "x")
    assert not scene.lets_in("bob", "p:ß")


def test_who_is_deleted_is_out_although_remembered(scene: Scene, path: Path) -> None:
    assert scene.lets_in("ada", "geheim")
    replace(path, line("bob", "x"))
    scene.clock.advance(1)
    assert not scene.lets_in("ada", "geheim")


def test_in_an_empty_file_there_is_nobody(scene: Scene, path: Path) -> None:
    replace(path, "")
    scene.clock.advance(1)
    assert not scene.lets_in("ada", "geheim")
    assert scene.checks == 0


def test_the_file_is_looked_at_once_a_second_at_most(scene: Scene, path: Path) -> None:
    assert scene.lets_in("ada", "geheim")
    replace(path, line("eve", "x"))
    scene.clock.advance(0.9)
    assert scene.lets_in("bob", "p:ß")
    scene.clock.advance(0.1)
    assert not scene.lets_in("bob", "p:ß")


@pytest.mark.parametrize(
    "bad", ["ada:$apr1$a$b\n", "\n\nnonsense\n", "ada:" + "x" * 5_000_000, None]
)
def test_a_broken_file_changes_nothing_and_is_logged_once(
    scene: Scene, path: Path, bad: str | None
) -> None:
    if bad is None:
        path.unlink()
    else:
        replace(path, bad)
    with capturedLogs() as events:
        for _ in range(3):
            scene.clock.advance(1)
            assert scene.lets_in("ada", "geheim")
    [event] = events
    assert event["about"] == str(path)
    assert event["text"].endswith("what was known stays")
    replace(path, line("eve", "x"))
    with capturedLogs() as events:
        scene.clock.advance(1)
        assert scene.lets_in("eve", "x")
    assert len(events) == 1
    assert not scene.lets_in("ada", "geheim")


# options


def complaint(**options: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        Basic(None, **options)
    return str(caught.value)


def test_bad_options_are_refused_with_a_sentence(path: Path, tmp_path: Path) -> None:
    known = {"file": str(path)}
    assert complaint() == "file is missing; say file=users.htpasswd"
    assert complaint(file="/no/such") == "cannot read /no/such: No such file or directory"
    assert complaint(file=str(tmp_path)) == f"cannot read {tmp_path}: Is a directory"
    assert "realm: 'a\"b'" in complaint(**known, realm='a"b')
    assert "realm: 'Zürich'" in complaint(**known, realm="Zürich")
    assert "cache: '1d'" in complaint(**known, cache="1d")
    assert "user_header: 'Host' belongs to the relay" in complaint(**known, user_header="Host")
    path.write_text("ada:{SHA}x\n")
    assert complaint(**known).startswith(f"{path}: line 1: the hash of 'ada' is SHA-1, not bcrypt")


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_any_header_is_credentials_or_none(text: str) -> None:
    found = _credentials(text)
    assert found is None or b"\0" not in found[1]
