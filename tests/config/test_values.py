"""Each kind of value takes what the manual says, and refuses the rest with a reason."""

import math
import re
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config import values
from wsrelay.config.model import PathRule
from wsrelay.config.values import Parser, Rate, word_or

count_rate = values.rate_of(values.integer(1))
size_rate = values.rate_of(values.size)

GOOD: list[tuple[Parser, str, Any]] = [
    (values.duration, "500ms", 0.5),
    (values.duration, "3s", 3.0),
    (values.duration, "1.5s", 1.5),
    (values.duration, "5m", 300.0),
    (values.duration, "1h", 3600.0),
    (values.duration, "8760h", 31_536_000.0),
    (values.duration_or_zero, "0s", 0.0),
    (word_or("off", values.duration), "off", None),
    (word_or("off", values.duration), "OFF", None),
    (word_or("off", values.duration), "1s", 1.0),
    (values.size, "512", 512),
    (values.size, "64KiB", 65536),
    (values.size, "1MiB", 1048576),
    (values.size, "2GiB", 2 * 1024**3),
    (values.size, "9223372036854775807", 2**63 - 1),
    (values.size_or_zero, "0", 0),
    (count_rate, "10/s", Rate(10.0)),
    (count_rate, "600/m burst 20", Rate(10.0, 20)),
    (size_rate, "64KiB/s burst 1MiB", Rate(65536.0, 1048576)),
    (values.boolean, "yes", True),
    (values.boolean, "On", True),
    (values.boolean, "true", True),
    (values.boolean, "no", False),
    (values.boolean, "off", False),
    (values.boolean, "FALSE", False),
    (values.percentage, "10%", 0.1),
    (values.percentage, "0%", 0.0),
    (values.percentage, "100%", 1.0),
    (values.network, "10.0.0.0/8", ip_network("10.0.0.0/8")),
    (values.network, "127.0.0.1", ip_network("127.0.0.1/32")),
    (values.network, "2001:db8::/32", ip_network("2001:db8::/32")),
    (values.integer(1, 5), "5", 5),
    (values.integer(1, 5), "1", 1),
    (values.one_of("a", "b"), "b", "b"),
    (values.path_rule, "/", PathRule("prefix", "/")),
    (values.path_rule, "/chat/%20", PathRule("prefix", "/chat/%20")),
    (values.path_rule, "= /exact", PathRule("exact", "/exact")),
    (values.path_rule, "=/exact", PathRule("exact", "/exact")),
    (values.path_rule, "~ ^/(a|b)?$", PathRule("regex", "^/(a|b)?$")),
    (values.path_rule, "~^/x", PathRule("regex", "^/x")),
    (values.path_rule, "~ [[a]", PathRule("regex", "[[a]")),
    (values.host, "Chat.Example.com", "chat.example.com"),
    (values.host, "192.0.2.1", "192.0.2.1"),
    (values.host, "[2001:DB8::1]", "[2001:db8::1]"),
    (values.host_pattern, "*.Example.com", "*.example.com"),
    (values.host_pattern, "a_b.internal", "a_b.internal"),
    (values.host_and_port, "Chat.example.com", "Chat.example.com"),
    (values.host_and_port, "chat:8080", "chat:8080"),
    (values.host_and_port, "[::1]", "[::1]"),
    (values.host_and_port, "[::1]:80", "[::1]:80"),
    (values.word, "chat", "chat"),
]

BAD: list[tuple[Parser, str, str]] = [
    (values.duration, "30", "'30' is not a duration (did you mean 30s?)"),
    (values.duration, "3 s", "'3 s' is not a duration; expected one like"),
    (values.duration, "1d", "'1d' is not a duration; expected one like"),
    (values.duration, "-1s", "'-1s' is not a duration; expected one like"),
    (values.duration, "٣s", "is not a duration"),
    (values.duration, "0s", "'0s' leaves no time at all"),
    (values.duration, "8761h", "'8761h' is longer than a year"),
    (word_or("off", values.duration), "x", "like 500ms, 3s, 5m, 1h, or off"),
    (values.size, "64KB", "'64KB' is not a size (did you mean 64KiB?); expected bytes"),
    (values.size, "10m", "(did you mean 10MiB?)"),
    (values.size, "1 g", "(did you mean 1GiB?)"),
    (values.size, "5 bananas", "'5 bananas' is not a size; expected bytes"),
    (values.size, "1.5MiB", "'1.5MiB' is not a size"),
    (values.size, "0", "'0' leaves no room at all"),
    (values.size, "9223372036854775808", "is not a size"),
    (values.size, "8589934592GiB", "is not a size"),
    (values.size, "9" * 5000, "is not a size"),
    (count_rate, "10", "'10' is not a rate"),
    (count_rate, "10/h", "'10/h' is not a rate"),
    (count_rate, "10/s burst", "is not a rate"),
    (count_rate, "0/s", "'0' is out of place"),
    (count_rate, "10/s burst x", "'x' is out of place"),
    (values.rate_of(values.size, "64KiB/s"), "64k", "not a rate; expected one like 64KiB/s"),
    (values.boolean, "maybe", "'maybe' is neither yes nor no"),
    (values.percentage, "10", "'10' is not a percentage"),
    (values.percentage, "101%", "'101%' is not a percentage"),
    (values.network, "10.0.0.1/8", "it has host bits set; did you mean 10.0.0.0/8?"),
    (values.network, "localhost", "'localhost' is not a network; expected one like"),
    (values.network, "10.0.0.0/8, ::/0", "is more than one network; write one a line, indented"),
    (values.integer(1, 5), "6", "expected a whole number, 1 to 5"),
    (values.integer(1, 5), "0", "expected a whole number, 1 to 5"),
    (values.integer(1, 5), "1.0", "expected a whole number, 1 to 5"),
    (values.integer(1), "9" * 5000, "expected a whole number"),
    (values.one_of("text", "json"), "jsn", "unknown value 'jsn'; did you mean 'json'?"),
    (values.one_of("text", "json"), "q", "unknown value 'q'; expected one of text, json"),
    (values.path_rule, "chat", "'chat' is not a path"),
    (values.path_rule, "/a?b", "'/a?b' is not a path"),
    (values.path_rule, "/a#b", "'/a#b' is not a path"),
    (values.path_rule, "/a b", "'/a b' is not a path"),
    (values.path_rule, "/ü", "'/ü' is not a path"),
    (values.path_rule, "= exact", "'exact' is not a path"),
    (values.path_rule, "~ (a", "'(a' is not a regular expression: missing )"),
    (values.path_rule, "~ a{99999999999}", "is not a regular expression"),
    (values.path_rule, "~", "there is no regular expression behind the '~'"),
    (values.host, "chat:80", "'chat:80' is not a host"),
    (values.host, "exämple.com", "in its xn-- form"),
    (values.host, "a..b", "'a..b' is not a host"),
    (values.host, "[::1", "'[::1' is not a host"),
    (values.host, "[1.2.3.4]", "'[1.2.3.4]' is not a host"),
    (values.host, "[x]", "'[x]' is not a host"),
    (values.host, "[fe80::1%eth0]", "'[fe80::1%eth0]' is not a host"),
    (values.host_pattern, "*", "'*' is not a host"),
    (values.host_pattern, "a.com b.com", "'a.com b.com' is more than one host; write a route"),
    (values.host_pattern, "a.*.com", "'a.*.com' is not a host"),
    (values.host_and_port, "chat:0", "'0' is out of place"),
    (values.host_and_port, "chat:65536", "'65536' is out of place"),
    (values.host_and_port, "::1", "is not a host"),
    (values.host_and_port, "a..b:80", "'a..b' is not a host"),
    (values.close_code, "normal", "'normal' cannot be sent as a close code"),
    (values.close_code, "03000", "'03000' cannot be sent as a close code"),
    (values.word, "two words", "has a space in it; expected one word, and of several one a line"),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_a_good_value_is_understood(parse: Parser, text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "reason"), BAD)
def test_a_bad_value_is_refused_with_its_reason(parse: Parser, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(text)


def sendable(code: int) -> bool:
    """RFC 6455 section 7.4 and the registry, written as a list."""
    return code in {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} or (
        3000 <= code <= 4999
    )


@pytest.mark.parametrize("code", [*range(990, 1030), 2000, 2999, 3000, 3999, 4000, 4999, 5000])
def test_only_codes_that_may_go_on_the_wire_are_close_codes(code: int) -> None:
    if sendable(code):
        assert values.close_code(str(code)) == code
    else:
        with pytest.raises(ValueError, match=f"'{code}' cannot be sent"):
            values.close_code(str(code))


PARSERS: list[Parser] = list({id(parse): parse for parse, _, _ in (*GOOD, *BAD)}.values())


@given(st.sampled_from(PARSERS), st.text(min_size=1).map(str.strip).filter(bool))
def test_no_text_raises_anything_but_value_error(parse: Parser, text: str) -> None:
    with suppress(ValueError):
        value = parse(text)
        assert not isinstance(value, float) or math.isfinite(value)
