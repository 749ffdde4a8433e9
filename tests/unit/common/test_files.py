"""An operating system's error on a file, as a sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from capgate import cli
from capgate.common.files import FileError, told_of_files
from capgate.gate.verdict import EXIT_CODES


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space there"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "writable for this user"),
        (errno.ENOTDIR, "a file stands where a folder should be"),
        (errno.EISDIR, "a folder stands where a file should be"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_each_error_has_its_remedy(number: int, remedy: str) -> None:
    """The sentence names the file, the system's words, and what to do about them."""
    with pytest.raises(FileError) as caught, told_of_files("the log"):
        raise OSError(number, os.strerror(number), "/srv/reports/log")
    said = str(caught.value)
    for piece in ("the log (/srv/reports/log)", os.strerror(number), "--output-dir"):
        assert piece in said
    assert remedy.lower() in said.lower()
    assert "\n" not in said
    assert "Errno" not in said


def test_other_errors_stay_what_they_are() -> None:
    """An error of a connection is none of a file."""
    with pytest.raises(ConnectionResetError), told_of_files():
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_command_tells_it_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that stands where a command's folder should be is told without a traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(
        "mine: {model_name: x, base_url: 'http://127.0.0.1:9/v1', dataset: bundled}\n"
    )
    (tmp_path / "reports").write_text("in the way")
    code = cli.main(["calibrate", "--model-id", "mine", "--store", str(tmp_path / "a.sqlite")])
    said = capsys.readouterr().err
    assert code == EXIT_CODES["ERROR"], said
    assert "reports can't be written" in said
    assert "Traceback" not in said
