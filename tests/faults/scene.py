"""A relay among its neighbours, while something goes wrong, and what it holds afterwards."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from soak.relay import open_descriptors
from soak.talk import Talk
from tests.faults.figures import Figures, record
from tests.faults.probe import Held, Probe
from tests.faults.upstream import Upstream
from tests.faults.witness import QUIET, Crowd
from tests.support import PATIENCE, PROJECT, RelayProcess, started_relay
from tests.system.admin import Admin
from tests.system.support import LOCAL, check_log_is_calm, rss, wait_until

WITNESSES = 9
GROWTH = 6 << 20
"""Bytes of memory that a harm may cost for good: what Python does not give back at once."""

INI = """\
[relay]
drain_timeout = 1s
data_path = {data_path}
[listener:main]
endpoint = {endpoint}
{listener}
[route:witness]
path = = /witness
pool = witness
[route:victim]
path = = /victim
pool = victim
close_timeout = 1s
{route}
[pool:witness]
upstreams =
    ws://127.0.0.1:{witness}
[pool:victim]

fail_timeout = 1s
{pool}
upstreams =
{upstreams}
[admin]
listen = {admin}
[log]
access = {access}
format = json
"""


@define(eq=False)
class Scene:
    """
    What a test has at hand.

    :ivar upstreams: of the pool ``victim``, by name.
    :ivar witness: clients of the route ``witness``, which nothing may happen to.
    :ivar victims: clients of the route ``victim``.
    """

    figures: Figures
    relay: RelayProcess
    probe: Probe
    admin: Admin
    upstreams: dict[str, Upstream]
    access_log: Path
    witness: Crowd
    victims: Crowd
    _began: float = field(default=0.0, init=False)
    _hit: set[Talk] = field(factory=set, init=False)
    _before: Held = field(init=False)
    _memory: int = field(init=False)

    @property
    def port(self) -> int:
        return self.relay.ports["main"]

    def harm(self) -> None:
        """Note that the harm is done now."""
        self._began = time.monotonic()

    def was_hit(self, talks: Iterable[Talk]) -> None:
        """Take these sessions for hit: all of them have ended by now."""
        hit = list(talks)
        assert hit
        self.figures.hit += len(hit)
        self._hit.update(hit)
        self.noticed(max(each.ended_at for each in hit))

    def noticed(self, at: float | None = None) -> None:
        """Note how long it took until the relay acted."""
        took = (at or time.monotonic()) - self._began
        self.figures.noticed = round(max(took, self.figures.noticed or 0.0), 2)

    def were_refused(self, talks: Iterable[Talk]) -> None:
        """Take these clients for such that got no session."""
        for each in talks:
            assert each.refused
            assert not each.sent
            self._hit.add(each)

    def status(self) -> dict[str, Any]:
        return self.admin.status()

    def held(self) -> Held:
        self.probe.ask()  # by the next answer the relay has closed what others closed before
        answer = self.probe.ask(ask="held")
        descriptors = open_descriptors(self.relay.pid)
        return Held(descriptors, Counter(answer["timers"]), Counter(answer["objects"]))

    def sessions(self) -> int:
        return int(self.status()["sessions"])

    def of(self, name: str) -> list[Talk]:
        """Return the clients whose upstream has this *name*."""
        return [each for each in self.victims.talks if each.upstream == name]

    def records(self, event: str) -> list[dict[str, Any]]:
        """Return the access log's records of that kind; each line has to be a whole one."""
        text, _, rest = self.access_log.read_text("utf-8").rpartition("\n")
        assert not rest, "the last line is not whole"
        return [each for each in map(json.loads, text.splitlines()) if each["event"] == event]

    # the pool of the victims

    def settle(self, count: int = 20) -> None:
        """Let clients begin, on all upstreams of the pool."""
        self.victims.join(count, QUIET)
        self.victims.goes_on()
        assert all(self.of(name) for name in self.upstreams)

    def go_elsewhere(self, count: int) -> None:
        """Let those who were hit come again; upstream *a* cannot take them."""
        again = self.victims.join(count, QUIET)
        self.victims.goes_on(again)
        assert {each.upstream for each in again} == {"b"}

    def wait_for(self, name: str) -> None:
        """Wait until an upstream gets new sessions again."""

        def look() -> bool:
            [new] = self.victims.join(1, QUIET)
            self.victims.goes_on([new])
            return new.upstream == name

        wait_until(look, f"new sessions for {name}")

    # the end

    def others_are_untouched(self) -> None:
        """Check that who was not hit ended as it wanted, and lost nothing."""
        talks = [
            each for each in (*self.witness.end(), *self.victims.end()) if each not in self._hit
        ]
        self.figures.not_hit += len(talks)
        self.figures.messages += sum(each.sent + each.heard for each in talks)
        self.figures.losses += sum(each.lost + bool(each.trouble) for each in talks)
        for each in talks:
            assert (each.trouble, each.refused, each.code, each.lost) == ("", "", 1000, 0), each
            assert each.sent, each

    def is_warm(self) -> None:
        """Take what the relay holds now for what it may hold in the end; nobody is there."""
        wait_until(lambda: self.sessions() == 0, "the end of the first sessions")
        self._before, self._memory = self.held(), rss(self.relay.pid)

    def nothing_is_left(self, growth: int) -> None:
        """Wait until the relay holds what it held before."""
        before, memory = self._before, self._memory
        wait_until(lambda: not self.sessions(), "the end of all sessions", 2 * PATIENCE)
        after = self._held_no_more_than(before)
        status = self.status()
        counts = [status[name] for name in ("sessions", "connections", "openings", "requests")]
        assert counts == [0, 0, 0, 0]
        self.figures.descriptors = before.descriptors, after.descriptors
        self.figures.timers = before.timers.total(), after.timers.total()
        self.figures.memory = memory, rss(self.relay.pid)
        assert self.figures.memory[1] - memory < growth

    def _held_no_more_than(self, before: Held) -> Held:
        last = [self.held()]

        def is_clean() -> bool:
            last[0] = self.held()
            return not last[0].is_more_than(before)

        try:
            wait_until(is_clean, "a relay that holds no more than before")
        except AssertionError as error:
            raise AssertionError(f"{error}; it holds {last[0].is_more_than(before)}") from None
        return last[0]


def some_come_and_go(scene: Scene) -> None:
    """Have the relay import and make all that it makes once."""
    with Crowd(f"{scene.relay.url}/witness") as crowd:
        crowd.join(20, most=5)
        crowd.end()
    for _ in range(3):
        scene.held()


@frozen
class Stage:
    """
    Sets scenes for one test.

    :ivar pump: native or python.
    """

    scenario: str
    pump: str
    folder: Path

    @contextlib.contextmanager
    def scene(
        self,
        *upstreams: Upstream | str,
        route: str = "",
        pool: str = "max_fails = 1",
        endpoint: str = LOCAL,
        listener: str = "",
        access: Path | None = None,
        log: Path | None = None,
        nofile: int = 0,
        warm_up: Callable[[Scene], None] = some_come_and_go,
        growth: int = GROWTH,
    ) -> Iterator[Scene]:
        """
        Run a relay with the witnesses, and let harm be done.

        :param upstreams: of the pool ``victim``: processes to start, or rows of relay.ini.
        :param route: options of the route ``victim``; *pool*: of its pool.
        :param listener: options of the listener.
        :param access: the access log, elsewhere than usual; *log*: where the service's log
            goes beside standard output, as with ``twistd --logfile``.
        :param warm_up: what happens before the relay is measured; *growth*: bytes
            that its memory may grow by from then on.
        :param nofile: how many descriptors the relay may have; 0: many.
        """
        witness = Upstream("witness")
        processes = [each for each in upstreams if isinstance(each, Upstream)]
        rows = [each.row if isinstance(each, Upstream) else each for each in upstreams]
        text = INI.format(
            data_path=self.pump,
            endpoint=endpoint,
            route=route,
            pool=pool,
            witness=witness.port,
            upstreams="\n".join(f"    {row}" for row in rows),
            admin=LOCAL,
            access=access or "access.log",
            listener=listener,
        )
        socket_path = self.folder / "probe"
        probed = PROJECT / "tests" / "faults" / "probed.py"
        launcher = [sys.executable, probed, socket_path, str(nofile), str(log or "-")]
        with contextlib.ExitStack() as stack:
            for each in (witness, *processes):
                each.start()
                stack.callback(each.stop)
            relay = stack.enter_context(started_relay(text, self.folder, launcher))
            for each in (witness, *processes):
                each.is_ready()
            probe = Probe(socket_path)
            stack.callback(probe.close)
            scene = Scene(
                Figures(self.scenario, self.pump),
                relay,
                probe,
                Admin.of(relay),
                {each.name: each for each in processes},
                access or self.folder / "access.log",
                stack.enter_context(Crowd(f"{relay.url}/witness")),
                stack.enter_context(Crowd(f"{relay.url}/victim")),
            )
            warm_up(scene)
            scene.is_warm()
            scene.witness.join(WITNESSES)
            scene.witness.goes_on()
            yield scene
            scene.witness.goes_on()
            scene.others_are_untouched()
            scene.nothing_is_left(growth)
            check_log_is_calm(relay.log())
        record(scene.figures)
