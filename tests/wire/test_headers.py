"""Header fields are read strictly, kept as they came, and found in any case."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.headers import (
    FieldError,
    Headers,
    content_length,
    extension_names,
    parse_fields,
)

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcXYZ"
names = st.text(TOKEN_CHARACTERS, min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=20).map(
    lambda raw: bytes(byte for byte in raw if (byte >= 32 and byte != 127) or byte == 9)
)


def headers(*pairs: tuple[bytes, bytes]) -> Headers:
    return Headers(pairs)


@settings(deadline=None)
@given(st.lists(st.tuples(names, values), max_size=20))
def test_fields_come_out_as_they_went_in_but_for_surrounding_whitespace(
    pairs: list[tuple[bytes, bytes]],
) -> None:
    block = b"".join(b"%b:%b\r\n" % pair for pair in pairs)
    parsed = parse_fields(block)
    assert list(parsed) == [(name, value.strip(b" \t")) for name, value in pairs]
    assert len(parsed) == len(pairs)
    for name, _ in pairs:
        namesakes = [value for other, value in parsed if other.lower() == name.lower()]
        assert list(parsed.raw(name.decode().swapcase())) == namesakes
        assert list(parsed.values(name.lower())) == namesakes
        assert parsed.get(name.decode()) == namesakes[0].decode("latin-1")
        assert parsed.text(name.lower()) == namesakes[0].decode("latin-1")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_field_error(block: bytes) -> None:
    try:
        parsed = parse_fields(block)
    except FieldError:
        return
    assert block.count(b"\r\n") == block.count(b"\n") == block.count(b"\r") == len(parsed)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        (b"A: 1\r\n B: 2\r\n", "Header line 2 begins with whitespace"),
        (b"A: 1\r\n\tmore\r\n", "Header line 2 begins with whitespace"),
        (b"A: 1\nB: 2\r\n", "Header line 1 holds a control character"),
        (b"A: 1\rB: 2\r\n", "Header line 1 holds a control character"),
        (b"A: 1\x00\r\n", "Header line 1 holds a control character"),
        (b"A: 1\r\nB: \x0b\r\n", "Header line 2 holds a control character"),
        (b"A\x0b: 1\r\n", "Header line 1 holds a control character"),
        (b"A: 1\x7f\r\n", "Header line 1 holds a control character"),
        (b"A: 1\r\n\r\nB: 2\r\n", "Header line 2 has no colon"),
        (b"A: 1\r\nB 2\r\n", "Header line 2 has no colon"),
        (b"A : 1\r\n", "Header line 1 has whitespace before its colon"),
        (b"A\t: 1\r\n", "Header line 1 has whitespace before its colon"),
        (b"A B: 1\r\n", "Header line 1 has a name that is not a token"),
        (b": 1\r\n", "Header line 1 has a name that is not a token"),
        (b"\xe4: 1\r\n", "Header line 1 has a name that is not a token"),
        (b'"A": 1\r\n', "Header line 1 has a name that is not a token"),
    ],
)
def test_a_bad_line_is_named_with_its_fault(block: bytes, complaint: str) -> None:
    with pytest.raises(FieldError, match=complaint):
        parse_fields(block)


def test_inner_whitespace_and_bytes_beyond_ascii_stay() -> None:
    parsed = parse_fields(b"X-Name:  J\xf6rg \t M. \t\r\n")
    assert list(parsed) == [(b"X-Name", b"J\xf6rg \t M.")]
    assert parsed.get("x-name") == "J\xf6rg \t M."


def test_lookups_ignore_case_and_answer_for_absent_names() -> None:
    fields = headers((b"Set-Cookie", b"a=1"), (b"SET-COOKIE", b"b=2"), (b"Other", b""))
    assert fields.get_all("set-Cookie") == ["a=1", "b=2"]
    assert fields.get("set-cookie") == "a=1"
    assert fields.get("other", "default") == ""
    assert "OTHER" in fields
    assert "absent" not in fields
    assert fields.get("absent") is None
    assert fields.get("absent", "default") == "default"
    assert fields.get_all("absent") == []
    assert list(fields.raw("absent")) == []
    assert fields.tokens("absent") == ()
    assert fields.text(b"absent") == ""
    assert "a name no field can have: \u20ac" not in fields


def test_tokens_are_those_of_all_fields_of_the_name() -> None:
    fields = headers((b"Connection", b"Keep-Alive ,, \tUpgrade,"), (b"connection", b"X-Own"))
    assert fields.tokens("Connection") == ("keep-alive", "upgrade", "x-own")
    assert fields.elements(b"connection") == ("keep-alive", "upgrade", "x-own")
    assert fields.elements(b"absent") == ()


def test_headers_compare_by_their_fields() -> None:
    assert headers((b"A", b"1")) == headers((b"A", b"1"))
    assert headers((b"A", b"1")) != headers((b"a", b"1"))
    assert Headers() == headers()


@pytest.mark.parametrize(
    ("fields", "length"),
    [([], None), ([b"0"], 0), ([b"12"], 12), ([b"007"], 7), ([b"3", b"3"], 3)],
)
def test_content_length_is_one_number(fields: list[bytes], length: int | None) -> None:
    assert content_length(Headers(tuple((b"Content-Length", raw) for raw in fields))) == length


@pytest.mark.parametrize(
    "fields",
    [
        *([[raw] for raw in (b"", b"+5", b"-5", b"0x10", b"5 5", b"5,5", b"5, 5", b"5;", b"1e3")]),
        [b"1_0"],
        ["\u0665".encode()],
        [b"9" * 19],
        [b"9" * 5000],
        [b"5", b"6"],
        [b"5", b"05"],
        [b"5", b""],
    ],
)
def test_anything_else_is_no_content_length(fields: list[bytes]) -> None:
    with pytest.raises(FieldError, match="Content-Length is not one decimal number"):
        content_length(Headers(tuple((b"Content-Length", raw) for raw in fields)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], ()),
        ([b""], ()),
        ([b" , ,"], ()),
        ([b"permessage-deflate"], ("permessage-deflate",)),
        ([b"Permessage-Deflate; client_max_window_bits"], ("permessage-deflate",)),
        ([b'a;b="10";c=d , e;f'], ("a", "e")),
        ([b'a; b="1\\0"'], ("a",)),
        ([b"a ;b = 1 ; c"], ("a",)),
        ([b"a; b=1", b"c", b"", b"a"], ("a", "c", "a")),
        ([b"a,,\tb"], ("a", "b")),
    ],
)
def test_extensions_are_read_by_their_grammar(
    fields: list[bytes], expected: tuple[str, ...]
) -> None:
    pairs = tuple((b"Sec-WebSocket-Extensions", raw) for raw in fields)
    assert extension_names(Headers(pairs)) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"a b",
        b"a;",
        b";b",
        b"a; b=",
        b'a; b=""',
        b'a; b="1 0"',
        b'a; b="1',
        b'a; b="1,c"',
        b'a; b="x"y',
        b"a=b",
        b"a; b=c d",
        b"a/b",
        b"\xe4",
        b"a, b;",
        b"good, ;",
    ],
)
def test_malformed_extensions_are_refused(value: bytes) -> None:
    with pytest.raises(FieldError, match="Sec-WebSocket-Extensions is malformed"):
        extension_names(headers((b"Sec-WebSocket-Extensions", value)))


@settings(deadline=None)
@given(st.lists(st.text(';,="\\ \tab', max_size=12).map(str.encode), max_size=3))
def test_no_extensions_field_makes_anything_but_names_or_a_field_error(fields: list[bytes]) -> None:
    pairs = tuple((b"Sec-WebSocket-Extensions", raw) for raw in fields)
    try:
        found = extension_names(Headers(pairs))
    except FieldError:
        return
    assert set("".join(found)) <= {"a", "b"}


def test_a_field_is_found_like_an_item_in_any_case() -> None:
    headers = parse_fields(b"X-User: ann\r\nx-user: bob\r\n")
    assert headers["x-USER"] == "ann"
    with pytest.raises(KeyError):
        headers["x-other"]
