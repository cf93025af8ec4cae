"""No example is forgotten."""

from pathlib import Path

from tests.examples.support import EXAMPLES
from tests.support import PROJECT


def test_every_relay_ini_of_the_examples_is_run_by_a_test_and_told_of() -> None:
    folder = PROJECT / "tests"
    tests = [Path(__file__).parent, folder / "test_examples.py", folder / "system"]
    files = [file for each in tests for file in ([each] if each.is_file() else each.glob("*.py"))]
    run = "".join(file.read_text("utf-8") for file in files)
    told = (EXAMPLES / "README.rst").read_text("utf-8")
    for example in (*EXAMPLES.glob("*.ini"), *EXAMPLES.glob("filters/*.ini")):
        assert f'"{example.name}"' in run, example.name
        assert f"``{example.name}``" in told, example.name
