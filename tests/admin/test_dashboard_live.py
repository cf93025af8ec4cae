"""The dashboard of a real relay in Chromium: what happens is seen, and its buttons do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.browser import chromium
from tests.peers.upstreams import own_url, start_upstream
from tests.support import PATIENCE, Process, RelayProcess, started_relay
from tests.system.actor import echoes, is_quiet, join, take_close
from tests.system.admin import ADMIN, Admin
from tests.system.support import LOCAL, RawUpstream, Stage, wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.peers

T = TypeVar("T")


class Page:
    """The dashboard as somebody sees it."""

    def __init__(self, chrome: Chrome, url: str, folder: Path) -> None:
        self.chrome = chrome
        self.folder = folder
        chrome.get(url)
        self.find("body[data-live=live]")

    def wait(self, found: Callable[[], T], what: str) -> T:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        ignored = [StaleElementReferenceException]
        waiting = WebDriverWait(self.chrome, PATIENCE, 0.05, ignored_exceptions=ignored)
        return waiting.until(lambda _: found(), f"no {what}: {self.shoot('failed')}")

    def find(self, css: str) -> WebElement:
        def look() -> Any:
            shown = self.chrome.find_elements("css selector", css)
            return next((each for each in shown if each.is_displayed()), None)

        found: WebElement = self.wait(look, css)
        return found

    def reads(self, css: str, text: str) -> None:
        """Wait until *text* stands there."""
        self.wait(lambda: text in self.find(css).text, f"{text!r} in {css}")

    def click(self, css: str) -> None:
        button = self.find(css)
        self.chrome.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button
        )
        button.click()

    def confirm(self, css: str) -> None:
        """Click a button that asks first, and say yes."""
        self.click(css)
        self.click("#confirm[open] #confirm-go")

    def count(self, css: str) -> int:
        return len(self.chrome.find_elements("css selector", css))

    def shoot(self, name: str) -> Path:
        """Keep what is seen now."""
        path = self.folder / f"live-{name}.png"
        self.chrome.save_screenshot(str(path))
        return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def chrome(folder: Path) -> Iterator[Chrome]:
    with chromium(folder / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, Process]]:
    """Give two upstreams; another may be put in the place of one."""
    running = {name: start_upstream("websockets") for name in "ab"}
    yield running
    for each in running.values():
        each.stop()


@pytest.fixture(scope="module")
def relay(processes: dict[str, Process], folder: Path) -> Iterator[RelayProcess]:
    listed = "\n".join(f"    {own_url(each)} name={name}" for name, each in processes.items())
    text = (
        f"[relay]\ndrain_timeout = 1h\n[listener:main]\nendpoint = {LOCAL}\n{ADMIN}"
        "[route:chat]\npool = chat\nkeepalive = off\n[pool:chat]\n"
        "health_check = websocket path=/echo interval=200ms timeout=2s rise=1 fall=1\n"
        f"upstreams =\n{listed}\n"
    )
    with started_relay(text, folder) as running:
        yield running


@pytest.fixture
def stage(relay: RelayProcess) -> Iterator[Stage]:
    nobody = RawUpstream.tcp()
    given = Stage(relay, nobody)
    admin = Admin.of(relay)
    for name in "ab":
        admin.wait_for("chat", name, health="up")
    yield given
    given.close()
    nobody.close()
    wait_until(lambda: admin.status()["sessions"] == 0, "the end of all sessions")


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


@pytest.fixture
def page(chrome: Chrome, stage: Stage, admin: Admin, folder: Path) -> Page:
    return Page(chrome, admin.url, folder)


def row(name: str, **data: str) -> str:
    wanted = "".join(f"[data-{key}={value}]" for key, value in data.items())
    return f"tr[data-upstream='chat/{name}']{wanted}"


def test_upstreams_and_sessions_are_shown_as_they_come_and_go(
    page: Page, stage: Stage, admin: Admin
) -> None:
    for name in "ab":
        page.find(row(name, health="up", state="ready"))
    page.find("#no-sessions")
    clients = [join(stage, "/echo") for _ in range(3)]
    for client in clients:
        echoes(client)
    page.wait(lambda: page.count("#session-rows tr[data-session]") == 3, "three sessions")
    assert {each["id"] for each in admin.sessions()} == {
        each.get_attribute("data-session")
        for each in page.chrome.find_elements("css selector", "#session-rows tr[data-session]")
    }
    page.reads("[data-tile=sessions] [data-value=sessions]", "3")
    page.reads("#readiness[data-state=ready]", "Ready")
    page.shoot("sessions")
    (id, *_) = (each["id"] for each in admin.sessions())
    page.click(f"#session-rows tr[data-session='{id}'] [data-action=open]")
    page.reads("#session[open] #session-title", id)
    legs = page.find("#session-legs").text
    assert "bytes received 18 B 14 B" in legs  # a frame of twelve, masked and not
    assert "binary messages 0 0" in legs
    page.shoot("session")
    page.confirm("#session[open] #session-close")
    wait_until(lambda: len(admin.sessions()) == 2 or not all(map(is_quiet, clients)), "the close")
    clients.sort(key=is_quiet)
    assert take_close(clients[0], 1000)
    page.wait(lambda: page.count("#session-rows tr[data-session]:not([data-ended])") == 2, "two")
    for client in clients[1:]:
        echoes(client)


@pytest.mark.parametrize("width", [1190, 1280, 1600])
def test_nothing_in_the_table_of_upstreams_overlaps(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.find(row("a"))
    outside = page.chrome.execute_script(OUTSIDE)
    page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert outside == []


OUTSIDE = """
const right = (each) => each.getBoundingClientRect().right;
return [...document.querySelectorAll("tr[data-upstream] td")].filter(
    (cell) => [...cell.querySelectorAll("*")].some((each) => right(each) > right(cell))
).map((cell) => cell.dataset.field);
"""
"""Which cells hold something that is not inside of them."""


def test_a_killed_upstream_is_seen_and_so_is_its_return(
    page: Page, stage: Stage, processes: dict[str, Process]
) -> None:
    killed = processes["b"]
    killed.kill()
    page.find(row("b", health="down"))
    page.find("#attention-list [data-attention*='chat/b'][data-tone=bad]")
    page.reads("#log", "upstream chat/b is down")
    page.find(row("a", health="up"))
    page.shoot("killed")
    port = own_url(killed).rpartition(":")[2]
    killed.stop()
    processes["b"] = start_upstream("websockets", "--port", port)
    page.find(row("b", health="up"))
    page.reads("#log", "upstream chat/b is up")
    page.shoot("back")


def test_the_drain_button_drains_and_can_be_taken_back(
    page: Page, stage: Stage, admin: Admin
) -> None:
    clients = [join(stage, "/echo") for _ in range(4)]
    page.wait(lambda: page.count("#session-rows tr[data-session]") == 4, "four sessions")
    page.click(f"{row('a')} [data-action=drain]")
    page.find("#confirm[open]")
    assert admin.upstream("chat", "a")["state"] == "ready"  # not before somebody says yes
    page.click("#confirm-go")
    page.find(row("a", state="drain"))
    wait_until(lambda: not all(map(is_quiet, clients)), "the first close")
    clients.sort(key=is_quiet)
    assert take_close(clients.pop(0), 1012) == b"the upstream is drained"
    page.wait(lambda: page.count("#session-rows tr[data-session]:not([data-ended])") == 3, "three")
    page.shoot("drain")
    assert {session["upstream"] for session in admin.sessions()} == {"a", "b"}
    page.click(f"{row('a')} [data-action=ready]")
    page.find(row("a", state="ready"))
    for client in clients:
        echoes(client)


def test_the_relay_is_drained_and_that_is_taken_back(
    page: Page, stage: Stage, admin: Admin
) -> None:
    page.confirm("#relay-drain")
    page.find("#readiness[data-state=draining]")
    page.shoot("relay-drain")
    assert admin.ask("GET", "/readyz").status == 503
    page.click("#relay-undo")
    page.find("#readiness[data-state=ready]")
    assert admin.ask("GET", "/readyz").status == 200
    echoes(join(stage, "/echo"))


def test_the_page_comes_back_when_the_relay_does(
    chrome: Chrome, relay: RelayProcess, folder: Path
) -> None:
    page = Page(chrome, Admin.of(relay).url, folder)
    text = relay.file.read_text()
    relay.stop()
    page.find("body[data-stale]")
    page.find("#live-text")
    page.shoot("away")
    with started_relay(text, folder) as again:
        page.find("body[data-live=live]:not([data-stale])")
        for name in "ab":
            page.find(row(name, health="up"))
        assert again.pid != relay.pid
        page.reads("#relay-facts", str(again.pid))
        page.shoot("again")
