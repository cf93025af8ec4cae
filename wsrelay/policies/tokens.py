"""JSON Web Tokens: whether one is good, and what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
from attrs import frozen

from wsrelay.policies.keys import Key

__all__ = ["BadToken", "Rules", "head_of", "texts_of", "time_of", "verify"]

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")  # RFC 7515
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LATEST: Final = 253402300799  # the end of the year 9999

MALFORMED: Final = "The token is malformed."


class BadToken(Exception):  # noqa: N818  it is the token that is bad
    """A token is not good; the text is a sentence for the client."""


@frozen
class Rules:
    """What a token has to say; ``leeway`` is in seconds, for clocks that differ."""

    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    leeway: float = 0.0


def head_of(token: str) -> tuple[str, str | None]:
    """
    Return the algorithm and the key's id that a token names, which nothing proves yet.

    :raises BadToken: it is no token.
    """
    if not _COMPACT.fullmatch(token):
        raise BadToken(MALFORMED)
    try:
        head = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise BadToken(MALFORMED) from error
    algorithm, kid = head.get("alg"), head.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None):
        raise BadToken(MALFORMED)
    return algorithm, kid


def verify(token: str, keys: Sequence[Key], rules: Rules, now: float) -> Mapping[str, Any]:
    """
    Return what a token says, if it is good *now*, in seconds since the epoch.

    :raises BadToken: it is not.
    """
    algorithm, kid = head_of(token)
    for key in keys:
        # What the token says of itself only chooses among what the keys are for (RFC 8725
        # section 3.1).
        if algorithm in key.algorithms and (kid is None or key.kid in (None, kid)):
            claims = _decoded(token, key, algorithm, rules)
            if claims is not None:
                _check_times(claims, rules.leeway, now)
                return claims
    raise BadToken("The token is not signed by a key that is known.")


def _decoded(token: str, key: Key, algorithm: str, rules: Rules) -> Mapping[str, Any] | None:
    """Return the claims of a token; None if it is not signed by this key."""
    options: Any = {
        "require": list(rules.required),
        # By a clock that is passed in, and a subject may be a number.
        **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat"), False),
        **dict.fromkeys(("verify_sub", "verify_jti"), False),
    }
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            options=options,
            issuer=list(rules.issuers) or None,
            audience=list(rules.audiences) or None,
        )
    except jwt.InvalidSignatureError:
        return None
    except jwt.MissingRequiredClaimError as error:
        raise BadToken(f"The token has no {error.claim}.") from error
    except jwt.InvalidIssuerError as error:
        raise BadToken("The token is of another issuer.") from error
    except jwt.InvalidAudienceError as error:
        raise BadToken("The token is for another audience.") from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken(MALFORMED) from error
    return claims


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    end, begin = time_of(claims, "exp"), time_of(claims, "nbf")
    if end is not None and now >= end + leeway:
        raise BadToken("The token has expired.")
    if begin is not None and now < begin - leeway:
        raise BadToken("The token is not valid yet.")


def time_of(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time of a token, in seconds since the epoch; None: it has none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(MALFORMED)
    if not 0 <= value <= _LATEST:  # nor is it, if it is infinite, or no number at all
        raise BadToken(MALFORMED)
    return float(value)


def texts_of(claims: Mapping[str, Any], name: str) -> list[str]:
    """
    Return the texts of a claim: one, or those of a list, which have no commas.

    :raises BadToken: it cannot stand in a header.
    """
    value = claims.get(name)
    try:
        if not isinstance(value, list):
            return [] if value is None else [_text(value)]
        texts = [_text(each) for each in value]
        if any("," in text for text in texts):
            raise ValueError("a comma would make two of it")
    except ValueError as error:
        raise BadToken(f"The token's {name} cannot be passed on.") from error
    return texts


def _text(value: object) -> str:
    """Return what a claim is in a header; ValueError: it would be something else there."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or _CONTROL.search(value) or value != value.strip():
        raise ValueError("it is no text, or not one that arrives as it is")
    value.encode()  # half of a surrogate pair cannot be sent
    return value
