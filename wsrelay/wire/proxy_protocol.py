"""
The PROXY protocol, both versions: who a connection is relayed for, said before its first byte.

As HAProxy's ``doc/proxy-protocol.txt`` has it; sections named here are that text's.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attrs import frozen

__all__ = ["MAX_LENGTH", "UNKNOWN", "BadHeader", "Ends", "encode_header", "parse_header"]

End = tuple[str, int]
"""An IP address and a port; port 0 is one that nobody knows."""

MAX_LENGTH: Final = 4096
"""Bytes behind the first 16 of a v2 header: its addresses and extensions."""

_V1_LONGEST: Final = 107  # section 2.1, the end of line included
_V1_SIGN: Final = b"PROXY "
_V1_LINE: Final = re.compile(rb"PROXY TCP([46]) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?", re.DOTALL)

_V2_SIGN: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIRST: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_TCP4, _TCP6 = 0x11, 0x21  # address family and transport
_BLOCKS: Final = {1: struct.Struct("!4s4sHH"), 2: struct.Struct("!16s16sHH")}
_BLOCK_SIZES: Final = {0: 0, 1: 12, 2: 36, 3: 216}  # by address family
_TRANSPORTS: Final = (0, 1, 2)  # unspecified, stream, datagram
_EXTENSION: Final = struct.Struct("!BH")  # type, length of what follows
_TLS: Final = 0x20  # section 2.2.6: flags, then how its certificate was verified, and more
_TLS_USED: Final = 0x01
_TLS_VALUE: Final = bytes([_TLS_USED]) + b"\0\0\0\1"  # the 1: there is no verified certificate


class BadHeader(ValueError):  # noqa: N818
    """What came is no PROXY header; the text is a sentence that says why not."""


@frozen
class Ends:
    """
    Both ends of a client's connection, IPv4 or IPv6; None: not known, or no TCP.

    There is a *source* if there is a *destination*, and the other way round.

    :ivar is_secure: whether the client speaks TLS, to who sends the header; in v2 only.
    """

    source: End | None = None
    destination: End | None = None
    is_secure: bool = False


UNKNOWN: Final = Ends()


def parse_header(data: bytes) -> tuple[Ends, bytes] | None:
    """
    Read the header at the begin of a connection.

    :param data: all that came so far.
    :returns: what it says, and the bytes behind it; None: more has to come, which is never
        so for more than 16 bytes and `MAX_LENGTH`.
    :raises BadHeader: whatever comes, this will be none.
    """
    for sign, parse in ((_V1_SIGN, _parse_v1), (_V2_SIGN, _parse_v2)):
        if data.startswith(sign):
            return parse(data)
        if sign.startswith(data):
            return None
    raise BadHeader(
        "The connection does not begin with a PROXY header; have the proxy send one"
        " (send-proxy, proxy_protocol on), or say proxy_protocol = no here."
    )


def _parse_v1(data: bytes) -> tuple[Ends, bytes] | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) < _V1_LONGEST:
            return None
        raise BadHeader(f"The PROXY v1 line is over {_V1_LONGEST} bytes long.")
    line, rest = data[:end], data[end + 2 :]
    if _V1_UNKNOWN.fullmatch(line):
        return UNKNOWN, rest
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise BadHeader(f"The PROXY v1 line is not as it has to be: {line!r}.")
    kind = IPv4Address if match[1] == b"4" else IPv6Address
    try:
        ends = [
            (_address(kind, address.decode("ascii")), _port(port))
            for address, port in (match.group(2, 4), match.group(3, 5))
        ]
    except ValueError as error:
        raise BadHeader(f"The PROXY v1 line is not as it has to be: {line!r}.") from error
    return Ends(ends[0], ends[1]), rest


def _address(kind: type[IPv4Address] | type[IPv6Address], text: str) -> str:
    if "%" in text:  # the zone of a link-local address, which this protocol has not
        raise ValueError(text)
    return str(kind(text))


def _port(digits: bytes) -> int:
    if int(digits) > 65535:
        raise ValueError(digits)
    return int(digits)


def _parse_v2(data: bytes) -> tuple[Ends, bytes] | None:
    if len(data) < _V2_FIRST.size:
        return None
    _, command, kind, length = _V2_FIRST.unpack_from(data)
    _check_first(command, kind, length)
    end = _V2_FIRST.size + length
    if len(data) < end:
        return None
    is_tcp = command == _PROXY and kind in (_TCP4, _TCP6)
    return (_ends_in(data[:end], kind >> 4) if is_tcp else UNKNOWN), data[end:]


def _check_first(command: int, kind: int, length: int) -> None:
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"The PROXY v2 header's version and command are 0x{command:02x}.")
    if length > MAX_LENGTH:
        raise BadHeader(f"The PROXY v2 header is {length} bytes long; send {MAX_LENGTH} at most.")
    if command == _LOCAL:
        return  # section 2.2: the family is to be ignored
    family, transport = kind >> 4, kind & 0x0F
    if family not in _BLOCK_SIZES or transport not in _TRANSPORTS:
        raise BadHeader(f"The PROXY v2 header's family and transport are 0x{kind:02x}.")
    if transport and length < _BLOCK_SIZES[family]:
        raise BadHeader(f"The PROXY v2 header has {length} bytes, too few for its addresses.")


def _ends_in(header: bytes, family: int) -> Ends:
    source, destination, *ports = _BLOCKS[family].unpack_from(header, _V2_FIRST.size)
    kind = IPv4Address if family == 1 else IPv6Address
    is_secure = _says_tls(header[_V2_FIRST.size + _BLOCK_SIZES[family] :])
    return Ends((str(kind(source)), ports[0]), (str(kind(destination)), ports[1]), is_secure)


def _says_tls(extensions: bytes) -> bool:
    """Read the extensions, of which one matters; the others are skipped."""
    is_secure = False
    while extensions:
        kind, length = _EXTENSION.unpack(extensions[:3].ljust(3, b"\xff"))
        value, extensions = extensions[3 : 3 + length], extensions[3 + length :]
        if len(value) < length:
            raise BadHeader("The PROXY v2 header ends inside an extension.")
        if kind == _TLS and value:
            is_secure = bool(value[0] & _TLS_USED)
    return is_secure


def encode_header(version: str, ends: Ends) -> bytes:
    """
    Write the header for a connection that is relayed for somebody.

    IPv4 that is mapped into IPv6 is written as IPv4, and IPv4 beside IPv6 is mapped: both
    ends have one family.

    :param version: ``v1`` or ``v2``.
    :param ends: the client's; `UNKNOWN`, as for a connection of one's own, is written as
        UNKNOWN in v1, and as LOCAL in v2, which everybody has to accept.
    """
    if ends.source is None or ends.destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _first_of_v2(_LOCAL, 0, 0)
    source, destination = _of_one_family(ends.source[0], ends.destination[0])
    ports = ends.source[1], ends.destination[1]
    if version == "v1":
        line = f"PROXY TCP{source.version} {source} {destination} {ports[0]} {ports[1]}\r\n"
        return line.encode("ascii")
    family = 1 if source.version == 4 else 2
    block = _BLOCKS[family].pack(source.packed, destination.packed, *ports)
    if ends.is_secure:
        block += _EXTENSION.pack(_TLS, len(_TLS_VALUE)) + _TLS_VALUE
    return _first_of_v2(_PROXY, family << 4 | 1, len(block)) + block


def _first_of_v2(command: int, kind: int, length: int) -> bytes:
    return _V2_FIRST.pack(_V2_SIGN, command, kind, length)


def _of_one_family(*texts: str) -> list[IPv4Address] | list[IPv6Address]:
    # A zone means nothing to anybody else.
    plain = [_unmapped(ip_address(text.partition("%")[0])) for text in texts]
    old = [each for each in plain if isinstance(each, IPv4Address)]
    return old if len(old) == len(plain) else [_mapped(each) for each in plain]


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address
