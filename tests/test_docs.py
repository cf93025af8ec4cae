"""The pages that are made from the code say what the code says, and all of them are sound reST."""

import json
import re
import runpy
from pathlib import Path

import docutils.core
import docutils.utils
import pytest

from tests.support import PROJECT
from wsrelay.cli import main

PAGES = [
    PROJECT / "README.rst",
    PROJECT / "CHANGELOG.rst",
    *sorted((PROJECT / "docs").glob("*.rst")),
    PROJECT / "examples" / "README.rst",
    PROJECT / "examples" / "socketio" / "README.rst",
    PROJECT / "bench" / "README.rst",
]


def test_the_page_of_options_is_the_table_of_options() -> None:
    """Make it again with: python docs/make_configuration.py > docs/configuration.rst."""
    made = runpy.run_path(str(PROJECT / "docs" / "make_configuration.py"))["page"]()
    assert (PROJECT / "docs" / "configuration.rst").read_text("utf-8") == made


def test_the_page_of_commands_is_the_parser_of_the_command_line() -> None:
    """Make it again with: python docs/make_commands.py > docs/commands.rst."""
    made = runpy.run_path(str(PROJECT / "docs" / "make_commands.py"))["page"]()
    assert (PROJECT / "docs" / "commands.rst").read_text("utf-8") == made


def test_the_page_of_conformance_is_what_the_suite_said() -> None:
    """Make it again with: make conformance PYTHON2=python2.7."""
    made = runpy.run_path(str(PROJECT / "docs" / "make_conformance.py"))["page"]()
    assert (PROJECT / "docs" / "conformance.rst").read_text("utf-8") == made
    found = json.loads((PROJECT / "docs" / "conformance.json").read_text("utf-8"))
    for part in ("servers", "clients"):
        failed = {case for case, verdict in found[part]["direct"].items() if verdict[0] == "FAILED"}
        for way, verdicts in found[part].items():
            worse = {case for case, verdict in verdicts.items() if verdict[0] == "FAILED"}
            assert worse <= failed, (part, way)


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out


def test_what_help_tells_is_on_the_page_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    page = (PROJECT / "docs" / "commands.rst").read_text("utf-8")
    shared, *sections = re.split(r"(?m)^wsrelay (\w+)\n-+\n", page)
    texts = dict(zip(sections[::2], sections[1::2], strict=True))
    assert set(texts) == set(re.findall(r"(?m)^    (\w+)  ", helped(capsys)))
    for name, text in texts.items():
        flags = set(re.findall(r"--[a-z-]+", helped(capsys, name))) - {"--help"}
        assert flags <= set(re.findall(r"--[a-z-]+", shared + text)), name


PAIRS = {
    "Socket.IO 4": ("socket.io", "socket.io-client"),
    "Socket.IO 2": ("socket.io-2", "socket.io-client-2"),
    "SockJS": ("sockjs", "sockjs-client"),
}


def test_the_versions_that_were_tried_are_those_that_the_tests_have() -> None:
    text = (PROJECT / "tests" / "peers" / "package-lock.json").read_text("utf-8")
    packages = json.loads(text)["packages"]
    page = (PROJECT / "docs" / "socketio.rst").read_text("utf-8")
    for library, names in PAIRS.items():
        versions = [packages[f"node_modules/{name}"]["version"] for name in names]
        [row] = re.findall(rf"(?m)^{library}  +(\S+)  +(\S+)  ", page)
        assert list(row) == versions, library


def test_the_page_of_what_was_tried_has_the_pinned_versions_and_tests_that_exist() -> None:
    """Make it again with: python docs/make_tried.py > docs/tried.rst."""
    making = runpy.run_path(str(PROJECT / "docs" / "make_tried.py"))
    page = (PROJECT / "docs" / "tried.rst").read_text("utf-8")
    pinned = set()
    assert page.startswith(making["HEAD"])
    for each in making["TRIED"]:
        begin, end = re.escape(f"* - {each.name}\n     - "), re.escape(f"\n     - {each.part}\n")
        [version] = re.findall(rf"{begin}([0-9.]+){end}", page)
        if getattr(each.version, "func", None) is making["pinned"]:
            assert version == each.version(), each.name
            pinned.update(each.version.args)
        for test in each.tests:
            assert (PROJECT / test).exists(), test
            assert f"``{test}``" in page
    package = (PROJECT / "tests" / "peers" / "package.json").read_text("utf-8")
    assert pinned == json.loads(package)["dependencies"].keys()


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


def test_the_page_of_faults_is_made_from_the_figures_of_a_run() -> None:
    """Make it again with: python docs/make_faults.py > docs/faults.rst."""
    making = runpy.run_path(str(PROJECT / "docs" / "make_faults.py"))
    assert (PROJECT / "docs" / "faults.rst").read_text("utf-8") == making["page"]()


def test_the_page_of_faults_has_every_scenario_with_both_pumps_and_nothing_lost_or_left() -> None:
    making = runpy.run_path(str(PROJECT / "docs" / "make_faults.py"))
    figures = json.loads((PROJECT / "docs" / "faults.json").read_text("utf-8"))
    played = {(each["scenario"], each["pump"]) for each in figures}
    assert played == {(each.name, pump) for each in making["SCENARIOS"] for pump in making["PUMPS"]}
    for each in figures:
        assert each["losses"] == 0
        assert each["messages"] > 0
        for kind in ("descriptors", "timers"):
            before, after = each[kind]
            assert after <= before, each
    tests = {
        (str(file.relative_to(PROJECT)), name)
        for file in (PROJECT / "tests" / "faults").glob("test_*.py")
        for name in re.findall(r"(?m)^def test_(\w+)", file.read_text("utf-8"))
    }
    for file, name in tests:
        assert any(each.test == file and each.name.startswith(name) for each in making["SCENARIOS"])
