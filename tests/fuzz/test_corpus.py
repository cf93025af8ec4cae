"""What is kept passes, and so does what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.corpora import CORPUS, LONGEST, MOST, inputs_of
from tests.fuzz.targets import TARGETS

INPUTS = {name: inputs_of(name) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_all_inputs_that_are_kept_pass(name: str) -> None:
    for file, data in INPUTS[name].items():
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"python -m tests.fuzz --replay {CORPUS / name / file}")
            raise


@st.composite
def mutants(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """Draw the begin of one input and the end of another, with something else between them."""
    first, second = draw(st.sampled_from(inputs)), draw(st.sampled_from(inputs))
    begin = first[: draw(st.integers(0, len(first)))]
    end = second[draw(st.integers(0, len(second))) :]
    return begin + draw(st.binary(max_size=8)) + end


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_pass_and_any_mixture_of_what_is_kept(name: str) -> None:
    inputs = list(INPUTS[name].values())

    @settings(max_examples=60)
    @given(st.one_of(mutants(inputs), mutants(inputs), st.binary(max_size=200)))
    def passes(data: bytes) -> None:
        TARGETS[name](data)

    passes()


def test_each_target_has_inputs_few_and_short_and_no_other_folder_is_there() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for name, inputs in INPUTS.items():
        assert 0 < len(inputs) <= MOST, name
        assert max(map(len, inputs.values())) <= LONGEST, name
        assert len(set(inputs.values())) == len(inputs), name
