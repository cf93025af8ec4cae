"""Endpoints to listen on, as relay.ini has them: Twisted's, and what Twisted leaves to be done."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from errno import ECONNREFUSED, ENOENT
from typing import Any, Final

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from wsrelay.operate.address import address_of_endpoint

__all__ = ["NotPassedOnError", "PassedEndpoint", "endpoint_from"]

BACKLOG: Final = 50
"""Connections that wait to be accepted where nobody says how many; Twisted's number."""


class NotPassedOnError(Exception):
    """systemd did not pass on such a socket; the text says what to mend."""


def endpoint_from(reactor: Any, description: str, backlog: int = BACKLOG) -> IStreamServerEndpoint:
    """
    Make what listens.

    :param description: a Twisted server endpoint string that was checked.
    :param backlog: connections that wait to be accepted, unless *description* says that.
    """
    kind = description.partition(":")[0]
    if kind == "systemd":
        return SystemdEndpoint(reactor, description, backlog)
    if kind in ("tcp", "tcp6", "unix") and ":backlog=" not in description:
        description = f"{description}:backlog={backlog}"
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    if kind == "unix":
        return UNIXEndpoint(endpoint, address_of_endpoint(description).path)
    return endpoint


@implementer(IStreamServerEndpoint)
@frozen
class UNIXEndpoint:
    """
    Listens on a unix socket, also where a process that was killed has left its file.

    Twisted sees to that by a lock, ``PATH.lock``, with the process's id; but it takes a
    process that had the id of this one for this one, and in a container they all have it.
    """

    endpoint: IStreamServerEndpoint
    path: str

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see `IStreamServerEndpoint`."""
        _forget_former_self(self.path)
        listening: Deferred[Any] = self.endpoint.listen(factory)
        return listening.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        """Name the socket, not its lock, where that could not be made."""
        error = failure.value
        if isinstance(error, OSError):
            return Failure(CannotListenError(None, os.fsencode(self.path), error))
        return failure


def _forget_former_self(path: str) -> None:
    """Remove what a process with this one's id has left, if nobody listens there."""
    lock = f"{path}.lock"
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if os.readlink(lock) != str(os.getpid()):
            return
        answer = probe.connect_ex(path)
        # A file that is no socket refuses connections, too.
        if answer == ECONNREFUSED and stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
            os.remove(lock)
        elif answer == ENOENT:
            os.remove(lock)


@implementer(IStreamServerEndpoint)
@frozen
class SystemdEndpoint:
    """
    Listens on a socket that systemd passed on (``sd_listen_fds(3)``).

    Twisted finds it.  But Twisted closes what was passed on, so that it could not be listened
    on again after a reload; opens a unix socket to everybody, and removes its file, which
    systemd will not make again.  None of this is for us to do: the socket is systemd's.
    """

    reactor: Any
    description: str
    backlog: int

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen.

        :returns: fails with `NotPassedOnError`, where `wsrelay check` could not know.
        """
        return execute(self._adopt, factory)

    def _adopt(self, factory: IProtocolFactory) -> Any:
        with self._passed_on() as passed:
            return _adopt(self.reactor, passed, factory, self.backlog)

    def _passed_on(self) -> socket.socket:
        """Return another descriptor of the socket."""
        try:
            found: Any = serverFromString(self.reactor, self.description)
            passed = socket.socket(fileno=os.dup(found.fileno))
        except (IndexError, KeyError, OSError) as error:
            raise NotPassedOnError(
                f"systemd passed on no socket for {self.description}; start it by its .socket unit"
            ) from error
        is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if is_listening and passed.family == found.addressFamily:
            return passed
        domain = passed.family.name.removeprefix("AF_")
        passed.close()
        what = f"it is of domain={domain}" if is_listening else "it listens to nobody: Accept=no"
        raise NotPassedOnError(f"systemd's socket is not as {self.description} says: {what}")


@implementer(IStreamServerEndpoint)
@frozen
class PassedEndpoint:
    """
    Listens on a socket that another process of this relay has bound, and keeps.

    :param passed: stays open, so that it can be listened on again.
    """

    reactor: Any
    passed: socket.socket
    backlog: int

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see `IStreamServerEndpoint`."""
        return execute(_adopt, self.reactor, self.passed, factory, self.backlog)


def _adopt(
    reactor: Any, passed: socket.socket, factory: IProtocolFactory, backlog: int
) -> IListeningPort:
    """Listen on another descriptor of a socket that listens already."""
    passed.setblocking(False)
    if passed.family == socket.AF_UNIX:
        port: Any = _Port._fromListeningDescriptor(reactor, passed.fileno(), factory)
        port.startListening()
    else:
        port = reactor.adoptStreamPort(passed.fileno(), passed.family, factory)
    port.socket.listen(backlog)
    return port  # type: ignore[no-any-return]


class _Port(unix.Port):
    """A unix socket of somebody else's: its file's mode and its end are not ours to decide."""

    @override
    def startListening(self) -> None:
        with suppress(OSError):  # one without a file: then nothing is changed, either
            self.mode = stat.S_IMODE(os.stat(self._bindPath).st_mode)
        super().startListening()

    @override
    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)
