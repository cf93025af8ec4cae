"""Conditions of requests, and the dates in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http.conditions import Validators, Verdict, judge, range_counts
from wsrelay.http.dates import http_date, read_date
from wsrelay.wire.headers import Headers

NOW = 1_800_000_000
MODIFIED = 784_111_777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
VALIDATORS = Validators(b'"a,b"', MODIFIED)

GO_ON, SAME, FAILED = Verdict.GO_ON, Verdict.NOT_MODIFIED, Verdict.FAILED

CASES = [
    ({}, GO_ON),
    ({"If-None-Match": '"a,b"'}, SAME),
    ({"If-None-Match": 'W/"a,b"'}, SAME),
    ({"If-None-Match": '"x", W/"y" ,"a,b"'}, SAME),
    ({"If-None-Match": ',, "x",,"a,b",'}, SAME),
    ({"If-None-Match": "*"}, SAME),
    ({"If-None-Match": '"a'}, GO_ON),
    ({"If-None-Match": "a,b"}, GO_ON),
    ({"If-None-Match": '"x"'}, GO_ON),
    ({"If-None-Match": '"x" "a,b"'}, GO_ON),
    ({"If-None-Match": ""}, GO_ON),
    ({"If-Match": '"a,b"'}, GO_ON),
    ({"If-Match": '"x", "a,b"'}, GO_ON),
    ({"If-Match": "*"}, GO_ON),
    ({"If-Match": 'W/"a,b"'}, FAILED),
    ({"If-Match": '"x"'}, FAILED),
    ({"If-Match": "nonsense"}, FAILED),
    ({"If-Modified-Since": DATE}, SAME),
    ({"If-Modified-Since": LATER}, SAME),
    ({"If-Modified-Since": EARLIER}, GO_ON),
    ({"If-Modified-Since": "yesterday"}, GO_ON),
    ({"If-Unmodified-Since": DATE}, GO_ON),
    ({"If-Unmodified-Since": LATER}, GO_ON),
    ({"If-Unmodified-Since": EARLIER}, FAILED),
    ({"If-Unmodified-Since": "yesterday"}, GO_ON),
    # Tags make dates void, and what may fail goes first.
    ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, GO_ON),
    ({"If-None-Match": '"a,b"', "If-Modified-Since": EARLIER}, SAME),
    ({"If-Match": '"a,b"', "If-Unmodified-Since": EARLIER}, GO_ON),
    ({"If-Match": '"x"', "If-Unmodified-Since": LATER}, FAILED),
    ({"If-Match": '"x"', "If-None-Match": '"a,b"'}, FAILED),
    ({"If-Match": '"a,b"', "If-None-Match": '"a,b"'}, SAME),
    ({"If-Unmodified-Since": DATE, "If-Modified-Since": DATE}, SAME),
    ({"If-Unmodified-Since": EARLIER, "If-None-Match": '"a,b"'}, FAILED),
]


def headers(fields: dict[str, str]) -> Headers:
    return Headers(tuple((name.encode(), text.encode("latin-1")) for name, text in fields.items()))


@pytest.mark.parametrize(("fields", "verdict"), CASES)
def test_conditions_lead_to(fields: dict[str, str], verdict: Verdict) -> None:
    assert judge(headers(fields), VALIDATORS, NOW) is verdict


def test_lists_of_tags_may_come_in_several_fields() -> None:
    several = Headers(((b"If-None-Match", b'"x"'), (b"if-none-match", b'"a,b"')))
    assert judge(several, VALIDATORS, NOW) is SAME


def test_a_date_that_comes_twice_does_not_count() -> None:
    twice = Headers(((b"If-Modified-Since", DATE.encode()),) * 2)
    assert judge(twice, VALIDATORS, NOW) is GO_ON


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ('"a,b"', True),
        ('W/"a,b"', False),
        ('"x"', False),
        ("*", False),
        (DATE, True),
        (LATER, False),
        (EARLIER, False),
        ("yesterday", False),
        ('"x", "a,b"', False),
        ("", False),
    ],
)
def test_if_range_takes_this_very_version_only(said: str, counts: bool) -> None:
    assert range_counts(headers({"If-Range": said}), VALIDATORS, NOW) is counts


def test_without_if_range_a_range_counts() -> None:
    assert range_counts(Headers(), VALIDATORS, NOW)


def test_an_if_range_that_comes_twice_does_not_count() -> None:
    assert not range_counts(Headers(((b"If-Range", b'"a,b"'),) * 2), VALIDATORS, NOW)


@given(st.binary(max_size=40))
def test_any_list_of_tags_can_be_judged(raw: bytes) -> None:
    judge(Headers(((b"If-Match", raw), (b"If-None-Match", raw))), VALIDATORS, NOW)


@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    assert read_date(text, NOW) == MODIFIED


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "784111777", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0100"),
        *("Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:00:00 GMT", DATE + "x", " " + DATE),
        *("Sun, 06 Nov 0000 08:49:37 GMT", "Xun, 06 Nov 1994 08:49:37 GMT"),
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_date(text, NOW) is None


def test_a_year_of_two_digits_is_near() -> None:
    """2027 is the year of `NOW`."""
    years = [read_date(f"Friday, 01-Jan-{digits} 00:00:00 GMT", NOW) for digits in ("77", "78")]
    assert years == [3_376_684_800, 252_460_800]


def test_a_leap_second_can_be_said() -> None:
    assert read_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == 1_483_228_799


@given(st.integers(0, 250_000_000_000))
def test_a_date_is_read_as_it_was_written(seconds: int) -> None:
    assert read_date(http_date(seconds).decode(), NOW) == seconds
    assert http_date(seconds + 0.9) == http_date(seconds)
