"""Close codes and reasons: what may stand on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.wire.close import MAX_REASON, encode_reason, is_valid_code

VALID = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


def test_every_number_of_two_bytes_is_judged_as_the_registry_says() -> None:
    assert {code for code in range(65536) if is_valid_code(code)} == VALID


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015])
def test_codes_that_only_programs_say_never_go_on_the_wire(code: int) -> None:
    assert not is_valid_code(code)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_reason_that_fits_is_encoded_and_a_longer_one_cut_between_characters(text: str) -> None:
    encoded = encode_reason(text)
    assert len(encoded) <= MAX_REASON
    kept = encoded.decode("utf-8")
    assert text.startswith(kept)
    if kept != text:
        assert len((kept + text[len(kept)]).encode()) > MAX_REASON


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_as_much_of_a_long_reason_stays_as_fits(character: str) -> None:
    size = len(character.encode())
    assert encode_reason(character * 200) == character.encode() * (MAX_REASON // size)


def test_what_is_no_text_does_not_stop_a_close() -> None:
    assert encode_reason("a\ud800b") == b"a?b"
