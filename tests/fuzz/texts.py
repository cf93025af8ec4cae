"""What is said of bad inputs."""

from __future__ import annotations


def check_said(text: object) -> None:
    """It is something, on one line, that a log or an answer can hold."""
    assert str(text)
    assert str(text).isprintable()
