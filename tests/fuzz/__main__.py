"""
``python -m tests.fuzz``: search for inputs that break a target, see one again, keep good ones.

Run it where the repository's files are; searching needs atheris (``pip install .[fuzz]``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.corpora import CORPUS, LONGEST, keep
from tests.fuzz.targets import TARGETS
from tests.fuzz.words import WORDS, dictionary

WORK: Final = Path("build/fuzz")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--replay", type=Path, metavar="FILE", help="run the input in a file again")
    what.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    asked = parser.parse_args(arguments)
    for name in asked.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name}; there are {', '.join(TARGETS)}")
    names = asked.targets or list(TARGETS)
    if asked.replay is not None:
        return replay(asked.replay, asked.targets)
    if asked.keep:
        return keep_all(names)
    failed = [name for name in names if not search(name, asked.seconds)]
    return tell(failed)


def search(name: str, seconds: int) -> bool:
    """Search for inputs that break a target; return whether there are none so far."""
    found, crashes = WORK / "corpus" / name, WORK / "crashes" / name
    for folder in (found, crashes, CORPUS / name):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=30"]
    if name in WORDS:
        words = WORK / f"{name}.dict"
        words.write_text(dictionary(WORDS[name]))
        arguments.append(f"-dict={words}")
    arguments += [f"-artifact_prefix={crashes}/", str(found), str(CORPUS / name)]
    command = [sys.executable, "-m", "tests.fuzz.search", name, *arguments]
    print(f"{name}: {seconds} s", flush=True)
    ended = subprocess.run([*command, "-print_final_stats=1"], check=False)
    return ended.returncode == 0


def tell(failed: Sequence[str]) -> int:
    """Say which targets failed, and how to see it again."""
    for name in failed:
        newest = max((WORK / "crashes" / name).glob("*"), default=None, key=_age)
        again = f"python -m tests.fuzz --replay {newest}" if newest else "read what it said above"
        print(f"{name} failed: {again}", file=sys.stderr)
    return 1 if failed else 0


def _age(path: Path) -> float:
    return path.stat().st_mtime


def replay(file: Path, names: Sequence[str]) -> int:
    """Run one input; its folder is called as its target, unless that is named."""
    name = names[0] if names else file.resolve().parent.name
    if name not in TARGETS:
        print(f"{file}: say which target it is for: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    TARGETS[name](file.read_bytes())
    print(f"{name} passes.")
    return 0


def keep_all(names: Sequence[str]) -> int:
    """Add to the corpus what makes the code do what nothing there does."""
    for name in names:
        found = [path.read_bytes() for path in (WORK / "corpus" / name).glob("*")]
        written = keep(name, TARGETS[name], found)
        print(f"{name}: {len(written)} of {len(found)} kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
