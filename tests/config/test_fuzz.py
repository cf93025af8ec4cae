"""No file whatever makes a traceback."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from wsrelay.config import Checks, ConfigErrors, parse
from wsrelay.config.table import KINDS

headers = st.sampled_from(
    ["[relay]", "[log]", "[listener:a]", "[listener:b]", "[route:a]", "[route:default]",
     "[pool:a]", "[pool:default]", "[admin]", "[cluster]", "[DEFAULT]", "[pool]", "[relay:x]"]
)  # fmt: skip
names = st.sampled_from(sorted({name for kind in KINDS.values() for name in kind.options}))
defaults = [option.default for kind in KINDS.values() for option in kind.options.values()]
texts = st.sampled_from(
    [*defaults, "a", "default", "tcp:1", "ws://a:1", "ws://b:1 name=a", "unix:a", "~ (", "~ a",
     "= /a", "A: b", "${X}", "${", "1", "hash key=ip", "10.0.0.0/8", "*.a", "x.pem", "é", "\0"]
)  # fmt: skip
options = st.builds("{} = {}".format, names, texts)
lines = st.one_of(headers, options, texts.map(" {}".format), st.text(max_size=20))
files = st.lists(lines, max_size=40).map("\n".join)


def parses_or_refuses(text: bytes) -> None:
    """Anything but a configuration or ConfigErrors fails the test."""
    try:
        config = parse(text, "relay.ini", Path("/etc"), {"X": "a"}, Checks())
    except ConfigErrors as caught:
        shown = str(caught).split("\n")
        assert len(shown) == len(caught.errors) > 0  # noqa: PT017 - it need not be raised
        assert all(line.startswith("relay.ini:") for line in shown)
    else:
        pools = {pool.name for pool in config.pools}
        listeners = {listener.name for listener in config.listeners}
        assert config.routes
        assert listeners
        assert all(route.pool in pools for route in config.routes)
        assert all(set(route.listeners) <= listeners for route in config.routes)


@given(st.binary())
@example(b"\xef\xbb\xbf")
@example(b"[")
@example(b"[a]\n%(x)s = ${")
def test_any_bytes_are_a_configuration_or_errors(text: bytes) -> None:
    parses_or_refuses(text)


@given(files)
def test_any_mixture_of_sections_and_options_is_a_configuration_or_errors(text: str) -> None:
    parses_or_refuses(text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.tuples(headers, st.lists(options, max_size=3)), max_size=8))
def test_well_formed_files_too(sections: list[tuple[str, list[str]]]) -> None:
    start = ["[listener:z]", "endpoint = tcp:9", "[route:z]", "pool = z", "[pool:z]"]
    body = [line for header, each in sections for line in (header, *each)]
    parses_or_refuses("\n".join([*start, "upstreams = ws://z:1", *body]).encode())
