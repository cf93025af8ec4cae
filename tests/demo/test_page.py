"""The page runs nothing but itself and talks to nobody but the relay."""

import json
import re
from importlib import resources
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent
from twisted.web.iweb import IResponse
from typing_extensions import override

from wsrelay.demo.service import make_demo
from wsrelay.page import content_security_policy

PAGE = resources.files("wsrelay.demo").joinpath("page.html").read_text("utf-8")


class Body(Protocol):
    """Collects the body of a response."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.parts.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole.callback(b"".join(self.parts))


class SiteTests(TestCase):
    """What a browser gets."""

    timeout = 20

    @override
    def setUp(self) -> None:
        self.demo = make_demo(reactor, relay_port=18080)
        self.demo.service.startService()
        self.addCleanup(self.demo.service.stopService)

    async def get(self, path: str, method: bytes = b"GET") -> tuple[IResponse, bytes]:
        url = f"{self.demo.page_upstream.replace('ws:', 'http:')}/{path}".encode()
        response = await Agent(reactor).request(method, url)
        body = Body()
        response.deliverBody(body)
        return response, await body.whole

    def header(self, response: IResponse, name: str) -> str:
        (value,) = response.headers.getRawHeaders(name)
        return str(value)

    async def test_the_page_is_served_whole_with_headers_that_confine_it(self) -> None:
        response, body = await self.get("")
        assert response.code == 200
        assert body.decode() == PAGE
        assert self.header(response, "Content-Type") == "text/html; charset=utf-8"
        assert self.header(response, "Cache-Control") == "no-store"
        assert self.header(response, "X-Content-Type-Options") == "nosniff"
        assert self.header(response, "Referrer-Policy") == "no-referrer"
        policy = content_security_policy(PAGE, "ws://127.0.0.1:18080")
        assert self.header(response, "Content-Security-Policy") == policy

    async def test_the_addresses_are_served_as_json(self) -> None:
        response, body = await self.get("demo.json")
        assert self.header(response, "Content-Type") == "application/json"
        assert json.loads(body) == {
            "relay": "ws://127.0.0.1:18080",
            "upstreams": ["amber", "cobalt", "jade"],
        }

    async def test_head_is_answered_without_a_body(self) -> None:
        response, body = await self.get("", b"HEAD")
        assert (response.code, body) == (200, b"")

    async def test_a_request_is_not_logged_a_second_time(self) -> None:
        said: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        await self.get("demo.json")
        assert not [each for each in said if "demo.json" in str(each)]

    async def test_there_is_nothing_else(self) -> None:
        for path in ("demo", "page.html", "demo.json/x", "%2e%2e/page.py"):
            response, _ = await self.get(path)
            assert response.code == 404, path


def test_the_page_loads_nothing_from_elsewhere() -> None:
    references = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", PAGE)
    assert references
    assert all(reference.startswith("data:") for reference in references)
    assert not re.findall(r"@import|url\(", PAGE)


def test_the_page_has_no_way_to_turn_a_message_into_markup() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser|srcdoc"
    assert not re.findall(ways, PAGE)


def test_the_page_has_one_script_and_one_style_and_no_inline_attributes_that_need_more() -> None:
    assert re.findall(r"<(script|style)\b[^>]*>", PAGE) == ["style", "script"]
    assert not re.findall(r"<[a-z][^>]*\s(?:on[a-z]+|style)=", PAGE)


def test_every_field_has_a_label() -> None:
    for field in re.findall(r"<input id=\"(\w+)\"", PAGE):
        inside = re.search(rf"<label>[^<]+<input id=\"{field}\"", PAGE)
        assert inside or f'for="{field}"' in PAGE, field


def test_every_id_that_the_script_looks_up_exists() -> None:
    looked_up = set(re.findall(r"\$\(\"([\w-]+)\"\)", PAGE)) | {"sent", "received"}
    assert looked_up <= set(re.findall(r'\bid="([\w-]+)"', PAGE))
