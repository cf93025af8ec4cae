"""
Write docs/operations.rst: docs/operations/story.rst, with what each of its commands prints.

``python docs/make_operations.py > docs/operations.rst`` starts upstreams, clients and a relay
on loopback, and takes about half a minute; with ``--any-ports`` it takes ports that are free
instead of those that the page names.  tests/test_operations.py does it again, and compares.

A line of the story that begins with ``.. night:`` is a step of a `Scene`; one that begins
with a prompt is a command.  All others are the page's own.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from operations.night import Night
from operations.scene import Scene

STORY = Path(__file__).resolve().parent / "operations" / "story.rst"
STEP = ".. night: "
PROMPT = "    $ "


def lines_of(story: str, scene: Scene) -> Iterator[str]:
    """Yield the lines of the page; what happens happens meanwhile."""
    was_step = False
    for line in story.splitlines():
        if line.startswith(STEP):
            scene.step(line.removeprefix(STEP))
            was_step = True
        elif line.startswith(PROMPT):
            was_step = False
            command = scene.fill(line.removeprefix(PROMPT))
            yield PROMPT + command
            for printed in scene.run(command).splitlines():
                yield f"    {printed}".rstrip()
        elif line or not was_step:
            yield line
            was_step = False


def page(story: str, make_scene: Callable[[Path, bool], Scene], any_ports: bool) -> str:
    """Live through a story and return its page."""
    with tempfile.TemporaryDirectory(prefix="wsrelay-") as folder:
        scene = make_scene(Path(folder), any_ports)
        try:
            return "\n".join(lines_of(story, scene)) + "\n"
        finally:
            scene.end()


def main(story: Path, make_scene: Callable[[Path, bool], Scene]) -> None:
    """Print the page of a story."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the scene ends, too
    print(page(story.read_text("utf-8"), make_scene, "--any-ports" in sys.argv[1:]), end="")


if __name__ == "__main__":
    main(STORY, Night)
