"""Close codes (RFC 6455 section 7.4 and the IANA registry): what may stand on the wire."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013

NO_STATUS: Final = 1005
"""What a close frame without a code stands for; never on the wire."""
ABNORMAL: Final = 1006
"""What a lost connection stands for; never on the wire."""

MAX_REASON: Final = 123
"""Bytes of a reason: a control frame's 125 less the two of the code."""

_ON_THE_WIRE: Final = frozenset(range(1000, 1015)) - {1004, 1005, 1006}


def is_valid_code(code: int) -> bool:
    """Tell whether *code* may stand in a close frame."""
    return code in _ON_THE_WIRE or 3000 <= code <= 4999


def encode_reason(reason: str) -> bytes:
    """Encode *reason* for a close frame, cut between characters where it is too long."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= MAX_REASON:
        return encoded
    return encoded[:MAX_REASON].decode("utf-8", "ignore").encode("utf-8")
