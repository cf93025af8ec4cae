"""The check that asks for a page: ``health_check = http``."""

from __future__ import annotations

from typing_extensions import override

from wsrelay.health.base import Check, Done, Target
from wsrelay.wire.response import Response


class HTTPCheck(Check):
    """Gets ``path`` and looks at the status of the answer; its body is not read."""

    def __init__(self, target: Target, done: Done) -> None:
        self.head = target.request(b"Accept: */*", b"Connection: close")
        super().__init__(target, done)

    @override
    def upstream_answered(self, response: Response, rest: bytes) -> None:
        first, last = self.target.config.status
        if first <= response.status <= last:
            self.conclude(True, f"answered {response.status}")
            return
        wanted = f"{first}" if first == last else f"{first}-{last}"
        self.conclude(False, f"answered {response.status} instead of {wanted}")
