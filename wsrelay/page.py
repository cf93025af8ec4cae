"""What confines a page of ours: one HTML file with its script and style inside."""

from __future__ import annotations

import base64
import hashlib
import re

__all__ = ["content_security_policy"]

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def content_security_policy(html: str, *connect: str, form_action: str = "'none'") -> str:
    """
    Let the page run its own script and style, ask its own origin, and nothing else.

    :param html: the page; its script and style elements have no attributes.
    :param connect: what else it may connect to, such as ``ws://127.0.0.1:8080``.
    :param form_action: where its forms may go, as the policy says it.
    """
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for element, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[element].append(f"'sha256-{digest}'")
    script, style = (" ".join(each) or "'none'" for each in sources.values())
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {script}",
            f"style-src {style}",
            " ".join(["connect-src 'self'", *connect]),
            "img-src data:",
            "base-uri 'none'",
            f"form-action {form_action}",
            "frame-ancestors 'none'",
        ]
    )
