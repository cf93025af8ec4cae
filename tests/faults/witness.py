"""Clients that talk to an upstream all the time, and know of each message what became of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from attrs import define, field

from soak.talk import Manner, Talk
from tests.support import PATIENCE
from tests.system.support import wait_until

MANNERS = (
    Manner("binary", sizes=(9, 900, 20_000), answers=(90, 9_000)),
    Manner("text", is_text=True, compression="deflate"),
    Manner("pieces", sizes=(5_000, 50), answers=(100_000, 9), pieces=5),
)
QUIET = Manner("quiet", pause=0.1)


@define(eq=False)
class Crowd:
    """
    Clients in a thread of their own; see `soak.talk`.

    :ivar talks: all that there ever were.
    """

    url: str
    talks: list[Talk] = field(factory=list, init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _end: asyncio.Event = field(factory=asyncio.Event, init=False)
    _running: list[Future[Any]] = field(factory=list, init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def join(self, count: int, *manners: Manner, most: int | None = None) -> list[Talk]:
        """
        Let *count* clients more begin, each in one of these *manners* in turn.

        :param most: messages that each says before it leaves; None: it stays.
        """
        kinds = manners or MANNERS
        new = [Talk(self.url, kinds[at % len(kinds)]) for at in range(count)]
        self.talks += new
        for each in new:
            talking = each.run(self._end, most)
            self._running.append(asyncio.run_coroutine_threadsafe(talking, self._loop))
        return new

    def insist(self, count: int, manner: Manner, *, most: int) -> list[Future[int]]:
        """
        Let *count* clients come again until each had a session with *most* messages.

        Each result is how often one came.
        """

        async def insist() -> int:
            for tries in itertools.count(1):
                talk = Talk(self.url, manner)
                self.talks.append(talk)
                await talk.run(self._end, most)
                if talk.sent:
                    return tries
                await asyncio.sleep(random.uniform(0.1, 0.3))
            raise AssertionError

        new = [asyncio.run_coroutine_threadsafe(insist(), self._loop) for _ in range(count)]
        self._running += new
        return new

    def goes_on(self, talks: Iterable[Talk] | None = None, messages: int = 3) -> None:
        """Wait until each of *talks*, or of all, has heard so many answers more."""
        goals = [(each, each.heard + messages) for each in (self.talks if talks is None else talks)]
        wait_until(
            lambda: all(each.heard >= goal or has_ended(each) for each, goal in goals),
            f"{messages} answers for each client",
        )
        for each, _ in goals:
            assert not has_ended(each), each

    def end(self) -> list[Talk]:
        """Let everybody hear what is under way, and leave; return those that there were."""
        self._loop.call_soon_threadsafe(self._end.set)
        wait_until(lambda: all(each.done() for each in self._running), "the end of all clients")
        for each in self._running:
            each.result()
        return self.talks


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def has_ended(talk: Talk) -> bool:
    """Tell whether a session is over, or never was."""
    return talk.code is not None or bool(talk.refused)


def ended(talks: Iterable[Talk]) -> None:
    """Wait until all these sessions are over."""
    all_of_them = list(talks)
    wait_until(lambda: all(map(has_ended, all_of_them)), "the end of these sessions")
