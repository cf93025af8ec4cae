"""Stand-ins for DNS and for a discovery's owner."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.names.dns import AAAA, SRV, A, Record_A, Record_AAAA, Record_SRV

from wsrelay.discovery.resolver import Answer

NAMES = {A: "A", AAAA: "AAAA", SRV: "SRV"}


def v4(*addresses: str, ttl: float | None = 60) -> Answer:
    return Answer(tuple(Record_A(each) for each in addresses), ttl)


def v6(*addresses: str, ttl: float | None = 60) -> Answer:
    return Answer(tuple(Record_AAAA(each) for each in addresses), ttl)


def srv(*records: tuple[int, int, int, str], ttl: float | None = 60) -> Answer:
    """Records as they stand in a zone: priority, weight, port, target."""
    return Answer(tuple(Record_SRV(*each) for each in records), ttl)


NOTHING = Answer()


@define(eq=False)
class FakeDns:
    """Notes what it is asked, and answers when a test says so."""

    asked: list[str] = field(factory=list)
    waiting: dict[str, Deferred[Answer]] = field(factory=dict)
    cancelled: list[str] = field(factory=list)

    def ask(self, name: bytes, kind: int) -> Deferred[Answer]:
        question = f"{NAMES[kind]} {name.decode()}"
        self.asked.append(question)
        deferred: Deferred[Answer] = Deferred(lambda _: self.cancelled.append(question))
        self.waiting[question] = deferred
        return deferred

    def answer(self, question: str, outcome: Answer | Exception) -> None:
        deferred = self.waiting.pop(question)
        if isinstance(outcome, Exception):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)

    def news(self) -> list[str]:
        """Return what it was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


@define(eq=False)
class Heard:
    """An ``update`` that keeps what it is told."""

    answers: list[list[str]] = field(factory=list)

    def __call__(self, lines: Sequence[str]) -> None:
        self.answers.append(list(lines))

    def news(self) -> list[list[str]]:
        """Return what came since the last time."""
        answers, self.answers = self.answers, []
        return answers
