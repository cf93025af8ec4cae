"""
The relay as a part of another Twisted application.

Here it shares the process with a websocket-free service, a line that counts its own sessions
every minute.  Run it with ``twistd -ny examples/embedded.py``; LISTEN and UPSTREAM in the
environment say where.
"""

import os

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.logger import Logger

from wsrelay.config import Checks, short_form
from wsrelay.service import RelayService

log = Logger()

config = short_form(
    [os.environ.get("LISTEN", "tcp:8080:interface=127.0.0.1")],
    [os.environ.get("UPSTREAM", "ws://127.0.0.1:3000")],
    Checks(),
)
relay = RelayService(config, reactor)


def count_sessions() -> None:
    log.info("{count} sessions", count=len(relay.relay.sessions))


application = Application("an application with a relay in it")
relay.setServiceParent(application)
TimerService(60, count_sessions).setServiceParent(application)
