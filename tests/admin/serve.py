"""The admin endpoint of a fake relay: ``python -m tests.admin.serve ENDPOINT TOKEN``."""

from __future__ import annotations

import json
import signal
import sys

from twisted.internet import reactor

from tests.admin.support import FakeControl
from wsrelay.admin.service import AdminService


class TalkativeControl(FakeControl):
    """Says on standard output what it was told to do."""

    def drain(self, pool: str | None) -> dict[str, object]:
        print(json.dumps({"event": "drain", "pool": pool}), flush=True)
        return super().drain(pool)


def main() -> None:
    """Serve until SIGTERM."""
    control = TalkativeControl()
    service = AdminService(sys.argv[1], control, sys.argv[2] or None, reactor)

    def stop() -> None:
        service.stopService().addBoth(lambda _: reactor.stop())  # type: ignore[union-attr]

    def ready() -> None:
        signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(stop))
        port = getattr(service.port.getHost(), "port", 0)  # type: ignore[union-attr]
        print(json.dumps({"event": "ready", "port": port}), flush=True)

    service.startService()
    reactor.callWhenRunning(ready)
    reactor.run()


if __name__ == "__main__":
    main()
