"""What filters may answer, send and close with: checked, and as it goes on the wire.  Pure."""

from __future__ import annotations

from wsrelay.interfaces import DOWN, DROP, UP, Close, Drop
from wsrelay.wire.close import encode_reason, is_valid_code

__all__ = ["answer_of", "close_of", "message_of", "payload_of"]


def answer_of(answer: object, before: bytes, *, is_binary: bool) -> bytes | Drop | Close:
    """
    Return what a filter answered about a message, ready to be acted on.

    :param before: the message's payload; the same object as the answer is not checked again.
    :raises ValueError: it may not answer that; the text goes on behind the filter's name.
    """
    if answer is before or answer is DROP:
        return answer
    if isinstance(answer, Close):
        return close_of(answer.code, answer.reason)
    if answer is None:
        raise ValueError("returned None; return the payload, DROP or a Close")
    if not isinstance(answer, bytes | str):
        raise ValueError(
            f"returned {_name(answer)}; return bytes, a str, DROP, a Close, or a Deferred of one"
        )
    return payload_of(answer, is_binary=is_binary)


def payload_of(payload: object, *, is_binary: bool) -> bytes:
    """
    Return a message's payload as bytes; a str becomes UTF-8.

    :raises ValueError: it is none, or that of a text and not UTF-8.
    """
    if isinstance(payload, str):
        try:
            return payload.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"gave a str that UTF-8 cannot spell: {error.reason}") from None
    if not isinstance(payload, bytes):
        raise ValueError(f"gave {_name(payload)} as a payload; give bytes or a str")
    if not is_binary:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"gave a text message a payload that is not UTF-8 (byte {error.start})"
            ) from None
    return payload


def message_of(direction: object, payload: object, *, is_binary: bool) -> bytes:
    """
    Return the payload of a message that a filter sends.

    :raises ValueError: it cannot be sent, or there is no such direction.
    """
    if direction not in (UP, DOWN):
        raise ValueError(f"sends to {direction!r}; say UP or DOWN")
    return payload_of(payload, is_binary=is_binary)


def close_of(code: object, reason: object) -> Close:
    """
    Return a close whose reason fits into a close frame.

    :raises ValueError: the code may not stand on the wire, or the reason is no text.
    """
    if not isinstance(code, int) or not is_valid_code(code):
        raise ValueError(
            f"closes with {code!r}; use one of 1000-1003, 1007-1014 or 3000-4999 as the code"
        )
    if not isinstance(reason, str):
        raise ValueError(f"closes with {_name(reason)} as the reason; give a str")
    return Close(code, encode_reason(reason).decode())


def _name(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__} itself"
    name = type(thing).__name__
    return f"an object of type {name}" if name != "coroutine" else "a coroutine (of an async def)"
