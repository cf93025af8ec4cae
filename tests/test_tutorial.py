"""docs/tutorial.rst: everything is typed again, and prints the same."""

from __future__ import annotations

import re

import pytest

from tests.support import PROJECT, require_program
from tests.test_operations import differences, made_from, outside, page_made_now

PAGE = PROJECT / "docs" / "tutorial.rst"
MAKE = PROJECT / "docs" / "make_tutorial.py"
REMEDY = "If that is meant: python docs/make_tutorial.py > docs/tutorial.rst"


def without_ports(page: str) -> str:
    return re.sub(r"(?m)(upstream\.py \w|ws://127\.0\.0\.1:)( ?)\d+", r"\1\2PORT", page)


@pytest.mark.peers
def test_every_command_of_the_tutorial_prints_what_the_page_says() -> None:
    require_program("curl")
    page = PAGE.read_text("utf-8")
    changes = differences(without_ports(page), without_ports(page_made_now(MAKE)))
    if changes:
        pytest.fail(f"{changes}\n{REMEDY}", pytrace=False)


def test_the_tutorial_is_made_of_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the page's own words does so in docs/tutorial/story.rst."""
    story = (PROJECT / "docs" / "tutorial" / "story.rst").read_text("utf-8")
    page = PAGE.read_text("utf-8")
    assert outside(page) == outside(made_from(story, monkeypatch)), REMEDY
    assert ".. night:" not in page
