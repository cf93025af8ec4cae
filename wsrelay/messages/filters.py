"""What the pump for whole messages asks of a session's filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wsrelay.interfaces import Close, Drop


class Filters(Protocol):
    """The filters of one session; see `wsrelay.messages.chain.Chain`."""

    def opened(self) -> None:
        """Learn that the session begins."""

    def take(
        self,
        direction: str,
        payload: bytes,
        is_binary: bool,
        decided: Callable[[bytes | Drop | Close], None],
    ) -> None:
        """Decide about a message; the next in this direction comes after *decided* was called."""

    def end(self) -> None:
        """Decide nothing any more; any number of times."""
