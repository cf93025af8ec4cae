"""
``.. interface:: wsrelay.interfaces.IBalancer``: what a zope interface says.

autodoc knows classes, and an interface of zope is none: it does not keep its annotations, and
its methods have no ``self``.  So the types are taken from the source.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from twisted.python.reflect import namedAny
from zope.interface import Interface
from zope.interface.interface import InterfaceClass


class InterfaceDirective(SphinxDirective):
    """Documents one interface: its own text, attributes and methods, as they stand in the code."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what autodoc would return for a class."""
        return self.parse_text_to_nodes("\n".join(described(namedAny(self.arguments[0]))))


def described(interface: InterfaceClass) -> Iterator[str]:
    """Yield the lines of reST that describe an interface."""
    bases = [each.__name__ for each in interface.__bases__ if each is not Interface]
    yield f".. py:class:: {interface.__name__}({', '.join(bases)})"
    yield ""
    yield from indented(interface.__doc__, 1)
    for statement in source_of(interface).body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                yield f"   .. py:attribute:: {name}"
                yield f"      :type: {ast.unparse(annotation)}"
            case ast.FunctionDef(name=name, args=arguments, returns=returns):
                answer = f" -> {ast.unparse(returns)}" if returns else ""
                yield f"   .. py:method:: {name}({ast.unparse(arguments)}){answer}"
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield f"   .. py:attribute:: {name}"
            case _:
                continue
        yield ""
        yield from indented(interface[name].__doc__, 2)


def source_of(interface: InterfaceClass) -> ast.ClassDef:
    """Return the class statement that makes *interface*."""
    tree = ast.parse(inspect.getsource(sys.modules[interface.__module__]))
    return next(
        each
        for each in tree.body
        if isinstance(each, ast.ClassDef) and each.name == interface.__name__
    )


def indented(text: str, levels: int) -> Iterator[str]:
    """Yield the lines of a docstring below a directive."""
    for line in inspect.cleandoc(text).splitlines():
        yield f"{'   ' * levels}{line}".rstrip()
    yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Say what Sphinx has to call."""
    app.add_directive("interface", InterfaceDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
