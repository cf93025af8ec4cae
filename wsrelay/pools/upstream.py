"""
One server of a pool, and a session's place on it.  Pure: time comes in as a callable.

Whether an upstream may be used is what three parties say together: the operator (`state`),
the handshakes that it took or failed (passive health), and health checks (active health).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from attrs import define, field, frozen
from zope.interface import implementer

from wsrelay.commons import ALONE, Commons, Tally
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.interfaces import IUpstream

__all__ = ["Change", "Health", "Lease", "Seconds", "Source", "State", "Upstream"]

Seconds = Callable[[], float]
State = Literal["ready", "drain", "down"]
Health = Literal["up", "down", "unknown"]
Source = Literal["file", "discovery", "api", "gone"]

TRIALS: Final = 8
"""Handshakes at once on an upstream that looks down, when all of its pool do."""

LEAST_SHARE: Final = 0.05
"""What an upstream gets of its full share at the beginning of its ``slow_start``."""

HISTORY: Final = 50
"""Changes of health that are remembered."""

_LONG_AGO: Final = float("-inf")

_MEMO: Final = (
    *("weight", "state", "since", "checked", "down_until", "last_problem"),
    *("_told", "_seen_up", "_proven", "_on_trial", "_warm_at"),
)
"""What another process of the relay has to know of an upstream; all times are monotonic."""


@frozen
class Change:
    """A change of an upstream's health: when (monotonic seconds), to what, and why."""

    at: float
    to: Health
    why: str


@define(eq=False)
class Lease:
    """
    One session's place on an upstream, from the choice until the session's end.

    A plain request has one, too; it is an opening until its answer begins.
    """

    upstream: Upstream
    _is_plain: bool = False
    _opens: bool = field(default=True, init=False)
    _answering: bool = field(default=False, init=False)
    _held: bool = field(default=True, init=False)

    def opened(self) -> None:
        """Note that the handshake is over and the session has begun."""
        if self._opens:
            self._opens = False
            self.upstream.openings -= 1

    def answered(self) -> None:
        """Note that a plain request is being answered: no session will begin."""
        self.opened()
        self._answering = True
        self.upstream.answering += 1

    def release(self) -> None:
        """Give the place back; only the first call counts, so every way out may call it."""
        if self._held:
            self._held = False
            self.opened()
            self.upstream.own -= 1
            self.upstream.tally.add(-1)
            self.upstream.requests -= self._is_plain
            self.upstream.answering -= self._answering
            self.upstream.on_free()


def _nobody(*_anything: object) -> None:
    """Be told what nobody listens to."""


@implementer(IUpstream)
@define(eq=False)
class Upstream:
    """
    One server of a pool.

    :param config: its line; replaced by `update`.
    :param policy: its pool's options; replaced by `update`.
    :param seconds: the monotonic time, in seconds.
    :param source: where the line came from.
    :param commons: where sessions are counted, together with other processes.
    :ivar own: this process' live sessions, handshakes and plain requests under way.
    :ivar openings: of the latter two those that are not answered yet.
    :ivar requests: the plain requests; *answering*: those of them whose answer has begun.
    :ivar handshakes: answered by it, in all; *answers*: plain requests that were.
    :ivar down_until: passive health: it looks down before this time.
    :ivar checked: what health checks say; 'unknown' without any.
    :ivar on_health: told of each `Change`; *on_free* of each place given back; *on_outcome* of
        how handshakes end, as far as it makes a difference: why one failed, or None;
        *on_checked* of what `check_found` is told.
    """

    config: UpstreamConfig
    policy: PoolConfig
    _seconds: Seconds
    source: Source = "file"
    commons: Commons = ALONE
    name: str = field(init=False)
    url: str = field(init=False)
    weight: int = field(init=False)
    max_connections: int | None = field(init=False)
    backup: bool = field(init=False)
    tally: Tally = field(init=False)
    own: int = field(default=0, init=False)
    openings: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)
    answering: int = field(default=0, init=False)
    handshakes: int = field(default=0, init=False)
    answers: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    last_problem: str = field(default="", init=False)
    state: State = field(default="ready", init=False)
    rtt: float | None = field(default=None, init=False)
    down_until: float = field(default=_LONG_AGO, init=False)
    checked: Health = field(default="unknown", init=False)
    history: deque[Change] = field(factory=lambda: deque(maxlen=HISTORY), init=False)
    on_health: Callable[[Upstream, Change], None] = field(default=_nobody, init=False)
    on_free: Callable[[], None] = field(default=_nobody, init=False)
    on_outcome: Callable[[Upstream, str | None], None] = field(default=_nobody, init=False)
    on_checked: Callable[[Upstream, Health, str, bool], None] = field(default=_nobody, init=False)
    since: float = field(init=False)
    """When `health` became what it is, as far as anybody noticed."""
    _told: Health = field(default="unknown", init=False)
    _seen_up: bool = field(default=False, init=False)
    _proven: bool = field(default=False, init=False)  # by the last handshake
    _on_trial: bool = field(default=False, init=False)
    _failed_at: deque[float] = field(init=False)
    _warm_at: float = field(default=_LONG_AGO, init=False)
    _credit: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.name, self.url, self.weight = config.name, config.url, config.weight
        self.max_connections, self.backup = config.max_connections, config.backup
        self._failed_at = deque(maxlen=self.policy.max_fails)
        self.since = self._seconds()
        self.tally = self.commons.tally("upstream", self.policy.name, self.name, self.url)

    def update(self, config: UpstreamConfig, policy: PoolConfig, source: Source) -> None:
        """
        Take over what a new configuration says about the same server.

        What was changed at runtime stays until the configuration says something new:
        only what differs between its old and its new words is set.
        """
        old, self.config, self.policy, self.source = self.config, config, policy, source
        if old.weight != config.weight:
            self.weight = config.weight
        self.max_connections, self.backup = config.max_connections, config.backup
        if self._failed_at.maxlen != policy.max_fails:
            self._failed_at = deque(self._failed_at, maxlen=policy.max_fails)

    def memo(self) -> dict[str, Any]:
        """Return what `recall` takes in another process of this machine."""
        return {name: getattr(self, name) for name in _MEMO} | {"failed": [*self._failed_at]}

    def recall(self, memo: dict[str, Any]) -> None:
        """Be in the state in which another process has it; nobody is told."""
        for name in _MEMO:
            setattr(self, name, memo[name])
        self._failed_at.extend(memo["failed"])

    @property
    def active(self) -> int:
        """Live sessions, handshakes and plain requests under way, of all processes."""
        return self.tally.total

    @property
    def sessions(self) -> int:
        """How many sessions of this process are live here."""
        return self.own - self.openings - self.answering

    @property
    def health(self) -> Health:
        """What handshakes and checks showed; 'unknown' also while it waits for a new trial."""
        if self.looks_down:
            return "down"
        return "up" if self._seen_up or self.checked == "up" else "unknown"

    @property
    def looks_down(self) -> bool:
        """Whether handshakes or checks say that it is down."""
        return self.checked == "down" or self._seconds() < self.down_until

    @property
    def has_room(self) -> bool:
        """Whether it is below its ``max_connections``."""
        return self.max_connections is None or self.active < self.max_connections

    @property
    def is_proven(self) -> bool:
        """Whether the last handshake succeeded, and that since a check made it down."""
        return self._proven

    @property
    def may_be_tried(self) -> bool:
        """
        Whether it may be tried although it looks down.

        Once a try has failed, few at a time: who waits for a server that does not
        answer is better refused at once.
        """
        return self._proven or self.openings < TRIALS

    def take(self, *, plain: bool = False) -> Lease | None:
        """
        Count one more session here.

        Take in the same turn of the reactor in which the choice was made.

        :param plain: it is a plain request, of which there will be no session.
        :returns: None: there is no room any more, because another process was faster.
        """
        if self.max_connections is None:
            self.tally.add(1)
        elif not self.tally.add_below(self.max_connections):
            return None
        self.own += 1
        self.openings += 1
        self.requests += plain
        return Lease(self, plain)

    # passive health

    def succeeded(self, *, plain: bool = False) -> None:
        """
        Note a finished handshake: every earlier failure is forgotten.

        :param plain: it was a plain request instead, which shows as much.
        """
        if plain:
            self.answers += 1
        else:
            self.handshakes += 1
        if not self._proven or self._failed_at:
            self.on_outcome(self, None)
        self.has_shown(plain=plain)

    def has_shown(self, *, plain: bool = False) -> None:
        """Note a handshake that succeeded, in this process or in another."""
        self._proven = self._seen_up = True
        self._forgive()
        if self.checked != "down" and self._told != "up":
            self._change("up", f"a {'request' if plain else 'handshake'} succeeded")

    def failed(self, why: str) -> None:
        """
        Note a connect or a handshake that failed.

        Once it has looked down, one failure is enough to look down again, until
        a handshake succeeds: a dead server costs one try every ``fail_timeout``,
        not ``max_fails``.
        """
        self.failures += 1
        self.on_outcome(self, why)
        self.has_failed(why)

    def has_failed(self, why: str) -> None:
        """Note a connect or a handshake that failed, in this process or in another."""
        self.last_problem = why
        self._proven = False
        if not self.policy.max_fails:
            return
        now = self._seconds()
        self._failed_at.append(now)
        if self._on_trial or self._fails_too_often(now):
            self._on_trial = True
            self._seen_up = False
            self.down_until = now + self.policy.fail_timeout
            if self._told != "down":
                self._change("down", why)

    def _fails_too_often(self, now: float) -> bool:
        enough = len(self._failed_at) == self.policy.max_fails
        return enough and now - self._failed_at[0] <= self.policy.fail_timeout

    def _forgive(self) -> None:
        self._on_trial = False
        self.down_until = _LONG_AGO
        self._failed_at.clear()

    # active health

    def check_found(self, health: Health, why: str, *, proves: bool = False) -> None:
        """
        Take what health checks have come to; 'unknown': there are none any more.

        :param proves: the check did all that a client does, so that what handshakes
            showed before is out of date.
        """
        self.checked = health
        self.on_checked(self, health, why, proves)
        if health == "down":
            self._proven = self._seen_up = False
            if self._told != "down":
                self._change("down", why)
            return
        if proves:
            self._forgive()
        if health == "up" and self._told != "up" and not self.looks_down:
            self._change("up", why)

    def _change(self, to: Health, why: str) -> None:
        now = self._seconds()
        if self._told == "down":
            self.begin_slowly()
        self._told = to
        self.since = now
        change = Change(now, to, why)
        self.history.append(change)
        self.on_health(self, change)

    # slow start

    def begin_slowly(self) -> None:
        """Begin ``slow_start``: it was down, or is new in a pool that runs."""
        self._warm_at = self._seconds() + (self.policy.slow_start or 0.0)
        self._credit = 0.0

    def takes_turn(self) -> bool:
        """
        Tell whether it is offered this time; in ``slow_start`` it is not each time.

        Its share grows evenly.  Counted, not drawn: of ten turns at half its share
        it takes five.
        """
        left = self._warm_at - self._seconds()
        if left <= 0 or self.policy.slow_start is None:
            return True
        self._credit += max(1.0 - left / self.policy.slow_start, LEAST_SHARE)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
