"""What both ends of a session check: every message is there once, in order and whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak.messages import LARGEST, Expected, Message, WrongMessageError, make


@given(st.integers(0, 10**9), st.integers(0, 3 * LARGEST), st.integers(0, LARGEST), st.booleans())
def test_a_message_arrives_as_it_was_made(
    number: int, size: int, answer: int, is_text: bool
) -> None:
    message = make(number, size, answer=answer, is_text=is_text)
    assert isinstance(message, str) == is_text
    assert len(message.partition("|" if is_text else b"|")[2]) == min(size, LARGEST)  # type: ignore[arg-type]
    assert Expected(number).take(message) == Message(number, answer)


@given(st.binary(max_size=80))
def test_other_bytes_are_no_message(data: bytes) -> None:
    with pytest.raises(WrongMessageError):
        Expected().take(data)


@given(st.data())
def test_any_byte_that_is_changed_is_noticed(data: st.DataObject) -> None:
    message = bytearray(make(0, 50, answer=7))  # type: ignore[arg-type]
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WrongMessageError):
        Expected().take(bytes(message))


@pytest.mark.parametrize(("numbers", "due"), [((0, 2), 1), ((0, 0), 1), ((1,), 0), ((0, 1, 0), 2)])
def test_a_message_that_is_left_out_or_comes_again_is_noticed(
    numbers: tuple[int, ...], due: int
) -> None:
    expected = Expected()
    for number in numbers[:-1]:
        expected.take(make(number, 9))
    with pytest.raises(WrongMessageError, match=f"came where {due} was due"):
        expected.take(make(numbers[-1], 9))


def test_a_message_that_is_cut_is_noticed() -> None:
    with pytest.raises(WrongMessageError, match="damaged"):
        Expected().take(make(0, 100)[:-1])
