"""The token file."""

from pathlib import Path

import pytest

from wsrelay.admin.token import read_token


def test_a_token_is_one_word_and_its_line_may_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert read_token(tmp_path / "token") == "0123456789abcdef"


@pytest.mark.parametrize(
    "content",
    [b"", b"0123456789abcde", b"0123456789 abcdef", "0123456789abcdéf".encode(), b"\0" * 20],
)
def test_what_is_no_token_is_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"openssl rand -hex 32 > {path}"):
        read_token(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        read_token(tmp_path / "token")
