"""
Requests that smuggle: the mutations of the published collections, as a generator.

Each case is the bytes of one request that some parser in the world reads as two, and what
must become of it.  Few are legal HTTP and pass; those say why they are harmless.  The rules
are those of:

* smuggler (defparam/smuggler on GitHub): its configs default, doubles and exhaustive;
* HTTP Request Smuggler (PortSwigger/http-request-smuggler), with its parser discrepancies;
* http2smugl (neex/http2smugl), written in HTTP/1;
* smugglex (hahwul/smugglex), where it has more than those;
* h2csmuggler (BishopFox/h2csmuggler);
* the HTTP Garden (narfindustries/http-garden): the payloads of its TROPHIES;
* Http11Probe (MDA2AV/Http11Probe): its suite about smuggling;
* "Funky Chunks" (w4ke.info) on chunk extensions and what spills from chunks;
* the advisories of parsers and proxies, under their CVE numbers;
* RFC 9112, sections 2.2, 3, 5, 6, 7 and 11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from attrs import frozen


class Fate(Enum):
    HEAD = "refused by its head"
    BODY = "refused in its body; its head is good"
    NEXT = "passes as one request; what follows it is refused"
    PASSES = "passes as one request"


@frozen
class Case:
    source: str
    name: str
    data: bytes
    fate: Fate = Fate.HEAD
    body: bytes = b""
    """Of the one request, decoded; for those that pass."""
    why: str = ""
    """Why it may pass."""
    status: int = 200
    """Of the answer to it when it passes; 405: the relay passes no such method on."""

    def __str__(self) -> str:
        return f"{self.source}: {self.name}"


HOST = b"Host: r.test\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: r.test\r\n\r\n"
"""What must never be seen as a request by anybody."""

POST = b"POST /front HTTP/1.1\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def with_gadget(gadget: bytes, source: str, name: str, *, legal: str = "") -> Iterator[Case]:
    """
    Hide Transfer-Encoding in *gadget*: one end of the body for each way to miss it.

    :param legal: why the gadget is a good Transfer-Encoding; beside a Content-Length
        it is refused all the same.
    """
    clte = b"0\r\n\r\n" + SMUGGLED
    head = POST + gadget + b"\r\n" + HOST
    yield Case(source, f"{name} CL.TE", head + b"Content-Length: %d\r\n\r\n" % len(clte) + clte)
    tecl = chunked(SMUGGLED)
    first = tecl.index(b"\n") + 1
    yield Case(source, f"{name} TE.CL", head + b"Content-Length: %d\r\n\r\n" % first + tecl)
    fate = Fate.PASSES if legal else Fate.HEAD
    yield Case(source, f"{name} TE.0", head + b"\r\n" + tecl, fate, SMUGGLED, legal)


def with_length(gadget: bytes, source: str, name: str, *, legal: str = "") -> Iterator[Case]:
    """Hide Content-Length in *gadget*, for a body that is a request."""
    head = POST + HOST + gadget + b"\r\n"
    fate = Fate.PASSES if legal else Fate.HEAD
    yield Case(source, f"{name} CL.0", head + b"\r\n" + SMUGGLED, fate, SMUGGLED, legal)
    yield Case(source, f"{name} 0.CL", head + b"Content-Length: 0\r\n\r\n" + SMUGGLED)
    both = head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    yield Case(source, f"{name} TE.CL", both)


OWS = "RFC 9112 section 5: spaces and tabs around a value are no part of it"
CASE = "RFC 9110 section 5.1: names ignore case; section 7.2 of RFC 9112: so do codings"
PLAIN = "it is the plain field, on a line of its own"

SMUGGLER_LEGAL = {
    "midspace-09": OWS,
    "midspace-20": OWS,
    "endspace-09": OWS,
    "endspace-20": OWS,
    "XX-XX-09-09": OWS,
    "XX-XX-20-20": OWS,
    "tabprefix1": OWS,
    "tabsuffix": OWS,
    "valueprefix1": OWS,
    "sarcasm": CASE,
    "yelling": CASE,
    "rxprespace-0a": PLAIN,
    "xnprespace-0d": PLAIN,
    "endspacerx-0a": PLAIN,
    "endspacexn-0d": PLAIN,
}


def code_points(byte: int) -> Iterator[tuple[str, bytes]]:
    """Yield the ways in which a script in Python sends ``chr(byte)``."""
    yield "", bytes([byte])
    if byte > 0x7F:
        yield " utf-8", chr(byte).encode()


def smuggler_gadgets() -> Iterator[tuple[str, bytes]]:
    te, v = b"Transfer-Encoding", b"chunked"
    for byte in (1, 4, 8, 9, 0xA, 0xB, 0xC, 0xD, 0x1F, 0x20, 0x7F, 0xA0, 0xFF):
        for how, c in code_points(byte):
            for name, gadget in {
                "xprespace": b"X: X" + c + te + b": " + v,
                "endspacex": te + b": " + v + c + b"X: X",
                "rxprespace": b"X: X\r" + c + te + b": " + v,
                "xnprespace": b"X: X" + c + b"\n" + te + b": " + v,
                "endspacerx": te + b": " + v + b"\r" + c + b"X: X",
                "endspacexn": te + b": " + v + c + b"\nX: X",
            }.items():
                yield f"{name}-{byte:02x}{how}", gadget
    for byte in (*range(1, 0x21), *range(0x7F, 0x100)):
        for how, c in code_points(byte):
            places = {
                "prespace": (c, b"", b" ", b""),
                "postspace": (b"", c, b" ", b""),
                "midspace": (b"", b"", c, b""),
                "endspace": (b"", b"", b" ", c),
                "{0}-{0}-XX-XX": (c, c, b" ", b""),
                "{0}-XX-{0}-XX": (c, b"", c, b""),
                "{0}-XX-XX-{0}": (c, b"", b" ", c),
                "XX-{0}-{0}-XX": (b"", c, c, b""),
                "XX-{0}-XX-{0}": (b"", c, b" ", c),
                "XX-XX-{0}-{0}": (b"", b"", c, c),
            }
            for name, (before, behind, middle, end) in places.items():
                label = name.format(f"{byte:02x}") if "{" in name else f"{name}-{byte:02x}"
                yield label + how, before + te + behind + b":" + middle + v + end


SMUGGLER_ONES = {
    "nameprefix1": b" Transfer-Encoding: chunked",
    "tabprefix1": b"Transfer-Encoding:\tchunked",
    "tabprefix2": b"Transfer-Encoding\t:\tchunked",
    "spacejoin1": b"Transfer Encoding: chunked",
    "underjoin1": b"Transfer_Encoding: chunked",
    "smashed": b"Transfer Encoding:chunked",
    "space1": b"Transfer-Encoding : chunked",
    "valueprefix1": b"Transfer-Encoding:  chunked",
    "commaCow": b"Transfer-Encoding: chunked, cow",
    "cowComma": b"Transfer-Encoding: cow, chunked",
    "contentEnc": b"Content-Encoding: chunked",
    "linewrapped1": b"Transfer-Encoding:\n chunked",
    "quoted": b'Transfer-Encoding: "chunked"',
    "aposed": b"Transfer-Encoding: 'chunked'",
    "lazygrep": b"Transfer-Encoding: chunk",
    "sarcasm": b"TrAnSFer-EnCODinG: cHuNkeD",
    "yelling": b"TRANSFER-ENCODING: CHUNKED",
    "0dsuffix": b"Transfer-Encoding: chunked\r",
    "tabsuffix": b"Transfer-Encoding: chunked\t",
    "revdualchunk": b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "0dspam": b"Transfer\r-Encoding: chunked",
    "nested": b"Transfer-Encoding: cow chunked bar",
    "spaceFF": b"Transfer-Encoding:\xffchunked",
    "accentCH": b"Transfer-Encoding: ch\x96nked",
    "accentTE": b"Transf\x82r-Encoding: chunked",
    "x-rout": b"X:X\rTransfer-Encoding: chunked",
    "x-nout": b"X:X\nTransfer-Encoding: chunked",
}


def smuggler() -> Iterator[Case]:
    for name, gadget in (*SMUGGLER_ONES.items(), *smuggler_gadgets()):
        yield from with_gadget(gadget, "smuggler", name, legal=SMUGGLER_LEGAL.get(name, ""))


def portswigger_lines(name: bytes, value: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield each permutation of a field: its name, the lines, and why it is legal."""
    line = name + b": " + value
    yield "vanilla", line, PLAIN
    yield "underjoin1", line.replace(b"-", b"_"), ""
    yield "spacejoin1", line.replace(b"-", b" "), ""
    yield "space1", name + b" : " + value, ""
    yield "tab", name + b"\t: " + value, ""
    yield "nameprefix1", b"Foo: bar\r\n " + line, ""
    yield "nameprefix2", b"Foo: bar\r\n\t" + line, ""
    yield "lpad", b"X-Junk: x\r\n " + line, ""
    yield "badwrap", b" " + line + b"\r\nX-Blah-Ignore: y", ""
    yield "valueprefix1", name + b":  " + value, OWS
    yield "nospace1", name + b":" + value, OWS
    yield "linewrapped1", name + b":\n " + value, ""
    yield "wrap", name + b": \r\n " + value, ""
    yield "tabwrap", name + b": \r\n\t" + value, ""
    yield "vertwrap", name + b": \n\x0b" + value, ""
    yield "doublewrapped", name + b":\r\n \r\n " + value, ""
    yield "gareth1", name + b"\n : " + value, ""
    yield "badsetupCR", b"Foo: bar\r" + line, ""
    yield "badsetupLF", b"Foo: bar\n" + line, ""
    yield "bodysplit", b"Foo: barn\n\n" + line, ""
    yield "0dwrap", b"Foo: bar\r\n\r" + line, ""
    yield "0dspam", line[:3] + b"\r" + line[3:], ""
    yield "0dsuffix", line + b"\r", ""
    yield "multiCase", line[:1].lower() + name[1:].upper() + b": " + value, CASE
    yield "UPPERCASE", name.upper() + b": " + value, CASE
    yield "connection", b"Connection: " + name + b"\r\n" + line, ""
    yield "hop", line + b"\r\nConnection: keep-alive, " + name.lower(), ""
    yield "skiphop", line + b"\r\nConnection : " + name, ""
    yield "dupe", line + b"\r\n" + line, ""
    yield "spjunk", name + b" x: " + value, ""
    yield "backslash", line.replace(b"-", b"\\"), ""
    yield "encode", name.replace(b"-E", b"-%45").replace(b"-L", b"-%4c") + b": " + value, ""
    yield "CL-error", b"X-Invalid Y: \r\n" + line, ""
    yield "CL-expect-obfs", b"Expect: x 100-continue\r\n" + line, ""
    yield "expect-y", b"Expect: y 100-continue\r\n" + line, ""
    yield "expect-twice", b"Expect: 100-continue\r\nExpect: 100-continue\r\n" + line, ""
    yield "expect-list", b"Expect: 100-continue, 100-continue\r\n" + line, ""
    yield "expect-folded", b"Expect:\r\n 100-continue\r\n" + line, ""
    yield "expect-obs-text", b"Expect: \xa0100-continue\r\n" + line, ""
    yield "CL-expect", b"Expect: 100-continue\r\n" + line, "RFC 9110 section 10.1.1"
    yield "range", b"Range: bytes=0-0\r\n" + line, "a body's end has nothing to do with ranges"
    for code in (0x85, 0xA0, 0xAD, 0x130BA):
        character = chr(code).encode()
        yield f"name-suffix-{code:x}", name + character + b": " + value, ""
        yield f"hyphen-{code:x}", line.replace(b"-", character), ""
    for byte in (0x85, 0xA0, 0xFF):
        yield f"value-prefix-{byte:x}", name + b":" + bytes([byte]) + value, ""
        yield f"value-suffix-{byte:x}", line + bytes([byte]), ""
        yield f"name-suffix-{byte:x}", name + bytes([byte]) + b": " + value, ""
    for byte in (0, 9, 0xB, 0xC, 0xD, 0x7F):
        legal = OWS if byte == 9 else ""
        c = bytes([byte])
        yield f"spacefix1:{byte}", name + b":" + c + value, legal
        yield f"prefix1:{byte}", name + b": " + c + value, legal
        yield f"suffix1:{byte}", line + c, legal
        yield f"namesuffix1:{byte}", name + c + b": " + value, ""
    for at in range(len(name)):
        for odd in (b"_", b".", b"!", b"~", b"\x00", b" ", b"\t", b"\r\n", b"\xc2\xad"):
            if name[at : at + 1] == b"-":
                yield f"joined-{odd!r}", name[:at] + odd + name[at + 1 :] + b": " + value, ""
    for odd in b"!#$%&'*+-.^_`|~":
        yield f"padded-front-{odd:x}", bytes([odd]) + line, ""
        yield f"padded-behind-{odd:x}", name + bytes([odd]) + b": " + value, ""
    for mark in (
        b"\x85",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xe2\x80\xa9",
        b"\xa0",
        b" ",
        b"\t",
        b"|",
    ):
        yield f"line-separator-{mark!r}", b"X: x" + mark + line, ""
        yield f"line-separator-close-{mark!r}", b"X: x" + mark + name + b"\t:" + value, ""


PORTSWIGGER_ENCODINGS = (
    *(b"chunked, identity", b"identity, chunked", b"identity, chunked, identity", b"chunked,"),
    *(b", chunked", b",chunked", b"chunked,chunked", b"chunked, chunked", b"chunked chunked"),
    *(b"identity", b"xchunked", b"x chunked", b"chunkedx", b"chunke", b"chunk", b"%63hunked"),
    *(b'"chunked"', b"'chunked'", b"chunked;q=1", b"chunked; a=b", b"chunked;", b";chunked"),
    *(b"=?iso-8859-1?B?Y2h1bmtlZA==?=", b"=?UTF-8?B?Y2h1bmtlZA==?=", b"chun\xe2\x84\xaaed"),
    *(b"ch\x96nked", b"\xffchunked\xff", b"\xa0chunked\xa0", b"\x85chunked", b"gzip", b"blegh"),
    *(b"gzip, chunked", b"chunked, gzip", b"chunked\\", b"(chunked)", b"chunked-false", b""),
    *(b"chunked\r\nTransfer-Encoding: identity", b"identity\r\nTransfer-Encoding: chunked"),
    *(b"\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-encoding: eee", b"cHuNkEd\x0c"),
    *(b"chunked\r\nTransfer-Encoding: chunked", b"\n chunked", b"\r chunked", b"\x0bchunked"),
    *(b"chunked\r\n\x00", b"chunked\n\x0b", b"chunked\x00,x", b"chunked\r\n : x", b"trailers"),
)

LENGTHS = (
    *(b"+%d", b"-%d", b"0%d", b"00000000000%d", b"0 %d", b"%d 0", b"%de0", b"%d.0", b"0, %d"),
    *(b"%d, 0", b"%d, %d", b"%d,%d,%d", b"%d,", b",%d", b"0x%x", b"0o%o", b"%dx", b"x%d"),
    *(b'"%d"', b"'%d'", b"%d;", b"%d;a=b", b"%d_0", b"_%d", b"%d\x00", b"%d\x0b", b"\x0b%d"),
    *(b"%d\x0c", b"\x85%d", b"%d\xa0", b"\xff%d", b"%d\r", b"\r%d", b"%d\n", b"\n %d", b"\r\n %d"),
    *(b"%d\r\nContent-Length: %d", b"%d\r\nContent-Length: 0", b"0\r\nContent-Length: %d"),
    *(b"\r\nContent-Length: %d", b"%d\r\nContent-Length:", b"", b"-0", b"00", b"-1", b"+0"),
    *(b"9" * 19, b"18446744073709551615", b"18446744073709551657", b"9223372036854775808"),
    *(b"1" + b"0" * 40, b"Z", b"foo", b"\xef\xbc\x95", b"\xd9\xa5", b"\xb2", b"1Z", b"%d#"),
)


def portswigger() -> Iterator[Case]:
    source = "HTTP Request Smuggler"
    for name, gadget, legal in portswigger_lines(b"Transfer-Encoding", b"chunked"):
        yield from with_gadget(gadget, source, name, legal=legal)
    for value in PORTSWIGGER_ENCODINGS:
        yield from with_gadget(b"Transfer-Encoding: " + value, source, f"encoding {value!r}")
    length = b"%d" % len(SMUGGLED)
    for name, gadget, legal in portswigger_lines(b"Content-Length", length):
        yield from with_length(gadget, source, name, legal=legal)
    for pattern in LENGTHS:
        count = pattern.count(b"%d") + pattern.count(b"%x") + pattern.count(b"%o")
        value = pattern % ((len(SMUGGLED),) * count)
        yield from with_length(b"Content-Length: " + value, source, f"length {pattern!r}")
    for method in (b"GET", b"OPTIONS", b"HEAD", b"DELETE", b"SLUDGE", b"TRACE", b"CONNECT"):
        head = method + b" /front HTTP/1.1\r\n" + HOST + b"Content-Length: " + length
        why = "RFC 9110 section 9.3.1: any method may have content; Content-Length frames it"
        status = 405 if method in (b"TRACE", b"CONNECT") else 200
        data = head + b"\r\n\r\n" + SMUGGLED
        name = f"method {method.decode()}"
        yield Case(source, name, data, Fate.PASSES, SMUGGLED, why, status)
    yield from discrepancies()


def discrepancies() -> Iterator[Case]:
    """Yield heads that end early for some parser, with a field that counts behind that."""
    source = "HTTP Request Smuggler"
    significant = (
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Host: evil.test",
    )
    for field in significant:
        tail = b"A: B\r\n" + field + b"\r\n\r\n" + SMUGGLED
        for name, split in {
            "nsplit1": b"X-Foo: foo\n\n",
            "nsplit2": b"X-Foo: foo\n \n",
            "nsplit3": b"X-Foo: foo\n\r\n",
            "nsplit4": b"X-Foo: foo\r\n\n",
            "spacesplit": b"X-Foo: bar\r\n \r\n",
            "namesplit": b"Nil\r\n\r\n",
            "invalidsplit": b"Bad name:\r\n\r\n",
            "nonamebreak": b":\r\n",
            "nonamesplit": b":\r\n\r\n",
            "no-value": b"Nil\r\nFoo: bar\r\n",
            "null-term": b"X-Null: foo\0\r\n",
            "null-split": b"X-Null: foo\r\0\n\r\n",
            "nsplit-name": b"X-Foo: foo\n\nbar: x\r\n",
            "rsplit": b"Arrr: foo\r\rbar\r\n",
            "r2split": b"Arrr: foo\r\r\nbar\r\n",
        }.items():
            yield Case(source, f"{name} {field!r}", POST + HOST + split + tail)
        cookie = POST + HOST + b'Cookie: foo="\r\n\r\n"\r\n' + tail
        why = "the empty line ends the head, in quotes or not"
        yield Case(source, f"cookie {field!r}", cookie, Fate.NEXT, b"", why)


def http2smugl() -> Iterator[Case]:
    source = "http2smugl"
    length = b"%d" % len(SMUGGLED)
    for line in (b"\r", b"\n"):
        for fake in (b"header", b" header", b"x-forwarded-for"):
            for name, value in ((b"transfer-encoding", b"chunked"), (b"content-length", length)):
                gadget = fake + b": val" + line + name + b":" + value
                yield from with_gadget(gadget, source, f"newline value {gadget!r}")
        for fake in (b"x", b"x:"):
            gadget = fake + line + b"transfer-encoding: chunked"
            yield from with_gadget(gadget, source, f"newline name {gadget!r}")
        path = b"POST /front HTTP/1.1" + line + b"transfer-encoding: chunked" + line
        request = path + b"fake-header: HTTP/1.1\r\n" + HOST + b"\r\n0\r\n\r\n" + SMUGGLED
        yield Case(source, f"newline path {line!r}", request)
    for name in ("tran\u017ffer-encoding", "content-len\u0261th", "tranſfer\u2010encoding"):
        gadget = name.encode() + b": chunked"
        yield from with_gadget(gadget, source, f"look-alike {name!r}")
    for value in ("chun\u212aed", "\uff43hunked", "chunked\u00a0"):
        gadget = b"transfer-encoding: " + value.encode()
        yield from with_gadget(gadget, source, f"look-alike {value!r}")
    for space in ("\0", " ", "\t", "\v", "\x85", "\xa0", "\U000130ba"):
        gadget = b"transfer-encoding" + space.encode() + b": chunked"
        yield from with_gadget(gadget, source, f"spaced {space!r}")


def h2csmuggler() -> Iterator[Case]:
    why = "RFC 9110 section 7.8: whoever does not switch ignores Upgrade; the relay drops it"
    for name, listed in {"both": b"Upgrade, HTTP2-Settings", "upgrade only": b"Upgrade"}.items():
        request = (
            POST + HOST + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
            b"Connection: " + listed + b"\r\n\r\n"
        )
        yield Case("h2csmuggler", name, request, Fate.PASSES, b"", why)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield Case("h2csmuggler", "prior knowledge", preface)


def lines(*rows: bytes) -> bytes:
    return b"".join(row + b"\r\n" for row in rows) + b"\r\n"


def heads() -> Iterator[tuple[str, str, bytes]]:
    """Yield what breaks the request line, the lines' ends, Host, or the names of fields."""
    garden, rfc = "HTTP Garden", "RFC 9112"
    host = HOST.rstrip()
    for line in (
        b"POST /front HTTP/1.32",
        b"POST /front HTTP/1.10",
        b"POST /front HTTP/01.1",
        b"POST /front HTTP/1.1.1",
        b"POST /front HTTP/1,1",
        b"POST /front HTTP/4294967295.255",
        b"POST /front HTTP/4294967297.1",
        b"POST /front HTTP/\r\r1.1",
        b"POST /front HTTP/............0596.7407.",
        b"POST /front http/1.1",
        b"POST /front HTTP /1.1",
        b"POST /front ICY/1.1",
        b"POST /front",
        b"POST /front\nHTTP/1.1",
        b"POST\n/front HTTP/1.1",
        b"POST\t/front\tHTTP/1.1",
        b"POST\x0b/front HTTP/1.1",
        b"POST\xa0/front HTTP/1.1",
        b"POST  /front HTTP/1.1",
        b"POST /front  HTTP/1.1",
        b"POST /front HTTP/1.1 ",
        b"POST /front HTTP/1.1\t",
        b"POST /front HTTP/1.1 HTTP/1.1",
        b"POST /front HTTP/1.1 X: y",
        b" POST /front HTTP/1.1",
        b"\x00POST /front HTTP/1.1",
        b"\xef\xbb\xbfPOST /front HTTP/1.1",
        b'G=":<>(e),[T];?" /front HTTP/1.1',
        b"\x00 /front HTTP/1.1",
        b"PO ST /front HTTP/1.1",
        b"POST ! HTTP/1.1",
        b"POST front HTTP/1.1",
        b"POST /fr ont HTTP/1.1",
        b"POST /front\x00 HTTP/1.1",
        b"POST /front#x HTTP/1.1",
        b"POST /front\r HTTP/1.1",
        b"POST * HTTP/1.1",
        b"CONNECT r.test:80 HTTP/1.1",
        b"connect /front HTTP/1.1",
        b"head /front HTTP/1.1",
        b"Head /front HTTP/1.1",
        b"POST http://evil.test/front HTTP/1.1",
        b"POST http://r.test@evil.test/front HTTP/1.1",
        b"POST http:/front HTTP/1.1",
        b"POST ///r.test/front HTTP/2.0",
        b"PRI * HTTP/2.0",
        b"GET /front HTTP/1.1\rHost: r.test",
        b"GET /front HTTP/1.1\nGET /smuggled HTTP/1.1",
        b"GET /front HTTP/1.1\r\nGET /smuggled HTTP/1.1",
    ):
        yield garden, f"request line {line!r}", lines(line, host, b"X: y")
    for field in (
        b"Header: v\x00\ralue",
        b"Header: v\x00alue",
        b"Header: value\x00",
        b"Visible: :/\rSmuggled: :)",
        b"Visible: :/\nSmuggled: :)",
        b"this\rvalue\ris: invalid",
        b"Te\nst: test",
        b"Te\r\nst: test",
        b"c\x00",
        b"\xeffoo: bar",
        b"Header\x85: value",
        b": ignored",
        b":",
        b"no colon",
        b"Content-Length 10",
        b"Transfer-\r\nEncoding: chunked",
        b"Useless:\n\nGET /smuggled HTTP/1.1",
        b"X: y\r\n\rZGET /smuggled: HTTP/1.1",
        b"X: y\r\n\rX",
        b"X: y\r\r\n\r",
        b" folded: from the request line",
        b"\tfolded: from the request line",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X: y\r\n \r\n z",
        b"(),/;<=>?@[/]{}: whatever",
        b'"quoted": value',
        b"Content-Length: 0, 0",
        b"Connection: close, Host",
        b"Connection: content-length",
        b"Connection: Transfer-Encoding, close",
        b"Connection: expect",
        b"Host_: evil.test",
        b"_Host: evil.test",
        b"Host\x00: evil.test",
        b"Host : evil.test",
        b"Host: r.test",
        b"Host: evil.test",
        b"host:",
        b"Content-Encoding: chunked",
        b"Content-Encoding: gzip, Chunked",
    ):
        yield garden, f"field {field!r}", lines(b"POST /front HTTP/1.1", host, field)
    for value in (
        b"",
        b"r.test, evil.test",
        b"r.test evil.test",
        b"r.test\tevil.test",
        b"r.test\x00.evil.test",
        b"r.test/evil",
        b"me@r.test",
        b"r.test#@evil.test",
        b"r.test:80:80",
        b"r.test:+80",
        b"r.test:x",
        b"r.test:99999",
        b"[::1",
        b"r.test\\evil.test",
        b"\xffr.test\xff",
        b"foo/bar",
        b"\r\n r.test",
    ):
        yield rfc, f"Host {value!r}", lines(b"POST /front HTTP/1.1", b"Host: " + value)
    yield rfc, "no Host", lines(b"POST /front HTTP/1.1", b"X: y")
    good = lines(b"POST /front HTTP/1.1", host, b"X: y")
    yield rfc, "LF everywhere", good.replace(b"\r\n", b"\n") + b"\r\n\r\n"
    yield rfc, "CR everywhere", good.replace(b"\r\n", b"\r") + b"\r\n\r\n"
    yield rfc, "LF CR everywhere", good.replace(b"\r\n", b"\n\r") + b"\r\n\r\n"
    yield rfc, "CR CR LF", good.replace(b"\r\n", b"\r\r\n") + b"\r\n\r\n"
    yield rfc, "LF before the empty line", good[:-4] + b"\n\r\n" + SMUGGLED
    yield rfc, "LF for the empty line", good[:-2] + b"\n" + SMUGGLED
    yield rfc, "CR for the empty line", good[:-2] + b"\r" + SMUGGLED
    yield rfc, "two empty lines in front", b"\r\n\r\n" + good
    yield rfc, "LF in front", b"\n" + good
    yield rfc, "CR in front", b"\r" + good
    yield rfc, "space in front", b" \r\n" + good
    for field in (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"):
        old = b"POST /front HTTP/1.0\r\n" + HOST + field + b"\r\n\r\n"
        yield rfc, f"HTTP/1.0 {field!r}", old + b"0\r\n\r\n" + SMUGGLED
        keep = old[:-2] + b"Connection: keep-alive\r\n\r\n"
        yield rfc, f"HTTP/1.0 kept alive {field!r}", keep + chunked(SMUGGLED)


CVES = {
    "CVE-2019-15605 node": b"Transfer-Encoding: chunkedchunked",
    "CVE-2019-16276 Go": b"Transfer-Encoding : chunked",
    "CVE-2019-16785 Waitress": b"X: y\nTransfer-Encoding: chunked",
    "CVE-2019-16786 Waitress": b"Transfer-Encoding: gzip, chunked",
    "CVE-2019-16789 Waitress": b"Transfer-Encoding: \x0bchunked",
    "CVE-2019-16792 Waitress": b"Content-Length: 10\r\nContent-Length: 10",
    "CVE-2019-16869 Netty": b"Transfer-Encoding : chunked",
    "CVE-2019-18277 HAProxy": b"Transfer-Encoding:\x0bchunked",
    "CVE-2019-20445 Netty": b"Transfer-Encoding: chunked\r\nContent-Length: 10",
    "CVE-2020-7238 Netty": b" Transfer-Encoding: chunked",
    "CVE-2020-8287 node": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked-false",
    "CVE-2020-10108 Twisted": b"Content-Length: 5\r\nContent-Length: 50",
    "CVE-2020-10109 Twisted": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    "CVE-2021-21299 hyper": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "CVE-2021-22959 node": b"Content-Length : 5",
    "CVE-2021-32715 hyper": b"Content-Length: +1",
    "CVE-2022-24761 Waitress": b"Content-Length: +10",
    "CVE-2022-24801 Twisted": b"Content-Length: -1",
    "CVE-2022-32214 node": b"X: y\nContent-Length: 5",
    "CVE-2022-32215 node": b"Transfer-Encoding: chunked,\r\n identity",
    "CVE-2022-35256 node": b"X: y\rTransfer-Encoding: chunked",
    "CVE-2022-42252 Tomcat": b"Content-Length: 0x5",
    "CVE-2023-25725 HAProxy": b":\r\nTransfer-Encoding: chunked",
    "CVE-2023-30589 node": b"X: y\rContent-Length: 5",
    "CVE-2023-40175 Puma": b"Content-Length:",
    "CVE-2023-40225 HAProxy": b"Content-Length:\r\nContent-Length: 59",
    "CVE-2023-47627 aiohttp": b"Content-Length: 1_0",
    "CVE-2024-1135 Gunicorn": b"Transfer-Encoding: chunked,gzip",
    "CVE-2024-6827 Gunicorn": b"Transfer-Encoding: xchunked",
    "CVE-2024-27982 node": b" Content-Length: 5",
    "CVE-2025-23167 node": b"X: y\r\n\rX",
}


def advisories() -> Iterator[Case]:
    for name, gadget in CVES.items():
        yield from with_gadget(gadget, "advisories", name)
    overflow = b"Content-Length0" + b"a" * 255 + b":\r\nContent-Length: 31"
    smuggled = POST + HOST + overflow + b"\r\n\r\n" + SMUGGLED
    body = SMUGGLED[:31]
    why = "the long name is a field of its own; the relay's index has no fixed width"
    yield Case("advisories", "CVE-2021-40346 HAProxy", smuggled, Fate.NEXT, body, why)


def harmless() -> Iterator[Case]:
    """Yield what the collections send to compare with, and what is right but rare."""
    source = "control"
    for name, request, body in (
        ("no body", lines(b"POST /front HTTP/1.1", HOST.rstrip()), b""),
        ("an empty line in front", b"\r\n" + lines(b"GET /front HTTP/1.1", HOST.rstrip()), b""),
        ("no space", lines(b"GET /front HTTP/1.1", b"Host:r.test"), b""),
        ("absolute-form", lines(b"GET http://r.test/front HTTP/1.1", HOST.rstrip()), b""),
        ("a percent in the query", lines(b"GET /front?%0d%0aX:y HTTP/1.1", HOST.rstrip()), b""),
        ("obs-text", lines(b"GET /front HTTP/1.1", HOST.rstrip(), b"X: \xd1\x85\xff\xa0"), b""),
        ("empty value", lines(b"GET /front HTTP/1.1", HOST.rstrip(), b"X:"), b""),
        ("HTTP/1.0", lines(b"GET /front HTTP/1.0", HOST.rstrip()), b""),
        (
            "HTTP/1.0 with a body",
            POST.replace(b"1.1", b"1.0") + b"Content-Length: 2\r\n\r\nhi",
            b"hi",
        ),
        ("Accept-Encoding", lines(b"GET /front HTTP/1.1", HOST.rstrip(), b"TE: chunked"), b""),
    ):
        yield Case(source, name, request, Fate.PASSES, body, "it breaks no rule")


def head_cases() -> Iterator[Case]:
    yield from smuggler()
    yield from portswigger()
    yield from http2smugl()
    yield from h2csmuggler()
    yield from advisories()
    yield from harmless()
    for source, name, data in heads():
        yield Case(source, name, data)


def unique(cases: Iterator[Case]) -> Sequence[Case]:
    """Return *cases*, each of its bytes once: the collections share many."""
    return list({case.data: case for case in cases}.values())
