"""What an operator is told, in words."""

from __future__ import annotations

from pathlib import Path

from wsrelay.admin.words import http_words, route_words
from wsrelay.config.model import PathRule, RouteConfig


def test_plain_requests_are_told_by_the_first_digit_of_their_status() -> None:
    statuses = {200: 1, 204: 20, 302: 300, 404: 4000, 499: 50_000, 503: 600_000, 600: 7_000_000}
    requests = [(("web", "chat", "pool", "a", status), n) for status, n in statuses.items()]
    assert http_words(requests) == {
        "total": 7_654_321,
        "2xx": 21,
        "3xx": 300,
        "4xx": 54_000,
        "5xx": 600_000,
    }
    assert http_words([]) == dict.fromkeys(("total", "2xx", "3xx", "4xx", "5xx"), 0)


def test_a_route_says_what_serves_it() -> None:
    http = http_words([])
    files = RouteConfig("files", static=Path("/srv/www"), path=PathRule("exact", "/x"))
    assert route_words(files, 0, 1, http) == {
        "name": "files",
        "host": None,
        "path": "= /x",
        "pool": "",
        "static": "/srv/www",
        "redirect": None,
        "sessions": 0,
        "requests": 1,
        "http": http,
    }
    assert (
        route_words(RouteConfig("r", redirect="https://a"), 0, 0, http)["redirect"] == "https://a"
    )
