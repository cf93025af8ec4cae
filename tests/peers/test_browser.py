"""A person opens the demo's page in Chromium and says something through the relay."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium
from tests.support import PATIENCE, Process

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

UPSTREAMS = {"amber", "cobalt", "jade"}
PAGE = re.compile(r"http://127\.0\.0\.1:\d+/")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Give a headless Chromium with a profile of its own."""
    with chromium(tmp_path / "profile") as chrome:
        chrome.implicitly_wait(PATIENCE)
        yield chrome


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """Give the URL of the page of a running demo."""
    twistd = Path(sys.executable).with_name("twistd")
    with Process([twistd, "-n", "--pidfile=", "wsrelay", "--demo"], cwd=tmp_path) as demo:
        _, line = demo.wait_for_line(lambda line: bool(PAGE.search(line)), what="the page's URL")
        found = PAGE.search(line)
        assert found is not None
        yield found[0]
        print(demo.log())  # pytest shows it when the test failed


@pytest.mark.usefixtures("relayed")
def test_a_chat_message_goes_through_the_relay(browser: Chrome, page: str, tmp_path: Path) -> None:
    """What is said appears with the name of the upstream that carried it, without any error."""
    browser.get(page)
    browser.find_element("css selector", "#state[data-state=open]")
    upstream = browser.find_element("id", "upstream").text
    assert upstream in UPSTREAMS
    browser.find_element("id", "text").send_keys("Hello through the relay <b>")
    browser.find_element("id", "send").click()
    said = browser.find_element("css selector", "#messages .message")
    assert said.find_element("css selector", ".text").text == "Hello through the relay <b>"
    assert said.find_element("css selector", ".via").text == f"via {upstream}"
    assert browser.save_screenshot(str(tmp_path / "demo.png"))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
