"""Questions and orders to a relay: HTTP with JSON, over TCP, TLS or a unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from typing_extensions import override

import wsrelay
from wsrelay.operate.address import Address
from wsrelay.operate.troubles import BadSetting, Refused, Trouble, Unreachable

__all__ = ["Client", "trust"]

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of an answer; more is no relay's."""

_OURS = "is that the admin endpoint of a wsrelay?"
_RUNNING = "is the relay running, and does its [admin] listen there?"
_GLANCE = 0.05
"""Seconds between two calls of who waits for an answer."""


def trust(authorities: str | None) -> ssl.SSLContext:
    """
    Return how https is checked.

    :param authorities: a PEM file; None: those of the system.
    :raises BadSetting: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        broken = isinstance(error, ssl.SSLError)
        reason = "there is no certificate in it" if broken else error.strerror
        raise BadSetting(f"--ca: cannot use {authorities}: {reason}") from error


@frozen
class Client:
    """
    Asks one relay; every question has a connection of its own.

    ``timeout`` is in seconds, for the whole of a question; ``tls`` is for https only.
    """

    address: Address
    token: str = ""
    timeout: float = 10.0
    tls: ssl.SSLContext | None = None

    def status(self, idle: Callable[[], None] | None = None) -> dict[str, Any]:
        """
        Return status.json; see `ask` for *idle* and what it raises.

        :raises Unreachable: also if that is no status.
        """
        answer = self.ask("GET", "/status.json", idle=idle)
        if not isinstance(answer, dict) or not isinstance(answer.get("pools"), list):
            raise Unreachable(f"{self.address} answered with no status; {_OURS}")
        return answer

    def ask(
        self, method: str, path: str, body: Any = None, idle: Callable[[], None] | None = None
    ) -> Any:
        """
        Ask one question and return the answer's JSON.

        :param idle: is called every now and then while there is no answer; what it raises
            ends the question.
        :raises Refused: the relay said no.
        :raises Unreachable: it did not answer, or what answered is no relay.
        """
        exchange = _Exchange(self._connection(), method, self._target(path), self._headers(), body)
        try:
            self._wait(exchange, method, idle)
        finally:
            exchange.give_up()
        if exchange.error is not None:
            raise self._explained(exchange.error, method) from exchange.error
        return self._judged(exchange.status, exchange.answer)

    def _target(self, path: str) -> str:
        return path if self.address.scheme == "unix" else self.address.path + path

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": f"wsrelay/{wsrelay.__version__}",
        }
        return headers | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def _connection(self) -> http.client.HTTPConnection:
        address = self.address
        if address.scheme == "unix":
            return _UnixConnection(address.path, self.timeout)
        if address.scheme == "https":
            context = self.tls or trust(None)
            return http.client.HTTPSConnection(
                address.host, address.port, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(address.host, address.port, timeout=self.timeout)

    def _wait(self, exchange: _Exchange, method: str, idle: Callable[[], None] | None) -> None:
        deadline = time.monotonic() + self.timeout
        while not exchange.ended.wait(_GLANCE if idle else self.timeout):
            if time.monotonic() >= deadline:
                raise Unreachable(self._too_late(method))
            if idle:
                idle()

    def _too_late(self, method: str) -> str:
        doubt = "" if method == "GET" else "; whether it was done, 'wsrelay status' may tell"
        return f"{self.address} did not answer within {self.timeout:g} s{doubt}"

    def _explained(self, error: Exception, method: str) -> Trouble:
        """Say what became of a question that has no answer."""
        cannot = f"cannot reach {self.address}"
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message
            return Unreachable(
                f"{cannot}: its certificate is not trusted: {reason}; --ca FILE names authorities"
            )
        if isinstance(error, ssl.SSLError):
            return Unreachable(f"{cannot}: TLS failed: {error.reason or error}; {_OURS}")
        if isinstance(error, TimeoutError):
            return Unreachable(self._too_late(method))
        if isinstance(error, http.client.IncompleteRead | ConnectionResetError | BrokenPipeError):
            return Unreachable(f"{self.address} hung up before its answer was whole; {_OURS}")
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            return Unreachable(f"{cannot}: {reason[:1].lower()}{reason[1:]}; {_RUNNING}")
        if isinstance(error, http.client.HTTPException):
            return Unreachable(f"{self.address} sent something that is no answer in HTTP; {_OURS}")
        if isinstance(error, UnicodeError):
            return Unreachable(f"{cannot}: there can be no host of that name")
        return Unreachable(f"{cannot}: {error}")

    def _judged(self, status: int, content: bytes) -> Any:
        """Return the answer's JSON, if it is an answer to be glad of."""
        if status == 401:
            raise Refused(401, self._about_the_token())
        if status == 204:
            return {}
        try:
            answer = json.loads(content, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise Unreachable(
                f"{self.address} answered {status}, and not in JSON; {_OURS}"
            ) from error
        if status < 300:
            return answer
        facts = answer if isinstance(answer, dict) else {}
        message, errors = facts.get("error"), facts.get("errors")
        if not isinstance(message, str) or not message:
            message = f"{self.address} answered {status} and did not say why; {_OURS}"
        lines = errors if isinstance(errors, list) else []
        raise Refused(status, message, [line for line in lines if isinstance(line, str)], answer)

    def _about_the_token(self) -> str:
        if self.token:
            return (
                f"{self.address} does not take this token; is it the one that its [admin]"
                " token_file holds?"
            )
        return f"{self.address} wants a token; say --token-file FILE, or set WSRELAY_TOKEN"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class _Exchange:
    """
    One question and its answer, in a thread of their own.

    The timeouts of sockets are for each step: a name server, or an answer that comes a byte
    at a time, would hold up the command for as long as it likes.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Any,
    ) -> None:
        self.ended = threading.Event()
        self.status = 0
        self.answer = b""
        self.error: Exception | None = None
        self._connection = connection
        self._socket: socket.socket | None = None
        sent = None
        if method in ("POST", "PATCH"):
            headers = {**headers, "Content-Type": "application/json"}
            sent = json.dumps({} if body is None else body).encode()
        self._request = (method, target, sent, headers)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._connection.connect()
            self._socket = self._connection.sock
            self._connection.request(*self._request)
            with self._connection.getresponse() as response:
                self.answer = _whole(response)
                self.status = response.status
        except Exception as error:
            self.error = error
        finally:
            self._connection.close()
            self.ended.set()

    def give_up(self) -> None:
        """Let the thread end; harmless when it has."""
        if self._socket is not None:
            # The other thread may close it at any time.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _whole(response: http.client.HTTPResponse) -> bytes:
    content = response.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise http.client.HTTPException("too long")
    if response.length:  # read() with a limit does not tell that the end is missing
        raise http.client.IncompleteRead(content, response.length)
    return content


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
