"""The operator's dashboard in Chromium, with a stand-in for the admin endpoint behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.admin.stand_in import (
    Asked,
    StandIn,
    make_cluster,
    make_details,
    make_pool,
    make_relay,
    make_session,
    make_upstream,
    make_worker,
    serving,
)
from tests.browser import chromium
from tests.support import PATIENCE

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

HTML = resources.files("wsrelay.admin").joinpath("dashboard.html").read_text("utf-8")
FIRST = "127.0.0.1:3000"
SECOND = "127.0.0.1:3001"
SOCKET = "unix:/run/a.sock"
ROW = f"[data-upstream='chat/{FIRST}']"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"

pytestmark = pytest.mark.peers


class Page:
    """The dashboard as somebody sees it."""

    def __init__(self, chrome: Chrome, stand_in: StandIn) -> None:
        self.chrome = chrome
        self.relay = stand_in
        chrome.get(stand_in.url)
        self.find("body[data-live=live]")

    def all(self, css: str) -> list[WebElement]:
        return self.chrome.find_elements("css selector", css)

    def find(self, css: str) -> WebElement:
        return self.wait(lambda: next(iter(self.all(css)), None), css)

    def shown(self, css: str) -> WebElement:
        return self.wait(
            lambda: next((each for each in self.all(css) if each.is_displayed()), None), css
        )

    def wait(self, found: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        ignored = [StaleElementReferenceException]
        waiting = WebDriverWait(self.chrome, PATIENCE, 0.05, ignored_exceptions=ignored)
        return waiting.until(lambda _: found(), f"no {what}")

    def wait_for_text(self, css: str, text: str) -> None:
        def is_there() -> bool:
            return text in self.find(css).text

        try:
            self.wait(is_there, text)
        except Exception as error:
            raise AssertionError(f"{css}: {self.find(css).text!r} has no {text!r}") from error

    def click(self, css: str) -> None:
        button = self.shown(css)
        # Headless windows scroll smoothly elsewhere; a button has to stay under the pointer.
        self.script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
        button.click()

    def script(self, text: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(text, *arguments)

    def press(self, *keys: str) -> None:
        self.chrome.switch_to.active_element.send_keys(*keys)

    def focused(self) -> dict[str, str]:
        return dict(self.script("return {...document.activeElement.dataset}"))

    def texts(self, css: str) -> list[str]:
        found: list[str] = self.script(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)",
            css,
        )
        return found

    def emulate(self, width: int, height: int = 800, scheme: str = "light") -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def severe(self) -> list[str]:
        return [
            entry["message"]
            for entry in self.chrome.get_log("browser")
            if entry["level"] == "SEVERE"
        ]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    """Give the one browser with an empty page and nothing in its logs."""
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    for log in ("browser", "performance"):
        chrome.get_log(log)
    yield chrome
    chrome.get("about:blank")


@pytest.fixture
def relay() -> Iterator[StandIn]:
    pool = make_pool(
        "chat",
        make_upstream(FIRST, sessions=30, max_connections=100, weight=3),
        make_upstream(SECOND, sessions=10),
        make_upstream(SOCKET, sessions=0, url="unix:/run/a.sock", backup=True),
    )
    with serving(HTML, pool, make_pool("game", make_upstream("g"), balancer="hash key=ip")) as it:
        yield it


@pytest.fixture
def page(browser: Chrome, relay: StandIn) -> Page:
    return Page(browser, relay)


def first(relay: StandIn) -> dict[str, Any]:
    found: dict[str, Any] = relay.message["status"]["pools"][0]["upstreams"][0]
    return found


def confirm(page: Page, button: str) -> None:
    page.click(button)
    page.click("#confirm[open] #confirm-go")


# ---- what is shown


def test_what_the_relay_says_is_shown(page: Page) -> None:
    assert page.find("#version").text == "0.1.0"
    assert page.find("#uptime").text == "1 m"
    assert page.find("#readiness[data-state=ready]").text == "Ready"
    assert page.find("#live-text").text == "Live"
    assert page.find("[data-tile=sessions] [data-value=sessions]").text == "44"
    facts = {each.get_attribute("data-fact"): each.text for each in page.all("[data-pool] b")}
    assert facts["health_check"] == "websocket"
    assert page.find("[data-pool=game] [data-fact=balancer]").text == "hash key=ip"
    row = page.find(ROW)
    cells = {
        cell.get_attribute("data-field"): cell.text for cell in row.find_elements("tag name", "td")
    }
    assert cells["identity"] == f"1\n{FIRST}\nws://{FIRST}"
    assert cells["health"] == "up\n1 m"
    assert cells["sessions"] == "30 of 100\n75 %"
    assert cells["rtt"] == "0.4 ms"
    assert cells["check"] == "✓ ok 101, pong after 0.4 ms"
    assert row.find_element("css selector", "[data-weight]").get_attribute("value") == "3"
    pressed = row.find_elements("css selector", "[aria-pressed=true]")
    assert [button.text for button in pressed] == ["Ready"]
    assert "backup" in page.find(f"[data-upstream='chat/{SOCKET}']").text
    assert page.find("#session-count").text == "4"
    assert page.find("#calm").is_displayed()
    assert page.find("#reload-result").text == "None since the start."
    assert "127.0.0.1:8080" in page.find("#relay-facts").text
    assert page.severe() == []


def test_rates_are_counted_from_successive_totals(page: Page, relay: StandIn) -> None:
    upstream = first(relay)
    upstream["messages_up"] += 25
    upstream["bytes_down"] += 2500
    relay.message["status"]["handshakes"] += 7
    relay.push()
    page.wait_for_text("[data-value=messages_up]", "25")
    assert page.find("[data-value=bytes_down]").text == "2.5 kB"
    assert page.find("[data-value=handshakes]").text == "7"
    assert page.find("[data-value=refused]").text == "0"
    assert page.find(f"{ROW} [data-field=traffic]").text.startswith("↑ 25/s\n0 B/s\n↓")
    # It was away and counts anew: that is no rate below nothing.
    upstream["messages_up"] = 3
    relay.push()
    page.wait_for_text("[data-value=messages_up]", "0")
    assert page.find("[data-tile=messages] path.first").get_attribute("d").count("L") == 1


def test_a_relay_without_plain_http_shows_nothing_of_it(page: Page) -> None:
    for tile in ("requests", "failed"):
        assert not page.find(f"[data-tile={tile}]").is_displayed()
    assert not page.find("#figures").get_attribute("data-http")
    assert not [each for each in page.all("[data-plain]") if each.is_displayed()]
    assert not [each for each in page.all("[data-fact=requests]") if each.is_displayed()]


def had_plain_requests(relay: StandIn) -> None:
    """Let there be plain requests, 20 of them new."""
    status = relay.message["status"]
    first(relay).update(requests=3, answered=first(relay)["answered"] + 12)
    total = status["http"]["total"] + 20
    http = {"total": total, "2xx": total - 7, "3xx": 0, "4xx": 5, "5xx": 2}
    status.update(requests=4, http=http)
    status["pools"][0]["requests"] = 3
    status["routes"][0].update(requests=4, http=http)


def test_plain_http_is_shown_once_there_was_any(page: Page, relay: StandIn) -> None:
    had_plain_requests(relay)
    relay.push()
    page.wait_for_text("[data-value=requests]", "20")
    assert page.shown("[data-tile=requests] .peak").text == "4 under way"
    assert page.find("[data-value=failed]").text == "2"
    assert page.shown("[data-tile=failed] .peak").text == "2 in all"
    assert page.find(f"{ROW} [data-plain=requests]").text == "3 requests"
    assert page.find(f"{ROW} [data-plain=rate]").text == "12 requests/s"
    # Of upstreams and pools that had none, nothing.
    assert [each.is_displayed() for each in page.all("[data-plain=rate]")] == [True, *[False] * 3]
    facts = {each.is_displayed(): each.text for each in page.all("[data-fact=requests]")}
    assert facts == {True: "3", False: ""}
    said = "/chat → chat, 40 sessions, 20 requests (5 4xx, 2 5xx)"
    assert said in page.find("#relay-facts").text
    warned = page.find("[data-attention='failed:']")
    assert warned.text == "Of plain HTTP 2 requests were answered with 5xx within a minute"
    assert page.severe() == []


def test_requests_take_places_of_an_upstream_too(page: Page, relay: StandIn) -> None:
    first(relay).update(sessions=30, openings=1, requests=68)
    relay.push()
    page.wait_for_text(f"{ROW} [data-plain=requests]", "68 requests")
    assert not page.all(f"{ROW} .badge")
    first(relay).update(requests=69)
    relay.push()
    page.wait_for_text(f"{ROW} .badge", "full")
    told = page.find(f"[data-attention='full:chat/{FIRST}']").text
    assert told == f"chat/{FIRST} is full: 30 sessions and 69 requests, at most 100"


def test_a_pool_of_plain_requests_alone_shows_its_shares_of_them(browser: Chrome) -> None:
    a, b = (make_upstream(name, sessions=0, answered=n) for name, n in (("a", 30), ("b", 10)))
    with serving(HTML, make_pool("web", a, b)) as relay:
        page = Page(browser, relay)
        share = page.find("[data-pool=web] .share")
        assert share.get_attribute("aria-label") == "Share of the requests so far: a 75 %, b 25 %"
        widths = [each.size["width"] for each in page.all("[data-share]")]
        assert widths[0] == pytest.approx(3 * widths[1], rel=0.05)


def test_files_and_redirects_are_named_as_what_routes_lead_to(page: Page, relay: StandIn) -> None:
    routes = relay.message["status"]["routes"]
    routes[0] |= {"pool": "", "static": "/srv/www", "http": {"total": 1, "5xx": 0}}
    routes[1] |= {"pool": "", "redirect": "https://example.com"}
    relay.push()
    page.wait_for_text("#relay-facts", "/chat → files in /srv/www, 1 request\n")
    assert "/game → https://example.com\n" in f"{page.find('#relay-facts').text}\n"


def test_an_update_changes_the_elements_that_are_there(page: Page, relay: StandIn) -> None:
    row, session = page.find(ROW), page.find("[data-session=chat-0]")
    page.script(
        "window.changes = 0; new MutationObserver((all) => { window.changes += all.filter("
        "(each) => [...each.addedNodes, ...each.removedNodes].some((node) => node.nodeType === 1)"
        ").length; }).observe(document.body, {childList: true, subtree: true});"
    )
    page.script("arguments[0].focus()", row.find_element("css selector", "[data-action=drain]"))
    upstream = first(relay)
    upstream.update(sessions=31, health="down", health_s=1, state="drain", rtt_ms=7.25)
    relay.message["sessions"]["sessions"][0]["messages_up"] = 999
    relay.push()
    page.wait_for_text(f"{ROW} [data-field=sessions]", "31 of 100")
    assert row.get_attribute("data-health") == "down"
    assert row.find_element("css selector", "[aria-pressed=true]").text == "Drain"
    assert "7.3 ms" in row.text
    assert "999" in session.text
    assert page.focused()["action"] == "drain"
    within = "return [...document.querySelectorAll('#attention-list li')].length"
    assert page.script(within) == page.script("return window.changes") > 0


def test_what_is_gone_is_taken_away_and_what_is_new_comes_in_order(
    page: Page, relay: StandIn
) -> None:
    upstreams = relay.message["status"]["pools"][0]["upstreams"]
    upstreams[1] = make_upstream("new", source="api")
    upstreams.insert(0, make_upstream("zero", source="discovery"))
    relay.push()
    page.find("[data-upstream='chat/new']")
    assert page.texts("[data-pool=chat] .name bdi") == ["zero", FIRST, "new", SOCKET]
    assert "from discovery" in page.find("[data-upstream='chat/zero']").text


TROUBLES: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("down:chat/a", lambda s: up(s).update(health="down", history=[DOWN]), "no route to host"),
    ("full:chat/a", lambda s: up(s).update(max_connections=4), "4 of 4"),
    ("drain:chat/a", lambda s: up(s).update(state="drain", drain=DRAIN), "60 of 100"),
    ("drained:chat/a", lambda s: up(s).update(state="drain"), "set to drain"),
    ("set-down:chat/a", lambda s: up(s).update(state="down"), "set down"),
    ("gone:chat/a", lambda s: up(s).update(source="gone"), "4 sessions"),
    ("queue:chat", lambda s: s["pools"][0].update(queue=1), "1 client"),
    ("rebalance:chat", lambda s: s["pools"][0].update(rebalance=DRAIN), "27 s left"),
    ("drain:chat", lambda s: s["pools"][0].update(drain=DRAIN), "27 s left"),
    ("not-ready:", lambda s: s.update(ready=False, not_ready="no pool has one"), "no pool has"),
    ("drain:", lambda s: s.update(ready=False, drain=DRAIN), "60 of 100"),
    ("reload:", lambda s: s.update(last_reload=FAILED), "1 error"),
    ("lag:", lambda s: s.update(lag_s=0.25), "250 ms"),
    ("redis:", lambda s: s.update(cluster=make_cluster(up=False)), "goes on with what it knows"),
    ("backup:chat", lambda s: s["pools"][0]["upstreams"].__setitem__(1, BACKUP_ONLY), "backups"),
]
DRAIN = {
    "what": "it",
    "total": 100,
    "closed": 40,
    "left": 60,
    "elapsed_s": 3.1,
    "deadline_s": 27.9,
    "done": False,
}
DOWN = {"at": "2026-11-21T14:00:30Z", "to": "down", "why": "connect: no route to host"}
FAILED = {"at": "2026-11-21T14:00:30Z", "ok": False, "changes": [], "errors": ["relay.ini:12: no"]}
BACKUP_ONLY = make_upstream("b", backup=True)


def up(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status["pools"][0]["upstreams"][0]
    return found


@pytest.mark.parametrize(("key", "spoil", "words"), TROUBLES, ids=[key for key, _, _ in TROUBLES])
def test_each_trouble_is_named_while_it_lasts(
    browser: Chrome, key: str, spoil: Callable[[dict[str, Any]], Any], words: str
) -> None:
    with serving(HTML, make_pool("chat", make_upstream("a"), make_upstream("b"))) as relay:
        page = Page(browser, relay)
        page.shown("#calm")
        before = json.loads(json.dumps(relay.message["status"]))
        if key == "backup:chat":
            up(relay.message["status"])["health"] = "down"
        spoil(relay.message["status"])
        relay.push()
        trouble = page.find(f"[data-attention='{key}']")
        assert words in trouble.text
        page.wait_for_text("#announcer", words)
        relay.message["status"] = before
        relay.push()
        page.shown("#calm")
        assert page.find("#announcer").get_attribute("textContent").startswith("No longer: ")
        assert page.severe() == []


def test_the_worst_news_come_first_and_lead_to_their_place(browser: Chrome) -> None:
    pool = make_pool(
        "chat",
        make_upstream("a", state="down"),
        make_upstream("b", max_connections=4),
        make_upstream("c", health="down", history=[DOWN]),
    )
    with serving(HTML, pool) as relay:
        page = Page(browser, relay)
        found = page.script(
            "return [...document.querySelectorAll('[data-attention]')]"
            ".map((each) => [each.dataset.tone, each.dataset.attention])"
        )
        assert found == [
            ["bad", "none:chat"],
            ["bad", "down:chat/c"],
            ["warn", "full:chat/b"],
            ["info", "set-down:chat/a"],
        ]
        assert page.chrome.title == "(2) wsrelay"
        page.click("[data-attention='down:chat/c'] button")
        assert page.focused()["upstream"] == "chat/c"


def test_a_drain_has_a_progress_bar(page: Page, relay: StandIn) -> None:
    first(relay).update(state="drain", drain=DRAIN)
    relay.message["status"].update(drain={**DRAIN, "left": 90, "closed": 10}, ready=False)
    relay.push()
    bar = page.find(f"{ROW} [role=progressbar]")
    page.wait(lambda: bar.get_attribute("aria-valuenow") == "40", "progress")
    assert page.find("#relay-progress [role=progressbar]").get_attribute("aria-valuenow") == "10"
    assert page.find("#readiness-text").text == "Draining"
    assert page.find("#relay-undo").is_displayed()
    assert not page.find("#relay-drain").is_displayed()


def test_the_history_is_a_picture_with_words(page: Page, relay: StandIn) -> None:
    relay.message["status"]["started"] = "2026-11-21T13:00:00Z"
    first(relay)["history"] = [
        {"at": "2026-11-21T13:00:00Z", "to": "up", "why": "websocket check: 101"},
        {"at": "2026-11-21T13:31:00Z", "to": "down", "why": "refused"},
        {"at": "2026-11-21T13:46:00Z", "to": "up", "why": "2 checks passed"},
    ]
    relay.push()
    page.find(f"{ROW} .strip :nth-child(3)")
    blocks = page.script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map((each) => [each.dataset.to, Number(each.style.flexGrow), each.title])",
        f"{ROW} .strip span",
    )
    assert [block[:2] for block in blocks] == [["up", 180], ["down", 90], ["up", 90]]
    assert "refused" in blocks[1][2]
    label = page.find(f"{ROW} [data-action=history]").get_attribute("aria-label")
    assert "down once" in label
    assert "refused" in label
    page.click(f"{ROW} [data-action=history]")
    changes = page.find("#history-changes").text.splitlines()
    assert [line for line in changes if line in ("up", "down")] == ["up", "down", "up"]
    assert "2 checks passed" in changes[2]


def test_the_last_reload_is_told(page: Page, relay: StandIn) -> None:
    relay.message["status"]["last_reload"] = FAILED
    relay.push()
    page.find("#last-reload[data-result=failed]")
    page.wait_for_text("#reload-lines", "relay.ini:12: no")
    done = {**FAILED, "ok": True, "changes": ["[pool:chat] queue_size: 5 is now 6"], "errors": []}
    relay.message["status"]["last_reload"] = done
    relay.push()
    page.find("#last-reload[data-result=ok]")
    page.wait_for_text("#reload-lines", "queue_size: 5 is now 6")


# ---- orders

PATCH = f"PATCH /api/pools/chat/upstreams/{FIRST.replace(':', '%3A')}"


def test_a_drain_asks_first_and_is_sent_once_it_is_confirmed(page: Page, relay: StandIn) -> None:
    page.click(f"{ROW} [data-action=drain]")
    dialog = page.find("#confirm[open]")
    assert f"Drain chat/{FIRST}?" in dialog.text
    assert "Its 30 sessions are closed" in dialog.text
    assert "the 2 other upstreams of chat" in dialog.text
    assert page.script("return document.activeElement.id") == "confirm-cancel"
    first(relay)["sessions"] = 29
    relay.push()
    page.wait_for_text("#confirm-says", "Its 29 sessions")
    page.click("#confirm-cancel")
    assert page.focused()["action"] == "drain"
    assert relay.orders() == []
    confirm(page, f"{ROW} [data-action=drain]")
    assert relay.wait_for_order() == Asked(*PATCH.split(), {"state": "drain"})
    page.wait(lambda: not page.all("#confirm[open]"), "end of the dialog")
    page.wait_for_text("#notices [role=status]", "draining")


def test_the_dialog_says_when_nobody_else_can_take_new_sessions(browser: Chrome) -> None:
    pool = make_pool("chat", make_upstream("a"), make_upstream("b", health="down"))
    with serving(HTML, pool) as relay:
        page = Page(browser, relay)
        page.click("[data-upstream='chat/a'] [data-action=down]")
        page.wait_for_text("#confirm-says [data-tone=bad]", "No other upstream of chat")


def test_ready_is_sent_without_a_question_and_a_pressed_state_sends_nothing(
    page: Page, relay: StandIn
) -> None:
    page.click(f"{ROW} [data-action=ready]")
    first(relay)["state"] = "down"
    relay.push()
    page.find(f"{ROW}[data-state=down]")
    page.click(f"{ROW} [data-action=ready]")
    assert relay.wait_for_order() == Asked(*PATCH.split(), {"state": "ready"})
    assert len(relay.orders()) == 1


@pytest.mark.parametrize(
    ("button", "asks", "order"),
    [
        ("[data-pool=chat] [data-action=pool-drain]", True, "POST /api/pools/chat/drain"),
        ("[data-pool=chat] [data-action=pool-ready]", False, "POST /api/pools/chat/ready"),
        ("#reload", False, "POST /api/reload"),
        ("#relay-drain", True, "POST /api/drain"),
        (f"[data-upstream='chat/{SOCKET}'] [data-action=down]", True, "PATCH unix"),
    ],
)
def test_each_order_goes_to_its_path(
    page: Page, relay: StandIn, button: str, asks: bool, order: str
) -> None:
    page.click(button)
    if asks:
        page.find("#confirm[open]")
        assert relay.orders() == []
        page.click("#confirm-go")
    asked = relay.wait_for_order()
    if order == "PATCH unix":
        path = "/api/pools/chat/upstreams/unix%3A%2Frun%2Fa.sock"
        assert asked == Asked("PATCH", path, {"state": "down"})
    else:
        assert asked == Asked(*order.split(), {})


def test_the_drain_of_the_relay_is_taken_back(page: Page, relay: StandIn) -> None:
    relay.message["status"].update(drain=DRAIN, ready=False)
    relay.push()
    page.click("#relay-undo")
    assert relay.wait_for_order() == Asked("POST", "/api/ready", {})


def test_a_rebalance_asks_for_a_rate(page: Page, relay: StandIn) -> None:
    page.click("[data-pool=chat] [data-action=rebalance]")
    rate = page.find("#rate")
    assert page.script("return document.activeElement") == rate
    rate.clear()
    page.click("#confirm-go")
    page.wait_for_text("#confirm-refused", "Enter a rate above 0.")
    assert relay.orders() == []
    rate.send_keys("90")
    page.find("#rate-unit option[value=m]").click()
    page.press(ENTER)
    page.click("#confirm-go")
    asked = relay.wait_for_order()
    assert asked == Asked("POST", "/api/pools/chat/rebalance", {"rate": "90/m"})


def test_a_refusal_is_shown_in_the_dialog_that_stays(page: Page, relay: StandIn) -> None:
    relay.answers[PATCH] = (409, {"error": f"chat/{FIRST} is the last one; add another first."})
    confirm(page, f"{ROW} [data-action=drain]")
    alert = page.shown("#confirm-refused[role=alert]")
    assert alert.text == f"chat/{FIRST} is the last one; add another first."
    del relay.answers[PATCH]
    page.click("#confirm-go")
    relay.wait_for_order(2)
    page.wait(lambda: not page.all("#confirm[open]"), "end of the dialog")


def test_a_refused_reload_is_told_with_every_error(page: Page, relay: StandIn) -> None:
    errors = ["relay.ini:12: [pool:chat] balancer: unknown", "relay.ini:40: no"]
    relay.answers["POST /api/reload"] = (422, {"error": "2 errors.", "errors": errors})
    page.click("#reload")
    alert = page.find("#notices [role=alert]")
    assert alert.text.splitlines()[:3] == ["2 errors.", *errors]
    page.click("#notices [data-action=dismiss]")
    assert page.all("#notices [role=alert]") == []


def test_an_answer_without_words_is_an_error_too(page: Page, relay: StandIn) -> None:
    relay.answers["POST /api/reload"] = (500, "no object")
    page.click("#reload")
    page.wait_for_text("#notices [role=alert]", "The relay answered 500")


def test_a_button_is_busy_until_its_order_is_answered(page: Page, relay: StandIn) -> None:
    relay.hold_answers()
    page.click("#reload")
    page.find("#reload[aria-busy=true]")
    page.find("#reload").click()
    relay.push()
    relay.wait_for_order()
    relay.give_answers()
    page.find("#reload:not([aria-busy])")
    assert len(relay.orders()) == 1


def test_what_became_of_an_order_is_told_even_when_its_dialog_was_closed(
    page: Page, relay: StandIn
) -> None:
    relay.answers[PATCH] = (409, {"error": "Too late."})
    relay.hold_answers()
    confirm(page, f"{ROW} [data-action=drain]")
    relay.wait_for_order()
    page.press(ESCAPE)
    page.wait(lambda: not page.all("#confirm[open]"), "end of the dialog")
    page.click("[data-pool=game] [data-action=pool-drain]")
    relay.give_answers()
    page.wait_for_text("#notices [role=alert]", "Too late.")
    assert not page.find("#confirm-refused").is_displayed()


def test_a_weight_is_applied_with_enter_and_no_update_takes_it_away(
    page: Page, relay: StandIn
) -> None:
    field = page.find(f"{ROW} [data-weight]")
    field.click()
    field.send_keys("\ue009a\ue000", "17")  # Control and A
    first(relay).update(weight=4, sessions=31)
    relay.push()
    page.wait_for_text(f"{ROW} [data-field=sessions]", "31")
    assert field.get_attribute("value") == "17"
    assert page.script("return document.activeElement") == field
    assert relay.orders() == []
    field.send_keys(ENTER)
    assert relay.wait_for_order() == Asked(*PATCH.split(), {"weight": 17})
    page.find(f"{ROW} .weight:not([data-dirty])")
    field.send_keys("0", ESCAPE)
    assert field.get_attribute("value") == "4"
    field.send_keys(ENTER)
    relay.push()
    assert len(relay.orders()) == 1


def test_everything_is_done_with_the_keyboard_alone(page: Page, relay: StandIn) -> None:
    seen = []
    for _ in range(60):
        page.press(TAB)
        seen.append(page.script("return document.activeElement.dataset.action ?? ''"))
        if page.focused().get("action") == "drain":
            break
    wanted = ["reload", "relay-drain", "rebalance", "pool-drain", "pool-ready", "ready", "drain"]
    assert [action for action in seen if action] == wanted
    assert page.script("return document.activeElement.matches(':focus-visible')")
    page.press(ENTER)
    page.find("#confirm[open]")
    page.press(ESCAPE)
    page.wait(lambda: not page.all("#confirm[open]"), "end of the dialog")
    assert page.focused()["action"] == "drain"
    page.press(ENTER)
    page.find("#confirm[open]")
    page.press(TAB)
    assert page.script("return document.activeElement.id") == "confirm-go"
    page.press(ENTER)
    assert relay.wait_for_order() == Asked(*PATCH.split(), {"state": "drain"})


def test_nothing_behind_a_dialog_gets_the_focus(page: Page) -> None:
    page.click(f"{ROW} [data-action=drain]")
    page.find("#confirm[open]")
    for _ in range(6):
        page.press(TAB)
        inside = "return !document.querySelector('main').contains(document.activeElement)"
        assert page.script(inside)


# ---- workers


def test_a_relay_of_one_process_shows_no_workers(page: Page) -> None:
    assert not page.find("#workers").is_displayed()
    assert not page.find("[data-sort=worker]").is_displayed()
    assert "Worker" not in page.find("#sessions").text


def test_workers_are_shown_with_what_is_wrong_with_them(page: Page, relay: StandIn) -> None:
    relay.message["status"]["workers"] = [
        make_worker(0, sessions=30),
        make_worker(1, restarts=2, lag_s=0.25),
        make_worker(2, state="late"),
        make_worker(3, state="waiting", pid=None, lag_s=None, sessions=0),
        make_worker(4, accepting=False),
    ]
    relay.push()
    page.find("[data-worker='3'][data-state=waiting]")
    cells = [page.texts(f"[data-worker='{number}'] > *")[:7] for number in (0, 1, 3)]
    assert cells == [
        ["0", "up", "4712", "30", "5", "0.4 ms", "0"],
        ["1", "up", "4713", "4", "5", "250 ms", "2"],
        ["3", "waiting", "–", "0", "5", "–", "0"],
    ]
    troubled = page.texts("[data-attention^='worker:']")
    assert [re.sub("^.*(Worker . [a-z]+).*$", r"\1", each) for each in troubled] == [
        "Worker 2 does",
        "Worker 3 has",
        "Worker 4 lets",
    ]
    page.click("[data-attention='worker:2'] button")
    assert page.script("return document.activeElement.id") == "workers"
    relay.message["status"]["workers"] = [make_worker(0)]
    relay.push()
    page.wait(lambda: len(page.all("[data-worker]")) == 1, "one worker")


# ---- a cluster


def test_a_relay_without_a_cluster_shows_no_relays(page: Page) -> None:
    assert not page.find("#relays").is_displayed()


def test_relays_of_a_cluster_are_listed_and_this_one_is_marked(page: Page, relay: StandIn) -> None:
    other = make_relay("b", sessions=7, ready=False, not_ready="draining")
    relay.message["status"]["cluster"] = make_cluster(make_relay("a"), other, name="a")
    relay.push()
    page.find("[data-relay=a]")
    cells = [page.texts(f"[data-relay={name}] > *")[:5] for name in "ab"]
    assert cells == [
        ["a (this one)", "ready", "127.0.0.1:8080", "0.1.0", "4"],
        ["b", "draining", "127.0.0.1:8080", "0.1.0", "7"],
    ]
    assert page.find("#relays-note").text == "redis://10.0.0.9:6379/0"
    assert page.severe() == []


def test_without_redis_no_other_relay_is_known_and_the_note_says_why(
    page: Page, relay: StandIn
) -> None:
    relay.message["status"]["cluster"] = make_cluster(up=False)
    relay.push()
    page.wait_for_text(
        "#relays-note", "redis://10.0.0.9:6379/0 is away for 21 s: connection refused"
    )
    assert not page.find("#relay-table").is_displayed()
    page.click("[data-attention='redis:'] button")
    assert page.script("return document.activeElement.id") == "relays"


def test_sessions_tell_their_worker_where_there_are_several(page: Page, relay: StandIn) -> None:
    relay.message["status"]["workers"] = [make_worker(0), make_worker(1)]
    for number, each in enumerate(relay.message["sessions"]["sessions"]):
        each["worker"] = number % 2
    relay.push()
    page.shown("[data-sort=worker]")
    page.click("[data-sort=worker]")
    shown = page.texts("[data-session] .of-worker")
    assert shown == sorted(shown, reverse=True)
    assert {*shown} == {"0", "1"}


def test_the_reasons_of_refusals_are_shown(page: Page) -> None:
    assert "2 no-upstream, 1 malformed" in page.find("#relay-facts").text


# ---- sessions


def test_a_filter_is_sent_to_the_relay_and_again_after_a_reconnect(
    page: Page, relay: StandIn
) -> None:
    page.find(f"#session-filter option[value*='{SECOND}']").click()
    wanted = {"filter": {"pool": "chat", "upstream": SECOND}}
    relay.wait_until(lambda: relay.heard == [wanted], "filter")
    assert page.texts("[data-session] td:nth-child(2)") == [f"chat/{SECOND}"]
    relay.hang_up()
    relay.wait_until(lambda: relay.heard == [wanted, wanted], "filter after the reconnect")
    page.click("[data-upstream='game/g'] [data-action=show-sessions]")
    wanted = {"filter": {"pool": "game", "upstream": "g"}}
    relay.wait_until(lambda: relay.heard[-1] == wanted, "filter from the upstream's row")
    assert page.find("#session-filter").get_attribute("value") == json.dumps(
        wanted["filter"], separators=(",", ":")
    )


def test_sessions_are_searched_and_sorted_in_the_page(page: Page, relay: StandIn) -> None:
    relay.message["sessions"] = {
        "total": 12345,
        "sessions": [
            make_session("a", "chat", FIRST, client="10.0.0.1:1", age_s=50, bytes_up=7),
            make_session("b", "chat", FIRST, client="10.0.0.2:1", age_s=9000, bytes_up=900),
            make_session("c", "game", "g", client="10.0.0.3:1", age_s=70, bytes_up=5000),
        ],
    }
    relay.push()
    page.wait_for_text("#session-count", "12,345, of which 3 are listed")

    def order() -> list[str]:
        rows = "return [...document.querySelectorAll('[data-session]')]"
        found: list[str] = page.script(f"{rows}.map((row) => row.dataset.session)")
        return found

    assert order() == ["b", "c", "a"]
    page.click("[data-sort=bytes]")
    assert order() == ["c", "b", "a"]
    assert page.find("th[aria-sort=descending]").text.startswith("Bytes")
    page.click("[data-sort=bytes]")
    assert order() == ["a", "b", "c"]
    page.find("#session-search").send_keys("GAME")
    assert order() == ["c"]
    assert page.find("#session-count").text == "1 of the 3 listed, 12,345 in all"


def test_rows_keep_their_places_while_somebody_is_on_one(page: Page, relay: StandIn) -> None:
    sessions = relay.message["sessions"]["sessions"]
    before = page.texts("[data-session] td:first-child")
    page.script("document.querySelector('[data-session=chat-1] button').focus()")
    gone = sessions.pop(0)
    sessions[-1]["age_s"] = 5000
    sessions.append(make_session("new", "game", "g", age_s=9000))
    relay.push()
    page.find("[data-session=new]")
    ids = (
        "return [...document.querySelectorAll('[data-session]')].map((row) => row.dataset.session)"
    )
    assert page.script(ids) == ["chat-0", "chat-1", "chat-2", "game-0", "new"]
    assert len(before) == 4
    assert page.find(f"[data-session={gone['id']}]").get_attribute("data-ended") is not None
    assert page.script("return document.activeElement.closest('tr').dataset.session") == "chat-1"
    page.script("document.activeElement.blur()")
    relay.push()
    page.wait(lambda: page.script(ids)[:2] == ["new", "game-0"], "the order by age")
    assert page.all("[data-session=chat-0]") == []


def test_a_session_is_opened_and_closed_with_code_and_reason(page: Page, relay: StandIn) -> None:
    session = relay.message["sessions"]["sessions"][1]
    relay.answers["GET /api/sessions/chat-1"] = (200, make_details(session))
    page.click("[data-session=chat-1] [data-action=open]")
    page.wait_for_text("#session-legs", "1.5 kB")
    assert page.texts("#session-legs tr:nth-child(7) td") == ["yes", "no"]
    assert f"chat/{SECOND}" in page.find("#session-facts").text
    page.click("#session-close")
    code = page.find("#close-code")
    code.clear()
    code.send_keys("4001")
    page.find("#close-reason").send_keys("bye & thanks")
    assert relay.orders() == []
    page.click("#confirm-go")
    path = "/api/sessions/chat-1?code=4001&reason=bye%20%26%20thanks"
    assert relay.wait_for_order() == Asked("DELETE", path)
    page.wait(lambda: not page.all("dialog[open]"), "end of both dialogs")


def test_a_session_that_ended_meanwhile_says_so(page: Page, relay: StandIn) -> None:
    relay.answers["GET /api/sessions/chat-1"] = (404, {"error": "No session is called chat-1."})
    page.click("[data-session=chat-1] td:nth-child(2)")
    page.wait_for_text("#session-state", "No session is called chat-1.")
    assert page.find("#session-close").get_attribute("aria-disabled") == "true"
    page.click("#session-close")
    assert page.all("#confirm[open]") == []


# ---- the log


def log_lines(numbers: range, level: str = "info") -> list[dict[str, Any]]:
    at = "2026-11-21T14:00:30Z"
    return [{"number": n, "at": at, "level": level, "text": f"line {n}"} for n in numbers]


def test_the_log_is_bounded_and_each_line_comes_once(page: Page, relay: StandIn) -> None:
    relay.push(log=log_lines(range(1, 400)))
    relay.push(log=log_lines(range(300, 701)))
    page.find("#log [data-number='700']")
    numbers = page.script(
        "return [...document.querySelectorAll('#log li')].map((each) => +each.dataset.number)"
    )
    assert numbers == list(range(201, 701))
    at_end = "const log = document.getElementById('log');"
    assert page.script(f"{at_end} return log.scrollHeight - log.scrollTop - log.clientHeight") < 5


def test_the_log_is_filtered_by_level_and_stands_still_when_told(
    page: Page, relay: StandIn
) -> None:
    for number, level in enumerate(("debug", "info", "warn", "error")):
        relay.push(log=log_lines(range(number, number + 1), level))
    page.find("#log [data-number='3']")

    def shown() -> list[str]:
        lines = page.all("#log li")
        return [line.get_attribute("data-level") for line in lines if line.is_displayed()]

    assert shown() == ["info", "warn", "error"]
    page.find("#log-level option[value=error]").click()
    assert shown() == ["error"]
    page.find("#log-level option[value=debug]").click()
    assert shown() == ["debug", "info", "warn", "error"]
    page.click("#log-pause")
    relay.push(log=log_lines(range(10, 12)))
    page.wait_for_text("#log-pause", "Go on (2 new)")
    assert len(shown()) == 4
    page.click("#log-pause")
    assert len(shown()) == 6


def test_a_relay_that_starts_again_counts_its_lines_and_totals_anew(
    page: Page, relay: StandIn
) -> None:
    relay.push(log=log_lines(range(100, 103)))
    page.find("#log [data-number='102']")
    relay.message["status"]["pid"] = 1  # and it has run for longer than the first was seen to
    relay.push(log=log_lines(range(1, 2)))
    page.find("#log [data-number='1']")
    assert len(page.all("#log li")) == 1
    assert page.find("[data-value=messages_up]").text == "–"
    assert "L" not in page.find("[data-tile=sessions] path.first").get_attribute("d")


# ---- the page and its connection


def test_the_page_comes_back_by_itself_and_says_meanwhile_that_it_is_old(
    page: Page, relay: StandIn
) -> None:
    relay.answers["/live"] = (503, None)
    relay.hang_up()
    page.find("body[data-live=waiting][data-stale]")
    page.wait_for_text("#live-text", "Reconnecting")
    assert re.fullmatch(r"in \d+ s", page.find("#countdown").text)
    del relay.answers["/live"]
    page.wait(lambda: page.all("body[data-live=live]:not([data-stale])"), "live page")
    relay.wait_until(lambda: relay.opened == 2, "second websocket")
    first(relay)["sessions"] = 77
    relay.push()
    page.wait_for_text(f"{ROW} [data-field=sessions]", "77 of 100")


def test_a_page_that_is_logged_out_shows_the_way_to_log_in(page: Page, relay: StandIn) -> None:
    relay.answers.update({"/live": (401, None), "GET /status.json": (401, {"error": "No."})})
    relay.hang_up()
    link = page.shown("#login a")
    assert link.get_attribute("href") == relay.url
    assert page.find("body").get_attribute("data-live") == "logged-out"


def test_an_order_that_needs_a_login_shows_the_way_too(page: Page, relay: StandIn) -> None:
    relay.answers["POST /api/reload"] = (401, {"error": "Log in first."})
    page.click("#reload")
    page.shown("#login a")
    page.wait_for_text("#notices [role=alert]", "Log in first.")


def test_a_message_that_makes_no_sense_harms_nothing(page: Page, relay: StandIn) -> None:
    relay.push_text("{")
    relay.push_text(json.dumps({"status": {"pools": 5}}))
    first(relay)["sessions"] = 78
    relay.push()
    page.wait_for_text(f"{ROW} [data-field=sessions]", "78 of 100")


def test_names_are_never_markup(browser: Chrome) -> None:
    pool = make_pool(
        HOSTILE,
        make_upstream(HOSTILE, url=HOSTILE, last_problem=HOSTILE, health="down", rtt_ms=None),
        make_upstream("a/b?c#d%2e"),
        balancer=HOSTILE,
    )
    with serving(HTML, pool, config=HOSTILE, version=HOSTILE) as relay:
        session = make_session(HOSTILE, HOSTILE, HOSTILE, client=HOSTILE, user_agent=HOSTILE)
        relay.message["sessions"] = {"total": 1, "sessions": [session]}
        relay.message["log"] = [{**log_lines(range(1, 2))[0], "text": HOSTILE, "level": HOSTILE}]
        page = Page(browser, relay)
        assert page.texts(".name bdi") == [HOSTILE, "a/b?c#d%2e"]
        page.click("[data-session] [data-action=open]")
        page.find("#session[open]")
        page.press(ESCAPE)
        confirm(page, "[data-upstream$='d%2e'] [data-action=drain]")
        relay.wait_for_order()
        assert relay.orders()[0].path.endswith("/upstreams/a%2Fb%3Fc%23d%252e")
        relay.push()
        page.wait(lambda: page.texts("#uptime") == ["1 m 1 s"], "update")
        assert page.all("img") == []
        assert page.chrome.title == "(1) wsrelay"
        assert page.severe() == []


def test_nobody_but_the_relay_is_asked_for_anything(page: Page, relay: StandIn) -> None:
    page.click("#reload")
    relay.wait_for_order()
    messages = [
        json.loads(entry["message"])["message"] for entry in page.chrome.get_log("performance")
    ]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    hosts = {urlsplit(url).netloc for url in urls if not url.startswith("data:")}
    assert f"127.0.0.1:{relay.port}" in hosts
    assert hosts - {""} == {f"127.0.0.1:{relay.port}"}
    assert page.severe() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 620, 800, 1200, 1440])
def test_no_width_makes_the_page_scroll_sideways(browser: Chrome, width: int, scheme: str) -> None:
    pool = make_pool(
        "chat",
        make_upstream("a-name-without-any-place-to-break-it" * 3, state="drain", drain=DRAIN),
        make_upstream("b", health="down", last_problem="x" * 200, max_connections=4),
        make_upstream("c", requests=123_456, answered=10**9, max_connections=500_000),
        sticky="cookie name=wsrelay ttl=session secure=auto same_site=lax",
    )
    http = {"total": 10**9, "2xx": 9 * 10**8, "3xx": 0, "4xx": 0, "5xx": 10**8}
    with serving(HTML, pool, last_reload=FAILED, http=http, requests=123_456) as relay:
        page = Page(browser, relay)
        page.emulate(width, scheme=scheme)
        page.shown("[data-tile=requests]")
        assert page.script("return innerWidth") == width
        assert page.script("return document.documentElement.scrollWidth") <= width
        too_wide = (
            "return [...document.querySelectorAll('main *')].filter((each) => !each.closest("
            "'.scrolls, svg, .out-of-sight') && "
            "each.getBoundingClientRect().right > innerWidth + 1)"
            ".map((each) => each.outerHTML.slice(0, 80))"
        )
        assert page.script(too_wide) == []


# ---- the text of the page


def test_the_page_loads_nothing_from_elsewhere() -> None:
    references = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", HTML)
    assert all(reference.startswith("data:") or reference == "./" for reference in references)
    assert not re.findall(r"@import|url\(", HTML)


def test_the_page_has_no_way_to_turn_a_text_into_markup() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser|srcdoc"
    assert not re.findall(ways, HTML)


def test_the_page_has_one_script_and_one_style_and_no_attributes_that_need_more() -> None:
    assert re.findall(r"<(script|style)\b([^>]*)>", HTML) == [("style", ""), ("script", "")]
    assert not re.findall(r"<[a-z][^>]*\s(?:on[a-z]+|style)=", HTML)


def test_every_id_that_the_script_looks_up_exists() -> None:
    looked_up = set(re.findall(r"\$\(\"([\w-]+)\"\)", HTML))
    assert looked_up
    assert looked_up <= set(re.findall(r'\bid="([\w-]+)"', HTML))


def palettes() -> list[dict[str, str]]:
    found = re.findall(r":root \{(.*?)\}", HTML, re.DOTALL)
    assert len(found) == 2
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", each)) for each in found]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


GROUNDS = ("page", "panel", "sunk", "bad-tint", "warn-tint", "info-tint")


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(palette: dict[str, str]) -> None:
    pairs = [(text, ground) for text in ("text", "soft") for ground in GROUNDS]
    pairs += [(tone, ground) for tone in ("good", "bad", "warn", "info") for ground in GROUNDS]
    pairs += [("on-colour", ground) for ground in ("bad", "warn", "focus")]
    pairs += [("text", f"s{number}") for number in range(1, 9)] + [("panel", "text")]
    weak = {pair: contrast(*(palette[name] for name in pair)) for pair in pairs}
    assert {pair: value for pair, value in weak.items() if value < 4.5} == {}
    edges = {name: contrast(palette[name], palette["panel"]) for name in ("edge", "focus")}
    assert {name: value for name, value in edges.items() if value < 3} == {}
