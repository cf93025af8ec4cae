"""The pages that are made from the code say what the code says, and all of them are sound reST."""

import re
import runpy
from pathlib import Path

import docutils.core
import docutils.utils
import pytest

from tests.support import PROJECT

PAGES = [
    PROJECT / "README.rst",
    PROJECT / "CHANGELOG.rst",
    *sorted((PROJECT / "docs").glob("*.rst")),
    PROJECT / "examples" / "README.rst",
    PROJECT / "bench" / "README.rst",
]


def test_the_page_of_options_is_the_table_of_options() -> None:
    """Make it again with: python docs/make_configuration.py > docs/configuration.rst."""
    made = runpy.run_path(str(PROJECT / "docs" / "make_configuration.py"))["page"]()
    assert (PROJECT / "docs" / "configuration.rst").read_text("utf-8") == made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_markup_errors(page: Path) -> None:
    docutils.core.publish_doctree(
        page.read_text("utf-8"),
        settings_overrides={"halt_level": 2, "report_level": 2, "warning_stream": ""},
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"<([^>:#]+)>`_", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
