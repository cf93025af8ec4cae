"""The memory itself: who may attach, what fits, what is given back."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsrelay.sharing import Region, RegionError, SharedCommons, Sizes
from wsrelay.sharing.region import WIDTH

ONE_BUCKET = Sizes(names=WIDTH, clients=WIDTH, rates=WIDTH, sessions=WIDTH)
MARK = b"12345678"


@contextmanager
def region_of(columns: int, sizes: Sizes | None = None) -> Iterator[Region]:
    region = Region.create(columns, sizes)
    try:
        yield region
    finally:
        region.close()


@contextmanager
def attached(region: Region) -> Iterator[Region]:
    other = Region.attach(os.dup(region.fileno()))
    try:
        yield other
    finally:
        other.close()


def test_who_attaches_sees_the_same() -> None:
    with region_of(3, ONE_BUCKET) as region, attached(region) as other:
        assert (other.columns, other.sizes, other.secret) == (3, ONE_BUCKET, region.secret)
        SharedCommons(region, 0).tally("clients").add(2)
        SharedCommons(other, 1).tally("clients").add(3)
        assert SharedCommons(region, 2).tally("clients").parts == [2, 3, 0]


def test_the_descriptor_is_not_given_to_every_child() -> None:
    with region_of(1, ONE_BUCKET) as region:
        assert not os.get_inheritable(region.fileno())
        os.set_inheritable(region.fileno(), True)
        Region.attach(region.fileno())
        assert not os.get_inheritable(region.fileno())


def test_what_is_no_memory_of_a_relay_is_refused(tmp_path: Path) -> None:
    pipe = os.pipe()
    empty, other = os.memfd_create("empty"), os.memfd_create("other")
    os.write(other, b"x" * 5000)
    for fd in (empty, other, *pipe, 9999):
        with pytest.raises(RegionError, match=f"Descriptor {fd} is no memory of a relay"):
            Region.attach(fd)
    for fd in (empty, other, *pipe):
        os.close(fd)  # they are still open


@pytest.mark.parametrize(
    ("offset", "damage", "complaint"),
    [
        (0, b"W", "is no memory of a relay"),
        (7, b"\x02", "has layout 2, and this process knows 1.*restart the whole relay"),
        (8, struct.pack("=I", 4), r"and \d+ are needed for 4 processes"),
        (8, struct.pack("=I", 0), r"and \d+ are needed for 0 processes"),
        (8, struct.pack("=I", 0xFFFFFFFF), "are needed for 4294967295 processes"),
        (12, struct.pack("=I", 4096), r"and \d+ are needed for 3 .*'names': 4096"),
        (12, struct.pack("=I", 17), "damaged header.*17 slots"),
        (16, struct.pack("=I", 0), "damaged header"),
        (24, struct.pack("=I", 0xFFFFFFFF), "damaged header"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(offset: int, damage: bytes, complaint: str) -> None:
    with region_of(3, ONE_BUCKET) as region:
        os.pwrite(region.fileno(), damage, offset)
        with pytest.raises(RegionError, match=complaint):
            Region.attach(region.fileno())


@pytest.mark.parametrize("change", [-1, 1, -4096])
def test_memory_of_another_length_is_refused(change: int) -> None:
    region = Region.create(3, ONE_BUCKET)
    fd = os.dup(region.fileno())
    length = os.fstat(fd).st_size
    region.close()
    os.ftruncate(fd, length + change)
    with pytest.raises(RegionError, match=f"has {length + change} bytes, and {length} are needed"):
        Region.attach(fd)
    os.close(fd)


def test_a_system_without_such_memory_is_told_of_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_anything: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(RegionError, match=r"no memory .*not implemented.*set workers = 1"):
        Region.create(1)


def test_memory_that_cannot_be_made_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")

    def refuse(*_anything: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(RegionError, match="File too large"):
        Region.create(1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("columns", [0, -1, 5000])
def test_so_many_processes_there_are_not(columns: int) -> None:
    with pytest.raises(ValueError, match=f"columns={columns}: expected 1 to 4096"):
        Region.create(columns)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_number_that_no_process_has_is_refused(index: int) -> None:
    with region_of(2, ONE_BUCKET) as region:
        with pytest.raises(ValueError, match=f"index={index}: there are 2 processes"):
            SharedCommons(region, index)
        with pytest.raises(ValueError, match=f"index={index}: there are 2 processes"):
            region.clear(index)


def test_sizes_are_whole_buckets() -> None:
    for bad in (0, 8, 17, 1 << 25):
        with pytest.raises(ValueError, match=f"{bad}|'names'"):
            Sizes(names=bad)


def test_a_region_is_closed_once() -> None:
    before = os.listdir("/proc/self/fd")
    region = Region.create(1, ONE_BUCKET)
    SharedCommons(region, 0).counts("chat").take(b"a")
    region.close()
    region.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("can_remove", [True, False])
def test_clear_takes_one_column_and_no_other(
    can_remove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_remove:
        monkeypatch.setattr("mmap.MADV_REMOVE", 12345)  # which no kernel knows
    sizes = Sizes(names=2048, clients=2048, rates=WIDTH, sessions=WIDTH)
    with region_of(3, sizes) as region:
        commons = [SharedCommons(region, index) for index in range(3)]
        names = [f"{number}" for number in range(300)]
        for index, each in enumerate(commons):
            counts = each.counts("chat")
            for name in names:
                each.tally(name).add(index + 1)
                counts.take(name.encode())
        region.clear(1)
        assert region.overflows == 0
        for name in names:
            assert commons[0].tally(name).parts == [1, 0, 3]
            assert commons[0].counts("chat").of(name.encode()) == 2


def test_what_is_cleared_is_given_back_to_the_system() -> None:
    with region_of(2) as region:
        before = os.fstat(region.fileno()).st_blocks
        region.words[region.layout.clients.columns // 4 :][:200_000] = memoryview(
            bytes(800_000)
        ).cast("I")
        assert os.fstat(region.fileno()).st_blocks >= before + 1500
        region.clear(0)
        assert os.fstat(region.fileno()).st_blocks <= before


def test_a_release_after_its_column_was_cleared_harms_nobody() -> None:
    with region_of(2, ONE_BUCKET) as region:
        commons = SharedCommons(region, 0)
        counts, tally = commons.counts("chat"), commons.tally("clients")
        places = [counts.take(b"a"), counts.take(b"a")]
        tally.add(2)
        region.clear(0)
        SharedCommons(region, 1).tally("clients").add(1)
        for place in places:
            assert place is not None
            place.release()
        tally.add(-2)
        assert (tally.total, counts.of(b"a"), len(counts)) == (1, 0, 0)


def test_what_fits_into_no_bucket_each_process_counts_alone() -> None:
    with region_of(2, ONE_BUCKET) as region:
        one, other = SharedCommons(region, 0), SharedCommons(region, 1)
        fits = [one.tally(f"{number}") for number in range(WIDTH)]
        for each in fits:
            each.add(1)
        assert region.overflows == 0
        spilled, elsewhere = one.tally("more"), other.tally("more")
        assert [spilled.add_below(2) for _ in range(3)] == [True, True, False]
        assert elsewhere.add_below(2)
        assert region.overflows == 3
        assert (spilled.own, spilled.total, spilled.parts) == (2, 2, [2, 0])
        assert (elsewhere.own, elsewhere.total, elsewhere.parts) == (1, 1, [0, 1])
        spilled.add(1)
        assert spilled.total == 3
        fits[3].add(-1)
        assert spilled.add_below(4)  # there is a slot for it now
        assert (spilled.own, spilled.parts, elsewhere.parts) == (4, [4, 0], [1, 1])
        spilled.add(-1)
        assert (spilled.own, elsewhere.parts) == (3, [1, 1])  # what others do not see goes first
        spilled.add(-5)
        elsewhere.add(-1)
        assert (spilled.own, spilled.total, elsewhere.total) == (0, 0, 0)
        assert [each.total for each in fits] == [1, 1, 1, 0, *[1] * (WIDTH - 4)]


def test_many_clients_have_room_and_are_not_mixed_up() -> None:
    with region_of(2) as region:
        mine, counts = SharedCommons(region, 0), SharedCommons(region, 1).counts("chat")
        clients = [number.to_bytes(4, "big") for number in range(40_000)]
        places = [mine.counts("chat").take(each, 3) for each in clients for _ in range(each[3] % 3)]
        assert region.overflows == 0
        assert all(counts.of(each) == each[3] % 3 for each in clients)
        for place in places:
            assert place is not None
            place.release()
        assert not any(counts.of(each) for each in clients)


def test_many_clients_fill_no_table_of_others() -> None:
    with region_of(1, Sizes(names=64, clients=64, rates=64, sessions=64)) as region:
        commons = SharedCommons(region, 0)
        counts, buckets = commons.counts("chat"), commons.buckets("chat", 1.0, 1.0)
        for number in range(500):
            counts.take(b"%d" % number)
            assert buckets.take(b"%d" % number, 1e6) == 0
        seen = region.overflows
        assert seen > 0
        commons.tally("clients").add(1)
        assert region.overflows == seen


def test_clients_that_came_and_sessions_have_a_table_each() -> None:
    with region_of(1, ONE_BUCKET) as region:
        commons, names = SharedCommons(region, 0), [f"{number}" for number in range(WIDTH)]
        buckets = commons.buckets("chat", 1.0, 1.0)
        memory = commons.memory("chat", "learnt", lambda: 1e6, 60.0, 100)
        assert {buckets.take(name.encode(), 1e6) for name in names} == {0.0}
        for name in names:
            memory.put(name, MARK)
        assert {buckets.take(name.encode(), 1e6) for name in names} == {1.0}
        assert {memory.get(name) for name in names} == {MARK}


def test_who_floods_a_table_pushes_out_his_own() -> None:
    with region_of(1, ONE_BUCKET) as region:
        commons, now = SharedCommons(region, 0), 1e6
        learnt = commons.memory("chat", "learnt", lambda: now, 60.0, 100)
        placed = commons.memory("chat", "placed", lambda: now, 600.0, 100)
        for number in range(5):
            learnt.put(f"{number}", MARK)
        for number in range(1000):
            placed.put(f"{number}", MARK)
        assert [learnt.get(f"{number}") for number in range(5)] == [MARK] * 5
        now += 1
        for number in range(5, 20):
            learnt.put(f"{number}", MARK)
        kept = [number for number in range(20) if learnt.get(f"{number}")]
        assert len(kept) == WIDTH // 2
        assert kept[0] >= 5  # the oldest have gone first
        for flood in (placed, learnt):  # with as many of each it is no different
            for number in range(2000, 2100):
                flood.put(f"{number}", MARK)
            for table in (learnt, placed):
                kept = [number for number in range(3000) if table.get(f"{number}")]
                assert len(kept) == WIDTH // 2


def test_what_has_ended_gives_way_before_what_has_not() -> None:
    with region_of(1, ONE_BUCKET) as region:
        commons, now = SharedCommons(region, 0), 1e6
        short = commons.memory("chat", "short", lambda: now, 10.0, 100)
        long = commons.memory("chat", "long", lambda: now, 60.0, 100)
        short.put("a", MARK)
        for number in range(WIDTH - 1):
            long.put(f"{number}", MARK)
        now += 10
        long.put("new", MARK)
        assert {long.get(f"{number}") for number in range(WIDTH - 1)} == {MARK}


def test_a_change_of_limits_is_no_matter_of_how_many_hear_of_it() -> None:
    with region_of(4, ONE_BUCKET) as region:
        processes = [SharedCommons(region, n).buckets("chat", 1.0, 10.0) for n in range(4)]
        assert [processes[n % 4].take(b"a", 1e6) for n in range(6)] == [0.0] * 6
        for each in processes[:2]:
            each.change(0.5, 8.0)
        # In the middle of a reload some have the old limits, some the new ones.
        assert [each.take(b"a", 1e6) for each in processes[1:3]] == [0.0] * 2
        for each in processes[2:]:
            each.change(0.5, 8.0)
        assert [each.take(b"a", 1e6) for each in processes] == [2.0] * 4
        assert [each.take(b"a", 1e6 + 2) for each in processes] == [0.0] + [2.0] * 3


def test_a_clock_that_was_set_back_costs_no_more_than_a_whole_bucket() -> None:
    with region_of(1, ONE_BUCKET) as region:
        buckets = SharedCommons(region, 0).buckets("chat", 1.0, 3.0)
        assert buckets.take(b"a", 1e6) == 0
        assert buckets.take(b"a", 1e3) == 1.0
        assert buckets.take(b"a", 1e3 + 1) == 0
