"""`capgate run`: which tests pytest is started on, and with which options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.commands.conftest import Told

HOOK = """
import json
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    with open("started.json", "w") as file:
        json.dump(list(config.invocation_params.args), file)
    return 7
"""
"""A conftest that records what pytest was started with, and ends it with an exit code."""

OWN = "from capgate.pytest_suite.test_capability import *\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tests of its own in `benchmarks`; the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "conftest.py").write_text(HOOK)
    (tmp_path / "benchmarks" / "test_capability.py").write_text(OWN)
    return tmp_path


def started(project: Path, told: Told, *arguments: str) -> list[str]:
    """What pytest is started with; the command's exit code is pytest's."""
    told("run", *arguments, "--import-mode=importlib", code=7)
    found: list[str] = json.loads((project / "started.json").read_text())
    return found


def test_the_whole_benchmark(project: Path, told: Told) -> None:
    """Without options the whole benchmark of the project's own folder is run."""
    found = started(project, told)
    assert found[0] == "benchmarks"
    assert found[found.index("-m") + 1] == "full"


def test_a_quick_run(project: Path, told: Told) -> None:
    """`--quick` is pytest's `-m quick`."""
    found = started(project, told, "--quick")
    assert found[found.index("-m") + 1] == "quick"


def test_several_servers_are_passed_on(project: Path, told: Told) -> None:
    """`--endpoints` reaches pytest as a list that it reads again."""
    found = started(project, told, "--endpoints", "gpu1:8000,http://gpu2:8000/v1")
    assert "--capgate-endpoints=http://gpu1:8000/v1,http://gpu2:8000/v1" in found


def test_options_are_passed_on(project: Path, told: Told) -> None:
    """Switches, values and repeated options reach pytest; those that were not given do not."""
    chosen = ("--model-id", "one", "--model-id", "two", "--limit", "5", "--measure")
    found = started(project, told, *chosen, "-n", "0", "-k", "anatomy")
    assert {
        "--capgate-model-id=one",
        "--capgate-model-id=two",
        "--capgate-limit=5",
        "--capgate-measure",
    } <= set(found)
    assert found[-5:-1] == ["-n", "0", "-k", "anatomy"]
    absent = ("--capgate-baseline", "--capgate-subjects", "--capgate-seed")
    assert not [one for one in found if one.startswith(absent)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limit", "0"), "at least 1"),
        (("--temperature", "warm"), "from 0 to 2"),
        (("--max-cost", "-1"), "US dollars"),
    ],
)
def test_wrong_values(project: Path, told: Told, arguments: tuple[str, ...], said: str) -> None:
    """They are told before pytest starts."""
    _, err = told("run", *arguments, code=4)
    assert said in err
    assert not (project / "started.json").exists()
