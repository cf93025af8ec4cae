"""``[cluster] redis``: every form of the URL, and what is no such URL."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config.checks import Checks
from wsrelay.config.model import ClusterConfig, RedisUrl
from wsrelay.config.redis_url import key_prefix, redis_url

from .samples import WHOLE, errors_of, parsed, with_option


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://r1", RedisUrl("r1")),
        ("redis://r1:7000", RedisUrl("r1", 7000)),
        ("redis://10.0.0.1:6379/3", RedisUrl("10.0.0.1", database=3)),
        ("redis://r1/", RedisUrl("r1")),
        ("redis://r1?db=3", RedisUrl("r1", database=3)),
        ("redis://[::1]:7000/1", RedisUrl("::1", 7000, database=1)),
        ("redis://:secret@r1", RedisUrl("r1", password="secret")),
        ("redis://relay:p%40ss%2Fw%23@r1", RedisUrl("r1", user="relay", password="p@ss/w#")),
        ("rediss://r1/2", RedisUrl("r1", database=2, is_secure=True)),
        ("rediss://r1?ca=/etc/ca.pem", RedisUrl("r1", is_secure=True, ca=Path("/etc/ca.pem"))),
        ("rediss://r1?verify=no", RedisUrl("r1", is_secure=True, verify=False)),
        ("unix:///run/redis.sock", RedisUrl(path="/run/redis.sock")),
        ("unix:/run/redis.sock", RedisUrl(path="/run/redis.sock")),
        ("unix:///run/redis.sock?db=4", RedisUrl(path="/run/redis.sock", database=4)),
        ("unix://u:p@/r.sock", RedisUrl(path="/r.sock", user="u", password="p")),
    ],
)
def test_a_url_says_where_redis_is(text: str, expected: RedisUrl) -> None:
    assert redis_url(text) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("127.0.0.1:6379", "this is no URL"),
        ("localhost", "this is no URL"),
        ("http://r1", "'http:' is not spoken"),
        ("redis+sentinel://r1", "this is no URL"),
        ("redis://", "the host is missing"),
        ("redis://:6379", "the host is missing"),
        ("redis://a b", "the host is missing"),
        ("redis://[::1", "this is no URL"),
        ("redis://r1:0", "the port is none"),
        ("redis://r1:70000", "the port is none"),
        ("redis://r1/x", "the database is a number"),
        ("redis://r1/-1", "the database is a number"),
        ("redis://r1?ca=x", "'ca' is no option of a redis URL; known: db"),
        ("redis://r1?timeout=3", "'timeout' is no option"),
        ("rediss://r1?verify=maybe", "verify=maybe is neither yes nor no"),
        ("redis://u:p#w@r1", "'#' and '?' are written %2F, %3A, %40, %23 and %3F"),
        ("unix:redis.sock", "begins with /"),
        ("unix://", "begins with /"),
        ("unix://host/r.sock", "begins with /"),
    ],
)
def test_what_is_no_such_url_is_refused_with_a_reason(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        redis_url(text)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = redis_url(text)
    except ValueError:
        return
    assert bool(url.host) != bool(url.path)


@pytest.mark.parametrize("at", ["redis://u:{}@r1", "unix://u:{}@/r.sock", "rediss://:{}@r1/9"])
@pytest.mark.parametrize("password", ["s3cret", "s3cret%40", "s3cret:s3cret"])
def test_no_password_is_shown(at: str, password: str) -> None:
    url = redis_url(at.format(password))
    assert url.password.startswith("s3cret")
    assert "s3cret" not in f"{url} {url!r} {ClusterConfig(url)!r}"


@pytest.mark.parametrize(
    "text",
    [
        "redis://u:s3cret@r1:x",
        "redis://u:s3/cret@r1",
        "http://s3cret",
        "redis://u:pw?s3cret@r1:6379",
        "rediss://u:1?s3cret=x@r1",
        "unix://u:pw?s3cret@/r.sock",
        "s3cret:r1:6379",
    ],
)
def test_no_password_is_in_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(?!.*s3)"):
        redis_url(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (RedisUrl("r1", user="u", password="p"), "redis://r1:6379/0"),
        (RedisUrl("::1", 7000, database=2, is_secure=True), "rediss://[::1]:7000/2"),
        (RedisUrl(path="/r.sock", database=1), "unix:///r.sock?db=1"),
    ],
)
def test_a_url_is_shown_as_it_may_be_written(url: RedisUrl, shown: str) -> None:
    assert str(url) == shown
    assert str(redis_url(shown)) == shown


@pytest.mark.parametrize("text", ["a b", "a{b}", "a*", "x" * 65, "p\u00e4", "a'b"])
def test_a_prefix_needs_no_quotes_anywhere(text: str) -> None:
    with pytest.raises(ValueError, match="cannot begin a key"):
        key_prefix(text)


def test_a_cluster_stands_in_the_configuration() -> None:
    config = parsed(with_option("cluster", "redis = redis://r1\nprefix = chat"))
    assert config.cluster == ClusterConfig(RedisUrl("r1"), "chat")
    assert parsed(WHOLE).cluster is None


def test_what_the_running_system_says_of_it_is_told_with_the_line() -> None:
    def refuse(cluster: ClusterConfig) -> None:
        raise ValueError(f"no way to {cluster.redis}")

    text = with_option("cluster", "redis = redis://r1")
    (error,) = errors_of(text, checks=Checks(cluster=refuse))
    line = text.split("\n").index("redis = redis://r1") + 1
    assert error == f"relay.ini:{line}: [cluster] redis: no way to redis://r1:6379/0"


def test_the_file_of_the_authorities_is_beside_relay_ini() -> None:
    config = parsed(with_option("cluster", "redis = rediss://r1?ca=ca.pem"))
    assert config.cluster is not None
    assert config.cluster.redis.ca is not None
    assert config.cluster.redis.ca.is_absolute()
