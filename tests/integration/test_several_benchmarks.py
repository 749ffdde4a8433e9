"""A run of several benchmarks: its tests, their order, and one verdict over all."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import TWO_SUBJECTS, Outcome, Project, no_traceback
from tests.integration.several import (
    ADAPTER,
    BASE,
    BOTH,
    ENTRIES,
    SUMS,
    cannot_add,
    is_adapter,
    kept,
    over_all,
    prepare,
    sum_of,
)
from tests.processes import run

COLLECT = ("--collect-only", "-q")


def ids(outcome: Outcome) -> list[str]:
    """The ids of the tests that were collected."""
    return re.findall(r"^benchmarks/test_mmlu\.py::(\S+)$", outcome.text, re.MULTILINE)


@pytest.fixture
def ready(project: Project) -> Iterator[tuple[Project, Server]]:
    """The project, and a server whose adapter has kept everything."""
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        prepare(project, server)
        yield project, server


def test_the_tests_of_several_benchmarks_stand_in_order(ready: tuple[Project, Server]) -> None:
    """Preflight, each benchmark's groups and the whole of it, and the verdict over all last."""
    project, _ = ready
    all_three = ("--benchmark", "kinds", *BOTH)
    assert ids(project.pytest("benchmarks", "-m", "full", *TWO_SUBJECTS, *COLLECT, *all_three)) == [
        f"test_preflight[{ADAPTER}]",
        f"test_group[{ADAPTER}-kinds-large]",
        f"test_group[{ADAPTER}-kinds-small]",
        f"test_group[{ADAPTER}-kinds]",
        f"test_subject[{ADAPTER}-abstract_algebra]",
        f"test_subject[{ADAPTER}-virology]",
        f"test_group[{ADAPTER}-mmlu]",
        f"test_group[{ADAPTER}-sums]",
        f"test_suite[{ADAPTER}]",
    ]
    assert ids(project.pytest("benchmarks", "-m", "quick", *COLLECT, *all_three)) == [
        f"test_preflight[{ADAPTER}]",
        *(f"test_quick[{ADAPTER}-{name}]" for name in ("kinds", "mmlu", "sums")),
        f"test_quick[{ADAPTER}]",
    ]
    marked = project.pytest("benchmarks", "-m", "sums", *COLLECT, *all_three)
    assert ids(marked) == [f"test_preflight[{ADAPTER}]", f"test_group[{ADAPTER}-sums]"]


def test_a_suite_that_says_quick_makes_quick_runs(ready: tuple[Project, Server]) -> None:
    """Without -m its whole runs are left out, and that is said; -m full has them."""
    project, _ = ready
    outcome = project.pytest("benchmarks", *COLLECT, "--suite", "fast")
    assert ids(outcome) == [
        f"test_preflight[{ADAPTER}]",
        *(f"test_quick[{ADAPTER}-{name}]" for name in ("mmlu", "sums")),
        f"test_quick[{ADAPTER}]",
    ]
    assert "capgate: quick runs alone" in outcome.text
    full = ids(project.pytest("benchmarks", "-m", "full", *COLLECT, "--suite", "fast"))
    assert full[-1] == f"test_suite[{ADAPTER}]"
    assert not [name for name in full if name.startswith("test_quick")]


def test_each_benchmark_alone_has_the_same_verdict(ready: tuple[Project, Server]) -> None:
    """A benchmark that is not MMLU can be asked by itself."""
    project, server = ready
    outcome = project.pytest("benchmarks", "-m", "full", "--benchmark", "kinds", "-v")
    assert outcome.code == 0, outcome.text
    assert re.findall(r"::(\S+) PASSED", outcome.text) == [
        f"test_preflight[{ADAPTER}]",
        f"test_group[{ADAPTER}-kinds-large]",
        f"test_group[{ADAPTER}-kinds-small]",
        f"test_group[{ADAPTER}-kinds]",
        f"test_suite[{ADAPTER}]",
    ]
    assert over_all(project)["kind"] == "PASS"
    assert sum(bool(sum_of(chat.body)) for chat in server.chats) == 48


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_loss_on_one_benchmark_fails_the_whole(
    ready: tuple[Project, Server], workers: tuple[str, ...]
) -> None:
    """MMLU is kept, the sums are lost: REGRESSION, which names them, and MMLU's test passes."""
    project, server = ready
    server.answer = cannot_add
    chosen = ("-k", "preflight or suite or test_group", *BOTH)
    outcome = project.pytest("benchmarks", *chosen, *workers, "-v")
    assert outcome.code == 1, outcome.text
    assert no_traceback(outcome.text)
    verdict = over_all(project)
    assert verdict["kind"] == "REGRESSION"
    assert "sums" in verdict["reasons"][0]
    found = {one["name"]: one for one in verdict["benchmarks"]}
    assert found["mmlu"]["kind"] == "PASS"
    assert (found["sums"]["kind"], found["sums"]["failed"]) == ("REGRESSION", True)
    assert f"REGRESSION: {ADAPTER} over 2 benchmarks" in outcome.text
    assert len(server.chats) == len({str(chat.body) for chat in server.chats})


def test_a_quick_run_over_several_benchmarks(ready: tuple[Project, Server]) -> None:
    """Each benchmark is asked until its own verdict; the last test tells of all together."""
    project, server = ready
    server.answer = cannot_add
    few = "{catch: 0.05, reason: few questions}"
    project.write("thresholds/policy.yaml", f"benchmarks: {{mmlu: {few}}}\n")
    outcome = project.pytest("benchmarks", "-m", "quick", *BOTH, "-v")
    assert outcome.code == 1, outcome.text
    verdict = over_all(project)
    assert (verdict["kind"], verdict["scope"]) == ("REGRESSION", "quick")
    assert f"test_quick[{ADAPTER}-mmlu] PASSED" in outcome.text
    assert f"test_quick[{ADAPTER}-sums] FAILED REGRESSION" in outcome.text
    asked = {str(chat.body) for chat in server.chats if sum_of(chat.body)}
    assert len(asked) < 2 * len(SUMS)


def test_an_advisory_benchmark_never_decides(ready: tuple[Project, Server]) -> None:
    """It lost, its test says so and passes, and the verdict over all is PASS."""
    project, server = ready
    server.answer = cannot_add
    project.write("config/benchmarks.yaml", ENTRIES.replace("catch: 0.05", "advisory: true"))
    outcome = project.pytest("benchmarks", "-k", "preflight or suite or test_group", *BOTH, "-v")
    assert outcome.code == 0, outcome.text
    assert over_all(project)["kind"] == "PASS"
    assert re.search(r"test_group\[forgetful-sums\] PASSED REGRESSION \(advisory\)", outcome.text)


def test_questions_asked_in_another_form_are_summed_once(ready: tuple[Project, Server]) -> None:
    """A benchmark that asks another's questions has its own verdict, but no part in the sum."""
    project, _ = ready
    again = ENTRIES.replace("kinds.jsonl,", "kinds.jsonl, questions_of: sums,")
    project.write("config/benchmarks.yaml", again)
    chosen = ("-k", "preflight or suite or test_group", *BOTH, "--benchmark", "kinds")
    outcome = project.pytest("benchmarks", *chosen)
    assert outcome.code == 0, outcome.text
    verdict = over_all(project)
    assert verdict["together"]["benchmarks"] == ["mmlu", "sums"]
    assert [one["kind"] for one in verdict["benchmarks"]] == ["PASS"] * 3


def test_a_benchmark_without_its_questions_leaves_the_others_judged(
    ready: tuple[Project, Server],
) -> None:
    """ERROR with the remedy, told once; the other benchmark has its verdict."""
    project, _ = ready
    (project.root / "data" / "sums.jsonl").unlink()
    chosen = ("-k", "preflight or suite or test_group", *BOTH)
    outcome = project.pytest("benchmarks", *chosen, "-v", "-rs")
    assert outcome.code == 11, outcome.text
    assert no_traceback(outcome.text)
    assert f"test_group[{ADAPTER}-mmlu] PASSED" in outcome.text
    assert f"test_group[{ADAPTER}-sums] SKIPPED" in outcome.text
    verdict = over_all(project)
    assert verdict["kind"] == "ERROR"
    assert "sums.jsonl" in " ".join(verdict["reasons"])
    found = {one["name"]: one["kind"] for one in verdict["benchmarks"]}
    assert found == {"mmlu": "PASS", "sums": "ERROR"}


def test_the_verdict_over_all_alone_asks_every_benchmark(ready: tuple[Project, Server]) -> None:
    """Its test can run by itself, and takes up again what a run before it was answered."""
    project, server = ready
    alone = ("-k", "test_suite", *BOTH, *TWO_SUBJECTS, "--limit", "30")
    first = project.pytest("benchmarks", *alone)
    assert first.code == 10, first.text
    before = len(server.chats)
    assert sum(bool(sum_of(chat.body)) for chat in server.chats) == 60
    assert project.pytest("benchmarks", *alone).code == 10
    # The adapter, which no file identifies, is asked anew.
    anew = [chat.body for chat in server.chats[before:] if "ANSWER:" in str(chat.body)]
    assert len(anew) == 38
    assert all(map(is_adapter, anew))


def test_capgate_run_takes_suites(ready: tuple[Project, Server]) -> None:
    """A suite that says quick is run quick, unless --full says otherwise."""
    project, _ = ready
    environment = {**os.environ, "COLUMNS": "100"}

    def collected(*options: str) -> list[str]:
        command = [sys.executable, "-m", "capgate.cli", "run", "--suite", "fast", *COLLECT]
        _, said, _ = run([*command, *options], project.root, environment, 60.0)
        return re.findall(r"^benchmarks/test_mmlu\.py::(\S+)$", said, re.MULTILINE)

    assert collected()[-1] == f"test_quick[{ADAPTER}]"
    assert collected("--full")[-1] == f"test_suite[{ADAPTER}]"


def test_markers_and_names_of_tests_that_others_have(ready: tuple[Project, Server]) -> None:
    """A hyphen in a benchmark's name, pytest-benchmark's fixture and one's own test file go well.

    The file names the tests that it takes over; without test_group the whole is judged still.
    """
    project, server = ready
    project.write("config/benchmarks.yaml", ENTRIES.replace("kinds:", "kinds-of-sums:"))
    named = ("--benchmark", "kinds-of-sums")
    marked = project.pytest("benchmarks", "-m", "kinds-of-sums", *COLLECT, *named)
    assert ids(marked)[-1] == f"test_group[{ADAPTER}-kinds-of-sums]"
    shutil.rmtree(project.root / "benchmarks")
    project.write(
        "benchmarks/test_mmlu.py",
        "from capgate.pytest_suite.test_capability import test_preflight, test_suite\n",
    )
    project.write(
        "conftest.py",
        "import pytest\n\n\n@pytest.fixture\ndef benchmark():\n    return print\n\n\n"
        "def pytest_runtest_setup(item):\n"
        "    assert 'benchmark' not in item.fixturenames\n",
    )
    outcome = project.pytest("benchmarks", *named, "-v")
    assert outcome.code == 0, outcome.text
    assert outcome.counts == {"passed": 2}
    assert sum(bool(sum_of(chat.body)) for chat in server.chats) == 48


def test_targets_side_by_side_have_a_worker_each(ready: tuple[Project, Server]) -> None:
    """With --dist loadgroup all tests of a target run in one worker, whichever benchmark."""
    project, server = ready
    two = ("--model-id", BASE, "--model-id", ADAPTER)
    asked = (*BOTH, *TWO_SUBJECTS, "--limit", "20", "--measure", "-n", "2", "--dist", "loadgroup")
    outcome = project.pytest("benchmarks", "-m", "full", *two, *asked, "-v")
    assert outcome.code == 0, outcome.text
    workers = re.findall(r"^\[(gw\d)\].*\[(taught|forgetful)", outcome.text, re.MULTILINE)
    assert len(workers) == 2 * 6
    assert len(set(workers)) == 2
    assert not project.reports()[-1].get("verdict")
    assert sum(bool(sum_of(chat.body)) for chat in server.chats) == 40
