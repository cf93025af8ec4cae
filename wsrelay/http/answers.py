"""What the relay answers without asking an upstream, as values; nothing is sent here."""

from __future__ import annotations

from io import FileIO

from attrs import frozen

__all__ = ["Field", "FileAnswer", "OwnAnswer", "Span"]

Field = tuple[bytes, bytes]
"""A header's name and its value."""


@frozen
class OwnAnswer:
    """An answer in the relay's own words, which `wsrelay.wire.forward.own_answer` writes."""

    status: int
    reason: str
    """The body: a sentence with the cause and what to do.  Not for an answer to HEAD."""
    headers: tuple[Field, ...] = ()


@frozen
class Span:
    """A piece of a file: so many bytes from an offset on."""

    offset: int
    length: int


@frozen
class FileAnswer:
    """
    An answer about a file: all of it, parts of it, or none (to HEAD, and a 304).

    Whoever gets one must have a `wsrelay.http.sending.FileSender` send it, or `close` it.
    """

    status: int
    headers: tuple[Field, ...]
    """All but Date and Connection; Content-Length is among them, except in a 304."""
    pieces: tuple[bytes | Span, ...] = ()
    """The body; without a *file* there is none."""
    file: FileIO | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        sizes = [len(each) if isinstance(each, bytes) else each.length for each in self.pieces]
        return sum(sizes)

    def close(self) -> None:
        """Close the file; any number of times."""
        if self.file is not None:
            self.file.close()
