"""
A Dockerfile carried out without a container engine.

Its words are taken as they stand, in a root directory of their own that has this machine's
``/usr`` and the Python of the tests: the first stage's ``RUN`` with pip at hand, the last one
with what was copied, a root that is read only, the user that it names, no rights, and as
process 1.  Needs root, and util-linux.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from tests.support import PROJECT

DOCKERFILE = PROJECT / "deploy" / "docker" / "Dockerfile"
OF_THE_MACHINE = ("usr", "bin", "lib", "lib64", "sbin", "dev")
SETTINGS = ("hosts", "nsswitch.conf", "resolv.conf", "pip.conf", "ssl", "ca-certificates")
TOOLS = "/container"
LONGEST = 300.0
"""Seconds for one step; each takes less than 30 on a quiet machine."""


@frozen
class Stage:
    """A ``FROM`` and what follows it, as pairs of a word and the rest of the line."""

    base: str
    steps: tuple[tuple[str, str], ...]

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.steps if each == word]

    def the(self, word: str) -> str:
        (found,) = self.all(word)
        return found


def read_stages() -> list[Stage]:
    """Return the stages of the Dockerfile, whose ``ARG`` are put in."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text("utf-8")).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    given = dict(rest.split("=", 1) for word, rest in lines if word == "ARG")
    stages: list[tuple[str, list[tuple[str, str]]]] = []
    for word, rest in lines:
        if word == "FROM":
            base = re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], rest)
            stages.append((base, []))
        elif stages:
            stages[-1][1].append((word, " ".join(rest.split())))
    return [Stage(base, tuple(steps)) for base, steps in stages]


def context() -> Iterator[str]:
    """Yield the files that .dockerignore lets into the context; the last line that fits counts."""
    rules = [
        (line.removeprefix("!"), line.startswith("!"))
        for line in (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    for path in sorted(PROJECT.rglob("*")):
        name = path.relative_to(PROJECT).as_posix()
        parts = name.split("/")
        if parts[0] in (".git", ".venv") or not path.is_file():
            continue
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        wanted = True
        for pattern, is_wanted in rules:
            if any(_fits(each, pattern) for each in above):
                wanted = is_wanted
        if wanted:
            yield name


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(name.rpartition("/")[2], pattern[3:])
    return "/" not in name and fnmatch.fnmatchcase(name, pattern)


@define
class Root:
    """A root directory, and how to run something in it."""

    folder: Path
    environment: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(mode=0o755)
        self.folder.chmod(0o755)
        for name in ("proc", "tmp", "etc"):
            (self.folder / name).mkdir()
        for name in SETTINGS:
            path = Path("/etc") / name
            if path.is_dir():
                shutil.copytree(path, self.folder / "etc" / name, symlinks=True)
            elif path.exists():
                shutil.copy(path, self.folder / "etc" / name)
        for name in OF_THE_MACHINE:
            if Path("/", name).is_symlink():
                (self.folder / name).symlink_to(os.readlink(f"/{name}"))
        for name in self._mounted():
            self.inside(name).mkdir(parents=True, exist_ok=True)

    def inside(self, path: str) -> Path:
        """Return where a path of the container's is."""
        return self.folder / path.lstrip("/")

    def _mounted(self) -> list[str]:
        real = [f"/{name}" for name in OF_THE_MACHINE if not Path("/", name).is_symlink()]
        real = [name for name in real if Path(name).exists()]
        return real if sys.base_prefix == "/usr" else [*real, sys.base_prefix]

    def command(
        self, words: Sequence[str], *, user: str = "", folder: str = "/", read_only: bool = False
    ) -> list[str]:
        """
        Return the command of this machine's that runs *words* in the container.

        :param user: ``UID:GID``, which has no rights; empty: root.
        """
        root = shlex.quote(str(self.folder))
        script = ["set -e", f"mount --bind {root} {root}"]
        script += [
            f"mount --bind {name} {root}{name}" for name in map(shlex.quote, self._mounted())
        ]
        script.append(f"mount -t proc proc {root}/proc")
        if read_only:
            script.append(f"mount -o remount,ro,bind {root}")
        script.append(f'exec chroot {root} "$@"')
        uid, _, gid = user.partition(":")
        rights = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        rights += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        become = rights if user else []
        there = ["env", f"--chdir={folder}", *become]
        fork = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return [*fork, "sh", "-c", "\n".join(script), "sh", *there, *words]

    def run(self, words: Sequence[str], **how: object) -> str:
        """Run a step that has to succeed, and return what it printed."""
        command = self.command(words, **how)  # type: ignore[arg-type]
        env = {**os.environ, **self.environment}
        done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=LONGEST)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def build(folder: Path) -> Root:
    """Carry out both stages below *folder*, and return the root of the last one."""
    first, last = read_stages()
    make = Root(folder / "build")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    make.environment = {"PATH": f"{TOOLS}/bin:{path}", "HOME": "/tmp", "PYTHONPATH": ""}
    make.run([sys._base_executable, "-m", "venv", TOOLS])  # type: ignore[attr-defined]
    source = make.inside(first.the("WORKDIR"))
    assert first.the("COPY") == ". ."
    for name in context():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, source / name)
    for line in first.all("RUN"):
        make.run(["sh", "-c", line], folder=first.the("WORKDIR"))
    made = Root(folder / "image")
    option, there, here = last.the("COPY").split()
    assert option == "--from=build"
    shutil.copytree(make.inside(there), made.inside(here), symlinks=True)
    made.inside(last.the("WORKDIR")).mkdir(parents=True)
    made.environment = settings(last, path)
    return made


def settings(stage: Stage, path: str) -> dict[str, str]:
    """Return what ``ENV`` sets."""
    words = shlex.split(" ".join(stage.all("ENV")))
    given: Mapping[str, str] = dict(each.split("=", 1) for each in words)
    found = {name: value.replace("$PATH", path) for name, value in given.items()}
    return {"PYTHONPATH": "", **found}  # the tests' own leads nowhere here


def listed(text: str) -> list[str]:
    """Return the words of a list as ENTRYPOINT, CMD and HEALTHCHECK have it."""
    words: list[str] = json.loads(text[text.index("[") :])
    return words
