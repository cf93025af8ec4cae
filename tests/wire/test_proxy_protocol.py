"""PROXY headers: what is one, and what only looks like it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.wire.proxy_protocol import (
    MAX_LENGTH,
    UNKNOWN,
    BadHeader,
    Ends,
    encode_header,
    parse_header,
)

SIGN = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = Ends(("192.0.2.7", 56324), ("198.51.100.1", 443))
V6 = Ends(("2001:db8::7", 56324), ("2001:db8:1::1", 443))
V4_BLOCK = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + b"\xdc\x04\x01\xbb"
V6_BLOCK = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8:1::1").packed + V4_BLOCK[8:]
TLVS = b"\x04\x00\x03abc\x02\x00\x01x"
NO_TLS, TLS = (b"\x20\x00\x05" + bytes([flags]) + b"\0\0\0\1" for flags in (6, 7))
PADDING = b"\x04" + (MAX_LENGTH - 12 - 3).to_bytes(2, "big") + bytes(MAX_LENGTH - 12 - 3)


def v2(first: int, kind: int, block: bytes = b"", length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGN + bytes([first, kind]) + size.to_bytes(2, "big") + block


GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", V4),
    (b"PROXY TCP6 2001:DB8::7 2001:db8:1:0:0:0:0:1 56324 443\r\n", V6),
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Ends(("255.255.255.255", 65535), ("255.255.255.255", 65535)),
    ),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Ends(("0.0.0.0", 0), ("0.0.0.0", 0))),
    (b"PROXY UNKNOWN\r\n", UNKNOWN),
    (b"PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n", UNKNOWN),
    (b"PROXY UNKNOWN " + b"\n x " + b"f" * 87 + b"\r\n", UNKNOWN),
    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", UNKNOWN),
    (v2(0x21, 0x11, V4_BLOCK), V4),
    (v2(0x21, 0x11, V4_BLOCK + TLVS), V4),
    (v2(0x21, 0x11, V4_BLOCK + PADDING), V4),
    (v2(0x21, 0x11, V4_BLOCK + NO_TLS), V4),
    (v2(0x21, 0x11, V4_BLOCK + b"\x20\0\0"), V4),
    (v2(0x21, 0x11, V4_BLOCK + TLS), evolve(V4, is_secure=True)),
    (v2(0x21, 0x21, V6_BLOCK + TLVS + TLS + TLVS), evolve(V6, is_secure=True)),
    (v2(0x20, 0x11, V4_BLOCK + TLS), UNKNOWN),
    (v2(0x21, 0x21, V6_BLOCK), V6),
    (v2(0x21, 0x21, V6_BLOCK + TLVS), V6),
    # What is not TCP over IP is somebody of whom no address is known.
    (v2(0x21, 0x00), UNKNOWN),
    (v2(0x21, 0x00, TLVS), UNKNOWN),
    (v2(0x21, 0x10), UNKNOWN),
    (v2(0x21, 0x12, V4_BLOCK), UNKNOWN),
    (v2(0x21, 0x22, V6_BLOCK), UNKNOWN),
    (v2(0x21, 0x31, b"/tmp/a".ljust(216, b"\0")), UNKNOWN),
    (v2(0x21, 0x32, b"/tmp/a".ljust(216, b"\0")), UNKNOWN),
    # LOCAL: the rest is to be skipped unseen.
    (v2(0x20, 0x00), UNKNOWN),
    (v2(0x20, 0x11, V4_BLOCK), UNKNOWN),
    (v2(0x20, 0x11, b"x"), UNKNOWN),
    (v2(0x20, 0xFF, b"xyz"), UNKNOWN),
]

BAD_V1 = [
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4\t192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 80\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 056324 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 00 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 \xd9\xa3 443\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP6 2001:db8::7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP6 2001:db8::7::1 2001:db8::1 56324 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 56324 443\r\n",
    b"PROXY TCP6 \xff 2001:db8::1 56324 443\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY unknown\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    b"PROXY TCP6 " + b"f" * 96,
]

BAD_V2 = [
    (v2(0x11, 0x11, V4_BLOCK), "version and command are 0x11"),
    (v2(0x31, 0x11, V4_BLOCK), "version and command are 0x31"),
    (v2(0x22, 0x11, V4_BLOCK), "version and command are 0x22"),
    (v2(0x21, 0x41, V4_BLOCK), "family and transport are 0x41"),
    (v2(0x21, 0x13, V4_BLOCK), "family and transport are 0x13"),
    (v2(0x21, 0x11, V4_BLOCK[:-1]), "11 bytes, too few"),
    (v2(0x21, 0x12, V4_BLOCK[:-1]), "11 bytes, too few"),
    (v2(0x21, 0x21, V6_BLOCK[:-1]), "35 bytes, too few"),
    (v2(0x21, 0x31, b"x" * 215), "215 bytes, too few"),
    (v2(0x21, 0x11, b"", MAX_LENGTH + 1), "4097 bytes long; send 4096 at most"),
    (v2(0x20, 0x00, b"", 0xFFFF), "65535 bytes long; send 4096 at most"),
]

OTHER = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"\r\nGET / HTTP/1.1\r\n",
    b"proxy TCP4 ",
    b"PROXYTCP4 ",
    b"POST / HTTP/1.1\r\n",
    b"\x00",
    b" PROXY TCP4 ",
    SIGN[:-1] + b"\r",
]


@pytest.mark.parametrize(("header", "ends"), GOOD)
def test_a_good_header_says_who_and_where_and_leaves_what_follows(
    header: bytes, ends: Ends
) -> None:
    assert parse_header(header) == (ends, b"")
    assert parse_header(header + b"\r\n\x00GET") == (ends, b"\r\n\x00GET")


@pytest.mark.parametrize(("header", "ends"), GOOD)
def test_a_header_may_come_byte_by_byte(header: bytes, ends: Ends) -> None:
    for end in range(len(header)):
        assert parse_header(header[:end]) is None


@pytest.mark.parametrize("line", BAD_V1)
def test_a_line_that_is_not_exactly_right_is_none(line: bytes) -> None:
    with pytest.raises(BadHeader, match=r"^The PROXY v1 line is "):
        parse_header(line.ljust(107, b"x"))


@pytest.mark.parametrize(("header", "words"), BAD_V2)
def test_a_binary_header_that_is_not_right_is_none_before_its_block_has_come(
    header: bytes, words: str
) -> None:
    for data in (header, header[:16]):
        with pytest.raises(BadHeader) as caught:
            parse_header(data)
        assert words in str(caught.value)


@pytest.mark.parametrize("extensions", [b"\0", b"\x04\0", b"\x04\0\1", TLVS[:-1], TLVS + TLS[:-1]])
def test_an_extension_that_is_cut_off_is_noticed(extensions: bytes) -> None:
    with pytest.raises(BadHeader, match=r"ends inside an extension"):
        parse_header(v2(0x21, 0x11, V4_BLOCK + extensions) + b"more")


@pytest.mark.parametrize("data", OTHER)
def test_what_speaks_something_else_is_told_from_its_first_bytes_on(data: bytes) -> None:
    with pytest.raises(BadHeader, match="does not begin with a PROXY header; have the proxy send"):
        parse_header(data)


def test_nobody_can_make_it_hold_more_than_a_bit() -> None:
    assert parse_header(b"PROXY " + b"f" * 100) is None
    with pytest.raises(BadHeader, match="over 107 bytes"):
        parse_header(b"PROXY " + b"f" * 101)
    longest = v2(0x21, 0x00, b"", MAX_LENGTH)
    assert parse_header(longest + bytes(MAX_LENGTH - 1)) is None
    assert parse_header(longest + bytes(MAX_LENGTH)) == (UNKNOWN, b"")


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused_or_waited_for(data: bytes) -> None:
    for start in (b"", b"PROXY TCP4 ", SIGN, SIGN + b"\x21"):
        try:
            found = parse_header(start + data)
        except BadHeader:
            continue
        assert found is None or (start + data).endswith(found[1])


def test_headers_are_written_as_the_specification_has_them() -> None:
    assert encode_header("v1", V4) == GOOD[0][0]
    assert encode_header("v1", V6) == b"PROXY TCP6 2001:db8::7 2001:db8:1::1 56324 443\r\n"
    assert encode_header("v2", V4) == v2(0x21, 0x11, V4_BLOCK)
    assert encode_header("v2", V6) == v2(0x21, 0x21, V6_BLOCK)
    secure = evolve(V4, is_secure=True)
    assert encode_header("v2", secure) == v2(0x21, 0x11, V4_BLOCK + b"\x20\0\5\1\0\0\0\1")
    assert encode_header("v1", secure) == encode_header("v1", V4)
    assert encode_header("v1", UNKNOWN) == b"PROXY UNKNOWN\r\n"
    assert encode_header("v2", UNKNOWN) == v2(0x20, 0x00)


ports = st.integers(0, 65535)
v4 = st.tuples(st.ip_addresses(v=4).map(str), ports)
v6 = st.tuples(st.ip_addresses(v=6).map(str), ports)
anyone = v4 | v6 | st.tuples(st.ip_addresses(v=4).map("::ffff:{}".format), ports)


def plain(text: str) -> IPv4Address | IPv6Address:
    """Return an address, an IPv4 one if it is one in disguise."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@given(st.sampled_from(["v1", "v2"]), anyone, anyone, st.booleans(), st.binary(max_size=20))
def test_what_is_written_is_read(
    version: str,
    source: tuple[str, int],
    destination: tuple[str, int],
    is_secure: bool,
    rest: bytes,
) -> None:
    header = encode_header(version, Ends(source, destination, is_secure))
    assert len(header) <= 107
    found = parse_header(header + rest)
    assert found is not None
    ends, left = found
    assert left == rest
    assert ends.is_secure == (is_secure and version == "v2")
    assert ends.source
    assert ends.destination
    assert ends.source[1] == source[1]
    assert ends.destination[1] == destination[1]
    assert plain(ends.source[0]) == plain(source[0])
    assert plain(ends.destination[0]) == plain(destination[0])
    families = {ip_address(end[0]).version for end in (ends.source, ends.destination)}
    assert len(families) == 1
    if {plain(source[0]).version, plain(destination[0]).version} == {4}:
        assert families == {4}


def test_the_zone_of_a_link_local_address_is_left_out() -> None:
    ends = Ends(("fe80::1%eth0", 1), ("fe80::2%2", 2))
    assert encode_header("v1", ends) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"
