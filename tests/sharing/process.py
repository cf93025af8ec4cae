"""What the processes of these tests do: ``python -m tests.sharing.process WHAT FD INDEX …``."""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import wsrelay.sharing
from wsrelay.commons import Memory, Place
from wsrelay.sharing import Region, SharedCommons
from wsrelay.sharing.region import KEY, WIDTH

NAMES = [f"upstream-{number}" for number in range(24)]
MOST_NAMES = 4
"""Names that a process has a part of at a time: four processes fill no bucket of 16."""

OURS = str(Path(wsrelay.sharing.__file__).parent)
MARK = b"12345678"


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def is_told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def rush(commons: SharedCommons, most: int, tries: int) -> int:
    """Take what there is of many limits; return how much it was."""
    counts = commons.counts("chat")
    taken = 0
    for number in range(tries):
        for _ in range(most):
            taken += commons.tally("clients", f"{number}").add_below(most)
            taken += counts.take(b"%d" % number, most) is not None
    return taken


class Witness:
    """Counts beside the region, under a lock of its own, who is inside."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR)

    def change(self, n: int) -> int:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        (count,) = struct.unpack("=i", os.pread(self._fd, 4, 0))
        os.pwrite(self._fd, struct.pack("=i", count + n), 0)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return int(count) + n


def pass_through(commons: SharedCommons, path: str, most: int, rounds: int) -> tuple[int, int]:
    """Come and go; return how often, and how many were inside at once, at most."""
    witness, tally, inside, entered = Witness(path), commons.tally("clients"), 0, 0
    for _ in range(rounds):
        if tally.add_below(most):
            entered += 1
            inside = max(inside, witness.change(1))
            witness.change(-1)
            tally.add(-1)
    return entered, inside


def churn(commons: SharedCommons) -> None:
    """Count up and down, and let slots be taken over, until told to stop or killed."""
    parts: Counter[str] = Counter()
    places: list[Place] = []
    tallies = {name: commons.tally(name) for name in NAMES}
    counts, buckets = commons.counts("chat"), commons.buckets("chat", 10.0, 20.0)
    memory = commons.memory("chat", "learnt", lambda: 1e6, 60.0, 100)
    done = 0
    while not (done % 50 == 0 and is_told_to_stop()):
        name = random.choice(NAMES)
        if parts[name]:
            n = random.randint(1, parts[name])
            tallies[name].add(-n)
            parts[name] -= n
        elif sum(count > 0 for count in parts.values()) < MOST_NAMES:
            parts[name] += tallies[name].add_below(1000)
        if len(places) >= MOST_NAMES:
            places.pop(random.randrange(len(places))).release()
        elif place := counts.take(name.encode(), 1000):
            places.append(place)
        buckets.take(name.encode(), 1e6 + done)
        memory.put(name, MARK)
        assert memory.get(name) in (MARK, None)
        done += 1
        if done % 100 == 0:
            say(done=done)
    say(parts=+parts, places=len(places))
    sys.stdin.readline()


def stop_inside(region: Region) -> None:
    """Be stopped while it has the locks of all buckets."""
    layout = region.layout
    for table in (layout.names, layout.clients, layout.rates, layout.sessions):
        for bucket in range(table.slots // WIDTH):
            assert region.lock(table.keys + bucket * WIDTH * KEY)
    say(locked=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def live(commons: SharedCommons, now: float) -> None:
    """Do a little of everything, so that each line runs that writes."""
    tallies = [commons.tally(name) for name in NAMES[:2]]
    places = [commons.counts("chat").take(name.encode(), 5) for name in NAMES[:2]]
    for each in tallies:
        each.add(1)
        each.add_below(5)
        each.add(-1)
    for place in places[:1]:
        assert place is not None
        place.release()
    tallies[0].add(-1)
    tallies[0].add(1)
    buckets, memory = commons.buckets("chat", 1.0, 1.0), at(now, commons)
    for later in (0, 0, 5):
        buckets.take(b"somebody", now + later)
    memory.put("sid", MARK)
    memory.put("sid", MARK)


def at(now: float, commons: SharedCommons) -> Memory:
    return commons.memory("chat", "learnt", lambda: now, 60.0, 9)


def die_at(line: int) -> None:
    """Kill this process when so many lines of the package have run."""
    left = line

    def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    sys.settrace(on_line)


def die_everywhere(region: Region) -> int:
    """Let a child die before each line, and look what is left; return how often."""
    mine = SharedCommons(region, 0)
    for line in range(100_000):
        child = os.fork()
        if not child:
            die_at(line)
            live(SharedCommons(region, 1), 1000.0 * line)
            sys.settrace(None)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        region.clear(1)
        if line % 50 == 0:
            say(line=line)
        look_around(region, mine, 1000.0 * line + 500)
        if status == 0:
            return line
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("it never comes to its end")


def look_around(region: Region, mine: SharedCommons, now: float) -> None:
    """Make sure that nothing is counted, and that all can be, with nobody in the way."""
    held, counts = [], mine.counts("chat")
    for name in NAMES:
        assert mine.tally(name).total == 0
        assert counts.of(name.encode()) == 0
    for name in NAMES[:16]:
        tally, place = mine.tally(name), counts.take(name.encode(), 1)
        assert tally.add_below(1)
        assert place is not None
        held.append((tally, place))
    for tally, place in held:
        assert tally.total == 1
        tally.add(-1)
        place.release()
    assert mine.buckets("chat", 1.0, 1.0).take(b"somebody", now) == 0
    memory = at(now, mine)
    assert memory.get("sid") is None
    memory.put("sid", MARK)
    assert memory.get("sid") == MARK
    assert region.overflows == 0


def main(what: str, fd: str, index: str, *arguments: str) -> None:
    region = Region.attach(int(fd))
    commons = SharedCommons(region, int(index))
    if what == "rush":
        say(taken=rush(commons, *map(int, arguments)), overflows=region.overflows)
        sys.stdin.readline()
    elif what == "pass-through":
        path, most, rounds = arguments
        say(ready=True)
        sys.stdin.readline()
        entered, inside = pass_through(commons, path, int(most), int(rounds))
        say(entered=entered, inside=inside, overflows=region.overflows)
    elif what == "churn":
        churn(commons)
    elif what == "stop-inside":
        stop_inside(region)
    elif what == "die-everywhere":
        say(deaths=die_everywhere(region))


if __name__ == "__main__":
    main(*sys.argv[1:])
