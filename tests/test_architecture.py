"""Who may import whom, and what a package must hold."""

from __future__ import annotations

import ast
import configparser
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]  # there is nothing public

import pytest

import wsrelay

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "wsrelay"
PURE = [
    "wsrelay.wire",
    "wsrelay.config",
    "wsrelay.balancers",
    "wsrelay.guards",
    "wsrelay.pools.pool",
    "wsrelay.sharing",
    "wsrelay.health.verdict",
    "wsrelay.http.files",
    "wsrelay.http.redirect",
]
_SINGLE = (
    _constants.IN,
    _constants.LITERAL,
    _constants.NOT_LITERAL,
    _constants.ANY,
)
FOREIGN = ["twisted.internet", "autobahn", "txaio", "asyncio"]

WALK = """
import importlib, pkgutil, sys
for name in sys.argv[1].split(","):
    module = importlib.import_module(name)
    for each in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        importlib.import_module(each.name)
loaded = sorted(n for n in sys.modules if any((n + ".").startswith(f + ".") for f in sys.argv[2:]))
print(" ".join(loaded))
"""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Parse every module of the package; yield its dotted name and its tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(name: str, tree: ast.Module) -> set[str]:
    """Return all that a module imports, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def is_under(name: str, *packages: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


@pytest.mark.parametrize("name", PURE)
def test_a_pure_package_does_not_even_load_the_reactors_world(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WALK, name, *FOREIGN],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # Twisted's deferreds are a package of twisted.internet: pure code has no use for them.
    assert ran.stdout.split() == []


def test_that_check_notices_what_is_not_pure() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WALK, "wsrelay.pools.choosing", *FOREIGN],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "twisted.internet.defer" in ran.stdout.split()


def test_autobahn_is_imported_by_the_relay_the_demo_and_the_dashboards_only() -> None:
    importers = {
        name
        for name, tree in modules()
        if any(is_under(each, "autobahn") for each in imports_of(name, tree))
    }
    assert importers, "the scan finds nothing"
    assert {
        name
        for name in importers
        if not is_under(
            name, "wsrelay.relay", "wsrelay.messages", "wsrelay.demo", "wsrelay.admin.live"
        )
    } == set()


def test_nothing_imports_the_command_lines() -> None:
    importers = {
        name
        for name, tree in modules()
        if any(is_under(each, "wsrelay.tap", "wsrelay.cli") for each in imports_of(name, tree))
    }
    assert importers == set()


def test_the_relay_does_not_know_how_a_file_is_read() -> None:
    allowed = ("wsrelay.config.model",)
    for name, tree in modules():
        if is_under(name, "wsrelay.relay"):
            config = [each for each in imports_of(name, tree) if is_under(each, "wsrelay.config")]
            assert [each for each in config if not is_under(each, *allowed)] == [], name


def test_balancers_know_the_interfaces_only() -> None:
    for name, tree in modules():
        if is_under(name, "wsrelay.balancers"):
            ours = [each for each in imports_of(name, tree) if is_under(each, "wsrelay")]
            # The interfaces speak of headers, and of what processes remember in common.
            allowed = (
                "wsrelay.interfaces",
                "wsrelay.balancers",
                "wsrelay.commons",
                "wsrelay.wire.headers",
            )
            assert [each for each in ours if not is_under(each, *allowed)] == [], name


def test_health_checks_know_how_an_upstream_is_dialled_and_nobody_below_knows_of_them() -> None:
    below = ("wsrelay.relay", "wsrelay.pools", "wsrelay.wire", "wsrelay.config")
    allowed = ("wsrelay.health", "wsrelay.wire", "wsrelay.config.model", "wsrelay.log")
    dialling = [f"wsrelay.relay.{name}" for name in ("dialer", "upstream", "transports", "reasons")]
    for name, tree in modules():
        ours = [each for each in imports_of(name, tree) if is_under(each, "wsrelay")]
        if is_under(name, "wsrelay.health"):
            own = ("wsrelay.__version__", *allowed, *dialling)
            assert [e for e in ours if e != "wsrelay" and not is_under(e, *own)] == [], name
        elif is_under(name, *below):
            assert [each for each in ours if is_under(each, "wsrelay.health")] == [], name


def test_what_only_policies_need_nobody_else_imports() -> None:
    """It is not installed everywhere."""
    for name, tree in modules():
        if not is_under(name, "wsrelay.policies"):
            found = imports_of(name, tree)
            extra = [each for each in found if is_under(each, "jwt", "bcrypt", "wsrelay.policies")]
            assert extra == [], name


def test_wire_knows_nothing_of_the_rest() -> None:
    for name, tree in modules():
        if is_under(name, "wsrelay.wire"):
            ours = [each for each in imports_of(name, tree) if is_under(each, "wsrelay")]
            assert [each for each in ours if not is_under(each, "wsrelay.wire")] == [], name


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports that run at load time, those for annotations left out, have no circle."""
    trees = dict(modules())
    graph = {name: _loads(name, tree) & set(trees) - {name} for name, tree in trees.items()}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name in graph if name not in done and graph[name] <= done}
        assert ready, f"a circle among {sorted(set(graph) - done)}"
        done |= ready


def _loads(name: str, tree: ast.Module) -> set[str]:
    """Return what loading a module loads; a package's own `__init__` is not looked at."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= imports_of(name, ast.Module([node], []))
    return found


def test_the_plugin_folder_is_no_package_of_ours() -> None:
    assert (PROJECT / "twisted" / "plugins").is_dir()
    assert not (PROJECT / "twisted" / "__init__.py").exists()
    assert not (PROJECT / "twisted" / "plugins" / "__init__.py").exists()


def test_setup_cfg_lists_every_package() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PROJECT / "setup.cfg", encoding="utf-8")
    listed = parser["options"]["packages"].split()
    found = [
        each.name for each in pkgutil.walk_packages(wsrelay.__path__, "wsrelay.") if each.ispkg
    ]
    assert sorted(listed) == sorted(["wsrelay", "twisted.plugins", *found])


def test_no_group_of_a_pattern_is_possessive() -> None:
    """Before Python 3.11.5 one that fails has moved on all the same (gh-106052)."""
    patterns = [
        (f"{name}.{attribute}", value)
        for name, _ in modules()
        if not name.endswith("__main__")
        for attribute, value in vars(importlib.import_module(name)).items()
        if isinstance(value, re.Pattern)
    ]
    assert len(patterns) > 50, "the scan finds next to nothing"
    bad = [name for name, each in patterns if possessive_groups(_parser.parse(each.pattern))]
    assert bad == []


def possessive_groups(parsed: object) -> bool:
    """Tell whether a parsed pattern has a possessive or atomic group of several things."""
    if isinstance(parsed, _parser.SubPattern):
        return any(map(possessive_groups, parsed.data))
    if not isinstance(parsed, tuple | list):
        return False
    if parsed and parsed[0] is _constants.ATOMIC_GROUP:
        return True
    if parsed and parsed[0] is _constants.POSSESSIVE_REPEAT:
        inner = parsed[1][2]
        return len(inner) != 1 or inner[0][0] not in _SINGLE
    return any(map(possessive_groups, parsed))


@pytest.mark.parametrize(
    ("pattern", "is_bad"),
    [
        ("(?:ab)*+", True),
        ("(?:a|bc)?+", True),
        ("(?>a)", True),
        ("x(y(?:z;)++)?", True),
        ("a*+b", False),
        ("[ab]++(c)*", False),
        ("(?:a*+b)*", False),
        (".?+", False),
    ],
)
def test_that_check_knows_possessive_groups(pattern: str, is_bad: bool) -> None:
    assert possessive_groups(_parser.parse(pattern)) is is_bad


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
