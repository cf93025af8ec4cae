"""
Take docs/dashboard.png: the dashboard of the tutorial's relay, in the middle of a drain.

``python docs/make_screenshot.py`` needs Chromium, chromedriver and selenium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from make_tutorial import Terminal
from operations.scene import PROJECT

sys.path.append(str(PROJECT))

from tests.browser import chromium

SIZE = 1280, 1040
SCENE = """\
python upstream.py a 3001 > a.log 2>&1 &
python upstream.py b 3002 > b.log 2>&1 &
python upstream.py c 3003 > c.log 2>&1 &
twistd -n wsrelay --config relay.ini > relay.log 2>&1 &
.. noted relay 1 is up;
.. until a health up
.. until b health up
.. until c health up
python clients.py ws://127.0.0.1:8080/chat 12 > clients.log 2>&1 &
.. noted clients 12 hello
"""


def take(file: Path) -> None:
    """Set the scene and write the picture."""
    with tempfile.TemporaryDirectory(prefix="wsrelay-") as name:
        folder = Path(name)
        scene = Terminal(folder, any_ports=False)
        try:
            for line in SCENE.splitlines():
                if line.startswith(".. "):
                    scene.step(line.removeprefix(".. "))
                else:
                    scene.run(line)
            photograph(scene, folder / "profile", file)
        finally:
            scene.end()


def photograph(scene: Terminal, profile: Path, file: Path) -> None:
    """Drain an upstream before the eyes of a browser."""
    with chromium(profile) as chrome:
        chrome.set_window_size(*SIZE)
        chrome.get("http://127.0.0.1:9000/")
        scene.step("pass 8")  # until there is something in the curves
        scene.run("wsrelay drain chat/b")
        scene.step("until b sessions 2")
        scene.step("pass 1")
        chrome.save_screenshot(str(file))


if __name__ == "__main__":
    take(PROJECT / "docs" / "dashboard.png")
