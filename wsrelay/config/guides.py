"""All that is known of other proxies' configurations, by guide."""

from __future__ import annotations

from typing import Final

from wsrelay.config.elsewhere import Table, answers, first_words
from wsrelay.config.from_haproxy import HAPROXY
from wsrelay.config.from_nginx import NGINX
from wsrelay.config.from_others import INGRESS, TCP_PROXY_MODULE

__all__ = ["GUIDES", "answer_to"]

GUIDES: Final[tuple[Table, ...]] = (*NGINX, TCP_PROXY_MODULE, *HAPROXY, INGRESS)

_ANSWERS: Final = answers(GUIDES)
_ANNOTATION: Final = "nginx.ingress.kubernetes.io/"
"""What an annotation is written with, and not listed."""


def answer_to(written: str) -> str | None:
    """Return what to tell an operator who writes a line that begins so, if it is known."""
    words = first_words(written.removeprefix(_ANNOTATION))
    return next((_ANSWERS[each] for each in words if each in _ANSWERS), None)
