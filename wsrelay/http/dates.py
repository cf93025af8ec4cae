"""Dates as HTTP writes them (RFC 9110, section 5.6.7).  Pure, and the same in every locale."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate

__all__ = ["http_date", "read_date"]

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = [
    re.compile(text)
    for text in (
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
]


def http_date(seconds: float) -> bytes:
    """Return a date for a header; *seconds* are those of Unix, and fractions are cut off."""
    return formatdate(int(seconds), usegmt=True).encode("ascii")


def read_date(text: str, now: float) -> int | None:
    """
    Return the seconds of Unix that a header says, in any of the three forms; None: no date.

    :param now: a year of two digits is not more than fifty years from here.
    """
    for form in _FORMS:
        if match := form.fullmatch(text):
            return _seconds(match, now)
    return None


def _seconds(match: re.Match[str], now: float) -> int | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        this_year = datetime.fromtimestamp(now, UTC).year
        year += this_year // 100 * 100
        year -= 100 if year > this_year + 50 else 0
    # A leap second has no number of its own in Unix' time.
    times = int(match["hour"]), int(match["minute"]), min(int(match["second"]), 59)
    month = _MONTHS.index(match["month"]) + 1
    try:
        return int(datetime(year, month, int(match["day"]), *times, tzinfo=UTC).timestamp())
    except ValueError:
        return None
