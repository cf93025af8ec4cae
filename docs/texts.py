"""What the generators of pages share."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"https?://[^\s,;)]*")


def prose(text: str) -> str:
    """Return a help text as reST: addresses in it are no links, and an asterisk is one."""
    parts = _ADDRESS.split(text)
    addresses = [f"``{found}``" for found in _ADDRESS.findall(text)]
    words = [part.replace("*", r"\*") for part in parts]
    return "".join(word + address for word, address in zip(words, [*addresses, ""], strict=True))
