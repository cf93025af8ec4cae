"""
The access log: one line when a session opens, one when it ends, one for each plain request
and for each refusal.

A line is JSON or readable text.  Nothing a client sends can make a second line or
control a terminal: text is quoted where it is not plain.  Ten refusals for one reason are
written in a second; one line, at its end, says how many more there were.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.logger import Logger as TwistedLogger
from typing_extensions import override

from wsrelay.config.model import LogConfig
from wsrelay.line_limit import LineLimit, Missed
from wsrelay.log import Logger, write_stdout
from wsrelay.relay.facts import Exchanged, Facts, Nobody
from wsrelay.relay.pump import Side
from wsrelay.relay.session import Session

log = Logger()
_service_log = TwistedLogger(namespace="wsrelay.access")

_PLAIN = re.compile(r"[!#-&(-~]+")  # visible ASCII without quotes


class NoLog(Nobody):
    """What ``access = off`` does."""

    def session_ticked(self, session: Session) -> None:
        """Do nothing."""

    def open(self) -> None:
        """Do nothing."""

    def reopen(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@define(eq=False)
class AccessLog(Nobody):
    """
    Writes the lines; an `Observer`.

    :param write_line: takes a line without its end.
    :param now: seconds since the epoch.
    :param reactor: tells when a second is over; None: refusals are not limited.
    """

    config: LogConfig
    write_line: Callable[[str], None]
    now: Callable[[], float] = time.time
    sink: FileSink | None = None
    reactor: Any = None
    _limit: LineLimit | None = field(init=False)

    @_limit.default
    def _make_limit(self) -> LineLimit | None:
        return None if self.reactor is None else LineLimit(self.reactor, self._sum_up)

    @override
    def session_opened(self, facts: Facts, session: Session) -> None:
        """Write the line of a session that began."""
        self._write("open", facts, {})

    def session_ticked(self, session: Session) -> None:
        """Write the line of a session that goes on, with what has passed."""
        self._write("tick", session.facts, _passed(session))

    @override
    def session_ended(self, facts: Facts, session: Session) -> None:
        """Write the line of its end, with what passed."""
        cause = session.cause
        assert cause is not None
        more = {
            **_passed(session),
            "close_code": cause.code,
            "close_reason": cause.reason,
            "initiator": cause.initiator,
        }
        self._write("end", facts, more)

    @override
    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        """Write the line of a plain request that was answered."""
        more: dict[str, Any] = {
            "duration_s": round(what.duration, 3),
            "bytes_up": what.bytes_up,
            "bytes_down": what.bytes_down,
        }
        if what.problem:
            more["reason"] = what.problem
        self._write("http", facts, more)

    @override
    def refused(self, facts: Facts, reason: str) -> None:
        """Write the line of a client that got no session, unless there are too many of them."""
        why = facts.refusal or "upstream"
        if self._limit is None or self._limit.missed(why, _host_of(facts.client)) is None:
            self._write("refused", facts, {"reason": reason} if reason else {})

    def open(self) -> None:
        """
        Open the file; called before privileges are dropped.

        :raises OSError: it cannot be.
        """
        if self.sink is not None:
            self.sink.open()

    def reopen(self) -> None:
        """Open the file anew, after somebody has moved it away."""
        if self.sink is not None:
            self.sink.reopen()

    def close(self) -> None:
        """Say what was not said yet, and close the file."""
        if self._limit is not None:
            self._limit.end()
        if self.sink is not None:
            self.sink.close()

    def _write(self, event: str, facts: Facts, more: dict[str, Any]) -> None:
        record = self._record(event, facts)
        record.update(more)
        self._write_record(record)

    def _sum_up(self, why: Any, missed: Missed, seconds: float) -> None:
        """Write the line of those refusals that got none of their own."""
        record: dict[str, Any] = {
            "ts": _stamp(self.now()),
            "event": "refused-more",
            "reason": why,
            "count": missed.count,
            "seconds": round(seconds, 1),
        }
        for client, count in missed.who.most_common(1):
            record.update(client=client, client_count=count)
        self._write_record(record)

    def _write_record(self, record: dict[str, Any]) -> None:
        as_line = _as_json if self.config.format == "json" else _as_text
        self.write_line(as_line(record))

    def _record(self, event: str, facts: Facts) -> dict[str, Any]:
        path = facts.path
        if facts.query and not self.config.redact_query:
            path = f"{path}?{facts.query}"
        record: dict[str, Any] = {
            "ts": _stamp(self.now()),
            "event": event,
            "id": facts.id,
            "listener": facts.listener,
            "route": facts.route,
            "pool": facts.pool,
            "upstream": facts.upstream,
            "client": facts.client,
            "host": facts.host,
            "path": path,
            "origin": facts.origin,
            "user_agent": facts.user_agent,
            "subprotocol": facts.subprotocol,
            "extensions": facts.extensions,
            "status": facts.status,
            "attempts": facts.attempts,
            "handshake_ms": round(facts.handshake_ms, 1),
        }
        if facts.method:
            record["method"] = facts.method
        return record


def _host_of(client: str) -> str:
    """Return a client's address without the port, which would be another one each time."""
    host, _, port = client.rpartition(":")
    has_port = host and port and (":" not in host or host.endswith("]"))
    return host if has_port else client


def _passed(session: Session) -> dict[str, Any]:
    """Say what passed through a session so far."""
    pump, rtt = session.pump, session.rtt.get(Side.CLIENT)
    return {
        "duration_s": round(session.reactor.seconds() - session.opened_at, 3),
        "messages_up": pump.messages(Side.CLIENT),
        "messages_down": pump.messages(Side.UPSTREAM),
        "bytes_up": pump.payload(Side.CLIENT),
        "bytes_down": pump.payload(Side.UPSTREAM),
        "rtt_ms": None if rtt is None else round(rtt * 1000, 1),
    }


def _stamp(now: float) -> str:
    return f"{_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(now: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))


_as_json = json.JSONEncoder(separators=(",", ":")).encode  # ASCII, so it is one line


def _as_text(record: dict[str, Any]) -> str:
    """Write the same facts readably: ``ts event key=value …`` without the empty ones."""
    stamp, event = record.pop("ts"), record.pop("event")
    facts = [
        (key, str(value)) for key, value in record.items() if value is not None and value != ""
    ]
    if _PLAIN.fullmatch("".join([text for _, text in facts])) is None:  # rarely: one look at all
        facts = [(key, _quoted(text)) for key, text in facts]
    return " ".join([stamp, event, *[f"{key}={text}" for key, text in facts]])


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


@define(eq=False)
class FileSink:
    """
    Appends lines to a file.

    A line that cannot be written (a full disk) is lost, and said once in the service's
    log; sessions go on.

    :ivar passed: a descriptor of the file, good for the next `open`, should that be forbidden.
    """

    path: Path
    passed: int | None = None
    _file: FileIO | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def open(self) -> None:
        """
        Open the file for appending.

        :raises OSError: it cannot be.
        """
        self._closed = False
        # Unbuffered: a line costs one write, and none is left over for close() to fail on.
        passed, self.passed = self.passed, None
        try:
            self._file = self.path.open("ab", buffering=0)
        except PermissionError:
            if passed is None:
                raise
            self._file = FileIO(os.dup(passed), "ab")

    def fileno(self) -> int | None:
        """Return the file's descriptor; None while it is not open."""
        return None if self._file is None else self._file.fileno()

    def reopen(self) -> None:
        """Open the file anew; the old one is kept when that fails."""
        old = self._file
        try:
            self.open()
        except OSError as error:
            log.error("cannot reopen the access log {path}: {why}", path=self.path, why=error)
            return
        if old is not None:
            old.close()

    def close(self) -> None:
        """Close the file; lines that come later are lost."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def write_line(self, line: str) -> None:
        """Append one line."""
        if self._closed:
            return
        try:
            if self._file is None:
                self.open()
            assert self._file is not None
            self._append(self._file, f"{line}\n".encode())
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error("cannot write the access log {path}: {why}", path=self.path, why=error)
            self._failing = True

    def _append(self, file: FileIO, data: bytes) -> None:
        """Write all or nothing: half a line would spoil the next one, too."""
        written = file.write(data)
        if written < len(data):
            with suppress(OSError):  # a pipe cannot take it back
                file.truncate(file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _to_service_log(line: str) -> None:
    # Not `log`: ``[log] level`` is about the service, and does not silence the access log.
    _service_log.info("{line}", line=line)


def make_access_log(
    config: LogConfig, *, to_stdout: bool, reactor: Any = None
) -> AccessLog | NoLog:
    """
    Make what ``[log]`` asks for.

    :param to_stdout: where ``access = -`` goes: to standard output, or, for a service
        whose log is elsewhere, into that log.
    :param reactor: see `AccessLog`.
    """
    if config.access == "off":
        return NoLog()
    if isinstance(config.access, Path):
        sink = FileSink(config.access)
        return AccessLog(config, sink.write_line, sink=sink, reactor=reactor)
    write_line = write_stdout if to_stdout else _to_service_log
    return AccessLog(config, write_line, reactor=reactor)
