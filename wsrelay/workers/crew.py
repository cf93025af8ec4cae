"""What the parent's supervisor knows of the workers, and how they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

__all__ = ["Answers", "Crew", "WorkerFacts"]

Answers = list[tuple[int, Any]]
"""The number and the answer of each worker that has answered."""


@frozen
class WorkerFacts:
    """
    What the supervisor knows of a worker.

    :param number: its place, from 0; who replaces it has the same.
    :param pid: None while there is no process.
    :param since: seconds since the epoch, when it came to this state.
    :param restarts: how often this place had to be filled anew.
    """

    number: int
    pid: int | None
    since: float
    state: Literal["up", "starting", "waiting"]
    restarts: int = 0


class Crew(Protocol):
    """The workers as the parent's supervisor knows them."""

    @property
    def workers(self) -> Sequence[WorkerFacts]:
        """All of them, by number."""

    def ask(self, method: str, *arguments: Any) -> Deferred[Answers]:
        """
        Ask all workers that are up; see `wsrelay.workers.answering`.

        Fires, within seconds, with the number and the answer of each that has answered by
        then; a `Refused` of a worker is an answer.
        """
