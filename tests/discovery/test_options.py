"""What discoveries are told in relay.ini: good and bad."""

import pytest

from wsrelay.config.lines import upstream
from wsrelay.config.model import PluginCall
from wsrelay.discovery.options import Form, domain_name, name_server
from wsrelay.interfaces import IDiscoveryPlugin
from wsrelay.plugins import check_discovery, find_discoveries

DNS = {"name": "chat.internal", "port": "9000"}
SRV = {"name": "_ws._tcp.chat.internal"}
FILE = {"path": "/srv/upstreams.txt"}
LABEL = "a" * 63
LONG = ".".join([LABEL] * 4)
ASKED = {"scheme": "wss", "resolver": "10.0.0.2:5353", "every": "1s", "base": "/x"}


@pytest.mark.parametrize(
    "call",
    [
        PluginCall("dns", DNS),
        PluginCall("dns", {**DNS, **ASKED, "family": "6"}),
        PluginCall("srv", SRV),
        PluginCall("srv", {**SRV, **ASKED}),
        PluginCall("file", FILE),
        PluginCall("file", {**FILE, "every": "100ms"}),
    ],
    ids=str,
)
def test_a_good_call_is_accepted_without_a_reactor(call: PluginCall) -> None:
    check_discovery(call)


@pytest.mark.parametrize("name", ["dns", "srv", "file"])
def test_the_plugins_provide_their_interface_and_help_with_every_option(name: str) -> None:
    plugin = find_discoveries()[name]
    assert IDiscoveryPlugin.providedBy(plugin)
    assert all(line and "\n" not in line for line in plugin.options.values())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("dns", {}, "name is missing; say name=chat.internal"),
        ("dns", {"name": "a"}, "port is missing; say port=9000"),
        ("dns", {**DNS, "port": "0"}, "port: '0' is out of place; expected a whole number, 1 to"),
        ("dns", {**DNS, "scheme": "http"}, "scheme: unknown value 'http'; expected one of ws, wss"),
        ("dns", {**DNS, "family": "5"}, "family: unknown value '5'; expected one of any, 4, 6"),
        ("dns", {**DNS, "resolver": "ns.test"}, "resolver: 'ns.test' is not an address; expected"),
        ("dns", {**DNS, "resolver": "10.0.0.1:x"}, "resolver: 'x' is out of place; expected"),
        ("dns", {**DNS, "every": "0s"}, "every: '0s' leaves no time at all"),
        ("dns", {**DNS, "every": "999ms"}, "every: '999ms' is too often; expected 1s or more"),
        ("dns", {**DNS, "base": "x"}, "base: 'x' is not a path; expected a '/' first"),
        ("dns", {**DNS, "base": "/x?y"}, "base: '/x?y' is not a path"),
        ("dns", {**DNS, "path": "/x"}, "unknown option of dns 'path'"),
        ("srv", {}, "name is missing; say name=_ws._tcp.chat.internal"),
        ("srv", {**SRV, "port": "9000"}, "unknown option of srv 'port'"),
        ("srv", {**SRV, "every": "1"}, "every: '1' is not a duration (did you mean 1s?)"),
        ("file", {}, "path is missing; say path=upstreams.txt"),
        ("file", {**FILE, "every": "99ms"}, "every: '99ms' is too often; expected 100ms or more"),
    ],
    ids=str,
)
def test_a_bad_call_is_refused_in_a_sentence(
    name: str, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is looked at
        check_discovery(PluginCall(name, options))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Chat.Internal", b"chat.internal"), ("chat.internal.", b"chat.internal"), ("a", b"a")],
)
def test_a_name_is_written_with_or_without_the_last_dot(text: str, name: bytes) -> None:
    assert domain_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "a..", "a b", "-\n", "chät", "a:53", "10.0.0.1", "[::1]", LABEL + "a", LONG],
)
def test_what_dns_cannot_be_asked_for_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host|is an address|is too long"):
        domain_name(text)


def test_the_longest_name_is_one() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert domain_name(longest) == longest.encode()


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("system", ()),
        ("10.0.0.2", (("10.0.0.2", 53),)),
        ("10.0.0.2:8600", (("10.0.0.2", 8600),)),
        ("2001:DB8:0::1", (("2001:db8::1", 53),)),
        ("[::1]", (("::1", 53),)),
        ("[::1]:5353", (("::1", 5353),)),
    ],
)
def test_a_name_server_is_an_address_with_or_without_a_port(
    text: str, servers: tuple[tuple[str, int], ...]
) -> None:
    assert name_server(text) == servers


@pytest.mark.parametrize("text", ["", ":53", "10.0.0", "[::1", "::1]:53", "[10.0.0.1]x", "::1:x"])
def test_what_is_no_address_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        name_server(text)


def test_what_is_found_is_written_as_in_a_pools_upstreams() -> None:
    line = Form("wss", "/x").line("[2001:db8::1]", 9000, "weight=3", "backup")
    assert line == "wss://[2001:db8::1]:9000/x weight=3 backup"
    parsed = upstream(line)
    assert (parsed.host, parsed.port, parsed.weight, parsed.backup) == (
        "2001:db8::1",
        9000,
        3,
        True,
    )
