"""Which route a host and a path lead to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config.model import PathRule, RouteConfig
from wsrelay.relay.routing import RouteTable


def route(name: str, path: str = "/", host: str | None = None) -> RouteConfig:
    """Make a route from a path as it stands in relay.ini."""
    kind, value = "prefix", path
    if path.startswith("="):
        kind, value = "exact", path[1:].strip()
    elif path.startswith("~"):
        kind, value = "regex", path[1:].strip()
    return RouteConfig(name, "pool", host=host, path=PathRule(kind, value))  # type: ignore[arg-type]


def match(routes: list[RouteConfig], host: str, path: str) -> str | None:
    found = RouteTable(routes).match(host, path)
    return found.name if found is not None else None


PATHS = [
    route("regex", "~ ^/chat"),
    route("short", "/chat"),
    route("long", "/chat/rooms"),
    route("exact", "= /chat"),
    route("later regex", "~ ^/ch"),
    route("images", r"~ \.png$"),
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat", "exact"),
        ("/chat/", "short"),
        ("/chatter", "short"),
        ("/chat/rooms", "long"),
        ("/chat/rooms/7", "long"),
        ("/chess", "later regex"),
        ("/a.png", "images"),
        ("/a.png/b", None),
        ("/CHAT", None),
        ("/%63hat", None),
        ("/", None),
    ],
)
def test_exact_beats_the_longest_prefix_beats_the_first_regex(
    path: str, expected: str | None
) -> None:
    assert match(PATHS, "any", path) == expected
    prefixes_first = sorted(PATHS, key=lambda each: "regex" in each.name)
    assert match(prefixes_first, "any", path) == expected


def test_the_first_regex_of_the_file_counts() -> None:
    one, two = route("one", "~ a"), route("two", "~ b")
    assert match([one, two], "", "/ab") == "one"
    assert match([two, one], "", "/ab") == "two"


HOSTS = [
    route("any", "/"),
    route("wild", "/", "*.example.com"),
    route("deep", "/", "*.eu.example.com"),
    route("very", "/", "chat.example.com"),
]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("chat.example.com", "very"),
        ("news.example.com", "wild"),
        ("a.b.example.com", "wild"),
        ("news.eu.example.com", "deep"),
        ("eu.example.com", "wild"),
        ("example.com", "any"),
        (".example.com", "any"),
        ("badexample.com", "any"),
        ("chat.example.com.evil.org", "any"),
        ("[::1]", "any"),
        ("", "any"),
    ],
)
def test_the_very_host_beats_the_longest_wildcard_beats_any_host(host: str, expected: str) -> None:
    for routes in (HOSTS, HOSTS[::-1]):
        assert match(routes, host, "/") == expected


def test_a_special_host_without_a_fitting_path_leaves_it_to_a_less_special_one() -> None:
    routes = [
        route("any", "/"),
        route("wild", "/news", "*.example.com"),
        route("very", "= /chat", "a.example.com"),
    ]
    assert match(routes, "a.example.com", "/chat") == "very"
    assert match(routes, "a.example.com", "/news") == "wild"
    assert match(routes, "a.example.com", "/other") == "any"


def test_a_host_beats_a_better_path() -> None:
    routes = [route("exact", "= /chat"), route("host", "/", "a.example.com")]
    assert match(routes, "a.example.com", "/chat") == "host"


def test_without_routes_nothing_matches() -> None:
    assert match([], "a", "/") is None


@pytest.mark.parametrize("kind", ["= /same", "/same", "~ /same"])
def test_of_two_that_fit_equally_the_first_of_the_file_counts(kind: str) -> None:
    assert match([route("one", kind), route("two", kind)], "", "/same") == "one"


# against the obvious way

SEGMENTS = st.sampled_from(["/", "/a", "/a/b", "/ab", "/a/", "/b"])
RULES = st.one_of(SEGMENTS, SEGMENTS.map("= {}".format), SEGMENTS.map("~ ^{}".format))
NAMES = st.sampled_from([None, "x.org", "a.x.org", "*.x.org", "*.a.x.org"])


def rank(each: RouteConfig, host: str, path: str) -> tuple[int, int, int, int] | None:
    """Say how well a route fits, best first; None: it does not fit."""
    if each.host is None:
        host_rank = (2, 0)
    elif each.host.startswith("*."):
        suffix = each.host[1:]
        if not host.endswith(suffix) or host == suffix:
            return None
        host_rank = (1, -len(suffix))
    elif each.host == host:
        host_rank = (0, 0)
    else:
        return None
    kind, value = each.path.kind, each.path.value
    if kind == "exact":
        return (*host_rank, 0, 0) if path == value else None
    if kind == "prefix":
        return (*host_rank, 1, -len(value)) if path.startswith(value) else None
    return (*host_rank, 2, 0) if re.search(value, path) else None


@given(
    st.lists(st.tuples(RULES, NAMES), unique=True, max_size=12),
    st.sampled_from(["x.org", "a.x.org", "b.x.org", "c.a.x.org", "y.org"]),
    SEGMENTS | st.just("/a/b/c"),
)
def test_the_table_finds_what_a_search_through_all_routes_finds(
    rules: list[tuple[str, str | None]], host: str, path: str
) -> None:
    routes = [route(str(n), rule, name) for n, (rule, name) in enumerate(rules)]
    fitting = [(rank(each, host, path), n) for n, each in enumerate(routes)]
    ranked = sorted((how, n) for how, n in fitting if how is not None)
    assert match(routes, host, path) == (str(ranked[0][1]) if ranked else None)
