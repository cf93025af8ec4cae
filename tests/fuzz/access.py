"""Who may come in: origins, addresses, passwords and tokens."""

from __future__ import annotations

import base64
import codecs
import hashlib
import hmac
import json
import re
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from tests.fuzz.texts import check_said
from wsrelay.config.lines import origin as configured_origin
from wsrelay.config.values import network as configured_network
from wsrelay.guards.keys import address_of, key_of
from wsrelay.guards.networks import Networks
from wsrelay.guards.origins import Origins
from wsrelay.policies.htpasswd import parse as parse_htpasswd
from wsrelay.policies.keys import ALGORITHMS, from_jwks, from_secret
from wsrelay.policies.tokens import BadToken, Rules, head_of, texts_of, time_of, verify
from wsrelay.wire.address import client_address, request_id
from wsrelay.wire.headers import parse_fields

NAMED: Final = Origins(["https://chat.example.com", "http://[::1]:8080", "https://*.example.org"])
SAME_HOST: Final = Origins(["same-host"])
TRUSTED: Final = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8::/32", "::ffff:0:0/96")))
SECRET: Final = b"0123456789abcdef0123456789abcdef"
NOW: Final = 1_800_000_000.0
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def origin(data: bytes) -> None:
    """Read lines: what a browser calls its page, the host that it asks, and one of relay.ini."""
    value, host, listed = (*data.split(b"\n", 2), b"", b"")[:3]
    if NAMED.permit([value], host, is_websocket=True):
        scheme, name, port = page(value)
        is_exact = (scheme, name, port) in (
            ("https", "chat.example.com", 443),
            ("http", "::1", 8080),
        )
        assert is_exact or (scheme, port) == ("https", 443)
        assert is_exact or (name.endswith(".example.org") and name != ".example.org")
    if SAME_HOST.permit([value], host, is_websocket=True):
        scheme, name, port = page(value)
        assert (scheme, name, port) == page(scheme.encode() + b"://" + host)
    assert not NAMED.permit([value, value], host, is_websocket=True)
    check_listed(listed.decode("latin-1").strip(), value, host)


def page(value: bytes) -> tuple[str, str, int | None]:
    """Return scheme, host and port, read by Python; there is nothing else in an origin."""
    parts = urlsplit(value.decode("latin-1"))
    assert (parts.path, parts.query, parts.fragment, parts.username) == ("", "", "", None)
    name = (parts.hostname or "").removesuffix(".")
    if ":" in name:
        name = str(ip_address(name))
    port = (
        int(re.search(r":(\d+)$", parts.netloc)[1]) if re.search(r":\d+$", parts.netloc) else None
    )
    return parts.scheme, name, DEFAULT_PORTS.get(parts.scheme) if port is None else port


def check_listed(text: str, value: bytes, host: bytes) -> None:
    """What relay.ini may list can be compared with, and lets itself in."""
    if not text:
        return
    try:
        listed = configured_origin(text)
    except ValueError:
        return
    origins = Origins([listed])
    origins.permit([value], host, is_websocket=True)
    if "*" not in listed and listed not in ("same-host", "none"):
        assert origins.permit([listed.encode("latin-1")], host, is_websocket=True)


def networks(data: bytes) -> None:
    """Read lines: an address, then networks, of which every other one is denied."""
    first, *lines = data.decode("latin-1").split("\n")
    found = []
    for line in lines[:20]:
        try:
            found.append(configured_network(line))
        except ValueError:
            continue
    allow, deny = found[::2], found[1::2]
    guard = Networks(allow, deny)
    assert guard.permit(None) is not bool(allow)
    try:
        address = address_of(first)
    except ValueError:
        return
    if address is not None:
        check_key(address)
        assert guard.permit(address) is verdict(address, allow, deny)


def verdict(address: object, allow: list, deny: list) -> bool:
    """Say it again, by looking at every network there is."""
    best, permitted = -1, not allow
    for network, is_allowed in [*((n, True) for n in allow), *((n, False) for n in deny)]:
        length = network.prefixlen
        if network.version == 6 and network.subnet_of(ip_network("::ffff:0:0/96")):
            network = ip_network((int(network.network_address) & 0xFFFFFFFF, length - 96))
            length -= 96
        if address in network and length >= best:  # those that are denied come last
            best, permitted = length, is_allowed
    return permitted


def check_key(address: object) -> None:
    for prefix in (1, 48, 64, 128):
        key = key_of(address, prefix)
        if isinstance(address, IPv4Address):
            assert key == address.packed
        else:
            assert ip_address(key[:16]) in ip_network((address, prefix), strict=False)


def address(data: bytes) -> None:
    """Read lines: the peer, X-Request-ID, and X-Forwarded-For, one field a line."""
    peer, id_, *fields = (data if data.count(b"\n") else data + b"\n").decode("latin-1").split("\n")
    try:
        ip_address(peer)
    except ValueError:
        peer = "10.1.2.3"
    known = ip_address(peer.partition("%")[0])
    known = getattr(known, "ipv4_mapped", None) or known
    said = [field.strip(" \t") for field in fields]
    client, chain = client_address(peer, said, TRUSTED)
    found = ip_address(client)
    assert getattr(found, "ipv4_mapped", None) is None
    assert chain is not None
    assert chain.endswith(str(known).encode())
    if not any(known in each for each in TRUSTED):
        assert found == known
        assert chain == str(known).encode()
    elif found != known:
        assert found in map(element_address, ",".join(said).split(","))
    assert client_address(peer, said, ())[0] == str(known)
    kept = request_id(id_, "new")
    assert kept in (id_, "new")
    assert kept.isascii()
    assert 0 < len(kept) <= 128
    assert len(parse_fields(b"X-Request-ID: %b\r\n" % kept.encode())) == 1


def element_address(element: str) -> object:
    """Return the address in an element of X-Forwarded-For, with a port or without."""
    text = element.strip(" \t")
    for each in (
        text,
        text.rpartition(":")[0],
        text.strip("[]"),
        text.rpartition(":")[0].strip("[]"),
    ):
        try:
            found = ip_address(each)
        except ValueError:
            continue
        return getattr(found, "ipv4_mapped", None) or found
    return None


def htpasswd(data: bytes) -> None:
    """Read *data* as a file of users; what is refused is not told."""
    try:
        users = parse_htpasswd(data)
    except ValueError as error:
        check_said(error)
        check_nothing_told(str(error), data)
        return
    for name, hashed in users.items():
        assert name == name.strip()
        assert ":" not in name
        assert re.fullmatch(rb"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}", hashed)
    written = b"".join(b"%b:%b\n" % (name.encode(), hash_) for name, hash_ in users.items())
    if not any(name.startswith("#") for name in users):
        assert parse_htpasswd(written) == users


def check_nothing_told(text: str, data: bytes) -> None:
    """The line is named, and no hash, not even a broken one, stands in a log."""
    match = re.match(r"line (\d+): ", text)
    assert match
    line = data.removeprefix(codecs.BOM_UTF8).splitlines()[int(match[1]) - 1]
    name, _, secret = line.decode("latin-1").partition(":")
    assert len(secret) < 20 or secret in name or secret not in text


def jwt(data: bytes) -> None:
    """Read a token; or, behind a zero byte, the claims of one that is signed as it should be."""
    if data.startswith(b"\0"):
        check_claims(data[1:])
        return
    token = data.decode("latin-1")
    try:
        head_of(token)
        claims = verify(token, from_secret(SECRET), Rules(), NOW)
    except BadToken as error:
        check_said(error)
        return
    signed, _, signature = token.rpartition(".")
    assert unpadded(hmac.digest(SECRET, signed.encode(), "sha256")) == canonical(signature)
    assert json.loads(padded(signed.partition(".")[2])) == claims


def check_claims(text: bytes) -> None:
    head = unpadded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{unpadded(text)}"
    token = f"{signed}.{unpadded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())}"
    rules = Rules(issuers=("issuer",), required=("exp",), leeway=5.0)
    try:
        claims = verify(token, from_secret(SECRET), rules, NOW)
        assert NOW - 5 < (time_of(claims, "exp") or 0) < 1e12
        assert claims["iss"] == "issuer"
        for name in ("sub", "roles"):
            check_texts(texts_of(claims, name))
    except BadToken as error:
        check_said(error)


def check_texts(texts: list[str]) -> None:
    """Each arrives in a header as it is, and there is no more of them than there is."""
    block = b"".join(b"X: %b\r\n" % text.encode() for text in texts)
    assert [value.decode() for _, value in parse_fields(block)] == texts
    assert len(texts) < 2 or len(", ".join(texts).split(",")) == len(texts)


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def padded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(text: str) -> str:
    """Return base64url without the bits behind the end, which nobody looks at."""
    return unpadded(padded(text))


def jwks(data: bytes) -> None:
    """Read *data* as a set of keys, with and without secrets."""
    for secrets in (False, True):
        try:
            keys = from_jwks(data, secrets=secrets)
        except ValueError as error:
            check_said(error)
            continue
        assert keys
        for key in keys:
            assert key.algorithms
            assert key.algorithms <= set(ALGORITHMS)
            is_secret = isinstance(key.key, bytes)
            assert secrets or not is_secret
            assert is_secret == any(name.startswith("HS") for name in key.algorithms)
            assert not hasattr(key.key, "private_bytes")
            assert repr(key.key) not in repr(key)
