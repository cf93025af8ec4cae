"""Which pump relays frames here: ``data_path`` in relay.ini, and what was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from wsrelay.relay.pump import PumpFactory
from wsrelay.relay.python_pump import PythonPump
from wsrelay.relay.transports import nobody

try:
    from wsrelay.relay import native_pump
except ImportError as error:
    _problem = str(error)
else:
    _problem = ""


@frozen
class Pumps:
    """What makes the sessions' pumps, what the log calls it, and what opens it first."""

    make: PumpFactory
    words: str
    open: Callable[[], object] = nobody


def why_not_native() -> str:
    """Say why the native pump is not there; empty when it is."""
    return f"the native pump was not built when wsrelay was installed ({_problem})" * bool(_problem)


def choose_pumps(data_path: str, reactor: Any) -> Pumps:
    """
    Choose what makes the pumps of a relay.

    :param data_path: ``auto``, ``native`` or ``python``.
    :raises ValueError: the native pump is asked for and not there.
    """
    why_not = why_not_native()
    if data_path == "native" and why_not:
        raise ValueError(why_not)
    if data_path == "python":
        return Pumps(PythonPump, "the python pump")
    if why_not:
        return Pumps(PythonPump, f"the python pump: {why_not}")
    hub = native_pump.NativeHub(reactor)
    words = "the native pump" if hub.speaks_tls else "the native pump, those of TLS the python pump"
    return Pumps(hub, words, hub.open)
