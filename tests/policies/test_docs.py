"""docs/policies.rst, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.policies.samples import jwk, jwks
from tests.policies.test_htpasswd import LINE
from tests.support import PROJECT
from wsrelay import plugins
from wsrelay.checks import make_checks
from wsrelay.config import load
from wsrelay.config.model import RouteConfig
from wsrelay.interfaces import Admit, Deny
from wsrelay.plugins import PolicyPlugin, find_policies, make_policy
from wsrelay.testing import FakeHandshake

PAGE = (PROJECT / "docs" / "policies.rst").read_text("utf-8")
FRAME = "[listener:main]\nendpoint = tcp:8080\n[pool:chat]\nupstreams = ws://127.0.0.1:3000\n"


def blocks(start: str) -> list[str]:
    """Return the indented blocks behind lines that end with *start*, without the indent."""
    found = re.findall(rf"(?m){start}\n\n((?:    .*\n|\n)+)", PAGE)
    return [re.sub(r"(?m)^    ", "", block).strip("\n") + "\n" for block in found]


def routes(folder: Path) -> list[RouteConfig]:
    (folder / "users.htpasswd").write_bytes(LINE)
    (folder / "keys.json").write_bytes(jwks(jwk("ed25519")))
    sections = [block for block in blocks("::") if block.startswith("[route:")]
    [fragment] = [block for block in blocks("::") if block.startswith("policies")]
    sections.append(f"[route:more]\npath = /more\npool = chat\n{fragment}")
    file = folder / "relay.ini"
    file.write_text(FRAME + "\n".join(sections), "utf-8")
    return list(load(str(file), {}, make_checks()).routes)


def test_every_example_is_one_that_check_takes(tmp_path: Path) -> None:
    found = routes(tmp_path)
    names = [call.name for route in found for call in route.policies]
    assert names == ["jwt", "http-auth", "http-auth", "jwt", "basic", "http-auth"]


def test_wsrelay_check_tells_what_is_wrong_with_a_policy(tmp_path: Path) -> None:
    route = "[route:main]\npool = chat\npolicies =\n    basic file=users\n    jwt key_file=k.pem\n"
    (tmp_path / "users").write_text("# staff\nada:{SHA}abc\n")
    (tmp_path / "relay.ini").write_text(FRAME + route + "    http-auth uri=http://a/\n")
    program = "from wsrelay.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "relay.ini"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    where = f"[route:main] policies: {tmp_path}/users: line 2: the hash of 'ada' is SHA-1"
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done
    assert lines[0] == f"relay.ini:8: {where}, not bcrypt; run: htpasswd -B FILE ada"
    assert lines[1].startswith(f"relay.ini:9: [route:main] policies: cannot read {tmp_path}/k.pem")
    assert "unknown option of http-auth 'uri'" in lines[2]
    assert "did you mean 'url'?" in lines[2]
    assert len(lines) == 3


def test_all_options_are_on_the_page() -> None:
    for name in ("http-auth", "jwt", "basic"):
        for option in find_policies()[name].options:
            assert re.search(rf"\b{option}\b", PAGE), f"{name} {option}"


def test_the_policy_on_the_page_is_whole_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    source, line = blocks(r"\.\. code-block:: python")
    assert len(source.splitlines()) < 20
    found: dict[str, Any] = {}
    exec(compile(source, "acme/hours.py", "exec"), found)
    exec(compile(line, "acme_policies.py", "exec"), found)
    plugin = found["hours"]
    assert (plugin.name, plugin.path) == ("office-hours", "acme.hours.OfficeHours")
    monkeypatch.setattr(plugins, "getPlugins", lambda _: iter([plugin]))
    monkeypatch.setattr(plugins, "namedAny", lambda path: found[path.rpartition(".")[2]])
    [fragment] = re.findall(r"``policies = (office-hours [^`]*)``", PAGE)
    name, _, option = fragment.partition(" ")
    call = plugins.PluginCall(name, dict([option.split("=")]))
    policy = make_policy(call, None)
    answers = {}
    for hour in (8, 9, 17, 18):

        class Fixed(datetime):
            @classmethod
            def now(cls, tz: Any = None, hour: int = hour) -> Any:
                return cls(2026, 1, 1, hour)

        found["datetime"] = Fixed
        answers[hour] = policy.admit(FakeHandshake())
    day = Admit(headers=[("X-Shift", "day")])
    denied = Deny(403, body="Come in office hours.")
    assert answers == {8: denied, 9: day, 17: day, 18: denied}


def test_what_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, package in (("bcrypt", "basic", "basic"), ("jwt", "jwt", "jwt")):
        with monkeypatch.context() as patch:
            for loaded in [each for each in sys.modules if each.startswith("wsrelay.policies")]:
                patch.delitem(sys.modules, loaded)
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ValueError, match="needs more than is installed") as caught:
                make_policy(plugins.PluginCall(name), None)
        assert str(caught.value).endswith(f"run: pip install 'wsrelay[{package}]'")


def test_another_import_that_fails_is_a_fault_of_the_plugin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "wsrelay.policies.basic", raising=False)
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ImportError):
        PolicyPlugin("own", "wsrelay.policies.basic.Basic").create({}, None)
