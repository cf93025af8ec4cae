"""A leg of the Python pump that may send no faster than the paces of its route allow."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from wsrelay.relay.pump import PumpOwner, Side
from wsrelay.relay.python_leg import PythonLeg
from wsrelay.wire.frames import Event, Scanner
from wsrelay.wire.paced_frames import PacedScanner

SHORTEST: Final = 0.005
"""Seconds that a leg waits at least before it goes on."""


def leg_of(
    side: Side, transport: Any, scanner: Scanner, owner: PumpOwner, reactor: IReactorTime
) -> PythonLeg:
    """Make a leg, of the kind that its scanner needs."""
    if isinstance(scanner, PacedScanner):
        return PacedLeg(side, transport, scanner, owner, reactor)
    return PythonLeg(side, transport, scanner, owner, reactor)


class _Ended:
    """Stands for a transport that has ended while what it had sent still has to wait."""

    def write(self, data: bytes) -> None:
        """Do nothing, as all of these."""

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        pass

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def pauseProducing(self) -> None:  # noqa: N802
        pass

    def resumeProducing(self) -> None:  # noqa: N802
        pass

    def loseWriteConnection(self) -> None:  # noqa: N802
        pass

    def abortConnection(self) -> None:  # noqa: N802
        pass


_ENDED: Final = _Ended()


class PacedLeg(PythonLeg):
    """
    Counts what it sends, for as long as that goes anywhere.

    What has to wait is the scanner's backlog, as after a flood of control frames; the leg goes
    on with it when there is room.
    """

    __slots__ = ()

    scanner: PacedScanner

    @override
    def receive(self, data: bytes) -> None:
        self.received += len(data)
        had_to_wait = self.scanner.waits
        self._handle(self._feed(data))
        self.throttles += self.scanner.waits and not had_to_wait

    @override
    def _feed(self, data: bytes) -> list[Event]:
        if self._is_free:
            self.scanner.lift()
        self.scanner.fill(self.reactor.seconds())
        return self.scanner.feed(data)

    @property
    def _is_free(self) -> bool:
        """Whether what it sends is not passed on any more."""
        return self.far.gone or not self.far.takes_data

    @property
    @override
    def _pause(self) -> float:
        if not self._has_to_wait:
            return 0.0
        self.scanner.fill(self.reactor.seconds())
        return max(SHORTEST, self.scanner.wait)

    @override
    def update_reading(self) -> None:
        if self.scanner.waits and self._is_free and self._turn is not None:
            self._turn.reset(0)
        super().update_reading()

    @override
    def _go_on(self) -> None:
        super()._go_on()
        if self.transport is _ENDED and not self.scanner.backlog and not self.gone:
            try:
                self._leave()
            except Exception:
                self.owner.pump_failed()

    @override
    def _look(self) -> None:
        if self.transport is not _ENDED:
            super()._look()

    @override
    def lost(self) -> None:
        while self.scanner.backlog and not self._has_to_wait:
            self._handle(self._feed(b""))
        if not self._has_to_wait:
            self._leave()
            return
        # TLS: the end stood in one read with what has to wait.
        self.transport = _ENDED
        self._unblock()
        self.far.update_reading()

    @override
    def abort(self) -> None:
        if self.scanner.waits:
            self.scanner.drop()
        super().abort()
        if self.transport is _ENDED:
            self._go_on_now()

    @property
    def _has_to_wait(self) -> bool:
        return self.scanner.waits and not self._is_free

    def _go_on_now(self) -> None:
        if self._turn is None:
            self._turn = self.reactor.callLater(0, self._go_on)
        else:
            self._turn.reset(0)
