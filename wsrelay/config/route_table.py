"""Every option of a ``[route:NAME]``, in the order of the manual."""

from __future__ import annotations

from wsrelay.config.lines import header, header_name, origin, plugin_call, redirect_url
from wsrelay.config.options import Option
from wsrelay.config.values import (
    boolean,
    close_code,
    duration,
    file_path,
    host_and_port,
    host_pattern,
    integer,
    network,
    one_of,
    path_rule,
    percentage,
    rate_of,
    size,
    size_or_zero,
    word,
    word_or,
)

__all__ = ["ROUTE"]


def _host_header(text: str) -> str:
    return text if text in ("client", "upstream") else host_and_port(text)


_size_or_off = word_or("off", size)
_duration_or_off = word_or("off", duration)

ROUTE = [
    Option("listener", word, "all", "listeners that it is for", many=True),
    Option(
        "host",
        word_or("any", host_pattern),
        "any",
        "one host, or *.example.com; each host needs a route",
    ),
    Option(
        "path", path_rule, "/", "a prefix (/chat is one of /chatroom, too), = /exact or ~ regex"
    ),
    Option("pool", word, "", "what serves it"),
    Option("static", file_path, "", "a directory whose files serve it"),
    Option(
        "redirect",
        redirect_url,
        "",
        "a URL to send clients to; one without a path keeps theirs, {host} stands for their host",
    ),
    Option("http", boolean, "yes", "whether the pool gets plain HTTP, too; no: that gets 426"),
    Option(
        "http_timeout",
        _duration_or_off,
        "60s",
        "plain HTTP: longest silence of the upstream before and in its answer, and of the client"
        " in its request's body",
    ),
    Option("max_body_size", _size_or_off, "off", "of a request of plain HTTP; beyond: 413"),
    Option("strip_prefix", boolean, "no", "whether the upstream sees the path without the prefix"),
    Option("set_header", header, "none", "request headers to the upstream: Name: value", many=True),
    Option("remove_header", header_name, "none", "request headers that stop here", many=True),
    Option("host_header", _host_header, "client", "client, upstream or a name: the Host sent on"),
    Option("mode", one_of("frames", "messages"), "frames", "what is relayed", only=("frames",)),
    Option(
        "compression",
        one_of("client", "off", "upstream", "both"),
        "client",
        "frames: negotiated end to end",
        only=("client",),
    ),
    Option("keepalive", _duration_or_off, "25s", "between the relay's own pings on both legs"),
    Option("keepalive_timeout", duration, "20s", "a later pong closes that leg"),
    Option(
        "ping",
        one_of("relay", "answer"),
        "relay",
        "a peer's own ping: relay it to the other side, or answer it here",
    ),
    Option("idle_timeout", _duration_or_off, "off", "no data frame either way for so long"),
    Option("idle_close_code", close_code, "1001", "code of the close then"),
    Option("max_session_age", _duration_or_off, "off", "longest session", only=(None,)),
    Option("session_age_jitter", percentage, "10%", "spread of that", only=(0.1,)),
    Option("connect_timeout", duration, "5s", "until the upstream's TCP connection stands"),
    Option("upstream_handshake_timeout", duration, "10s", "until the upstream has answered"),
    Option("close_timeout", duration, "5s", "for a closing handshake"),
    Option("retries", integer(0), "2", "other upstreams tried before an answer came"),
    Option("whole_frames", word_or("off", size_or_zero, 0), "16KiB", "longer frames stream"),
    Option("max_frame_size", _size_or_off, "off", "longest frame"),
    Option("max_message_size", _size_or_off, "16MiB", "longest message, both directions"),
    Option("max_message_size_up", _size_or_off, "16MiB", "longest message from the client"),
    Option("max_message_size_down", _size_or_off, "16MiB", "longest message to the client"),
    Option("origins", origin, "any", "origins that may connect", many=True, only=((),)),
    Option("allow", network, "none", "client networks that may connect", many=True, only=((),)),
    Option("deny", network, "none", "client networks that may not", many=True, only=((),)),
    Option(
        "connections_per_ip", word_or("off", integer(1)), "off", "sessions at once", only=(None,)
    ),
    Option(
        "handshakes_per_ip",
        word_or("off", rate_of(integer(1))),
        "off",
        "new sessions in a time",
        only=(None,),
    ),
    Option("ipv6_prefix", integer(1, 128), "64", "bits that make one IPv6 client", only=(64,)),
    Option("messages", word_or("off", rate_of(integer(1))), "off", "from one client", only=(None,)),
    Option("bytes", word_or("off", rate_of(size)), "off", "from one client", only=(None,)),
    Option("on_excess", one_of("close", "throttle"), "close", "what then", only=("close",)),
    Option("slow_consumer", _duration_or_off, "off", "longest standstill of a leg", only=(None,)),
    Option("policies", plugin_call, "none", "plugins that admit clients", many=True, only=((),)),
    Option("filters", plugin_call, "none", "plugins that see messages", many=True, only=((),)),
    Option("drain_close_code", close_code, "1012", "overrides the one of [relay]"),
]
