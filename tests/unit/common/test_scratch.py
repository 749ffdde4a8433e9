"""Temporary folders of killed processes are removed by the next run, and no others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from capgate.common.scratch import Scratch, remove_abandoned

_OWNER = """
import sys
from capgate.common.scratch import Scratch
scratch = Scratch()
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    # A socket's path may have about a hundred characters.
    path = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return path


def owner() -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_killed_run_s_folder_is_removed_by_the_next(folder: Path) -> None:
    """One of a run that still lives stays, and works."""
    killed, its = owner()
    alive, other = owner()
    killed.kill()
    killed.wait()
    assert its.is_dir()
    mine = Scratch()
    assert set(folder.iterdir()) == {other, mine.path}
    mine.close()
    alive.kill()
    alive.wait()
    assert remove_abandoned() == [other]
    assert list(folder.iterdir()) == []


def test_a_folder_of_an_earlier_version_goes_once_nobody_listens(folder: Path) -> None:
    """It had no lock, only the socket."""
    old = folder / "capgate-old"
    old.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(old / "broker"))
        listening.listen()
        assert remove_abandoned() == []
    assert remove_abandoned() == [old]


def test_what_is_not_ours_stays(folder: Path) -> None:
    """Folders of that name without a lock, links, files, and those of others."""
    (folder / "capgate-mine").mkdir()
    (folder / "capgate-mine" / "notes").touch()
    (folder / "capgate-empty").mkdir()
    (folder / "capgate-file").touch()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (folder / "capgate-link").symlink_to(elsewhere)
    (folder / "capgate-linked").mkdir()
    (folder / "capgate-linked" / ".lock").symlink_to(elsewhere / ".lock")
    before = set(folder.rglob("*"))
    assert remove_abandoned() == []
    assert set(folder.rglob("*")) == before


def test_another_user_s_folder_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it could be removed."""
    theirs = folder / "capgate-theirs"
    theirs.mkdir()
    (theirs / ".lock").touch()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert remove_abandoned() == []
    monkeypatch.undo()
    assert remove_abandoned(folder) == [theirs]


def test_a_folder_ends_with_its_context_or_with_a_child_that_holds_it(folder: Path) -> None:
    """A server keeps its sockets when its supervisor is killed."""
    with Scratch() as scratch:
        (scratch.path / "file").touch()
    assert list(folder.iterdir()) == []
    scratch = Scratch()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(scratch.fileno(),))
    os.close(scratch.fileno())
    assert remove_abandoned() == []
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
    assert remove_abandoned() == [scratch.path]
