"""A run: clients that come and go, upstreams that restart, reloads, and what is left at the end."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from bench.processes import BenchError
from soak.plain import Asking
from soak.relay import RelayUnderTest, UpstreamUnderTest
from soak.talk import Manner, Talk
from soak.tally import Restart, Tally

__all__ = ["MANNERS", "Outcome", "Soak"]

MANNERS: Final = {
    Manner("text", is_text=True): 10,
    Manner("binary", sizes=(9, 900, 9_000, 60_000), answers=(20_000, 9), pause=0.1): 8,
    Manner("large", sizes=(1 << 20, 9), answers=(300_000,), window=2, pause=0.5): 2,
    Manner("fragmented", sizes=(50, 5_000, 100_000), is_text=True, pieces=7, pause=0.1): 4,
    Manner("deflate", sizes=(90, 9_000), is_text=True, compression="deflate", pause=0.1): 6,
    Manner("slow reader", answers=(200_000,), window=12, pause=0.05, reads_every=0.3): 3,
    Manner("vanishing", sizes=(90, 20_000), pause=0.05, vanishes=True): 4,
    Manner("idle", pause=2.0): 20,
}
"""Kinds of clients, and how many there are of each at any time."""

PLAIN: Final = "plain HTTP"
ASKING: Final = 3
GROWTH: Final = 16 << 20
"""Bytes that the relay's memory may grow by after it has warmed up."""

ENDING: Final = 60.0
"""Seconds that the clients have to end, and the relay to let go of all that they had."""

LIMITS: Final = (4, 200)
"""Messages of a session: at least and at most."""


@frozen
class State:
    """What the relay holds at a moment; memory in bytes."""

    descriptors: int
    memory: int
    sessions: int


@frozen
class Outcome:
    """All figures of a run."""

    tally: Tally
    seconds: float
    reloads: int
    pump: str
    before: State
    after: State
    faults: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Tell whether nothing was lost and nothing is left."""
        return not self.faults


@define(eq=False)
class Soak:
    """
    One run.

    :ivar folder: for relay.ini, certificates and logs.
    :ivar seconds: how long it lasts, but for start and end.
    :ivar data_path: the pump; see ``relay.ini``.
    :ivar tell: gets a line now and then.
    """

    folder: Path
    seconds: float
    data_path: str
    tell: Callable[[str], None]
    tally: Tally = field(factory=Tally, init=False)
    _upstreams: list[UpstreamUnderTest] = field(factory=list, init=False)
    _relay: RelayUnderTest = field(init=False)
    _trust: ssl.SSLContext = field(init=False)
    _end: asyncio.Event = field(factory=asyncio.Event, init=False)
    _reloads: int = field(default=0, init=False)

    async def run(self) -> Outcome:
        """
        Run, and say what came of it.

        :raises BenchError: a process did not start, or ended on its own.
        """
        self._upstreams = [UpstreamUnderTest(name, self.folder).start() for name in "abc"]
        try:
            ports = {each.name: each.port for each in self._upstreams}
            self._relay = RelayUnderTest(self.folder, ports, self.data_path).start()
            try:
                return await self._run()
            finally:
                self._relay.stop()
        finally:
            for each in self._upstreams:
                each.stop()

    async def _run(self) -> Outcome:
        self._trust = self._relay.trust()
        status, descriptors = await asyncio.to_thread(self._relay.held)
        pump: str = status["pump"]
        self.tell(f"relay with {pump}; {self.seconds:.0f} s")
        began = time.monotonic()
        clients = [asyncio.create_task(each) for each in self._clients()]
        disturbing = asyncio.create_task(self._disturb())
        warm_up = min(self.seconds / 3, 60.0)
        await asyncio.sleep(warm_up)
        before = State(descriptors, self._relay.memory(), 0)
        await self._watch(began + self.seconds)
        faults = await self._finish(clients, disturbing)
        after = await self._left(before)
        return Outcome(
            self.tally,
            time.monotonic() - began,
            self._reloads,
            pump,
            before,
            after,
            (*faults, *self._faults(before, after)),
        )

    async def _watch(self, until: float) -> None:
        """Let it go on, and say now and then how it stands, and what is new among the troubles."""
        told = 0
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 15.0))
            total = self.tally.total
            self.tell(
                f"{max(until - time.monotonic(), 0):.0f} s left: {total.sessions} sessions over, "
                f"{total.up + total.down} messages in them, {total.losses} lost; "
                f"{self._relay.memory() >> 10} KiB"
            )
            for each in self.tally.troubles[told:]:
                self.tell(f"FAULT: {each}")
            told = len(self.tally.troubles)

    async def _finish(
        self, clients: list[asyncio.Task[None]], disturbing: asyncio.Task[None]
    ) -> list[str]:
        """End the clients; return what did not end as it should."""
        self._end.set()
        done, stuck = await asyncio.wait([*clients, disturbing], timeout=ENDING)
        for each in stuck:
            each.cancel()
        if stuck:
            await asyncio.wait(stuck)
        for each in done:
            each.result()
        return [f"{len(stuck)} clients did not end within {ENDING:.0f} s"] if stuck else []

    # clients

    def _clients(self) -> list[Coroutine[Any, Any, None]]:
        manners = [manner for manner, count in MANNERS.items() for _ in range(count)]
        talking = [self._keep_talking(each, bool(at % 2)) for at, each in enumerate(manners)]
        return talking + [self._keep_asking(bool(at % 2)) for at in range(ASKING)]

    async def _keep_talking(self, manner: Manner, tls: bool) -> None:
        """Be one client, who comes again and again."""
        while not self._end.is_set():
            talk = Talk(self._relay.url(tls=tls), manner, self._trust if tls else None)
            await talk.run(self._end, random.randint(*LIMITS))
            self.tally.talked(talk)

    async def _keep_asking(self, tls: bool) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            asking = Asking(self._relay.url(tls=tls), self._trust if tls else None)
            await asking.run(self._end, random.randint(1, 20), 0.1, random.choice((9, 50_000)))
            was_hit = any(each.at >= began - 0.5 for each in self.tally.restarts)
            self.tally.asked(PLAIN, asking, was_hit)

    # what happens meanwhile

    async def _disturb(self) -> None:
        """Restart an upstream and reload, in turn, until the end."""
        period = min(self.seconds / 5, 20.0)
        victims = itertools.cycle(self._upstreams[1:])
        for turn in itertools.count():
            if await self._ends_within(period / 2):
                return
            await self._reload(turn)
            if await self._ends_within(period / 2):
                return
            await self._restart(next(victims), kill=turn % 2 == 0)

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._end.wait()
        except TimeoutError:
            return False

    async def _restart(self, upstream: UpstreamUnderTest, *, kill: bool) -> None:
        self.tally.restarts.append(Restart(upstream.name, time.monotonic()))
        await asyncio.to_thread(upstream.kill if kill else upstream.stop)
        await asyncio.to_thread(upstream.start)

    async def _reload(self, turn: int) -> None:
        """Reload another weight and keepalive, and see that the relay has taken them."""
        before = (await self._status())["last_reload"]
        self._relay.write(weight=1 + turn % 2, keepalive=f"{3 + turn % 2}s")
        self._relay.hang_up()
        deadline = time.monotonic() + ENDING
        while (last := (await self._status())["last_reload"]) == before:
            if time.monotonic() > deadline:
                raise BenchError("the relay did not reload")
            await asyncio.sleep(0.05)
        if not last["ok"]:
            raise BenchError(f"the relay refused to reload: {last['errors']}")
        self._reloads += 1

    # what is left

    async def _status(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._relay.status)

    async def _state(self) -> State:
        status, descriptors = await asyncio.to_thread(self._relay.held)
        return State(descriptors, self._relay.memory(), status["sessions"])

    async def _left(self, before: State) -> State:
        """Wait until the relay has let go of everything, and return what it holds."""
        deadline = time.monotonic() + ENDING
        while True:
            state = await self._state()
            is_clean = state.descriptors <= before.descriptors and not state.sessions
            if is_clean or time.monotonic() > deadline:
                return state
            await asyncio.sleep(0.1)

    def _faults(self, before: State, after: State) -> list[str]:
        total, found = self.tally.total, list(self.tally.troubles)
        if total.losses:
            found.append(f"{total.losses} messages were lost")
        if after.sessions:
            found.append(f"{after.sessions} sessions are left")
        if after.descriptors > before.descriptors:
            found.append(f"{after.descriptors - before.descriptors} descriptors are left")
        if after.memory - before.memory > GROWTH:
            found.append(f"memory grew by {(after.memory - before.memory) >> 10} KiB")
        if "Traceback" in self._relay.log or "Unhandled" in self._relay.log:
            found.append(f"the relay logged an exception: {self.folder / 'relay.log'}")
        return found
