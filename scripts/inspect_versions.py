"""Tests capgate with the oldest and the newest Inspect that pyproject.toml allows.

`make test-inspect-versions` runs both ends, each in a venv of its own (.venv-inspect-oldest and
.venv-inspect-newest), which is kept until other versions are wanted. The oldest versions are the
lower bounds in pyproject.toml; the newest are those that pip finds on the package index. All other
packages are as pip chooses them, since an older Inspect may refuse what constraints.txt pins.

Exit codes: 0 both ends passed, 1 an end failed or could not be installed, 2 wrong usage,
130 broken off with Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parent.parent
PYPROJECT: Final = ROOT / "pyproject.toml"
PACKAGES: Final = ("inspect-ai", "inspect-evals")
ENDS: Final = ("oldest", "newest")
TESTS: Final = (
    "tests/unit/asking",
    "tests/unit/benchmarks",
    "tests/unit/report/test_word_as_key.py",
    "tests/unit/run/test_judge.py",
    "tests/unit/run/test_upgrades.py",
    "tests/integration/test_asked_ahead.py",
    "tests/integration/test_confidential.py",
    "tests/integration/test_logs_of_inspect.py",
    "tests/integration/test_own_tasks.py",
    "tests/integration/test_runners.py",
    "tests/integration/test_sameness.py",
    "tests/integration/test_unreadable.py",
    "tests/integration/test_upstream.py",
    "tests/integration/test_upstream_tasks.py",
    "tests/integration/test_written_results.py",
)
"""What asks through Inspect, reads its logs, or builds inspect_evals' tasks."""

_INSTALLED: Final = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""

Versions = Mapping[str, str]
"""Name of each of `PACKAGES` to a version."""


class VersionsError(Exception):
    """An end's versions can't be told or installed; the message says why."""


def allowed(pyproject: Path = PYPROJECT) -> list[Requirement]:
    """What a project requires of `PACKAGES`, in that order.

    Raises:
        VersionsError: It does not require one of them.
    """
    dependencies = _project(pyproject)["dependencies"]
    required = {found.name: found for found in map(Requirement, dependencies)}
    missing = [name for name in PACKAGES if name not in required]
    if missing:
        raise VersionsError(f"{pyproject.name} does not require {', '.join(missing)}")
    return [required[name] for name in PACKAGES]


def oldest(requirements: Sequence[Requirement]) -> Versions:
    """The lower bound of each requirement.

    Raises:
        VersionsError: A requirement has none, or several.
    """
    bounds = {
        requirement.name: [part.version for part in requirement.specifier if part.operator == ">="]
        for requirement in requirements
    }
    for name, found in bounds.items():
        if len(found) != 1:
            raise VersionsError(f"{name} has {len(found)} lower bounds (>=) and needs one")
    return {name: found[0] for name, found in bounds.items()}


def newest(requirements: Sequence[Requirement]) -> Versions:
    """The newest versions on the package index that the requirements allow.

    Where these can't be installed, it prints why, and the versions are those that pip chooses.

    Raises:
        VersionsError: No version is on the index, or none can be installed.
    """
    listed = _resolve(requirements, "--no-deps")
    try:
        return _resolve(_pins(listed))
    except VersionsError as error:
        print(f"newest: {told(listed)} can't be installed: {error}", flush=True)
    return _resolve(requirements)


def told(versions: Versions) -> str:
    """Versions as a line shows them."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _project(pyproject: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return project


def _pins(versions: Versions) -> list[Requirement]:
    return [Requirement(f"{name}=={version}") for name, version in versions.items()]


def _resolve(requirements: Sequence[Requirement], *options: str) -> Versions:
    """The versions that pip would install into an empty venv."""
    command = ["install", "--dry-run", "--ignore-installed", "--report", "-", *options]
    report: dict[str, Any] = json.loads(_pip(sys.executable, *command, *map(str, requirements)))
    found = {
        item["metadata"]["name"].replace("_", "-").lower(): item["metadata"]["version"]
        for item in report["install"]
    }
    return {name: found[name] for name in PACKAGES}


def _pip(python: str | Path, *arguments: str) -> str:
    """What pip prints on standard output.

    Raises:
        VersionsError: pip failed; with its own words on why.
    """
    done = subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        errors = [line[7:] for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        # pip also names each version that is for another Python.
        why = [error for error in errors if not error.startswith("Ignored the following")]
        raise VersionsError("; ".join(why) or done.stderr.strip())
    return done.stdout


def _installed(end: str, versions: Versions) -> Path:
    """The Python of an end's venv, which has capgate, its tests' packages and `versions`.

    Raises:
        VersionsError: They can't be installed.
    """
    folder = ROOT / f".venv-inspect-{end}"
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = json.dumps([versions, _project(PYPROJECT)])
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(folder, clear=True, with_pip=True)
        pins = map(str, _pins(versions))
        _pip(python, "install", "--editable", f"{ROOT}[dev]", *pins)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _test(end: str) -> str:
    """Runs the tests at an end; says how that went.

    Raises:
        VersionsError: They failed, or the end could not be installed.
    """
    versions = {"oldest": oldest, "newest": newest}[end](allowed())
    print(f"{end}: {told(versions)}", flush=True)
    python = _installed(end, versions)
    shown = subprocess.run(
        [python, "-c", _INSTALLED, *PACKAGES], capture_output=True, text=True, check=True
    )
    there = told(json.loads(shown.stdout))
    started = time.monotonic()
    # The checkout's own cache says which tests failed with the versions that are developed with.
    options = ["-q", "-rs", "-n", "2", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    done = subprocess.run([python, "-m", "pytest", *TESTS, *options], cwd=ROOT)
    seconds = f"{time.monotonic() - started:.0f} s"
    if done.returncode:
        raise VersionsError(f"failed with {there} after {seconds} (pytest: {done.returncode})")
    return f"passed with {there} in {seconds}"


def main() -> int:
    """Tests the ends that the command line names; prints a line on each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ends", nargs="*", metavar="oldest|newest", help="which; both if none")
    named = parser.parse_args().ends
    unknown = [end for end in named if end not in ENDS]
    if unknown:
        parser.error(f"there is no end {unknown[0]!r} (known: {', '.join(ENDS)})")
    lines, code = [], 0
    for end in named or ENDS:
        try:
            lines.append(f"{end}: {_test(end)}")
        except VersionsError as error:
            lines.append(f"{end}: {error}")
            code = 1
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
