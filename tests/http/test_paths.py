"""Where a path leads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http.paths import Place, last_segment, normal_path, place_of

GOOD = [
    ("/", "", (), True),
    ("/app.js", "", ("app.js",), False),
    ("/a/b/c.html", "", ("a", "b", "c.html"), False),
    ("/a/", "", ("a",), True),
    ("//a///b//", "", ("a", "b"), True),
    ("/a%20b/%C3%A4%2b+.txt", "", ("a b", "ä++.txt"), False),
    ("/Ã¤", "", ("ä",), False),  # sent unescaped
    ("/%2541", "", ("%41",), False),
    ("/.well-known/acme-challenge/x", "", (".well-known", "acme-challenge", "x"), False),
    ("/a.b/c..d/e.", "", ("a.b", "c..d", "e."), False),
    ("/~user/a:b@c;d=1", "", ("~user", "a:b@c;d=1"), False),
    ("/app/x", "", ("app", "x"), False),
    ("/app/x", "/app/", ("x",), False),
    ("/app/x/", "/app", ("x",), True),
    ("/app/", "/app/", (), True),
    ("/app/", "/app", (), True),
    ("/app", "/app", (), False),
    ("/", "/", (), True),
    ("/x", "/", ("x",), False),
]

NOWHERE = [
    *("/..", "/../x", "/a/../b", "/a/..", "/.", "/./a", "/a/./b", "/..a", "/...", "/a/.hidden"),
    *("/.git/config", "/.htaccess", "/a/.env", "/%2egit", "/%2Egit/config", "/.well-known2"),
    *("/%2e%2e/x", "/.%2e/x", "/%2E./x", "/%2e", "/a/%2e%2e", "/.%2E", "/.WELL-KNOWN/x"),
    *("/a%2Fb", "/a%2fb", "/%2F", "/..%2Fx", "/%2e%2e%2fx", "/a%5Cb", "/a\\b", "/..\\x"),
    *("/%5c..%5cx", "/a%00", "/a%00.html", "/%00", "/a%0a", "/a%0D%0A", "/a%7F", "/a%1f"),
    *("/%", "/a%2", "/a%zz", "/a%u002e", "/%C0%AE%C0%AE/x", "/%c0%af", "/%FF", "/\xff"),
    "/%ED%A0%80",
]  # fmt: skip


@pytest.mark.parametrize(("path", "prefix", "names", "is_folder"), GOOD)
def test_a_path_leads_to(path: str, prefix: str, names: tuple[str, ...], is_folder: bool) -> None:
    assert place_of(path, prefix) == Place(tuple(name.encode() for name in names), is_folder)


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_leads_nowhere(path: str) -> None:
    assert place_of(path) is None


@pytest.mark.parametrize("path", ["/apple", "/app.js", "/app..", "/app../x"])
def test_behind_a_prefix_a_segment_begins(path: str) -> None:
    assert place_of(path, "/app") is None


pieces = st.sampled_from(
    ["/", ".", "..", "%2e", "%2E", "%2f", "\\", "%5c", "%00", "%", "a", "%61", "%252e", "ä", "\xff"]
)
paths = st.lists(pieces, max_size=10).map("".join).map(lambda text: "/" + text)


@given(paths | st.text(st.characters(max_codepoint=255), max_size=20).map("/".__add__))
def test_no_name_climbs_or_hides(path: str) -> None:
    place = place_of(path)
    for name in place.names if place else ():
        assert name
        assert not name.startswith(b".")
        assert not set(name) & {0, ord("/"), ord("\\")}
        name.decode("utf-8")


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/a/b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("/%61dmin/%7Ex%2E", "/admin/~x."),
        ("/a%2Fb%20c%2B", "/a%2Fb%20c%2B"),
        ("/%2561", "/%2561"),
        ("/%2", "/%2"),
    ],
)
def test_the_normal_path_has_no_empty_segments_and_no_needless_escapes(
    path: str, normal: str
) -> None:
    assert normal_path(path) == normal


@given(paths)
def test_the_normal_path_leads_to_the_same_place(path: str) -> None:
    assert place_of(normal_path(path)) == place_of(path)
    assert normal_path(normal_path(path)).count("//") == 0


def test_the_last_segment_is_as_it_was_sent() -> None:
    assert last_segment("/a/b%20c") == "b%20c"
    assert last_segment("/a/") == ""
