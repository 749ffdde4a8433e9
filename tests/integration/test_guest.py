"""capgate in other people's pytest projects: a real one, with options and markers of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import TWO_SUBJECTS, Project, right, target

CONFTEST = """
import signal

import pytest


def pytest_addoption(parser):
    parser.addoption("--limit", type=float, default=0.5, help="their limit")
    parser.addoption("--seed", action="store_true")
    parser.addoption("--store", metavar="SHOP")


def pytest_configure(config):
    config.addinivalue_line("markers", "quick(seconds): their quick tests")


@pytest.fixture
def limit(pytestconfig):
    return pytestconfig.getoption("--limit")


def pytest_sessionfinish(session):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""

THEIRS = """
import pytest


@pytest.mark.quick(3)
def test_theirs(limit, pytestconfig):
    assert (limit, pytestconfig.getoption("--store")) == (1.5, "corner")


def test_more():
    pass
"""

OPTIONS = ("--limit", "1.5", "--seed", "--store=corner")

UNKNOWN = "import pytest\n\n\n@pytest.mark.{}\ndef test_it():\n    pass\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Project]:
    """A project that has nothing to do with capgate, which is installed beside it."""
    project = Project(tmp_path)
    project.write("conftest.py", CONFTEST)
    project.write("pytest.ini", "[pytest]\naddopts = --strict-markers --strict-config\n")
    project.write("tests/test_theirs.py", THEIRS)
    yield project
    project.close()


def test_workers_and_options_are_the_projects(theirs: Project) -> None:
    """`-n 2 --dist loadgroup` keeps pytest-xdist's scheduler; own options, markers, signals too."""
    temporary = theirs.root / "temporary"
    temporary.mkdir()
    outcome = theirs.pytest("-n", "2", "--dist", "loadgroup", "-v", *OPTIONS, TMPDIR=str(temporary))
    assert outcome.code == 0, outcome.text
    assert outcome.counts["passed"] == 2
    assert "scheduling tests via LoadGroupScheduling" in outcome.text
    assert not list(temporary.glob("capgate*"))
    assert {path.name for path in theirs.root.iterdir()} <= {
        "conftest.py",
        "pytest.ini",
        "tests",
        "temporary",
        "__pycache__",
        ".pytest_cache",
    }


def test_a_crashed_worker_is_a_failure(theirs: Project) -> None:
    """The exit code is pytest's 1, as without capgate."""
    theirs.write("tests/test_crash.py", "import os\n\n\ndef test_crash():\n    os._exit(3)\n")
    outcome = theirs.pytest("-n", "2", *OPTIONS)
    assert outcome.code == 1, outcome.text
    assert "crashed while running 'tests/test_crash.py::test_crash'" in outcome.text


def test_unknown_markers_are_errors(theirs: Project) -> None:
    """`--strict-markers` says of capgate's names what it says where capgate is switched off."""
    for name in ("full", "stem", "other"):
        theirs.write(f"tests/test_{name}.py", UNKNOWN.format(name))
    on, off = theirs.pytest(*OPTIONS), theirs.pytest("-p", "no:capgate", *OPTIONS)
    assert on.code == off.code == 2, on.text
    for name in ("full", "stem", "other"):
        assert f"'{name}' not found in `markers` configuration option" in on.text

    def said(text: str) -> str:
        return re.sub(r" in [\d.]+s|^plugins: .*$", "", text, flags=re.MULTILINE)

    assert said(on.text) == said(off.text)


def test_the_plugin_can_be_switched_off(theirs: Project) -> None:
    """`-p no:capgate` leaves neither options nor the fixture."""
    theirs.write("tests/test_ours.py", "def test_ours(capgate):\n    pass\n")
    outcome = theirs.pytest("-p", "no:capgate", *OPTIONS)
    assert "fixture 'capgate' not found" in outcome.text
    assert "--capgate-limit" not in theirs.pytest("-p", "no:capgate", "--help").text
    shown = theirs.pytest("--help").text
    assert "their limit" in shown
    assert "--capgate-limit=N" in shown


def test_both_kinds_of_tests_live_together(project: Project, server: Server) -> None:
    """Workers share out two targets' tests and the project's; each reads the options it means."""
    server.answer = right
    project.targets(one=target(server.url), other=target(server.url))
    project.floors(one=0.5, other=0.5)
    project.write("conftest.py", CONFTEST.split("def pytest_sessionfinish")[0])
    project.write("tests/test_theirs.py", THEIRS)
    both = ("--model-id=one", "--model-id=other", "--capgate-limit=7", *TWO_SUBJECTS)
    outcome = project.pytest("-n", "2", "--dist", "loadgroup", *OPTIONS, *both)
    assert outcome.code == 0, outcome.text
    assert {outcome.verdict("one"), outcome.verdict("other")} == {"PASS"}
    assert outcome.counts["passed"] == 10
    assert project.stored() == {"correct": 7}


def test_the_exit_code_of_both_kinds(project: Project) -> None:
    """A target that does not answer is 11; a failed test of the project's own beside it is 1."""
    project.targets(gone=target("http://127.0.0.1:1/v1"))
    project.write("tests/test_theirs.py", "def test_theirs():\n    assert False\n")
    assert project.pytest("-k", "preflight or nothing").code == 11
    assert project.pytest("-k", "preflight or theirs").code == 1
