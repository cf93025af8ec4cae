"""
Plain links between files, made into what Sphinx knows.

The pages are read as they lie in the repository, too, so they say ```text <page.rst>`_`` and
not ``:doc:``.  A link to a page becomes one to its HTML, a link to another file of the project a
download, and one that leads nowhere is a warning, with which ``make docs`` fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

PROJECT: Final = Path(__file__).resolve().parent.parent.parent
DOCS: Final = PROJECT / "docs"

INCLUDED: Final = {
    PROJECT / "CHANGELOG.rst": "changelog",
    PROJECT / "bench" / "README.rst": "benchmark",
    PROJECT / "examples" / "README.rst": "examples",
    PROJECT / "examples" / "socketio" / "README.rst": "example-socketio",
}
"""Files outside of docs/ that are a page, because a page includes them whole."""

log = logging.getLogger(__name__)


class Links(SphinxTransform):
    """Looks at the links of a page when it has been read."""

    default_priority = 600  # behind those that find out what a link's target is

    def apply(self, **kwargs: Any) -> None:
        """Replace those to files."""
        for link in list(self.document.findall(nodes.reference)):
            target = urlsplit(link.get("refuri", ""))
            if target.path and not target.scheme and not target.netloc:
                self._replace(link, (_folder_of(link) / target.path).resolve(), target.fragment)

    def _replace(self, link: nodes.reference, file: Path, anchor: str) -> None:
        page = INCLUDED.get(file)
        if page is None and file.parent == DOCS and file.suffix == ".rst":
            page = file.stem
        if page in self.env.found_docs:
            link["page"], link["anchor"] = page, anchor
        elif file.is_file():
            target = f"/{os.path.relpath(file, DOCS)}"
            link.replace_self(addnodes.download_reference("", "", *link.children, reftarget=target))
        elif file.is_dir():
            link.replace_self(link.children)
        else:
            log.warning("there is no %s", file, location=link)


def _folder_of(link: nodes.Node | None) -> Path:
    """Return the folder of the file in which a link stands, which may be an included one."""
    while link is not None and not getattr(link, "source", None):
        link = link.parent
    assert link is not None
    return Path(str(link.source)).resolve().parent  # of an included file it is relative to here


def resolve(app: Sphinx, document: nodes.document, name: str) -> None:
    """Give the links to pages their addresses; called for each page, when all have been read."""
    for link in document.findall(nodes.reference):
        if "page" not in link:
            continue
        page, anchor = link["page"], link["anchor"]
        address = app.builder.get_relative_uri(name, page)
        if anchor and anchor not in app.env.get_doctree(page).ids:
            log.warning("%s has no #%s", page, anchor, location=link)
        link["refuri"] = f"{address}#{anchor}" if anchor else address
        link["internal"] = True


def setup(app: Sphinx) -> dict[str, Any]:
    """Say what Sphinx has to call."""
    app.add_transform(Links)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
