"""From the path of a request to the names of a folder and a file.  Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from attrs import frozen

__all__ = ["Place", "last_segment", "normal_path", "place_of"]

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A slash that came encoded is in none of the segments that routes were compared with.
_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f/\\]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")


@frozen
class Place:
    """Where a path leads, below the root: names that cannot climb, and may not exist."""

    names: tuple[bytes, ...]
    """Of folders, and the file last; without a slash, and none is empty or ``..``."""
    is_folder: bool
    """Whether a slash stands at the end, or nothing at all: the folder itself is meant."""

    @property
    def relative(self) -> bytes:
        """The path from the root; a dot for the root."""
        return b"/".join(self.names) or b"."


def place_of(path: str, prefix: str = "") -> Place | None:
    """
    Return where *path* leads, or None for one that leads nowhere.

    Each segment is percent-decoded once, and has to be UTF-8.  A path leads nowhere with a
    broken escape, a control character, a slash that came as ``%2F``, a backslash, or a
    segment that begins with a dot, which ``.`` and ``..`` do; ``.well-known`` (RFC 8615) is
    good.  Empty segments do not count, as in nginx.

    :param path: as it was sent, without the query, decoded as ISO-8859-1.
    :param prefix: what is not part of the place, because the route has ``strip_prefix``.
        Behind it a segment must begin: a prefix ``/app`` and ``/apple`` lead nowhere.
    """
    rest = path.removeprefix(prefix)
    if not rest.startswith("/") and not prefix.endswith("/"):
        # The prefix itself, without a slash, is the root: as a file, so that it gets one.
        return None if rest else Place((), is_folder=False)
    segments = [_decoded(each) for each in rest.split("/") if each]
    names = tuple([each for each in segments if each is not None])
    if len(names) < len(segments):
        return None
    return Place(names, is_folder=not rest or rest.endswith("/"))


def _decoded(segment: str) -> bytes | None:
    if _BROKEN_ESCAPE.search(segment):
        return None
    name = unquote_to_bytes(segment.encode("latin-1"))
    is_hidden = name.startswith(b".") and name != b".well-known"
    if is_hidden or _FORBIDDEN.search(name):
        return None
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return name


def normal_path(path: str) -> str:
    """
    Return *path* without empty segments and needless escapes (RFC 3986, section 6.2.2.2).

    Routes are compared with a path as it was sent, but ``//x`` and ``/%78`` name the same
    file as ``/x``.  So a file may be answered only where the normal path has the same
    route: otherwise another spelling would lead past the route that ``/x`` has.
    """
    return _ESCAPE.sub(_plain, re.sub("/{2,}", "/", path))


def _plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0]


def last_segment(path: str) -> str:
    """Return what stands behind the last slash of *path*, as it was sent."""
    return path.rpartition("/")[2]
