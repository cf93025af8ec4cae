"""The values of relay.ini that have a grammar of their own, most of them one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any

from wsrelay.config.errors import unknown_name
from wsrelay.config.model import HealthCheckConfig, PluginCall, StickyConfig, UpstreamConfig
from wsrelay.config.values import (
    Parser,
    boolean,
    duration,
    host_and_port,
    host_pattern,
    integer,
    one_of,
    percentage,
    port,
    socket_path,
    word,
    word_or,
)

_URL = re.compile(
    r"(?P<scheme>wss?)://(?P<authority>(?P<host>\[[^]]*\]|[a-z0-9._-]+)(?::(?P<port>[0-9]+))?)"
    r"(?P<base>/[!-~]*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile("^[a-z]*:?//?", re.IGNORECASE)  # also one that is written wrongly
_URL_FORMS = "expected ws://host:port[/base], wss://host:port[/base] or unix:/path"
_HEADER = re.compile(r"(?P<name>[^\s:]+)(?:\s*:\s*|\s+)(?P<value>.*)", re.DOTALL)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^/:\[]+|\[[^/]*\])(?::([0-9]+))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_PROTECTED = {"host", "connection", "upgrade", "transfer-encoding", "content-length"}


def upstream(text: str) -> UpstreamConfig:
    """Parse ``ws://host:port/base weight=1 max_connections=off backup name=a``."""
    url, *words = text.split()
    for each in words:
        if each.startswith(("ws://", "wss://", "unix:")):
            raise ValueError(f"'{each}' is a second upstream; write one a line, indented")
    url, name = _address(url)
    backup = "backup" in words
    if backup:
        words.remove("backup")
    values: dict[str, Any] = {"name": name, "backup": backup}
    return UpstreamConfig(url=url, **values | _options(words, _UPSTREAM))


def absolute_upstream(text: str) -> UpstreamConfig:
    """Parse an `upstream` that stands in no file, so that no path can be relative to one."""
    parsed = upstream(text)
    if parsed.scheme == "unix" and not parsed.socket_path.startswith("/"):
        raise ValueError(f"'{parsed.url}' is relative to nothing; expected unix:/path")
    return parsed


_UPSTREAM: dict[str, Parser] = {
    "weight": integer(1, 65535),
    "max_connections": word_or("off", integer(1)),
    "name": word,
    "backup": boolean,
}


def default_name(url: str) -> str:
    """Return what an upstream without ``name=`` is called: host and port, or the socket."""
    return _address(url)[1]


def _address(url: str) -> tuple[str, str]:
    """Return the URL, its scheme in lower case, and the name that it gives."""
    if url.startswith("unix:") and url != "unix:":
        return url, socket_path(url.removeprefix("unix:"))
    _refuse_parts(url)
    match = _URL.fullmatch(url)
    if match is None:
        if "," in url:
            raise ValueError(f"'{url}' has a comma in it; write one upstream a line, indented")
        raise ValueError(f"'{url}' is not an upstream{_near_url(url)}; {_URL_FORMS}")
    if match["port"] is not None:
        port(match["port"])
    if match["host"].startswith("["):
        _ipv6(match["host"][1:-1])
    return f"{match['scheme'].lower()}://{match['authority']}{match['base'] or ''}", match[
        "authority"
    ]


def _refuse_parts(url: str) -> None:
    authority, _, _ = _SCHEME.sub("", url).partition("/")
    if "@" in authority:
        # The URL is not repeated: a password may be in it.
        raise ValueError(f"an upstream's URL has no user name or password; {_URL_FORMS}")
    if "?" in url or "#" in url:
        raise ValueError(f"'{url}' has a query or fragment, which is the client's; {_URL_FORMS}")


def _near_url(url: str) -> str:
    if url.startswith("/"):
        return f" (did you mean unix:{url}?)"
    scheme = "wss" if url.lower().startswith(("https", "wss")) else "ws"
    meant = f"{scheme}://{_SCHEME.sub('', url)}"
    if not _URL.fullmatch(meant):
        return ""
    also = f" {scheme}:// is for plain HTTP, too" if url.lower().startswith("http") else ""
    return f" (did you mean {meant}?{also})"


def _ipv6(text: str) -> None:
    try:
        IPv6Address(text)
    except ValueError:
        raise ValueError(f"'[{text}]' is not an IPv6 address; {_URL_FORMS}") from None


def plugin_call(text: str) -> PluginCall:
    """Parse ``name option=value …``; the plugin itself is not looked up."""
    name, *words = text.split()
    if "=" in name:
        raise ValueError(f"'{name}' stands where a name belongs; expected name option=value")
    return PluginCall(name, dict(_pairs(words)))


def calls(known: Mapping[str, Mapping[str, Parser]], make: Callable[..., Any]) -> Parser:
    """
    Return a parser for ``name option=value …`` of which names and options are *known*.

    :param make: is given the name and the parsed options, and returns the value.
    """

    def parse_call(text: str) -> Any:
        name, *words = text.split()
        if name not in known:
            raise ValueError(unknown_name("value", name, known))
        return make(name, **_options(words, known[name]))

    return parse_call


def _options(words: Sequence[str], known: Mapping[str, Parser]) -> dict[str, Any]:
    """Parse ``option=value`` words."""
    parsed = {}
    for name, text in _pairs(words):
        if name not in known:
            raise ValueError(unknown_name("option", name, known))
        try:
            parsed[name] = known[name](text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return parsed


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    seen: dict[str, str] = {}
    for each in words:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise ValueError(f"'{each}' is not understood; expected option=value")
        if name in seen:
            raise ValueError(f"'{name}' stands there twice; expected it once")
        seen[name] = value
    return list(seen.items())


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{text}' has a character that cannot stand there; expected one word")
    return text


def _url_path(text: str) -> str:
    if not re.fullmatch("/[!-~]*", text):
        raise ValueError(f"'{text}' is not a path; expected it to start with '/'")
    return text


def _statuses(text: str) -> tuple[int, int]:
    match = re.fullmatch("([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", text)
    if match is None:
        raise ValueError(f"'{text}' is not a status; expected one like 200 or 200-399")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise ValueError(f"'{text}' has no status in it; expected the lower one first")
    return first, last


_EVERY_CHECK: dict[str, Parser] = {
    "interval": duration,
    "timeout": duration,
    "rise": integer(1),
    "fall": integer(1),
    "jitter": percentage,
    "port": port,
}
_HTTP_CHECK: dict[str, Parser] = _EVERY_CHECK | {"path": _url_path, "host": host_and_port}
health_check = calls(
    {
        "tcp": _EVERY_CHECK,
        "http": _HTTP_CHECK | {"status": _statuses},
        "websocket": _HTTP_CHECK | {"subprotocol": _token, "ping": boolean},
    },
    HealthCheckConfig,
)


def _sticky(_kind: str, **options: Any) -> StickyConfig:
    value = StickyConfig(**options)
    if value.same_site == "none" and value.secure == "no":
        raise ValueError("browsers drop a cookie with same_site=none and secure=no; say secure=yes")
    return value


sticky = calls(
    {
        "cookie": {
            "name": _token,
            "ttl": word_or("session", duration),
            "secure": one_of("auto", "yes", "no"),
            "same_site": one_of("lax", "strict", "none"),
            "secret": word,
        }
    },
    _sticky,
)


def origin(text: str) -> str:
    """Parse ``https://chat.example.com``, ``https://*.example.com``, ``same-host``, ``none``."""
    if text in ("same-host", "none"):
        return text
    if "," in text:
        raise ValueError(f"'{text}' is more than one origin; write one a line, indented")
    match = _ORIGIN.fullmatch(text)
    if match is None:
        meant = "any" if text == "*" else text.lower().rstrip("/")
        near = f" (did you mean {meant}?)" if meant == "any" or _ORIGIN.fullmatch(meant) else ""
        raise ValueError(
            f"'{text}' is not an origin{near}; expected one like https://chat.example.com,"
            " https://*.example.com, same-host or none"
        )
    host_pattern(match[1])
    if match[2] is not None:
        port(match[2])
    return text


def redirect_url(text: str) -> str:
    """Parse the target of a redirect; ``{host}`` in it stays as it is."""
    for part in re.findall(r"\{[^{}]*\}|[{}]|\$[A-Za-z_]\w*", text):
        if part != "{host}":
            raise ValueError(
                f"'{part}' would be sent as it stands; {{host}} stands for the client's host,"
                " and a URL without a path keeps the client's path and query"
            )
    if not re.fullmatch("(https?://[!-~]+|/[!-~]*)", text):
        raise ValueError(f"'{text}' is not a URL; expected http://…, https://… or /path")
    return text


def header(text: str) -> tuple[str, str]:
    """Parse ``Name: value`` or ``Name value``."""
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a header; expected Name: value")
    if variable := re.search(r"\$[A-Za-z_]\w*", match["value"]):
        raise ValueError(
            f"'{variable[0]}' would be sent as it stands; there are no variables,"
            " and X-Real-IP and X-Forwarded-… are set without asking"
        )
    try:
        match["value"].encode("iso-8859-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"'{match['value']}' cannot be sent in a header; expected characters of ISO-8859-1"
        ) from None
    return header_name(match["name"]), match["value"]


def header_name(text: str) -> str:
    """Parse the name of a header that an operator may set or remove."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{text}' is not a header's name; expected one like X-Real-IP")
    low = text.lower()
    if low in _PROTECTED or low.startswith("sec-websocket-"):
        remedy = "use host_header for Host" if low == "host" else "expected another header"
        raise ValueError(f"'{text}' belongs to the relay and cannot be changed here; {remedy}")
    return text
