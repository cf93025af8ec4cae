"""What an operator reads of a connection that failed."""

from __future__ import annotations

import errno

import pytest
from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    TimeoutError,
    getConnectError,
)
from twisted.python.failure import Failure

from wsrelay.relay.identity import BadCertificate
from wsrelay.relay.reasons import in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (getConnectError((errno.ECONNREFUSED, "x")), "refused"),
        (getConnectError((errno.ETIMEDOUT, "x")), "timed out"),
        (getConnectError((errno.ENOENT, "x")), "no such file or directory"),
        (getConnectError((errno.ENETUNREACH, "x")), "network is unreachable"),
        (getConnectError((errno.EHOSTUNREACH, "x")), "no route to host"),
        (TimeoutError(), "timed out"),
        (DNSLookupError("no results"), "its name cannot be resolved"),
        (ConnectionDone(), "closed by the upstream"),
        (ConnectionLost(), "reset, or cut off"),
        (BadCertificate("its certificate is for another host"), "its certificate is for another"),
        (TLSError([("SSL", "", "certificate verify failed")]), "its certificate is not signed by"),
        (TLSError([("SSL", "", "first"), ("SSL", "", "wrong number")]), "TLS failed: wrong number"),
        (TLSError([]), "TLS failed: broken off"),
        (TLSError(), "TLS failed: broken off"),
        (RuntimeError("something else"), "something else"),
    ],
)
def test_a_failure_is_told_in_words(error: Exception, words: str) -> None:
    told = in_words(Failure(error))
    assert told.startswith(words)
    assert not told.endswith(".")
