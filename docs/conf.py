"""
How Sphinx makes HTML of these pages: ``make docs``.

Nothing is fetched: no inventories of other projects, no fonts, no scripts.
"""

import sys
from pathlib import Path

import wsrelay

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "wsrelay"
author = "the authors of wsrelay"
copyright = f"{author}; MIT licence"
version = release = wsrelay.__version__

extensions = ["sphinx.ext.autodoc", "links", "interface"]
exclude_patterns = ["operations", "tutorial"]

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_type_aliases = {
    name: f"wsrelay.interfaces.{name}"
    for name in ("IAccessPolicyPlugin", "IBalancerPlugin", "IMessageFilterPlugin")
}  # which autodoc would write as objects
nitpicky = True
nitpick_ignore_regex = [
    # The types in signatures may be anybody's: Python's, Twisted's, our insides.
    ("py:class", ".*"),
    ("py:obj", r"time\.time|choose|start|sent|closed|IAccessPolicy|IMessageFilter"),
]

html_theme = "furo"
html_title = f"wsrelay {release}"
html_static_path = ["static"]
html_css_files = ["wsrelay.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
highlight_language = "none"
