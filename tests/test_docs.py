"""The pages that are made from the code say what the code says, and all of them are sound reST."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import docutils.core
import pytest
from twisted.internet.testing import MemoryReactorClock

from tests.support import PROJECT
from wsrelay.cli import main
from wsrelay.config import Checks, parse
from wsrelay.observe.families import FAMILIES
from wsrelay.relay.refusals import REFUSALS
from wsrelay.service import RelayService

DOCS = PROJECT / "docs"
IN_DOCS = sorted(DOCS.glob("*.rst"))
PAGES = [
    PROJECT / "README.rst",
    PROJECT / "CHANGELOG.rst",
    *IN_DOCS,
    PROJECT / "examples" / "README.rst",
    PROJECT / "examples" / "socketio" / "README.rst",
    PROJECT / "bench" / "README.rst",
]


MADE = ["access-log", "answers", "commands", "configuration", "metrics", "plugins"]


@pytest.mark.parametrize("name", MADE)
def test_a_page_that_is_made_of_a_table_says_what_the_table_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make them again with: make pages."""
    monkeypatch.syspath_prepend(DOCS)
    made = runpy.run_path(str(DOCS / f"make_{name.replace('-', '_')}.py"))["page"]()
    assert (DOCS / f"{name}.rst").read_text("utf-8") == made


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


SPHINX = re.compile(r"(?m)^\.\. (toctree|autoclass|literalinclude)::")
"""What makes a page one that only Sphinx reads; ``make docs`` finds what is wrong with it."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_markup_errors(page: Path) -> None:
    if SPHINX.search(page.read_text("utf-8")):
        return
    docutils.core.publish_doctree(
        page.read_text("utf-8"),
        source_path=str(page),
        settings_overrides={"halt_level": 2, "report_level": 2, "warning_stream": ""},
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"<([^>:#]+)(?:#[a-z-]+)?>`_", page.read_text("utf-8")):
        assert (page.parent / target.strip()).exists(), target


def test_every_page_is_in_the_table_of_contents_and_every_picture_on_a_page() -> None:
    index = (DOCS / "index.rst").read_text("utf-8")
    listed = re.findall(r"(?m)^   ([a-z-]+)$", index)
    assert sorted([*listed, "index"]) == [page.stem for page in IN_DOCS]
    texts = "".join(page.read_text("utf-8") for page in IN_DOCS)
    for picture in (*DOCS.glob("*.svg"), *DOCS.glob("*.png")):
        assert f":: {picture.name}\n" in texts, picture.name


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page, without their indentation."""
    text = (DOCS / f"{page}.rst").read_text("utf-8")
    found = re.findall(rf"(?m)^( *)\.\. code-block:: {language}\n\n((?:\1    .*\n|\n)+)", text)
    return [re.sub(rf"(?m)^{indent}    ", "", block) for indent, block in found]


def whole_files() -> list[tuple[str, str]]:
    """Return each relay.ini of a page that has all that a relay needs."""
    found = [(page.stem, block) for page in IN_DOCS for block in blocks(page.stem, "ini")]
    return [each for each in found if "upstream" in each[1] and "listen" in each[1]]


def test_each_whole_relay_ini_is_a_good_one() -> None:
    files = whole_files()
    assert {"sticky", "monitoring", "filters", "web-application"} <= {page for page, _ in files}
    for page, text in files:
        assert parse(text.encode(), page, Path("/"), {}, Checks()).pools


def test_alerts_name_metrics_and_reasons_that_there_are() -> None:
    rules = next(each for each in blocks("monitoring", "yaml") if "rules:" in each)
    names = set(re.findall(r"wsrelay_\w+", rules))
    assert len(names) > 4
    assert names <= FAMILIES.keys()
    [reasons] = re.findall(r'reason=~\s*"([a-z|-]+)"', rules)
    assert set(reasons.split("|")) <= REFUSALS.keys()


def test_a_relay_with_a_file_is_embedded_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = blocks("embedding", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.chdir(tmp_path)
    short = "[relay]\nlisten = tcp:8080\nupstream = ws://127.0.0.1:3000\ndata_path = python\n"
    Path("relay.ini").write_text(short)
    relay = names["make_relay"](MemoryReactorClock())
    assert isinstance(relay, RelayService)
    assert list(relay.relay.pools) == ["default"]
    Path("relay.ini").write_text("[relay]\nlisten = tcp:8080\n")
    with pytest.raises(SystemExit, match=r"relay\.ini"):
        names["make_relay"](MemoryReactorClock())


def test_a_directive_of_nginx_is_answered_as_the_page_of_migration_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [shown] = [each for each in blocks("migration", "console") if "proxy_read_timeout" in each]
    lines = ["[listener:public]", "endpoint = tcp:8080", "", "[route:chat]", "path = /chat"]
    lines += ["pool = chat", "# from nginx.conf:", "# 1h", "proxy_read_timeout = 1h"]
    lines += ["", "[pool:chat]", "upstreams = ws://127.0.0.1:3000"]
    file = tmp_path / "relay.ini"
    file.write_text("\n".join(lines))
    assert main(["check", str(file)]) == 1
    printed = capsys.readouterr().out.replace(str(file), "relay.ini")
    assert printed == shown.partition("\n")[2].strip() + "\n"


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
