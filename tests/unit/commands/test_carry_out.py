"""How every command tells of a fault, and the exit code of each kind."""

from __future__ import annotations

import errno

import pytest

from capgate.commands.carry_out import carry_out
from capgate.common.errors import ConfigError, ServerError
from capgate.common.files import FileError
from capgate.common.output import Output


def ends_with(fault: BaseException) -> int:
    """The exit code of a command that ends with a fault."""

    def action() -> int:
        raise fault

    return carry_out("capgate", action, Output)


@pytest.mark.parametrize("code", [0, 1, 10, 11])
def test_a_command_s_own_exit_code(capsys: pytest.CaptureFixture[str], code: int) -> None:
    """Without a fault nothing is said, and the command's exit code is its own."""
    assert carry_out("capgate", lambda: code, Output) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (ConfigError("no such thing", remedy="name another"), 4, "No such thing. Name another."),
        (ServerError("it is down", target="mine"), 4, "mine"),
        (FileError("a file can't be read"), 11, "file can't be read"),
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), 11, "free some space"),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), 11, "the package yaml"),
    ],
)
def test_a_fault_is_a_paragraph(
    capsys: pytest.CaptureFixture[str], fault: Exception, code: int, said: str
) -> None:
    """It begins with the command's name, has no traceback, and stands on standard error."""
    assert ends_with(fault) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("capgate: ")
    assert said.lower() in err.lower()
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "fault",
    [
        ZeroDivisionError("division by zero"),
        OSError(errno.EPROTO, "Protocol error"),
        ModuleNotFoundError("No module named 'capgate.x'", name="capgate.x"),
    ],
)
def test_a_fault_of_capgate_itself(capsys: pytest.CaptureFixture[str], fault: Exception) -> None:
    """It is shown in full, is called ours, and never ends with REGRESSION's code."""
    assert ends_with(fault) == 11
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "a fault of capgate itself; nothing was judged" in err


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    """An interruption has a shell's exit code for it, and says nothing."""
    assert ends_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`capgate … | head` ends well."""
    with open("/dev/null", "w") as nothing:  # noqa: PTH123 (a stream that may be closed)
        monkeypatch.setattr("sys.stderr", nothing)
        assert ends_with(BrokenPipeError()) == 0


def test_secrets_are_cut_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault is told through the command's output, which knows what is secret."""
    out = Output()
    out.hide("a-secret-0123456789")

    def action() -> int:
        raise RuntimeError("the key a-secret-0123456789 is refused")

    assert carry_out("capgate", action, lambda: out) == 11
    assert "a-secret-0123456789" not in capsys.readouterr().err
