"""One direction's bytes: honest frames, frames that break any rule, and how they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attrs import evolve, frozen
from hypothesis import strategies as st

from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import ANY_BITS, CLOSE, DEFLATE_BITS, PING, PONG, Scanner, encode_frame
from wsrelay.wire.paces import Pace

TEXT, BINARY, MORE = 1, 2, 0
MASK = b"\x11\x22\x33\x44"


def up(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    return encode_frame(opcode, payload, MASK, final=final)


def down(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    return encode_frame(opcode, payload, final=final)


@frozen
class Case:
    """One direction's bytes, how they arrive, and the rules for them."""

    data: bytes
    cuts: Sequence[int]
    masked: bool
    bits: int
    limits: Limits

    @property
    def chunks(self) -> list[bytes]:
        places = [0, *sorted(cut % (len(self.data) + 1) for cut in self.cuts), len(self.data)]
        # No read of a transport is empty.
        return [self.data[start:end] for start, end in pairwise(places) if start < end]

    def scanner(self) -> Scanner:
        return Scanner(self.masked, self.bits, self.limits)


def sizes() -> st.SearchStrategy[int]:
    return st.one_of(
        st.integers(0, 12), st.sampled_from([124, 125, 126, 127, 128, 200, 65535, 65536])
    )


@st.composite
def honest_frames(draw: st.DrawFn, masked: bool, with_close: bool) -> bytes:
    """Draw messages in fragments, with control frames between those."""
    mask = MASK if masked else b""
    frames = []

    def controls() -> None:
        for opcode in draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
            frames.append(encode_frame(opcode, bytes(draw(st.integers(0, 125))), mask))

    for fragments in draw(st.lists(st.integers(1, 4), max_size=4)):
        for number in range(fragments):
            controls()
            opcode = MORE if number else draw(st.sampled_from([TEXT, BINARY]))
            payload = bytes([draw(st.integers(0, 255))]) * draw(sizes())
            frames.append(encode_frame(opcode, payload, mask, final=number == fragments - 1))
    controls()
    if with_close and draw(st.booleans()):
        frames.append(encode_frame(CLOSE, draw(st.sampled_from([b"", b"\x03\xe8bye"])), mask))
        controls()
    return b"".join(frames)


@st.composite
def any_frame(draw: st.DrawFn, masked: bool) -> bytes:
    """Draw a frame that may break any rule; most often it breaks none."""
    opcode = draw(st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 11]))
    final = draw(st.sampled_from([0x80, 0x80, 0]))
    reserved = draw(st.sampled_from([0, 0, 0, 0x40, 0x20, 0x70]))
    flag = 0x80 if draw(st.sampled_from([masked] * 7 + [not masked])) else 0
    length = draw(sizes())
    form = draw(st.sampled_from([0, 0, 0, 0, 2, 8]))
    if form == 2 or (form == 0 and 126 <= length < 65536):
        head = bytes([flag | 126]) + (length % 65536).to_bytes(2, "big")
    elif form == 8 or length > 65535:
        top = draw(st.sampled_from([0, 0, 0, 1 << 63]))
        head = bytes([flag | 127]) + (length | top).to_bytes(8, "big")
    else:
        head = bytes([flag | length])
    return bytes([final | reserved | opcode]) + head + (MASK if flag else b"") + bytes(length)


def limits() -> st.SearchStrategy[Limits]:
    return st.builds(
        Limits,
        whole_frames=st.sampled_from([0, 1, 5, 125, 126, 300, 16384]),
        max_frame=st.sampled_from([None, None, 11, 126, 65535]),
        max_message=st.sampled_from([None, None, 20, 200, 65536]),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    masked = draw(st.booleans())
    honest = honest_frames(masked, True)
    anything = st.lists(any_frame(masked), max_size=6).map(b"".join)
    data = draw(st.one_of(honest, anything, st.binary(max_size=40)))
    data = data[: len(data) - draw(st.sampled_from([0, 0, 1, 7, 100]))]
    cuts = draw(st.lists(st.integers(0, 200_000), max_size=12))
    bits = draw(st.sampled_from([0, DEFLATE_BITS, ANY_BITS]))
    return Case(data, cuts, masked, bits, draw(limits()))


@st.composite
def honest_cases(draw: st.DrawFn) -> Case:
    masked = draw(st.booleans())
    data = draw(honest_frames(masked, False))
    cuts = draw(st.lists(st.integers(0, 200_000), max_size=12))
    whole = draw(st.sampled_from([0, 1, 5, 125, 126, 300, 16384]))
    return Case(data, cuts, masked, 0, Limits(whole))


def paces(*bursts: float) -> st.SearchStrategy[Pace]:
    return st.builds(Pace, st.sampled_from([1 / 60, 1.0, 3.0, 250.0, 1e6]), st.sampled_from(bursts))


@st.composite
def paced_cases(draw: st.DrawFn) -> Case:
    """Draw cases that count messages, or bytes, or both."""
    case = draw(st.one_of(cases(), honest_cases()))
    messages = draw(st.one_of(st.none(), paces(1.0, 2.0, 2.5, 9.0)))
    every = paces(1.0, 20.0, 300.5, 66_000.0)
    limits = evolve(
        case.limits,
        messages=messages,
        bytes=draw(st.one_of(st.none(), every) if messages else every),
        throttles=draw(st.booleans()),
    )
    return evolve(case, limits=limits)
