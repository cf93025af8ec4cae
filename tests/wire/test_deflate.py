"""Who agrees on which compression, where the relay itself compresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.wire.deflate import OFFER, Deflate, agreed_with, choose
from wsrelay.wire.headers import Headers, extension_names
from wsrelay.wire.response import BadResponse


def fields(*values: bytes) -> Headers:
    return Headers(tuple((b"Sec-WebSocket-Extensions", value) for value in values))


@pytest.mark.parametrize(
    ("offer", "answer", "agreed"),
    [
        (b"permessage-deflate", b"permessage-deflate", Deflate(False, False, 12, 15)),
        (
            b"permessage-deflate; client_max_window_bits",  # all browsers
            b"permessage-deflate; client_max_window_bits=12",
            Deflate(False, False, 12, 12),
        ),
        (
            b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=11",
            b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=11",
            Deflate(False, False, 10, 11),
        ),
        (
            b"permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            Deflate(False, False, 12, 12),
        ),
        (
            b"permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
            b"permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
            Deflate(False, False, 8, 8),
        ),
        (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Deflate(True, True, 12, 15),
        ),
        (
            b'Permessage-Deflate ; Server_Max_Window_Bits = "9"',
            b"permessage-deflate; server_max_window_bits=9",
            Deflate(False, False, 9, 15),
        ),
    ],
)
def test_an_offer_is_accepted_in_its_own_terms(
    offer: bytes, answer: bytes, agreed: Deflate
) -> None:
    assert choose(fields(offer)) == (agreed, answer)


@pytest.mark.parametrize(
    "bad",
    [
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=012",
        b"permessage-deflate; server_max_window_bits=1_2",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; client_max_window_bits=twelve",
        b"permessage-deflate; client_no_context_takeover=1",
        b"permessage-deflate; server_no_context_takeover=true",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; x-webkit",
        b"x-webkit-deflate-frame",
        b"permessage-bzip2",
    ],
)
def test_what_cannot_be_accepted_is_declined_and_the_next_offer_looked_at(bad: bytes) -> None:
    extension_names(fields(bad))  # it is well-formed: the handshake gets that far
    assert choose(fields(bad)) is None
    chosen = choose(fields(bad + b", permessage-deflate"))
    assert chosen == choose(fields(b"permessage-deflate"))
    assert chosen == choose(fields(bad, b"permessage-deflate"))


def test_without_an_offer_there_is_no_compression() -> None:
    assert choose(Headers()) is None
    assert agreed_with(Headers()) is None


def test_of_several_offers_the_first_counts() -> None:
    chosen = choose(fields(b"permessage-deflate; server_max_window_bits=9, permessage-deflate"))
    assert chosen is not None
    assert chosen[0].server_bits == 9


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        (b"permessage-deflate", Deflate(False, False, 15, 12)),
        (b"permessage-deflate; client_max_window_bits=10", Deflate(False, False, 15, 10)),
        (b"permessage-deflate; client_max_window_bits=15", Deflate(False, False, 15, 12)),
        (b"permessage-deflate; server_max_window_bits=8", Deflate(False, False, 8, 12)),
        (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Deflate(True, True, 15, 12),
        ),
    ],
)
def test_an_upstream_says_what_it_agrees_to(answer: bytes, agreed: Deflate) -> None:
    assert agreed_with(fields(answer)) == agreed


@pytest.mark.parametrize(
    "bad",
    [
        b"permessage-deflate; client_max_window_bits",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; mux",
    ],
)
def test_an_upstream_that_answers_something_else_is_not_understood(bad: bytes) -> None:
    with pytest.raises(BadResponse):
        agreed_with(fields(bad))


def test_what_is_offered_upstream_is_an_offer() -> None:
    assert choose(fields(OFFER)) is not None


@given(
    st.lists(
        st.sampled_from(
            [
                b"permessage-deflate",
                b"; client_max_window_bits",
                b"; server_max_window_bits",
                b"; server_no_context_takeover",
                b'="9"',
                b"=15",
                b",",
                b" ",
                b"x",
            ]
        ),
        max_size=12,
    )
)
def test_no_offer_is_an_error(words: list[bytes]) -> None:
    chosen = choose(fields(b"".join(words)))
    if chosen is not None:
        assert 8 <= chosen[0].server_bits <= 12
        assert chosen[0].client_bits in (*range(8, 13), 15)
        assert agreed_with(fields(chosen[1])) is not None, "the answer is one"
