"""The reader of lines follows configparser's rules and knows every line's number."""

import configparser
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsrelay.config.reader import read

Problems = list[tuple[int, str, str, str]]


def read_with_problems(text: str) -> tuple[dict[str, dict[str, list[str]]], Problems]:
    problems: Problems = []
    sections = read(text, lambda *problem: problems.append(problem))
    values = {
        section.header: {
            name: [item.text for item in option.items] for name, option in section.options.items()
        }
        for section in reversed(sections)  # so that the first of two with one name stays
    }
    return values, problems


def configparser_reads(text: str) -> dict[str, dict[str, list[str]]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="\0none")
    parser.read_file(io.StringIO(text, newline=None))
    return {
        header: {
            name: [line for line in value.split("\n") if line]
            for name, value in parser.items(header)
        }
        for header in parser.sections()
    }


pieces = st.sampled_from(
    ["[a]", "[b:c]", "[", "]", "x", "Y", "=", ":", " ", "  ", "\t", "#", ";", "\n", "\n ", "\r\n",
    "\r", "\x0c", "\x85", "\u2028", "%", "%(x)s", "${x}", "\xe9", "x = 1\n", "[a] z\n", "\n\n"]
)  # fmt: skip


@given(st.lists(pieces, max_size=30).map("".join))
@example("[a]\nx = 1\n\n  2\n# no\n  # no\n  3\ny: = 4")
@example("[a]\n  x = 1\n  y = 2\n   3\n z = 4")
@example("[a]\nx = 1\n [b]\n[b]")
@example("[a] ]\nx=\n y")
def test_whatever_configparser_reads_is_read_the_same(text: str) -> None:
    values, problems = read_with_problems(text)
    try:
        expected = configparser_reads(text)
    except configparser.Error:
        assert problems
    else:
        # An option whose name starts with a bracket is a header gone wrong.
        if not any(name.startswith("[") for options in expected.values() for name in options):
            assert not problems
            assert values == expected


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    read_with_problems(text)


def test_every_item_knows_its_line() -> None:
    text = "# head\n[a]\n\nx =\n  one\n\n  ; between\n  two\r\n  three\ry = 4\n"
    problems: Problems = []
    (section,) = read(text, lambda *problem: problems.append(problem))
    assert section.line == 2
    assert [(item.line, item.text) for item in section.options["x"].items] == [
        (5, "one"),
        (8, "two"),
        (9, "three"),
    ]
    assert section.options["x"].line == 4
    assert section.options["y"].line == 10
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\ny = 2\n z\n", (1, "", "", "every option stands in a section")),
        ("server {\nlisten 80;\n}\n", (1, "", "", "this is no INI file")),
        ("worker_processes 4;\n[a]\n", (1, "", "", "this is no INI file")),
        ("[a]\n[pool:x\ny = 2\nnonsense\n", (2, "", "", "not a section header")),
        ("[]\n", (1, "", "", "not a section header")),
        ("[a]\nnonsense\n  more\n", (2, "a", "", "'nonsense' is no option")),
        ("[a]\n= 1\n", (2, "a", "", "'= 1' is no option")),
        ("[a]\nx = 1\nX = 2\n  3\n", (3, "a", "x", "is set on line 2 already")),
        ("[a]\n[b]\n[a]\n", (3, "a", "", "this section is on line 1 already")),
    ],
)
def test_one_mistake_is_reported_once_where_it_is(
    text: str, problem: tuple[int, str, str, str]
) -> None:
    _, problems = read_with_problems(text)
    assert [(*each[:3], each[3].partition(";")[0]) for each in problems] == [problem]


def test_of_two_options_the_first_stays() -> None:
    values, _ = read_with_problems("[a]\nx = 1\nx = 2\n")
    assert values == {"a": {"x": ["1"]}}
