"""Who wants to talk to a running relay needs [admin] only, whatever else the file says."""

from pathlib import Path

import pytest

from wsrelay.config import ConfigErrors, ConfigUnreadable, load_admin
from wsrelay.config.model import AdminConfig

from .samples import SMALL

ADMIN = "[admin]\nlisten = tcp:9000:interface=127.0.0.1\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.ini"


def test_admin_is_read_and_its_paths_are_beside_the_file(file: Path) -> None:
    file.write_text(f"{SMALL}[admin]\nlisten = unix:admin.sock\ntoken_file = token\n")
    there = AdminConfig(f"unix:{file.parent}/admin.sock", file.parent / "token")
    assert load_admin(file, {}) == there


@pytest.mark.parametrize("text", [SMALL, f"{SMALL}[admin]\nlisten = off\n", ""])
def test_a_relay_without_an_admin_endpoint_has_none(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_admin(file, {}) is None


@pytest.mark.parametrize(
    "broken",
    [
        "no section\n",
        "[relay]\nlisten = ${NOT_IN_THIS_SHELL}\n",
        "[pool:chat]\nbalancer = nonesuch\nbalancer = again\n",
        "[rely]\nlisten = 1\n",
        "[pool:chat\n",
    ],
)
def test_errors_elsewhere_are_no_hindrance(file: Path, broken: str) -> None:
    file.write_text(broken + ADMIN)
    assert load_admin(file, {}) == AdminConfig("tcp:9000:interface=127.0.0.1")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{ADMIN}lisen = 1\n", ":3: [admin] lisen: unknown option 'lisen'; did you mean"),
        (f"{ADMIN}listen = tcp:1\n", ":3: [admin] listen: is set on line 2 already"),
        (f"{ADMIN}{ADMIN}", ":3: [admin] this section is on line 1 already"),
        ("[admin]\nlisten = ${PORT}\n", ":2: [admin] listen: the environment has no variable PORT"),
    ],
)
def test_errors_in_admin_are_told(file: Path, text: str, error: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load_admin(file, {})
    assert str(caught.value).startswith(f"{file}{error}")


def test_a_file_that_is_not_there_is_told(file: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="cannot be read: No such file or directory"):
        load_admin(file, {})


def test_a_file_that_is_no_text_is_told(file: Path) -> None:
    file.write_bytes(ADMIN.encode() + b"\xff")
    with pytest.raises(ConfigErrors, match="is not UTF-8"):
        load_admin(file, {})
