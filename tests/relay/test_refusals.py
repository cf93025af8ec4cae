"""The table of refusals is what the code says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support import PROJECT
from wsrelay.relay.refusals import REFUSALS

SOURCES = [
    *(PROJECT / "wsrelay" / "relay").glob("*.py"),
    *(PROJECT / "wsrelay" / "http").glob("*.py"),
]


def constants(values: list[ast.expr], kind: type) -> list[object]:
    return [
        each.value
        for each in values
        if isinstance(each, ast.Constant) and isinstance(each.value, kind)
    ]


def written() -> Iterator[tuple[int, str]]:
    """Yield each status that stands beside the word for a refusal, in a call or a tuple."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            values = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
            words = [each for each in constants(values, str) if each in REFUSALS]
            for status in constants(values, int):
                if words and 400 <= status < 600:  # type: ignore[operator]
                    yield status, words[-1]  # type: ignore[misc]


def test_whoever_is_refused_gets_an_answer_that_the_table_has() -> None:
    found = set(written())
    assert len({word for _, word in found}) > 15
    wrong = {(status, word) for status, word in found if status not in REFUSALS[word].answers}
    assert not wrong
