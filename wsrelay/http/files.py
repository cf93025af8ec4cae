"""
What a route with ``static = DIR`` answers.

Files are looked up and read in the reactor's thread, as nginx does it by default: the
files of a web application are in the kernel's cache, and a read of `sending.PIECE` bytes
from there takes some ten microseconds.  A disk that hangs, or a network file system whose
server does not answer, holds up the whole relay; keep what is served on a disk of its own.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from wsrelay.http.answers import Field, FileAnswer, OwnAnswer, Span
from wsrelay.http.conditions import Validators, Verdict, judge, range_counts
from wsrelay.http.content import content_type, takes_gzip
from wsrelay.http.dates import http_date
from wsrelay.http.folder import Folder, Found, NoFile, open_folder
from wsrelay.http.paths import Place, last_segment, place_of
from wsrelay.http.ranges import content_range, multipart, spans_of
from wsrelay.wire.request import Request

__all__ = ["file_answer"]

_INDEX: Final = b"index.html"
_RANGES: Final = (b"Accept-Ranges", b"bytes")
_NO_SNIFFING: Final = (b"X-Content-Type-Options", b"nosniff")
_VARY: Final = (b"Vary", b"Accept-Encoding")
_RETRY: Final = (b"Retry-After", b"1")


@frozen
class _Representation:
    """A file, in the encoding in which it is sent, and what is said of it."""

    found: Found
    content_type: bytes
    validators: Validators
    encoding: tuple[Field, ...] = ()
    vary: tuple[Field, ...] = ()

    @property
    def version(self) -> tuple[Field, ...]:
        """The fields of a 304, which every other answer has, too."""
        modified = http_date(self.validators.modified)
        return ((b"Last-Modified", modified), (b"ETag", self.validators.etag), *self.vary)

    def head(self, length: int, kind: bytes, *more: Field) -> tuple[Field, ...]:
        """Return the fields of an answer with a body of *length* bytes."""
        return (
            (b"Content-Type", kind),
            (b"Content-Length", b"%d" % length),
            *more,
            *self.encoding,
            *self.version,
            _RANGES,
            _NO_SNIFFING,
        )


def file_answer(
    root: Path, request: Request, *, now: float, prefix: str = ""
) -> FileAnswer | OwnAnswer:
    """
    Answer a request with a file below *root*.

    `wsrelay.http.paths.place_of` says which one.  Of a directory it is ``index.html``, and
    without that there is nothing: no listing.  A path that lacks the slash behind such a
    directory is answered with a 301 to the one that has it.

    :param now: seconds of Unix.
    :param prefix: the route's path when it has ``strip_prefix``: ``/app/x`` is then
        ``root/x``, and otherwise ``root/app/x``, as with ``root`` in nginx.
    :returns: what may not be sent in an answer to HEAD is left out of a `FileAnswer`, but
        is in an `OwnAnswer`.
    """
    if request.method not in ("GET", "HEAD"):
        allow = (b"Allow", b"GET, HEAD")
        return OwnAnswer(405, "There are files here, to be read; send GET or HEAD.", (allow,))
    place = place_of(request.path, prefix)
    try:
        if place is None:
            raise NoFile.not_there()
        with open_folder(root) as folder:
            return _answer_from(folder, place, request, now)
    except NoFile as problem:
        more = (_RETRY,) if problem.status == 503 else ()
        return OwnAnswer(problem.status, problem.reason, more)


def _answer_from(
    folder: Folder, place: Place, request: Request, now: float
) -> FileAnswer | OwnAnswer:
    try:
        name = place.relative
        if place.is_folder:
            name += b"/" + _INDEX
        found = folder.find(name)
    except IsADirectoryError:
        if place.is_folder:  # index.html is one
            raise NoFile.not_there() from None
        return _with_slash(folder, name, request)
    chosen = _choose(folder, found, name, request, now)
    answer = _answer(chosen, request, now)
    if isinstance(answer, OwnAnswer) or answer.file is None:
        chosen.found.file.close()
    return answer


def _with_slash(folder: Folder, name: bytes, request: Request) -> OwnAnswer:
    """Send a client to a directory's own path, if something is there."""
    with suppress(IsADirectoryError):
        folder.find(name + b"/" + _INDEX).file.close()
        # Relative to the path as the client knows it, whatever is in front of this relay.
        # The dot keeps a name with a colon in it from being a scheme.
        location = f"./{last_segment(request.path)}/"
        location += f"?{request.query}" if request.query else ""
        field = (b"Location", location.encode("latin-1"))
        return OwnAnswer(301, "This is a directory; its path ends with a slash.", (field,))
    raise NoFile.not_there()


def _choose(
    folder: Folder, found: Found, name: bytes, request: Request, now: float
) -> _Representation:
    """Choose between a file and its compressed sibling; the one not chosen is closed."""
    plain = _Representation(found, content_type(name), _validators(found, now))
    sibling = _sibling(folder, found, name)
    if sibling is None:
        return plain
    if not takes_gzip(request.headers):
        sibling.file.close()
        return evolve(plain, vary=(_VARY,))
    found.file.close()
    validators = _validators(sibling, now, b"-gz")
    encoding = ((b"Content-Encoding", b"gzip"),)
    return evolve(plain, found=sibling, validators=validators, encoding=encoding, vary=(_VARY,))


def _sibling(folder: Folder, found: Found, name: bytes) -> Found | None:
    """Open the compressed file beside one, unless it is of an older version."""
    with suppress(NoFile, IsADirectoryError):
        sibling = folder.find(name + b".gz")
        # gzip gives it the time of the original, of which tools may cut off the fractions.
        if sibling.mtime_ns // 10**9 >= found.mtime_ns // 10**9:
            return sibling
        sibling.file.close()
    return None


def _validators(found: Found, now: float, suffix: bytes = b"") -> Validators:
    # A date in the future would be none (RFC 9110, section 8.8.2.1).
    modified = min(max(found.mtime_ns // 10**9, 0), int(now))
    return Validators(b'"%x-%x%b"' % (found.mtime_ns, found.size, suffix), modified)


def _answer(chosen: _Representation, request: Request, now: float) -> FileAnswer | OwnAnswer:
    verdict = judge(request.headers, chosen.validators, now)
    if verdict is Verdict.FAILED:
        return OwnAnswer(412, "The file is not in the state that the request asks for.")
    if verdict is Verdict.NOT_MODIFIED:
        return FileAnswer(304, chosen.version)
    size = chosen.found.size
    whole = FileAnswer(200, chosen.head(size, chosen.content_type))
    if request.method == "HEAD":  # Range is for GET alone (RFC 9110, section 14.2)
        return whole
    if range_counts(request.headers, chosen.validators, now):
        spans = spans_of(request.headers, size)
        if spans is not None:
            return _parts(chosen, spans)
    return evolve(whole, pieces=(Span(0, size),), file=chosen.found.file)


def _parts(chosen: _Representation, spans: tuple[Span, ...]) -> FileAnswer | OwnAnswer:
    size, file = chosen.found.size, chosen.found.file
    if not spans:
        field = (b"Content-Range", b"bytes */%d" % size)
        return OwnAnswer(416, f"The file has {size} bytes, none of them in that range.", (field,))
    if len(spans) == 1:
        field = (b"Content-Range", content_range(spans[0], size))
        head = chosen.head(spans[0].length, chosen.content_type, field)
        return FileAnswer(206, head, spans, file)
    body = multipart(spans, size, chosen.content_type, secrets.token_hex(16).encode())
    answer = FileAnswer(206, (), body.pieces, file)
    return evolve(answer, headers=chosen.head(answer.length, body.content_type))
