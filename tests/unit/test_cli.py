"""The command line: what it offers, and how it says that something is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from capgate import __version__
from capgate.cli import COMMANDS, main

USAGE = 4


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`capgate --help` lists each command with a line of its own, and ends well."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"\n +{name}\s+\S", said)


ASKS_FOR_HELP = """
import sys
before = set(sys.modules)
from capgate.cli import main
try:
    main(["--help"])
finally:
    found = {name.partition(".")[0] for name in sys.modules.keys() - before}
    print(*sorted(found - sys.stdlib_module_names - {"capgate"}), file=sys.stderr)
"""


def test_help_needs_no_other_package() -> None:
    """`capgate --help` imports the standard library and capgate alone, which keeps it fast."""
    done = subprocess.run(
        [sys.executable, "-c", ASKS_FOR_HELP], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: capgate")
    assert done.stderr.split() == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`capgate --version` says which one it is."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"capgate {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["comparee"], "compare"),
        (["list-models", "--no-such-option"], "--no-such-option"),
        (["run", "--limit", "none"], "at least 1, got 'none'"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is told in a line, with pytest's exit code for it."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == USAGE
    assert words in capsys.readouterr().err


def test_faults_are_a_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of the project's files is one paragraph on standard error, without traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(["list-models"]) == USAGE
    said = capsys.readouterr().err
    assert said.startswith("capgate: ")
    assert "models.yaml does not exist" in said
    assert "write one with: capgate init" in said


def test_a_fault_of_capgate_s_own_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes wrong inside a command is shown, and ends with ERROR's code and not with 1."""
    monkeypatch.setattr("capgate.commands.history.run", lambda _: 1 // 0)
    assert main(["history"]) == 11
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "nothing was judged" in said
