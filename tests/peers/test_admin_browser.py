"""What a page of another origin can do to the admin endpoint in Chromium: nothing."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.support import TOKEN
from tests.peers.test_browser import browser
from tests.support import Process

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["browser"]

ATTACK = """
const [url, done] = arguments;
const read = options => fetch(url + "/status.json", options)
    .then(answer => answer.text().then(text => answer.type + " " + text), () => "failed");
const order = options => fetch(url + "/api/drain", {method: "POST", ...options})
    .then(answer => "" + answer.status, () => "failed");
const image = () => new Promise(ready => {
    const found = new Image();
    found.onload = () => ready("loaded");
    found.onerror = () => ready("failed");
    found.src = url + "/healthz";
});
const live = () => new Promise(ready => {
    const socket = new WebSocket(url.replace("http", "ws") + "/live");
    socket.onmessage = event => ready(event.data);
    socket.onclose = event => ready("closed " + event.code);
});
const form = (method, path) => new Promise(ready => {
    const frame = document.createElement("iframe");
    frame.name = "frame-" + Math.random();
    frame.onload = () => {
        let seen = "hidden";
        try { seen = frame.contentDocument.body.innerText; } catch (error) {}
        if (seen !== "") ready(seen);
    };
    document.body.append(frame);
    const sent = document.createElement("form");
    Object.assign(sent, {method, action: url + path, target: frame.name});
    document.body.append(sent);
    sent.submit();
});
(async () => {
    const json = {headers: {"Content-Type": "application/json"}, body: "{}"};
    const text = {headers: {"Content-Type": "text/plain"}, body: "{}"};
    done({
        read: await read({}),
        readWithCookies: await read({credentials: "include"}),
        readOpaque: await read({mode: "no-cors", credentials: "include"}),
        order: await order({}),
        orderJson: await order(json),
        orderText: await order({...text, mode: "no-cors", credentials: "include"}),
        patch: await order({...json, method: "PATCH"}),
        image: await image(),
        live: await live(),
        form: await form("post", "/api/drain"),
        frame: await form("get", "/"),
    });
})();
"""
OWN = """
const done = arguments[0];
(async () => {
    const status = await (await fetch("/status.json")).json();
    const live = await new Promise(ready => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/live");
        socket.onmessage = event => ready(JSON.parse(event.data).status.pid);
        socket.onclose = event => ready("closed " + event.code);
    });
    const order = await fetch("/api/drain", {method: "POST"});
    done({pid: status.pid, live, order: order.status});
})();
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """Give the port of a page of another origin, on the same machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(params=["", TOKEN], ids=["open", "token"])
def admin(request: pytest.FixtureRequest) -> Iterator[tuple[Process, int]]:
    """Give the endpoint in a process, and its port."""
    command = [sys.executable, "-m", "tests.admin.serve", "tcp:0:interface=127.0.0.1"]
    with Process([*command, request.param]) as process:
        _, event = process.wait_for_event(event="ready")
        yield process, event["port"]
        print(process.log())  # pytest shows it when the test failed


def use_as_operator(chrome: Chrome, port: int) -> None:
    """Open the page as the operator does, logging in where that is asked for."""
    chrome.set_script_timeout(30)
    chrome.get(f"http://127.0.0.1:{port}/")
    if chrome.title == "Log in":
        chrome.find_element("id", "token").send_keys(TOKEN)
        chrome.find_element("css selector", "button").click()
        chrome.find_element("xpath", "//title[not(text()='Log in')]")
    own = chrome.execute_async_script(OWN)
    assert own == {"pid": 4711, "live": 4711, "order": 200}


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_reads_nothing_and_orders_nothing(
    browser: Chrome,
    elsewhere: int,
    admin: tuple[Process, int],
    name: str,
) -> None:
    """On the same address the other page is of the same site, and cookies come with it."""
    process, port = admin
    use_as_operator(browser, port)
    browser.get(f"http://{name}:{elsewhere}/")
    seen = browser.execute_async_script(ATTACK, f"http://127.0.0.1:{port}")
    assert seen == {
        "read": "failed",
        "readWithCookies": "failed",
        "readOpaque": "failed",
        "order": "failed",
        "orderJson": "failed",
        "orderText": "failed",
        "patch": "failed",
        "image": "failed",
        "live": "closed 1006",
        "form": "hidden",
        "frame": "hidden",
    }
    orders = [line for line in process.log().splitlines() if '"drain"' in line]
    assert [json.loads(line) for line in orders] == [{"event": "drain", "pool": None}]


def test_a_name_that_points_here_is_another_origin(
    browser: Chrome,
    admin: tuple[Process, int],
) -> None:
    """A page cannot make its own name point to this machine and be at home there."""
    _, port = admin
    browser.get(f"http://rebound.localhost:{port}/status.json")
    assert '"pid"' not in browser.find_element("css selector", "body").text
