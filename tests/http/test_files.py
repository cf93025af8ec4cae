"""Files below a directory, and no others."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.support import NOW, THEN, ask, get, header, status_of, write
from wsrelay.http import folder
from wsrelay.http.answers import FileAnswer, OwnAnswer
from wsrelay.http.dates import http_date
from wsrelay.http.folder import NoFile
from wsrelay.wire.headers import Headers

SECRET = b"nobody may see this"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with files, beside what nobody may see."""
    root = tmp_path / "www"
    write(tmp_path / "secret.txt", SECRET)
    write(tmp_path / "wwwx" / "secret.txt", SECRET)
    write(root / ".git" / "config", SECRET)
    write(root / ".env", SECRET)
    write(root / "docs" / ".hidden" / "x", SECRET)
    write(root / "index.html", b"<p>home")
    write(root / "app.js", b"let a = 1;")
    write(root / "docs" / "index.html", b"<p>docs")
    write(root / "docs" / "a b.txt", b"spaced")
    write(root / "bare" / "file.txt", b"in a directory without index")
    write(root / ".well-known" / "acme" / "token", b"token")
    write(root / "empty.txt")
    return root


def open_files() -> set[str]:
    """Return what this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/", b"<p>home"),
        ("/index.html", b"<p>home"),
        ("/app.js", b"let a = 1;"),
        ("/app.js?v=1", b"let a = 1;"),
        ("//app.js", b"let a = 1;"),
        ("/docs/", b"<p>docs"),
        ("/docs/a%20b.txt", b"spaced"),
        ("/.well-known/acme/token", b"token"),
        ("/empty.txt", b""),
    ],
)
def test_a_file_is_sent(root: Path, target: str, content: bytes) -> None:
    answer, body = get(root, target)
    assert (answer.status, body) == (200, content)
    assert header(answer, "content-length") == str(len(content))


@pytest.mark.parametrize(
    "target",
    [
        *("/nothing", "/docs/nothing", "/app.js/", "/app.js/x", "/bare/", "/bare", "/nothing/"),
        *("/.git/config", "/.env", "/docs/.hidden/x", "/../secret.txt", "/docs/../../secret.txt"),
        *("/%2e%2e/secret.txt", "/..%2fsecret.txt", "/docs%2findex.html", "/a%00.txt", "/\\app.js"),
        *("/.well-known", "/.well-known/", "/.well-known/.secret", "/" + "a" * 300),
        "/" + "a/" * 3000,
    ],
)
def test_there_is_no_such_file(root: Path, target: str) -> None:
    answer = ask(root, target)
    assert answer == OwnAnswer(404, "There is no such file.")


def test_a_prefix_is_part_of_the_place_unless_it_is_stripped(root: Path) -> None:
    write(root / "app" / "x.txt", b"below the prefix")
    write(root / "x.txt", b"right here")
    assert get(root, "/app/x.txt")[1] == b"below the prefix"
    assert get(root, "/app/x.txt", prefix="/app/")[1] == b"right here"
    assert get(root, "/app/x.txt", prefix="/app")[1] == b"right here"
    assert get(root, "/app/", prefix="/app/")[1] == b"<p>home"


@pytest.mark.parametrize(
    ("target", "prefix", "location"),
    [
        ("/docs", "", "./docs/"),
        ("/docs?a=b&c", "", "./docs/?a=b&c"),
        ("/d%6Fcs", "", "./d%6Fcs/"),
        ("//docs", "", "./docs/"),
        ("/site/docs", "/site", "./docs/"),
        ("/site", "/site", "./site/"),
        ("/site?q", "/site", "./site/?q"),
        ("/http:evil.test", "", "./http:evil.test/"),
        ("//evil.test", "", "./evil.test/"),
    ],
)
def test_a_directory_gets_its_slash(root: Path, target: str, prefix: str, location: str) -> None:
    write(root / "http:evil.test" / "index.html")
    write(root / "evil.test" / "index.html")
    answer = ask(root, target, prefix=prefix)
    assert (answer.status, header(answer, "location")) == (301, location)


def test_an_index_that_is_a_directory_is_none(root: Path) -> None:
    write(root / "odd" / "index.html" / "index.html")
    assert status_of(root, "/odd/") == 404
    assert status_of(root, "/odd") == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"])
def test_files_are_only_read(root: Path, method: str) -> None:
    answer = ask(root, "/app.js", method)
    assert (answer.status, header(answer, "allow")) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get_and_no_body(root: Path) -> None:
    got, _ = get(root, "/app.js")
    answer, body = get(root, "/app.js", "HEAD")
    assert (answer.status, answer.headers, answer.file, body) == (200, got.headers, None, b"")
    assert status_of(root, "/nothing", "HEAD") == 404
    assert status_of(root, "/docs", "HEAD") == 301


def test_a_file_comes_with_all_that_is_known_of_it(root: Path) -> None:
    answer, _ = get(root, "/app.js")
    etag = header(answer, "etag")
    assert etag is not None
    assert dict(answer.headers) == {
        b"Content-Type": b"text/javascript; charset=utf-8",
        b"Content-Length": b"10",
        b"Last-Modified": http_date(THEN),
        b"ETag": etag.encode(),
        b"Accept-Ranges": b"bytes",
        b"X-Content-Type-Options": b"nosniff",
    }
    assert etag[0] == etag[-1] == '"'


def test_the_etag_changes_with_time_and_size(root: Path) -> None:
    tags = []
    for content, modified in ((b"a", THEN), (b"b", THEN + 1e-3), (b"bb", THEN + 1e-3)):
        write(root / "a.txt", content, modified)
        tags.append(header(get(root, "/a.txt")[0], "etag"))
    assert len(set(tags)) == 3


def test_a_file_from_the_future_was_modified_now(root: Path) -> None:
    write(root / "a.txt", b"a", NOW + 1000)
    assert header(get(root, "/a.txt")[0], "last-modified") == http_date(NOW).decode()


def test_a_file_from_before_unix_has_a_date(root: Path) -> None:
    write(root / "a.txt", b"a", -1000)
    assert header(get(root, "/a.txt")[0], "last-modified") == http_date(0).decode()


def test_who_has_the_file_does_not_get_it_again(root: Path) -> None:
    whole = get(root, "/app.js")[0]
    etag, modified = header(whole, "etag") or "", header(whole, "last-modified") or ""
    for fields in ({"If_None_Match": etag}, {"If_Modified_Since": modified}):
        for method in ("GET", "HEAD"):
            answer, body = get(root, "/app.js", method, **fields)
            assert (answer.status, answer.file, body) == (304, None, b"")
            assert answer.headers == (
                (b"Last-Modified", modified.encode()),
                (b"ETag", etag.encode()),
            )


def test_a_condition_that_fails_is_said(root: Path) -> None:
    assert status_of(root, "/app.js", If_Match='"x"') == 412
    assert status_of(root, "/nothing", If_Match='"x"') == 404


def test_a_part_is_sent(root: Path) -> None:
    answer, body = get(root, "/app.js", Range="bytes=4-7")
    assert (answer.status, body) == (206, b"a = ")
    assert header(answer, "content-range") == "bytes 4-7/10"
    assert header(answer, "content-length") == "4"
    assert header(answer, "content-type") == "text/javascript; charset=utf-8"


def test_several_parts_are_sent_in_one_body(root: Path) -> None:
    answer, body = get(root, "/app.js", Range="bytes=0-2,-2")
    kind = header(answer, "content-type") or ""
    assert answer.status == 206
    assert header(answer, "content-range") is None
    assert header(answer, "content-length") == str(len(body)) == str(answer.length)
    start, _, boundary = kind.partition("=")
    assert start == "multipart/byteranges; boundary"
    assert body.count(boundary.encode()) == 3
    assert [part.partition(b"\r\n\r\n")[2] for part in body.split(b"\r\n--")[:2]] == [
        b"let",
        b"1;",
    ]
    again = header(get(root, "/app.js", Range="bytes=0-2,-2")[0], "content-type")
    assert again != kind, "whoever writes a file must not know the boundary"


def test_a_part_that_is_not_there(root: Path) -> None:
    answer = ask(root, "/app.js", Range="bytes=10-")
    assert (answer.status, header(answer, "content-range")) == (416, "bytes */10")


def test_a_range_is_for_get_and_for_the_version_that_the_client_knows(root: Path) -> None:
    etag = header(get(root, "/app.js")[0], "etag") or ""
    assert status_of(root, "/app.js", "HEAD", Range="bytes=0-1") == 200
    assert status_of(root, "/app.js", Range="bytes=0-1", If_Range=etag) == 206
    assert status_of(root, "/app.js", Range="bytes=0-1", If_Range='"x"') == 200
    assert status_of(root, "/app.js", Range="bytes=99-", If_Range='"x"') == 200
    assert status_of(root, "/app.js", Range="bytes=0-1", If_None_Match=etag) == 304


# compressed siblings


@pytest.fixture
def squeezed(root: Path) -> Path:
    write(root / "app.js.gz", b"not really gzip")
    return root


def test_who_takes_gzip_gets_the_sibling(squeezed: Path) -> None:
    answer, body = get(squeezed, "/app.js", Accept_Encoding="br, gzip")
    assert body == b"not really gzip"
    assert header(answer, "content-type") == "text/javascript; charset=utf-8"
    assert header(answer, "content-encoding") == "gzip"
    assert header(answer, "content-length") == "15"
    assert header(answer, "vary") == "Accept-Encoding"


def test_who_does_not_take_gzip_learns_that_there_are_two(squeezed: Path) -> None:
    answer, body = get(squeezed, "/app.js", Accept_Encoding="gzip;q=0")
    assert body == b"let a = 1;"
    assert header(answer, "content-encoding") is None
    assert header(answer, "vary") == "Accept-Encoding"


def test_the_two_have_tags_of_their_own(root: Path) -> None:
    write(root / "app.js.gz", b"ten bytes.")  # as long, and as old
    plain = header(get(root, "/app.js")[0], "etag") or ""
    small = header(get(root, "/app.js", Accept_Encoding="gzip")[0], "etag") or ""
    assert plain != small
    assert status_of(root, "/app.js", Accept_Encoding="gzip", If_None_Match=plain) == 200
    answer, _ = get(root, "/app.js", Accept_Encoding="gzip", If_None_Match=small)
    assert (answer.status, header(answer, "vary")) == (304, "Accept-Encoding")


def test_parts_are_of_what_is_sent(squeezed: Path) -> None:
    answer, body = get(squeezed, "/app.js", Accept_Encoding="gzip", Range="bytes=4-9")
    assert (answer.status, body) == (206, b"really")
    assert header(answer, "content-range") == "bytes 4-9/15"
    assert header(answer, "content-encoding") == "gzip"


@pytest.mark.parametrize(("age", "is_sent"), [(-1, True), (0, True), (0.9, True), (1, False)])
def test_a_sibling_of_an_older_version_is_not_sent(root: Path, age: float, is_sent: bool) -> None:
    write(root / "app.js", b"let a = 1;", THEN + 0.95)
    write(root / "app.js.gz", b"squeezed", THEN + 0.95 - age)
    answer, body = get(root, "/app.js", Accept_Encoding="gzip")
    assert body == (b"squeezed" if is_sent else b"let a = 1;")
    assert header(answer, "vary") == ("Accept-Encoding" if is_sent else None)


def test_a_sibling_that_is_no_file_or_leads_out_is_none(root: Path) -> None:
    (root / "app.js.gz").mkdir()
    (root / "index.html.gz").symlink_to("../secret.txt")
    for target in ("/app.js", "/"):
        answer, body = get(root, target, Accept_Encoding="gzip")
        assert (header(answer, "vary"), SECRET in body) == (None, False)


def test_a_sibling_alone_is_no_file(root: Path) -> None:
    write(root / "lone.js.gz", b"squeezed")
    assert status_of(root, "/lone.js", Accept_Encoding="gzip") == 404
    assert header(get(root, "/lone.js.gz")[0], "content-encoding") is None


# symlinks, and what is no file


def test_a_symlink_within_the_directory_is_followed(root: Path) -> None:
    (root / "link.js").symlink_to("app.js")
    (root / "absolute.js").symlink_to(root / "app.js")
    (root / "manual").symlink_to("docs")
    (root / "..data").symlink_to("docs")  # as Kubernetes mounts what may change at once
    (root / "mounted.html").symlink_to("..data/index.html")
    for target in ("/link.js", "/absolute.js"):
        assert get(root, target)[1] == b"let a = 1;"
    for target in ("/manual/", "/mounted.html"):
        assert get(root, target)[1] == b"<p>docs"


@pytest.mark.parametrize("to", ["../secret.txt", "../wwwx/secret.txt", "/etc/passwd", "loop", "no"])
def test_a_symlink_that_leads_out_or_nowhere_is_no_file(root: Path, to: str) -> None:
    (root / "loop").symlink_to(to)
    assert status_of(root, "/loop") == 404


def test_a_directory_that_leads_out_has_no_files(root: Path) -> None:
    write(root.parent / "wwwx" / "index.html", SECRET)
    (root / "out").symlink_to("../wwwx")
    (root / "up").symlink_to("..")
    targets = ("/out", "/out/", "/out/secret.txt", "/up/secret.txt", "/up/wwwx/")
    assert [status_of(root, target) for target in targets] == [404] * len(targets)


def test_the_directory_itself_may_be_a_symlink_that_changes(root: Path) -> None:
    current = root.parent / "current"
    current.symlink_to("www")
    assert get(current, "/app.js")[1] == b"let a = 1;"
    write(root.parent / "www2" / "app.js", b"let a = 2;")
    fresh = root.parent / "fresh"
    fresh.symlink_to("www2")
    fresh.rename(current)
    assert get(current, "/app.js")[1] == b"let a = 2;"


def test_the_whole_file_system_can_be_the_directory(root: Path) -> None:
    assert get(Path("/"), quote(str(root / "app.js")))[1] == b"let a = 1;"


def test_a_directory_that_is_gone_has_no_files(root: Path) -> None:
    assert status_of(root / "gone", "/app.js") == 404
    assert status_of(root / "app.js", "/") == 404


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_symlink_that_is_swapped_in_the_middle_leads_nowhere_else(
    root: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is checked that is sent, whatever its name leads to meanwhile."""
    link = root / "link.js"
    link.symlink_to("app.js")
    look = folder._place_of

    def swap() -> None:
        link.unlink()
        link.symlink_to("../secret.txt")

    def look_and_swap(number: int) -> str:
        if when == "before":
            swap()
        place = look(number)
        if when == "after":
            swap()
        return place

    with folder.open_folder(root) as opened:
        monkeypatch.setattr(folder, "_place_of", look_and_swap)
        found = opened.find(b"link.js")
        with found.file:
            assert found.file.readall() == b"let a = 1;"
        monkeypatch.undo()
        with pytest.raises(NoFile):
            opened.find(b"link.js")


def test_what_is_no_regular_file_is_none_and_blocks_nobody(root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "app.js.gz")
    (root / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        assert [status_of(root, f"/{name}") for name in ("fifo", "socket", "zero")] == [404] * 3
    assert get(root, "/app.js", Accept_Encoding="gzip")[1] == b"let a = 1;"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that others can reach, too."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything, if it is there."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_may_not_be_read_says_so(public: Path) -> None:
    write(public / "shut.txt").chmod(0)
    write(public / "folder" / "x.txt")
    (public / "folder").chmod(0)
    write(public / "open.txt", b"open")
    write(public / "open.txt.gz").chmod(0)
    with as_nobody():
        assert status_of(public, "/shut.txt") == 403
        assert status_of(public, "/folder/x.txt") == 403
        assert get(public, "/open.txt", Accept_Encoding="gzip")[1] == b"open"
    (public / "folder").chmod(0o755)


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.EMFILE, 503), (errno.ENFILE, 503), (errno.ENOMEM, 503), (errno.EIO, 500)],
)
def test_an_error_of_the_system_is_answered(
    root: Path, number: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder.os, "open", fail)
    answer = ask(root, "/app.js")
    assert answer.status == status
    assert (header(answer, "retry-after") is not None) == (status == 503)


def test_without_proc_the_answer_says_what_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr(folder.os, "readlink", fail)
    answer = ask(root, "/app.js")
    assert answer == OwnAnswer(500, "The relay cannot see /proc; it has to be mounted.")


def test_nothing_stays_open_but_what_is_to_be_sent(squeezed: Path) -> None:
    before = open_files()
    requests: list[tuple[str, dict[str, str]]] = [
        ("/app.js", {"If_None_Match": "*"}),
        ("/app.js", {"If_None_Match": "*", "Accept_Encoding": "gzip"}),
        ("/app.js", {"If_Match": '"x"', "Accept_Encoding": "gzip"}),
        ("/app.js", {"Range": "bytes=99-"}),
        ("/app.js", {"Range": "bytes=99-", "Accept_Encoding": "gzip"}),
        *((target, {}) for target in ("/docs", "/bare", "/nothing", "/../secret.txt")),
    ]
    for target, fields in requests:
        answer = ask(squeezed, target, **fields)
        assert not isinstance(answer, FileAnswer) or answer.file is None
        assert open_files() == before, (target, fields)
    for fields in ({}, {"Accept_Encoding": "gzip"}, {"Range": "bytes=0-1,4-5"}):
        sent = ask(squeezed, "/app.js", **fields)
        assert isinstance(sent, FileAnswer)
        assert len(open_files() - before) == 1, "the file that is sent, and not its sibling"
        sent.close()
        sent.close()
        assert open_files() == before
    ask(squeezed, "/app.js", "HEAD")
    assert open_files() == before


# whatever is asked


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which files are allowed, among much that is not."""
    top = tmp_path_factory.mktemp("maze")
    root = top / "a" / "www"
    for path in (top / "s", top / "a" / "s", root / ".s", root / ".a" / "s", root / "a" / ".s"):
        write(path, SECRET)
    for path in (root / "s", root / "a" / "s", root / "a" / "index.html", root / "a" / "a" / "s"):
        write(path, b"good")
    (root / "up").symlink_to("..")
    (root / "a" / "out").symlink_to("../../s")
    (root / "a" / "in").symlink_to("../a/s")
    return root


steps = st.sampled_from(
    [
        *("a", "s", "up", "out", "in", "www", "..", ".", ".a", ".s", "", "~", "%73", "..;"),
        *("%2e%2e", ".%2E", "%2E", "%2e.", "..%2f", "%2f", "..%5c", "\\..", "..\\", "%00", "s%00"),
        *("%252e%252e", "%c0%ae%c0%ae"),
    ]
)
spellings = st.lists(steps, min_size=1, max_size=8).map(lambda parts: "/" + "/".join(parts))


@given(target=spellings, prefix=st.sampled_from(["", "/", "/a", "/a/", "/."]))
def test_no_spelling_of_a_path_leads_out(maze: Path, target: str, prefix: str) -> None:
    answer = ask(maze, target, prefix=prefix if target.startswith(prefix) else "")
    if isinstance(answer, OwnAnswer):
        assert answer.status in (301, 404)
        return
    assert answer.file is not None
    with answer.file:
        assert answer.file.readall() == b"good"


@given(target=spellings)
def test_a_redirect_stays_on_the_host(maze: Path, target: str) -> None:
    answer = ask(maze, target)
    if isinstance(answer, FileAnswer):
        answer.close()
        return
    for location in Headers(answer.headers).get_all("location"):
        assert location.startswith("./")
