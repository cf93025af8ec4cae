"""The Socket.IO example as two people see it, one of whose processes is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.browser import chromium
from tests.peers.node import HERE as PEERS
from tests.peers.node import require_node
from tests.support import PATIENCE, PROJECT, Process, RelayProcess, free_port, started_relay

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.peers

EXAMPLE = PROJECT / "examples" / "socketio"
PORTS = ("3001", "3002", "3003", "3004")
SIZES = {"desk": (1280, 800, "light"), "phone": (375, 740, "dark")}

T = TypeVar("T")


class Tab:
    """A tab of the browser; whatever is asked of it brings it to the front."""

    def __init__(self, chrome: Chrome, url: str, name: str, folder: Path) -> None:
        self.chrome, self.folder, self.name = chrome, folder, name
        chrome.switch_to.new_window("tab")
        self.handle = chrome.current_window_handle
        chrome.get(url)

    def find(self, css: str) -> WebElement:
        """Wait until there is such an element."""
        self.chrome.switch_to.window(self.handle)
        return self.wait(lambda: self.chrome.find_elements("css selector", css), css)[0]

    def wait(self, found: Callable[[], T], what: str) -> T:
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        try:
            return WebDriverWait(self.chrome, PATIENCE, 0.05).until(lambda _: found())
        except TimeoutException:
            pytest.fail(f"no {what} in {self.name}: {self.shoot('failed')}")

    def connected(self) -> tuple[int, int]:
        """Wait until it has a websocket; return the number and the pid of its process."""
        self.find("body[data-state=connected][data-transport=websocket]")
        number, pid = map(int, re.findall(r"\d+", self.find("#pid").text))
        return number, pid

    def say(self, text: str) -> None:
        self.find("#text").send_keys(text)
        self.find("#send:enabled").click()

    def hears(self, text: str, process: int) -> None:
        """Wait until the last message is *text*, said through that process."""

        def last() -> list[WebElement]:
            found = self.chrome.find_elements("css selector", ".message:last-child")
            return [each for each in found if text in each.text]

        self.find(".message")
        [message] = self.wait(last, text)
        assert f"via process {process}" in message.text

    def shoot(self, name: str) -> Path:
        """Keep what is seen now."""
        self.chrome.switch_to.window(self.handle)
        path = self.folder / f"{self.name}-{name}.png"
        self.chrome.save_screenshot(str(path))
        return path

    def shoot_sizes(self, name: str) -> None:
        """Keep how it looks on a desk and on a phone, and check that nothing sticks out."""
        self.chrome.switch_to.window(self.handle)
        for size, (width, height, scheme) in SIZES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            feature = {"name": "prefers-color-scheme", "value": scheme}
            self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            page = self.chrome.find_element("css selector", "html")
            assert page.get_property("scrollWidth") <= width
            self.shoot(f"{name}-{size}")
        self.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Copy the example, with the modules that the tests' own package.json has."""
    require_node()
    copied = tmp_path / "scene"
    shutil.copytree(EXAMPLE, copied, ignore=shutil.ignore_patterns("node_modules"))
    (copied / "node_modules").symlink_to(PEERS / "node_modules")
    return copied


@pytest.fixture
def ports() -> dict[str, str]:
    """Give free ports for those that the example has."""
    return {port: str(free_port()) for port in PORTS}


@pytest.fixture
def servers(scene: Path, ports: dict[str, str]) -> Iterator[Process]:
    """Give the four processes, started as the example says."""
    script = json.loads((scene / "package.json").read_text("utf-8"))["scripts"]["start"]
    with Process(script.split(), cwd=scene, env={"PORTS": " ".join(ports.values())}) as running:
        for number, port in enumerate(ports.values(), 1):
            running.wait_for_line(
                re.compile(rf"process {number} has pid \d+ and listens on port {port}").fullmatch
            )
        yield running
        print(running.log())  # pytest shows it when the test failed


@pytest.fixture
def relay(servers: Process, scene: Path, ports: dict[str, str]) -> Iterator[RelayProcess]:
    """Give the relay of the example, in front of them."""
    text = re.sub(r"tcp:\d+", "tcp:0", (scene / "relay.ini").read_text("utf-8"))
    for port, free in ports.items():
        assert f":{port} " in text
        text = text.replace(f":{port} ", f":{free} ")
    with started_relay(text, scene) as running:
        yield running


@pytest.fixture
def chrome(tmp_path: Path) -> Iterator[Chrome]:
    with chromium(tmp_path / "profile") as browser:
        yield browser


def test_two_people_talk_on_when_the_process_of_one_is_killed(
    chrome: Chrome, relay: RelayProcess, servers: Process, tmp_path: Path
) -> None:
    ada = Tab(chrome, relay.url_of("web", "http"), "ada", tmp_path)
    killed, pid = ada.connected()
    bob = Tab(chrome, relay.url_of("web", "http"), "bob", tmp_path)
    stays, stays_pid = bob.connected()
    assert killed != stays
    servers.wait_for_words(f"process {killed} has pid {pid} and")
    ada.say("Hello <b>Bob</b>")
    bob.hears("Hello <b>Bob</b>", killed)
    bob.say("Hello Ada")
    ada.hears("Hello Ada", stays)
    ada.shoot_sizes("before")

    os.kill(pid, signal.SIGKILL)
    ada.find(".notice + .notice")
    after, _ = ada.connected()
    assert after != killed
    ada.say("I am back")
    bob.hears("I am back", after)
    ada.hears("I am back", after)
    assert bob.connected() == (stays, stays_pid)
    assert chrome.find_elements("css selector", ".notice") == []
    ada.shoot_sizes("after")

    dashboard = Tab(chrome, relay.url_of("admin", "http"), "dashboard", tmp_path)
    dashboard.find(f"tr[data-upstream='chat/process-{killed}'][data-health=down]")
    dashboard.find(f"tr[data-upstream='chat/process-{after}'][data-health=up]")
    dashboard.shoot("killed")
    servers.write_line("")
    servers.wait_for_words(f"process {killed} has pid", start=len(PORTS))
    dashboard.find(f"tr[data-upstream='chat/process-{killed}'][data-health=up]")


def test_the_example_has_the_version_that_the_peers_are_tried_with() -> None:
    for file in ("package.json", "package-lock.json"):
        here, tried = (json.loads((each / file).read_text("utf-8")) for each in (EXAMPLE, PEERS))
        if file == "package.json":
            wanted = here["dependencies"]
            assert wanted == {name: tried["dependencies"][name] for name in wanted}
        else:
            name = "node_modules/socket.io"
            assert here["packages"][name]["version"] == tried["packages"][name]["version"]
