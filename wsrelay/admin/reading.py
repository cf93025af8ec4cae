"""What an order says in its query and in its body; every complaint names the key."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from wsrelay.admin.control import Json, Publication, Refused
from wsrelay.admin.messages import JSON, LARGEST_BODY, Call

__all__ = [
    "content_of",
    "read_body",
    "read_form",
    "read_number",
    "read_publication",
    "read_query",
]

_KINDS: Final = {str: "a string", int: "a whole number"}
_MOST_PAIRS: Final = 50
_FORM: Final = "application/x-www-form-urlencoded"


def read_query(call: Call, known: Collection[str]) -> dict[str, str]:
    """
    Read the query.

    :param known: the keys that there may be.
    :raises Refused: 400.
    """
    return _pairs(call.query, known, "The query")


def read_form(call: Call, known: Collection[str]) -> dict[str, str]:
    """
    Read a form that a browser sent.

    :raises Refused: 400, 413, 415.
    """
    return _pairs(content_of(call, _FORM).decode("latin-1"), known, "The form")


def read_number(given: Mapping[str, str], key: str, default: int, most: int) -> int:
    """
    Return a number of a query, from 0 to *most*.

    :raises Refused: 400.
    """
    text = given.get(key, str(default))
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most:
        return int(text)
    raise Refused(400, f"'{key}' has to be a whole number from 0 to {most}.")


def read_body(call: Call, known: Mapping[str, type], needed: Collection[str] = ()) -> Json:
    """
    Read a JSON object; a body that is not there is an empty one.

    :param known: the keys that there may be, and of which type each is.
    :param needed: those that there have to be.
    :raises Refused: 400, 413, 415.
    """
    content = content_of(call, JSON)
    body = _object(content) if content else {}
    for key, value in body.items():
        _check(key, value, known)
    for key in needed:
        if key not in body:
            raise Refused(400, f"The body lacks '{key}'.")
    return body


_RECEIVERS: Final = ("route", "pool", "tag")
_PAYLOADS: Final = ("text", "binary")
_DIRECTIONS: Final = ("down", "up")


def read_publication(call: Call) -> Publication:
    """
    Read what is to be published, and to whom.

    :raises Refused: 400, 413, 415.
    """
    body = read_body(call, dict.fromkeys((*_RECEIVERS, *_PAYLOADS, "direction"), str))
    kind, form = _one_of(_RECEIVERS, body), _one_of(_PAYLOADS, body)
    direction = body.get("direction", "down")
    if direction not in _DIRECTIONS:
        raise Refused(400, f"'direction' has to be one of {', '.join(_DIRECTIONS)}.")
    try:
        payload = body[form].encode() if form == "text" else b64decode(body[form], validate=True)
    except ValueError as error:
        raise Refused(400, f"'{form}' has to be base64.") from error
    return Publication(kind, body[kind], direction, payload, form == "binary")


def _one_of(keys: Sequence[str], body: Json) -> str:
    found = [key for key in keys if key in body]
    if len(found) != 1:
        *most, last = (f"'{key}'" for key in keys)
        raise Refused(400, f"The body needs exactly one of {', '.join(most)} and {last}.")
    return found[0]


def content_of(call: Call, media_type: str) -> bytes:
    """
    Return the body as it came.

    :raises Refused: 413, too much of it; 415, it is said to be of another type.
    """
    if call.body is None:
        raise Refused(413, f"The body is over {LARGEST_BODY} bytes; send less.")
    if call.body and call.media_type != media_type:
        raise Refused(415, f"Send the body as Content-Type: {media_type}.")
    return call.body


def _pairs(text: str, known: Collection[str], where: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PAIRS)
    except ValueError as error:
        raise Refused(400, f"{where} is malformed: not UTF-8, or too many keys.") from error
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise Refused(400, f"{where} has the unknown key '{key}'; {_listed(known)}")
        if key in found:
            raise Refused(400, f"{where} has '{key}' twice.")
        found[key] = value
    return found


def _object(content: bytes) -> Json:
    try:
        body = json.loads(
            content.decode(), object_pairs_hook=_unique, parse_constant=_no_such_number
        )
    except RecursionError as error:
        raise Refused(400, "The body is nested too deeply.") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise Refused(400, f"The body is no JSON: {error}.") from error
    if not isinstance(body, dict):
        raise Refused(400, "The body has to be a JSON object.")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Refused(400, f"The body has '{twice}' twice.")
    return found


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _check(key: str, value: Any, known: Mapping[str, type]) -> None:
    if key not in known:
        raise Refused(400, f"The body has the unknown key '{key}'; {_listed(known)}")
    if type(value) is not known[key]:  # True is an int to isinstance
        raise Refused(400, f"'{key}' has to be {_KINDS[known[key]]}.")
    if isinstance(value, str) and not _is_text(value):
        raise Refused(400, f"'{key}' holds what is no Unicode text.")


def _is_text(value: str) -> bool:
    """Tell whether there is no half of a surrogate pair, which JSON can say."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listed(known: Collection[str]) -> str:
    return f"known: {', '.join(known)}." if known else "there is none."
