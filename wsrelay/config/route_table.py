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
    Option(
        "mode",
        one_of("frames", "messages"),
        "frames",
        "frames: data frames pass as they are; messages: whole messages, for filters",
    ),
    Option(
        "compression",
        one_of("client", "off", "upstream", "both"),
        "client",
        "frames: negotiated end to end; messages: the legs on which the relay compresses: client,"
        " upstream, both or off",
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
    Option("max_session_age", _duration_or_off, "off", "longest session; then it is closed, 1001"),
    Option(
        "session_age_jitter",
        percentage,
        "10%",
        "part of max_session_age by which a session ends earlier, at random",
    ),
    Option("connect_timeout", duration, "5s", "until the upstream's TCP connection stands"),
    Option("upstream_handshake_timeout", duration, "10s", "until the upstream has answered"),
    Option("close_timeout", duration, "5s", "for a closing handshake"),
    Option("retries", integer(0), "2", "other upstreams tried before an answer came"),
    Option("whole_frames", word_or("off", size_or_zero, 0), "16KiB", "longer frames stream"),
    Option("max_frame_size", _size_or_off, "off", "longest frame"),
    Option("max_message_size", _size_or_off, "16MiB", "longest message, both directions"),
    Option("max_message_size_up", _size_or_off, "16MiB", "longest message from the client"),
    Option("max_message_size_down", _size_or_off, "16MiB", "longest message to the client"),
    Option(
        "origins",
        origin,
        "any",
        "origins that may connect: https://chat.example.com, https://*.example.com, same-host;"
        " none: clients that send no Origin",
        many=True,
    ),
    Option(
        "allow",
        network,
        "none",
        "client networks that may connect, and no others; of allow and deny the most specific wins",
        many=True,
    ),
    Option("deny", network, "none", "client networks that may not connect", many=True),
    Option(
        "connections_per_ip",
        word_or("off", integer(1)),
        "off",
        "sessions of one client address at once; beyond: 429",
    ),
    Option(
        "handshakes_per_ip",
        word_or("off", rate_of(integer(1))),
        "off",
        "handshakes of one client address: 10/s, 600/m burst 20; beyond: 429",
    ),
    Option("ipv6_prefix", integer(1, 128), "64", "bits of an IPv6 address that make one client"),
    Option(
        "messages",
        word_or("off", rate_of(integer(1))),
        "off",
        "data messages from the client of one session: 10/s, 600/m burst 20",
    ),
    Option(
        "bytes",
        word_or("off", rate_of(size, "64KiB/s or 64KiB/s burst 1MiB")),
        "off",
        "bytes from the client of one session: 64KiB/s burst 1MiB",
    ),
    Option(
        "on_excess",
        one_of("close", "throttle"),
        "close",
        "what then: close (1008), or throttle: do not read it for a while",
    ),
    Option(
        "slow_consumer",
        _duration_or_off,
        "off",
        "longest time that a leg takes nothing while data waits for it; then 1013",
    ),
    Option(
        "policies",
        plugin_call,
        "none",
        "plugins that admit clients: name option=value …",
        many=True,
    ),
    Option("policy_timeout", duration, "5s", "for each policy's answer; then 504"),
    Option(
        "filters",
        plugin_call,
        "none",
        "plugins that see messages: name option=value …; with mode = messages",
        many=True,
    ),
    Option("filter_timeout", duration, "5s", "for each filter's answer about a message"),
    Option(
        "on_error",
        one_of("close", "pass"),
        "close",
        "a filter that fails or is too late: close the session (1011), or pass the message on",
    ),
    Option("drain_close_code", close_code, "1012", "overrides the one of [relay]"),
]
