"""Which sessions have which tag."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from wsrelay.relay.session import Session

__all__ = ["Tags"]


@define(eq=False)
class Tags:
    """
    The tags of live sessions, from `Facts.tags`, which only this class changes by then.

    A tag is any text that is not empty; it lasts as long as a session has it.
    """

    _sessions: dict[str, set[Session]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self, name: str) -> Collection[Session]:
        """Return those that have a tag."""
        return self._sessions.get(name, ())

    def opened(self, session: Session) -> None:
        """Learn of a session, and of what policies have tagged it with."""
        for name in session.facts.tags:
            self._sessions.setdefault(name, set()).add(session)

    def ended(self, session: Session) -> None:
        """Learn of its end; what it was tagged with stays in its facts."""
        for name in session.facts.tags:
            self._remove(session, name)

    def tag(self, session: Session, name: str) -> None:
        """
        Tag a session; nothing happens if it has the tag, or has ended.

        :raises ValueError: the name is no text, or empty.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"a tag has to be a text that is not empty, not {name!r}")
        if not session.is_over:
            session.facts.tags |= {name}
            self._sessions.setdefault(name, set()).add(session)

    def untag(self, session: Session, name: str) -> None:
        """Remove a tag, if it is there; nothing happens to a session that has ended."""
        if not session.is_over:
            session.facts.tags -= {name}
            self._remove(session, name)

    def _remove(self, session: Session, name: str) -> None:
        tagged = self._sessions.get(name, set())
        tagged.discard(session)
        if not tagged:
            self._sessions.pop(name, None)
