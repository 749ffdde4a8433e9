"""The GitHub action: its steps, run as scripts against a server and GitHub's interface."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.composite import Ended, run_action
from tests.doubles.github import TOKEN, GitHub
from tests.doubles.server import Server
from tests.integration.checkout import ADAPTER, VLLM_KEY, Checkout, like_a_model, vllm_double
from tests.integration.conftest import REPOSITORY, no_traceback, wrong

NAME = f"lambda-ai-gpu+{ADAPTER}"


@pytest.fixture
def server() -> Iterator[Server]:
    """A vLLM server with a base and an adapter."""
    with vllm_double() as running:
        yield running


@pytest.fixture
def github() -> Iterator[GitHub]:
    """GitHub's interface, where pull request 7 has no comment."""
    with GitHub() as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path, server: Server) -> Iterator[Checkout]:
    """A repository whose target is that server; its key is in no variable."""
    made = Checkout.make(tmp_path / "checkout")
    made.use(server)
    made.environment = {}
    yield made
    made.close()


def act(checkout: Checkout, github: GitHub, *, number: int | None = 7, **inputs: str) -> Ended:
    """Runs the action as a job of a pull request does; an installed capgate unless told else."""

    def run(command: tuple[str, ...], where: Path, further: dict[str, str]) -> tuple[int, str]:
        assert where == checkout.root
        outcome = checkout.run(*command, **(github.environment | {"GH_TOKEN": ""} | further))
        assert no_traceback(outcome.text), outcome.text
        return outcome.code, outcome.text

    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    given = {"target": "lambda-ai-gpu", "adapter": ADAPTER, "key": VLLM_KEY} | given
    event: dict[str, Any] = {"pull_request": {"number": number}} if number else {}
    context = {"token": TOKEN, "action_path": str(REPOSITORY), "event": event}
    temp = checkout.root.parent / "temp"
    ended = run_action(
        REPOSITORY / "action.yml",
        run,
        checkout.root,
        temp,
        {"version": "installed"} | given,
        context,
    )
    shown = ended.text.replace(f"::add-mask::{VLLM_KEY}\n", "")
    for secret in (VLLM_KEY, TOKEN):
        assert secret not in shown + ended.summary + str(github.comments)
    return ended


def lost(server: Server) -> None:
    """The adapter answers all questions wrong from now on."""
    server.answer = lambda asked: (
        wrong(asked)
        if asked["model"] == ADAPTER and "ANSWER: $LETTER" in asked["messages"][-1]["content"]
        else like_a_model(asked)
    )


def test_an_adapter_that_lost_nothing(checkout: Checkout, github: GitHub) -> None:
    """The job goes on, with outputs, summary, one comment and the report as its artifact."""
    ended = act(checkout, github)
    assert ended.good, ended.text
    report = Path(ended.outputs["report"])
    assert ended.outputs == {"verdict": "PASS", "exit-code": "0", "report": str(report)}
    assert report.parent == checkout.root / "reports"
    assert (report / "report.html").is_file()
    assert (checkout.root / "reports" / "junit.xml").is_file()
    assert f"✅ PASS: `{NAME}`" in ended.summary
    assert "::error" not in ended.text
    (comment,) = github.comments
    assert f"✅ PASS: `{NAME}`" in comment["body"]
    upload = ended.steps["actions/upload-artifact"].given
    assert upload == {"name": "capgate", "path": str(report)}


def test_an_adapter_that_lost_capability(
    checkout: Checkout, server: Server, github: GitHub
) -> None:
    """The job fails, is annotated, and uploads; the comment is replaced by the next push's."""
    lost(server)
    ended = act(checkout, github, artifact="report-of-mine")
    assert not ended.good
    assert ended.steps["Gate"].code == 1
    assert ended.outputs["verdict"] == "REGRESSION"
    assert f"::error title=capgate REGRESSION%3A {NAME}::" in ended.text
    assert f"❌ REGRESSION: `{NAME}`" in ended.summary
    (comment,) = github.comments
    assert f"❌ REGRESSION: `{NAME}`" in comment["body"]
    upload = ended.steps["actions/upload-artifact"].given
    assert upload == {"name": "report-of-mine", "path": ended.outputs["report"]}

    server.answer = like_a_model
    ended = act(checkout, github, args="--fresh\n--limit=200", mode="quick")
    assert ended.outputs["verdict"] == "PASS", ended.text
    (comment,) = github.comments
    assert f"✅ PASS: `{NAME}`" in comment["body"]


def test_a_server_that_is_down(checkout: Checkout, github: GitHub) -> None:
    """ERROR is told in all forms, and is no regression; a refused comment changes nothing."""
    github.refuses = True
    ended = act(checkout, github, endpoints="127.0.0.1:9")
    assert ended.steps["Gate"].code == 11, ended.text
    assert ended.outputs["verdict"] == "ERROR"
    assert "::error title=capgate ERROR" in ended.text
    assert "⛔ ERROR" in ended.summary
    assert ended.steps["Comment"].code == 0
    assert "::warning title=capgate::The comment on the pull request" in ended.text
    assert "pull-requests: write" in ended.text
    assert "actions/upload-artifact" in ended.steps
    assert not github.comments


def test_a_target_that_is_not_there(checkout: Checkout, github: GitHub) -> None:
    """A run that ended before it had a report is an ERROR, and an earlier report is not shown."""
    (checkout.root / "reports" / "20260101T000000Z-0001").mkdir(parents=True)
    ended = act(checkout, github, target="nobody")
    assert ended.steps["Gate"].code == 4, ended.text
    assert ended.outputs == {"verdict": "ERROR", "exit-code": "4", "report": ""}
    assert "exit code 4 before it had a report" in ended.summary
    assert set(ended.steps) == {"Gate"}
    assert not github.calls


def test_no_pull_request_no_comment(checkout: Checkout, github: GitHub) -> None:
    """A push has no comment, and measures where it is asked to; nothing is uploaded unasked."""
    ended = act(checkout, github, number=None, args="--measure\n--limit=8", artifact="")
    assert ended.good, ended.text
    assert ended.outputs["verdict"] == "measured"
    assert set(ended.steps) == {"Gate"}
    assert not github.calls


@pytest.mark.slow
def test_it_installs_itself(checkout: Checkout, github: GitHub) -> None:
    """The capgate that runs is the one that the action is a part of, in a venv of its own."""
    # What capgate requires is the packages of this Python; capgate itself is not among them.
    packages = checkout.root.parent / "packages"
    packages.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "capgate" not in path.name and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    checkout.environment = {
        "PYTHONPATH": str(packages),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    # The warm Python of the tests has packages of its own.
    for program in ("python3", "python"):
        (checkout.root / ".venv" / "bin" / program).unlink(missing_ok=True)
        (checkout.root / ".venv" / "bin" / program).symlink_to(sys.executable)
    ended = act(checkout, github, version="", args="--limit=8\n--measure")
    assert ended.good, ended.text
    assert ended.steps["actions/setup-python"].given == {"python-version": "3.12"}
    python = checkout.root.parent / "temp" / "capgate" / "bin" / "python"
    where = "import capgate; print(capgate.__file__)"
    done = subprocess.run([python, "-c", where], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(str(python.parents[1])), done
    assert ended.outputs["verdict"] == "measured"
