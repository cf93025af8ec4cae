"""The contract that every policy keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from twisted.internet.task import Clock
from twisted.plugin import IPlugin

from wsrelay.interfaces import Admit, Deny, IAccessPolicy, IAccessPolicyPlugin
from wsrelay.testing.answers import UNDECIDED, ask
from wsrelay.testing.fakes import REQUESTS, FakeHandshake, require_provides

__all__ = ["check_policy_contract"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_policy_contract(
    plugin: IAccessPolicyPlugin,
    options: Mapping[str, str] | None = None,
    requests: Iterable[FakeHandshake] = (),
) -> None:
    """
    Check that a policy does what wsrelay relies on.

    It is asked about requests of all kinds: its answers are those that `IAccessPolicy`
    allows, and it raises nothing.  A Deferred that has not fired when ``admit`` returns is
    cancelled, as it is when a client leaves; what it would have answered stays unchecked.

    :param plugin: as it stands in ``twisted/plugins/``.
    :param options: what stands behind its name in relay.ini.
    :param requests: more to ask it about: those that it lets in, say.
    :raises AssertionError: it breaks the contract; the text says where.
    """
    require_provides(IPlugin, plugin)
    require_provides(IAccessPolicyPlugin, plugin)
    require_provides(IAccessPolicy, plugin.create(dict(options or {}), None))  # as in a check
    policy = plugin.create(dict(options or {}), Clock())
    require_provides(IAccessPolicy, policy)
    may_set = _names(policy)
    for request in (*REQUESTS, *requests) * 2:
        answer = ask("admit", policy.admit, request)
        if answer is UNDECIDED or answer is None:
            continue
        try:
            _check(answer, may_set)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"admit answered {answer!r}: {error}") from error
    if hasattr(policy, "stop"):
        ask("stop", policy.stop)


def _names(policy: IAccessPolicy) -> frozenset[str]:
    """Return the names of the headers that a policy says it may set, in lower case."""
    names = getattr(policy, "headers", ())
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise AssertionError(f"headers is {names!r}; expected names of headers, as a tuple")
    return frozenset(name.lower() for name in names)


def _check(answer: object, may_set: frozenset[str]) -> None:
    """Raise ValueError, or TypeError, if an answer is none."""
    if isinstance(answer, Deny):
        _check_headers(answer.headers)
        if not 300 <= answer.status <= 599:
            raise ValueError("its status is not 300 to 599")
        if not isinstance(answer.body, str | bytes):
            raise TypeError("its body is neither str nor bytes")
    elif isinstance(answer, Admit):
        _check_headers(answer.headers)
        _check_admit(answer, may_set)
    else:
        raise TypeError("expected None, an Admit or a Deny")


def _check_admit(answer: Admit, may_set: frozenset[str]) -> None:
    for name, _ in answer.headers:
        if name.lower() not in may_set:
            raise ValueError(f"clients can send {name} themselves: headers does not name it")
    if isinstance(answer.tags, str) or not all(isinstance(tag, str) for tag in answer.tags):
        raise TypeError("its tags are not a sequence of str")
    if not isinstance(answer.expires_at, int | float | None):
        raise TypeError("expires_at is not a number of seconds")


def _check_headers(headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"the header {name!r} cannot be sent with {value!r}")
