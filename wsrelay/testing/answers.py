"""Asking a plugin in a contract: at once, or by a Deferred."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["UNDECIDED", "ask"]

UNDECIDED = object()
"""The answer is a Deferred that did not fire; it was cancelled, as the relay cancels it."""


def ask(name: str, method: Callable[..., object], *arguments: object) -> object:
    """
    Return what a method answers, or what its Deferred fires with, or `UNDECIDED`.

    :raises AssertionError: it raised something, maybe later.
    """
    try:
        answer = method(*arguments)
    except Exception as error:
        raise AssertionError(f"{name} raised {error!r} for {arguments!r}") from error
    if not isinstance(answer, Deferred):
        return answer
    fired: list[object] = []
    answer.addBoth(fired.append)
    if not fired:
        answer.cancel()
        return UNDECIDED
    if isinstance(fired[0], Failure):
        raise AssertionError(f"{name} raised {fired[0].value!r}, later, for {arguments!r}")
    return fired[0]
