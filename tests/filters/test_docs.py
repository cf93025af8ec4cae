"""docs/filters.rst: the filter on it is found, filters and keeps the contract."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.plugin import IPlugin
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from zope.interface import implementer

from tests.support import PROJECT, started_relay
from tests.test_readme import blocks, echo_upstream, install, program
from wsrelay.interfaces import IMessageFilterPlugin
from wsrelay.testing import check_filter_contract

PAGE = (PROJECT / "docs" / "filters.rst").read_text("utf-8")


@pytest.mark.peers
def test_the_filter_is_found_and_writes_who_sent_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, plugin = blocks("python", PAGE)
    install(tmp_path, monkeypatch, acme__senders=made, twisted__plugins__acme_filters=plugin)
    listed = subprocess.run(
        [program("wsrelay"), "filters"], capture_output=True, text=True, check=True
    )
    assert "sender\n    field  where it is written\n" in listed.stdout
    with echo_upstream() as port:
        text = blocks("ini", PAGE)[0].replace("tcp:8080", "tcp:0:interface=127.0.0.1")
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{port}")
        with started_relay(text, tmp_path) as relay, connect(relay.url) as client:
            client.send('{"text": "hello", "ip": "forged"}')
            assert json.loads(client.recv(10)) == {"text": "hello", "ip": "127.0.0.1"}
            client.send("hello")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.reason == "send JSON objects"


def test_the_filter_keeps_the_contract() -> None:
    names: dict[str, Any] = {}
    exec(blocks("python", PAGE)[0], names)

    @implementer(IPlugin, IMessageFilterPlugin)
    class Plugin:
        name = "sender"
        options: ClassVar[dict[str, str]] = {}

        def create(self, options: Any, reactor: Any) -> Any:
            return names["Sender"](reactor, **options)

    check_filter_contract(Plugin())
