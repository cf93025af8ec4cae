"""Who has the token, and who has logged in with it from a browser, which cannot send it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from html import escape
from importlib import resources
from typing import Final

from wsrelay.admin.messages import Answer, Call, error_answer, html_answer
from wsrelay.admin.reading import read_body, read_form
from wsrelay.log import Logger
from wsrelay.page import content_security_policy

__all__ = ["CHALLENGE", "Logins"]

log = Logger()

LASTS: Final = 12 * 3600
"""Seconds that a login lasts, unless the process ends first."""

MOST: Final = 100
"""Logins at a time; beyond, the oldest ends."""

DELAY: Final = 1.0
"""Seconds before a wrong token is answered; each holds one of the few connections so long."""

QUIET: Final = 10.0
"""Seconds between two lines in the log about wrong tokens."""

CHALLENGE: Final[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}

_MESSAGE: Final = "<!-- message -->"


class Logins:
    """
    The token and the logins.  A login is a random cookie; only its digest is kept.

    :param seconds: the time, for how long a login lasts.
    """

    def __init__(self, token: str, seconds: Callable[[], float]) -> None:
        self._token = token.encode()
        self._seconds = seconds
        # Cookies are shared by the ports of a host: two relays there must not log each other out.
        self._name = f"wsrelay-admin-{secrets.token_hex(4)}"
        self._ends: dict[bytes, float] = {}
        self._html = resources.files("wsrelay.admin").joinpath("login.html").read_text("utf-8")
        self._policy = content_security_policy(self._html, form_action="'self'")
        self._wrong = 0
        self._logged_at = -QUIET

    def is_token(self, given: str) -> bool:
        """Compare in a time that tells nothing of the token."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def has_token(self, authorization: str) -> bool:
        """Tell whether an Authorization header holds the token."""
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def knows(self, cookies: str) -> bool:
        """Tell whether a Cookie header holds a login that lasts."""
        ends = self._ends.get(self._digest(cookies))
        return ends is not None and self._seconds() < ends

    def log_in(self, call: Call) -> Answer:
        """
        Answer ``POST /login``, the form of the page.

        :raises Refused: it is no such form.
        """
        if not self.is_token(read_form(call, ("token",)).get("token", "")):
            return self.wrong_token(call)
        cookie = f"{self._new()}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LASTS}"
        log.info("admin: {client} has logged in", client=call.client)
        return _to_start(cookie, call)

    def log_out(self, call: Call) -> Answer:
        """
        Answer ``POST /logout``.

        :raises Refused: there is something in the body.
        """
        read_body(call, {})
        self._ends.pop(self._digest(call.header("cookie")), None)
        return _to_start(f"{self._name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", call)

    def wrong_token(self, call: Call) -> Answer:
        """Answer who does not have the token but says so: slowly."""
        self._count_wrong(call.client)
        if call.wants_page:
            return self.page("That is not the token.", delay=DELAY)
        return error_answer(401, "That is not the token.", headers=CHALLENGE, delay=DELAY)

    def page(self, message: str = "", delay: float = 0.0) -> Answer:
        """Answer with the form to log in."""
        html = self._html.replace(_MESSAGE, escape(message))
        return html_answer(401, html, self._policy, CHALLENGE, delay)

    def _new(self) -> str:
        now = self._seconds()
        self._ends = {digest: ends for digest, ends in self._ends.items() if now < ends}
        if len(self._ends) >= MOST:
            del self._ends[next(iter(self._ends))]
        cookie = f"{self._name}={secrets.token_urlsafe(32)}"
        self._ends[self._digest(cookie)] = now + LASTS
        return cookie

    def _digest(self, cookies: str) -> bytes:
        """Return the digest of our cookie's value; how long it takes to look up tells nothing."""
        for each in cookies.split(";"):
            name, _, value = each.strip().partition("=")
            if name == self._name:
                return hashlib.sha256(value.encode("utf-8", "replace")).digest()
        return b""

    def _count_wrong(self, client: str) -> None:
        self._wrong += 1
        now = self._seconds()
        if now - self._logged_at >= QUIET:
            self._logged_at = now
            log.warn(
                "admin: a wrong token from {client} ({count} since the last such line)",
                client=client,
                count=self._wrong,
            )
            self._wrong = 0


def _to_start(cookie: str, call: Call) -> Answer:
    """Send the browser to the dashboard, as what it is from now on."""
    secure = "; Secure" if call.is_secure else ""
    return Answer(303, headers={"Location": "/", "Set-Cookie": cookie + secure})
