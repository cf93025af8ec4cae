"""What the upstream programs written in Python have in common."""

from __future__ import annotations

import json

ANSWER_HEADERS = (("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("X-Upstream", "yes"))
REFUSAL_HEADERS = (("WWW-Authenticate", 'Basic realm="tests"'), ("X-Reason", "nobody may"))
REFUSAL_BODY = "No entry, says the upstream: ünknown.\n"
SUBPROTOCOL = "chat.v2"
MESSAGES = 200


def report(event: str, **facts: object) -> None:
    """Print *event* with its *facts* as one line for the test to read."""
    print(json.dumps({"event": event, **facts}), flush=True)


class Counter:
    """Counts ``up 0``, ``up 1`` … as they arrive."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self._count = 0
        self._broken = ""

    def answer(self, message: str) -> str | None:
        """Take *message*; return what to say to it."""
        if message == "end":
            return self._broken or str(self._count)
        if message != f"up {self._count}":
            self._broken = self._broken or f"{message!r} came after {self._count} messages"
        self._count += 1
        return None
