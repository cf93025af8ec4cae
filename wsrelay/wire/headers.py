"""
Header fields: strict parsing, and lookups that ignore the case of names.

Requests and responses share what is here, so that neither side of the relay
is read more laxly than the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, KeysView, Sequence
from functools import lru_cache

from attrs import field, frozen

__all__ = [
    "MAX_FIELDS",
    "FieldError",
    "Headers",
    "content_length",
    "extension_names",
    "parse_fields",
]

MAX_FIELDS = 200
"""Most header fields a message may have."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""A token of RFC 9110, section 5.6.2, as a part of a regular expression."""

# Possessive quantifiers: a hostile block must not make the search backtrack.  Of single
# characters only: before Python 3.11.5, as in Debian 12, a possessive group that fails has moved
# on all the same (gh-106052), and ``;`` would be a parameter.  What is repeated begins in one way
# only, so there is next to nothing to go back to.
_FIELD = re.compile(rb"(%b):([^\x00-\x08\x0a-\x1f\x7f]*+)\r\n" % TOKEN)
_BLOCK = re.compile(rb"(?:%b:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*" % TOKEN)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# 18 digits stay below 2**63, which is what most of the world counts with.
_LENGTH = re.compile(rb"[0-9]{1,18}")

_PARAMETER = rb'[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|"(?:\\?%b)+"))?' % ((TOKEN,) * 3)
_EXTENSION = re.compile(rb"[ \t]*+(?:(%b)(?:%b)*[ \t]*+)?(?:,|\Z)" % (TOKEN, _PARAMETER))


class FieldError(ValueError):
    """A header field breaks the rules; the text is a sentence that says which and how."""


@frozen
class Headers:
    """
    The header fields of one message, in the order in which they came.

    Iterating yields ``(name, value)`` pairs of bytes, names in the case in
    which they came.  Lookups ignore the case of names and yield text decoded
    as ISO-8859-1, so that any byte survives.  The relay itself asks
    with lower-case bytes: `names`, `values`, `text` and `elements`.
    """

    _pairs: tuple[tuple[bytes, bytes], ...] = ()
    _index: dict[bytes, tuple[bytes, ...]] = field(init=False, eq=False, repr=False)

    @_index.default
    def _make_index(self) -> dict[bytes, tuple[bytes, ...]]:
        index: dict[bytes, tuple[bytes, ...]] = {}
        for name, value in self._pairs:
            lower = name.lower()
            index[lower] = (*index[lower], value) if lower in index else (value,)
        return index

    def names(self) -> KeysView[bytes]:
        """Return the names of all fields, in lower case, each once."""
        return self._index.keys()

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """Return the values of all fields called *name*, which is in lower case."""
        return self._index.get(name, ())

    def text(self, name: bytes) -> str:
        """Return the first of `values` as text; empty when there is none."""
        values = self._index.get(name)
        return values[0].decode("latin-1") if values else ""

    def elements(self, name: bytes) -> tuple[str, ...]:
        """Return the elements of the lists in `values`, in lower case."""
        return _elements(b",".join(self._index.get(name, ())))

    def raw(self, name: str) -> Sequence[bytes]:
        """Return the values of all fields called *name*, as bytes."""
        return self._index.get(_key(name), ())

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of the first field called *name*, or *default*."""
        values = self.raw(name)
        return values[0].decode("latin-1") if values else default

    def get_all(self, name: str) -> list[str]:
        """Return the values of all fields called *name*, one for each field."""
        return [value.decode("latin-1") for value in self.raw(name)]

    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the elements of the lists in all fields called *name*, in lower case."""
        return self.elements(_key(name))

    def __getitem__(self, name: str) -> str:
        """Return the value of the first field called *name*; KeyError: there is none."""
        return self._index[_key(name)][0].decode("latin-1")

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._index

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._pairs)


def _key(name: str) -> bytes:
    # What no field can be called becomes "?", which none can have in its name either.
    return name.lower().encode("latin-1", "replace")


@lru_cache(maxsize=64)  # it is mostly Upgrade and websocket, asked for over and over
def _elements(text: bytes) -> tuple[str, ...]:
    parts = text.decode("latin-1").lower().split(",")
    return tuple([token for part in parts if (token := part.strip(" \t"))])


def parse_fields(block: bytes) -> Headers:
    """
    Parse the header lines of a message, or the trailer lines of a body.

    Strict (RFC 9112, section 5): each line ends with CRLF, names are tokens
    with the colon right behind them, values hold no control character but
    HTAB, nothing is folded.

    :param block: the lines, each with its CRLF; no empty line; may be empty.
    :raises FieldError: a line breaks the rules.
    """
    if _BLOCK.fullmatch(block) is None:
        raise FieldError(_complaint(block))
    return Headers(tuple([(name, value.strip(b" \t")) for name, value in _FIELD.findall(block)]))


def _complaint(block: bytes) -> str:
    """Say what is wrong with the first bad line of *block*."""
    good = _BLOCK.match(block)
    end = good.end() if good else 0
    line = block[end:].partition(b"\r\n")[0]
    number = block.count(b"\r\n", 0, end) + 1
    where = f"Header line {number}"
    if line.startswith((b" ", b"\t")):
        return f"{where} begins with whitespace; send each header on one line, unfolded."
    if _CONTROL.search(line):
        return f"{where} holds a control character; remove it, and end lines with CR LF."
    name, colon, _ = line.partition(b":")
    if not colon:
        return f"{where} has no colon; send it as 'Name: value'."
    if name.endswith((b" ", b"\t")):
        return f"{where} has whitespace before its colon; remove it."
    return f"{where} has a name that is not a token; use letters, digits and hyphens."


def content_length(headers: Headers) -> int | None:
    """
    Return what Content-Length says, or None when there is none.

    :raises FieldError: a value is no number of at most 18 digits, or several
        fields differ (RFC 9112, section 6.3).
    """
    values = headers.values(b"content-length")
    if not values:
        return None
    if _LENGTH.fullmatch(values[0]) is None or any(value != values[0] for value in values):
        raise FieldError("Content-Length is not one decimal number; send it once, in digits.")
    return int(values[0])


def extension_names(headers: Headers) -> tuple[str, ...]:
    """
    Return the names in Sec-WebSocket-Extensions, in order and in lower case.

    :raises FieldError: a field breaks the grammar of RFC 6455, section 9.1.
    """
    text = b",".join(headers.values(b"sec-websocket-extensions"))
    names = []
    end = 0
    while end < len(text):
        element = _EXTENSION.match(text, end)
        if element is None:
            raise FieldError(
                "Sec-WebSocket-Extensions is malformed; send 'name; parameter=value, name'."
            )
        if element[1]:
            names.append(element[1].decode("ascii").lower())
        end = element.end()
    return tuple(names)
