"""What a file's content is called, and whether a client takes it compressed.  Pure."""

from __future__ import annotations

import re
from mimetypes import MimeTypes
from typing import Final

from wsrelay.wire.headers import Headers

__all__ = ["content_type", "takes_gzip"]

# Python's own table, which differs from version to version, and never the machine's: the
# same file has the same type everywhere.
_TYPES: Final = {
    **MimeTypes(filenames=()).types_map[True],
    ".7z": "application/x-7z-compressed",
    ".apng": "image/apng",
    ".atom": "application/atom+xml",
    ".avif": "image/avif",
    ".br": "application/octet-stream",
    ".bz2": "application/x-bzip2",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".glb": "model/gltf-binary",
    ".gz": "application/gzip",
    ".ico": "image/x-icon",
    ".ics": "text/calendar",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".rss": "application/rss+xml",
    ".svg": "image/svg+xml",
    ".tgz": "application/gzip",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
}

_CODING = re.compile(r"(?P<name>[^\s;]++)(?:\s*+;\s*+q\s*+=\s*+(?P<weight>[01](?:\.[0-9]{0,3})?))?")


def content_type(name: bytes) -> bytes:
    """
    Return the Content-Type of a file with this name.

    Text is said to be UTF-8; what is not known is ``application/octet-stream``, which a
    browser offers to save.
    """
    stem, dot, extension = name.rpartition(b".")
    key = f".{extension.decode('utf-8', 'replace').lower()}" if stem and dot else ""
    kind = _TYPES.get(key, "application/octet-stream")
    return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode("ascii")


def takes_gzip(headers: Headers) -> bool:
    """Tell whether Accept-Encoding allows gzip, by its name or as ``*`` (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for element in headers.elements(b"accept-encoding"):
        if match := _CODING.fullmatch(element):
            weights[match["name"]] = float(match["weight"] or 1)
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return weight > 0
