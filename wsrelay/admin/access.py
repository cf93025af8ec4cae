"""
Who may use the admin endpoint.

Two things are kept apart.  A *stranger* has no token.  A *foreign page* is a page of another
origin in the browser of somebody who may: what it sends carries that person's cookies and
comes from that person's machine, so neither a login nor a loopback address says who asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from wsrelay.admin.login import CHALLENGE, Logins
from wsrelay.admin.messages import Answer, Call, error_answer
from wsrelay.admin.routing import Entry

__all__ = ["Access", "is_loopback_host"]

_LOOPBACK: Final = re.compile(
    r"(localhost|127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[::1\])(:[0-9]{1,5})?",
    re.IGNORECASE,
)


def is_loopback_host(host: str) -> bool:
    """Tell whether a Host header names this machine, and can name no other."""
    return _LOOPBACK.fullmatch(host) is not None


class Access:
    """
    The rules.

    :param logins: None: there is no token, and whoever can connect may come in.
    """

    def __init__(self, logins: Logins | None) -> None:
        self._logins = logins

    def refusal(self, call: Call, entry: Entry) -> Answer | None:
        """Return what to answer instead of what was asked for; None when that may be."""
        if entry is Entry.PROBE:
            return None
        refusal = self._refuse_foreign_page(call)
        if refusal is None and entry is Entry.OPERATOR and self._logins is not None:
            refusal = _refuse_stranger(call, self._logins)
        return refusal

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Tell whether a request with these headers would still be let in."""
        logins = self._logins
        return (
            logins is None
            or logins.has_token(headers.get("authorization", ""))
            or logins.knows(headers.get("cookie", ""))
        )

    def _refuse_foreign_page(self, call: Call) -> Answer | None:
        host = call.header("host")
        if self._logins is None and not call.is_unix and not is_loopback_host(host):
            # A name that its owner makes point to 127.0.0.1 gives his page our origin.
            return error_answer(
                403, "Without a token the Host has to be localhost or a loopback address."
            )
        own = f"{'https' if call.is_secure else 'http'}://{host}"
        if "origin" in call.headers and call.header("origin").lower() != own.lower():
            return error_answer(403, "A page of another origin may not ask here.")
        site = call.header("sec-fetch-site").lower()
        if site not in ("", "same-origin", "none") and not _is_visit(call):
            return error_answer(403, "A page of another site may not ask here.")
        return None


def _refuse_stranger(call: Call, logins: Logins) -> Answer | None:
    authorization = call.header("authorization")
    if authorization:
        return None if logins.has_token(authorization) else logins.wrong_token(call)
    if logins.knows(call.header("cookie")):
        return _refuse_without_origin(call)
    if call.path == ("",) and call.wants_page:
        return logins.page()
    return error_answer(401, "The token is needed: Authorization: Bearer TOKEN.", headers=CHALLENGE)


def _refuse_without_origin(call: Call) -> Answer | None:
    # A browser names the origin with every order and websocket; where it does not, nothing
    # tells our page from another.
    reads = call.method in ("GET", "HEAD") and call.path != ("live",)
    if reads or "origin" in call.headers:
        return None
    return error_answer(403, "With a login's cookie the Origin header is needed.")


def _is_visit(call: Call) -> bool:
    """Tell whether a link elsewhere leads a person here; the page it is on sees nothing of it."""
    return (
        call.method == "GET"
        and call.path == ("",)
        and call.header("sec-fetch-mode") == "navigate"
        and call.header("sec-fetch-dest") == "document"
    )
