"""A pool's discovery at work: its answers checked, and passed on when they have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.config.lines import absolute_upstream
from wsrelay.config.model import PluginCall, UpstreamConfig
from wsrelay.discovery.trouble import Trouble
from wsrelay.interfaces import IDiscovery
from wsrelay.log import Logger
from wsrelay.plugins import make_discovery

__all__ = ["Source", "parse_answer"]

RETRY: Final = 10.0
"""Seconds until a discovery that could not be started is tried again."""

LONGEST: Final = 300
"""Characters of a problem that are shown: a bad line may be of any length."""

log = Logger()

Upstreams = tuple[UpstreamConfig, ...]


class Source:
    """
    Makes and runs the discovery of one pool, whatever it does; see `IDiscovery`.

    An answer that cannot be used is logged, and the one before it stays.

    :param call: the pool's ``discover``.
    :param reactor: handed to the discovery, and for the time.
    :param changed: is given the upstreams whenever they differ from the last time, in the
        discovery's order, never none; what it raises is logged.
    """

    def __init__(
        self,
        pool_name: str,
        call: PluginCall,
        reactor: Any,
        changed: Callable[[Upstreams], None],
    ) -> None:
        self._call = call
        self._reactor = reactor
        self._changed = changed
        self._about = f"pool {pool_name}, discovery {call.name}"
        self._starting = Trouble(self._about)
        self._answers = Trouble(self._about)
        self._upstreams: Upstreams = ()
        self._discovery: IDiscovery | None = None
        self._retry: IDelayedCall | None = None

    @property
    def problem(self) -> str:
        """
        What is wrong; empty when all is well.

        It is the last answer that is not used, and what the discovery itself has to say in an
        attribute of this name: one may be older than the other, and nobody knows which.
        """
        own = self._starting.text or self._answers.text
        return "; ".join(filter(None, (own, str(getattr(self._discovery, "problem", "")))))

    def start(self) -> None:
        """Begin to look; a discovery that cannot begin is tried again every `RETRY` seconds."""
        self._retry = None
        try:
            self._discovery = discovery = make_discovery(self._call, self._reactor)
        except ValueError as error:
            self._cannot_start(str(error))
            return
        try:
            discovery.start(partial(self._update, discovery))
        except Exception as error:
            self._drop()
            self._cannot_start(f"{type(error).__name__}: {error}", Failure())
        else:
            self._starting.clear()

    def stop(self) -> None:
        """Look no more: *changed* is not called after this."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._drop()

    def _cannot_start(self, why: str, failure: Failure | None = None) -> None:
        text = f"cannot be started: {why}; tried again every {RETRY:.0f} seconds"
        self._starting.say(text, failure)
        self._retry = self._reactor.callLater(RETRY, self.start)

    def _drop(self) -> None:
        discovery, self._discovery = self._discovery, None
        if discovery is None:
            return
        try:
            discovery.stop()
        except Exception:
            log.failure("{about}: cannot be stopped", about=self._about)

    def _update(self, discovery: IDiscovery, lines: Sequence[str]) -> None:
        if discovery is not self._discovery:
            return
        try:
            upstreams = parse_answer(lines)
        except ValueError as error:
            count = len(self._upstreams)
            stays = f"the last answer ({count} upstreams) stays" if count else "there is no other"
            self._answers.say(f"{str(error)[:LONGEST]}; {stays}")
            return
        self._answers.clear()
        if upstreams != self._upstreams:
            self._upstreams = upstreams
            self._tell(upstreams)

    def _tell(self, upstreams: Upstreams) -> None:
        try:
            self._changed(upstreams)
        except Exception:
            log.failure("{about}: its answer could not be put to use", about=self._about)


def parse_answer(lines: Sequence[str]) -> Upstreams:
    """
    Parse what a discovery says.

    :raises ValueError: a line is bad, two upstreams have one name, or there is no upstream.
    """
    if isinstance(lines, str) or not isinstance(lines, Sequence):
        raise ValueError(f"the answer is no list of lines but {lines!r}")
    if not lines:
        raise ValueError("there is no upstream in the answer")
    found: dict[str, UpstreamConfig] = {}
    for line in lines:
        parsed = _parse_line(line)
        if found.setdefault(parsed.name, parsed) is not parsed:
            raise ValueError(f"two upstreams in the answer have the name '{parsed.name}'")
    return tuple(found.values())


def _parse_line(line: str) -> UpstreamConfig:
    if not isinstance(line, str) or not line.strip():
        raise ValueError(f"{line!r} stands in the answer where an upstream belongs")
    return absolute_upstream(line)
