"""The word that opens the admin endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["read_token"]

SHORTEST: Final = 16
"""Characters of a token that nobody guesses."""


def read_token(path: Path) -> str:
    """
    Read the token file: one word of at least `SHORTEST` visible ASCII characters.

    :raises ValueError: it cannot be read, or holds something else; the text is for the operator.
    """
    try:
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} holds more than ASCII; {_remedy(path)}") from error
    if len(text) < SHORTEST or len(text.split()) != 1 or not text.isprintable():
        raise ValueError(f"{path} holds no word of {SHORTEST} letters or more; {_remedy(path)}")
    return text


def _remedy(path: Path) -> str:
    return f"write one with: openssl rand -hex 32 > {path}"
