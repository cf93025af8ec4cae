"""Why a connection to an upstream failed or ended, in an operator's words."""

from __future__ import annotations

import os
from typing import Final

from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.python.failure import Failure

_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ConnectionRefusedError, "refused"),
    (TCPTimedOutError, "timed out"),
    (TimeoutError, "timed out"),
    (DNSLookupError, "its name cannot be resolved"),
    (ConnectionDone, "closed by the upstream"),
    (ConnectionLost, "reset, or cut off"),
)


def in_words(reason: Failure) -> str:
    """Say in few words, without a full stop, why a connection failed or was lost."""
    error = reason.value
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, TLSError):
        return _tls_error(error)
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError).lower()
    return reason.getErrorMessage()


def _tls_error(error: TLSError) -> str:
    """Say what OpenSSL found: (library, function, text) for each fault, the last one counts."""
    faults = error.args[0] if error.args else ()
    text = faults[-1][2] if faults else "broken off"
    if text == "certificate verify failed":
        return "its certificate is not signed by an authority of tls_ca, or not valid now"
    return f"TLS failed: {text}"
