"""A scanner that lets through no more than the paces of its direction allow."""

from __future__ import annotations

from attrs import define, field
from typing_extensions import override

from wsrelay.wire.faults import Fault, Limits
from wsrelay.wire.frames import Event, Scanner
from wsrelay.wire.paces import Bucket


def scanner_of(masked: bool, bits: int, limits: Limits) -> Scanner:
    """Make what reads the frames of one direction; see `Scanner`."""
    if limits.messages is None and limits.bytes is None:
        return Scanner(masked, bits, limits)
    return PacedScanner(masked, bits, limits)


@define(eq=False)
class PacedScanner(Scanner):
    """
    Counts messages where they begin to be passed on, and bytes before they are looked at.

    What goes over a pace is a `Violation`; or, where the direction ``throttles``, it is kept:
    then *backlog* is set, `waits` is true, and ``feed(b"")`` is of no use for `wait` seconds.
    """

    _bytes: Bucket | None = field(init=False)
    _unpaid: bytes = field(default=b"", init=False)  # read, and not even looked at

    def __attrs_post_init__(self) -> None:
        limits = self.limits
        self._messages = Bucket(limits.messages) if limits.messages is not None else None
        self._bytes = Bucket(limits.bytes) if limits.bytes is not None else None

    @property
    @override
    def held(self) -> int:
        return super().held + len(self._unpaid)

    @property
    def waits(self) -> bool:
        """Whether something is kept because a pace leaves no room for it."""
        return self._full is not None

    @property
    def wait(self) -> float:
        """Seconds from the last `fill` until there is room for something that is kept."""
        return 0.0 if self._full is None else self._full.wait

    def fill(self, now: float) -> None:
        """Learn how late it is, in seconds; called before `feed`."""
        for bucket in (self._messages, self._bytes):
            if bucket is not None:
                bucket.fill(now)

    def lift(self) -> None:
        """Count nothing any more: nothing is passed on any more, either."""
        self._messages = self._bytes = self._full = None

    def drop(self) -> None:
        """Forget all that is kept, and what comes from now on."""
        self._is_deaf = True
        self._held = self._unpaid = b""
        self._full = None
        self.backlog = False

    @override
    def feed(self, data: bytes) -> list[Event]:
        self._full, self.backlog = None, False
        paid = self._pay(self._unpaid + data)
        # Nothing new, inside a frame that is passed on in pieces, is not a piece of it.
        events = super().feed(paid) if paid or not self._left else []
        if self._is_deaf:
            self._unpaid = b""
        if self._unpaid and not self.backlog:
            self._go_over(events)
        return events

    def _pay(self, data: bytes) -> bytes:
        """Return as much as there is room for, and keep the rest."""
        if self._bytes is None or self._is_deaf:
            self._unpaid = b""
            return data
        paid = self._bytes.take_up_to(len(data))
        self._unpaid = data[paid:]
        return data[:paid]

    def _go_over(self, events: list[Event]) -> None:
        if self.limits.throttles:
            self._full, self.backlog = self._bytes, True
        else:
            self._fail(events, b"", self.limits.violation(Fault.MANY_BYTES))
            self._unpaid = b""
