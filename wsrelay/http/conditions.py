"""Whether a client has what it asks for already (RFC 9110, section 13).  Pure."""

from __future__ import annotations

import re
from enum import Enum

from attrs import frozen

from wsrelay.http.dates import read_date
from wsrelay.wire.headers import Headers

__all__ = ["Validators", "Verdict", "judge", "range_counts"]

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
_TAGS = re.compile(_TAG)
_LIST = re.compile(rb"[ \t,]*+%b(?:[ \t]*+,[ \t,]*+%b)*[ \t,]*+" % (_TAG, _TAG))


@frozen
class Validators:
    """What tells one version of a file from another."""

    etag: bytes
    """A strong one, quotes included."""
    modified: int
    """Seconds of Unix; what Last-Modified says."""


class Verdict(Enum):
    """What a request's conditions lead to."""

    GO_ON = 200
    NOT_MODIFIED = 304
    FAILED = 412


def judge(headers: Headers, validators: Validators, now: float) -> Verdict:
    """
    Judge the conditions of a GET or HEAD for something that is there.

    In the order of RFC 9110, section 13.2.2: those with entity tags make those with dates
    void.  A date that cannot be read does not count; a list of tags that cannot be read has
    no tag in it.

    :param now: seconds of Unix.
    """
    if headers.values(b"if-match"):
        if not _has_tag(headers, b"if-match", validators.etag, weak=False):
            return Verdict.FAILED
    elif _is_newer(headers, b"if-unmodified-since", validators, now) is True:
        return Verdict.FAILED
    if headers.values(b"if-none-match"):
        if _has_tag(headers, b"if-none-match", validators.etag, weak=True):
            return Verdict.NOT_MODIFIED
    elif _is_newer(headers, b"if-modified-since", validators, now) is False:
        return Verdict.NOT_MODIFIED
    return Verdict.GO_ON


def range_counts(headers: Headers, validators: Validators, now: float) -> bool:
    """Tell whether If-Range, if there is one, lets Range count (RFC 9110, section 13.1.5)."""
    values = headers.values(b"if-range")
    if not values:
        return True
    if len(values) > 1:
        return False
    if _TAGS.fullmatch(values[0]):
        return values[0] == validators.etag  # strong: a W/ in front makes it another
    return read_date(values[0].decode("latin-1"), now) == validators.modified


def _has_tag(headers: Headers, name: bytes, etag: bytes, *, weak: bool) -> bool:
    text = b",".join(headers.values(name))
    if text.strip(b" \t") == b"*":
        return True
    if not _LIST.fullmatch(text):
        return False
    tags = _TAGS.findall(text)
    return etag in ([tag.removeprefix(b"W/") for tag in tags] if weak else tags)


def _is_newer(headers: Headers, name: bytes, validators: Validators, now: float) -> bool | None:
    """Tell whether the file is newer than the date in *name*; None: there is no such date."""
    values = headers.values(name)
    if len(values) != 1:
        return None
    date = read_date(values[0].decode("latin-1"), now)
    return None if date is None else validators.modified > date
