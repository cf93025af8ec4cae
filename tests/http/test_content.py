"""Types of files, and who takes them compressed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsrelay.http.content import content_type, takes_gzip
from wsrelay.wire.headers import Headers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b/index.htm", "text/html; charset=utf-8"),
        ("APP.JS", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("app.css", "text/css; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("app.js.map", "application/json"),
        ("a.json", "application/json"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.jpeg", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("favicon.ico", "image/x-icon"),
        ("a.woff2", "font/woff2"),
        ("a.mp4", "video/mp4"),
        ("a.pdf", "application/pdf"),
        # Asked for by its own name an archive is no encoded text.
        ("app.js.gz", "application/gzip"),
        ("a.tar.gz", "application/gzip"),
        ("a.svgz", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("README", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("folder.html/README", "application/octet-stream"),
        ("ä.ÄÖ", "application/octet-stream"),
    ],
)
def test_the_type_of(name: str, kind: str) -> None:
    assert content_type(name.encode()) == kind.encode()


def test_what_the_machine_says_of_types_does_not_matter() -> None:
    code = (
        "import mimetypes; mimetypes.init(); mimetypes.add_type('text/strange', '.html');"
        "mimetypes.add_type('text/strange', '.unheard-of');"
        "from wsrelay.http.content import content_type;"
        "print(content_type(b'a.html'), content_type(b'a.unheard-of'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "b'text/html; charset=utf-8' b'application/octet-stream'"


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("gzip ; q=0.001", True),
        ("*", True),
        ("deflate, *;q=0.5", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip; Q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=x", False),
        ("gzipped", False),
        ("not gzip", False),
    ],
)
def test_gzip_is_taken_by(said: str, taken: bool) -> None:
    assert takes_gzip(Headers(((b"Accept-Encoding", said.encode()),))) is taken


def test_who_does_not_say_gets_it_plain() -> None:
    assert not takes_gzip(Headers())
