"""A run of several benchmarks where something fails: each fault is told once, nothing is lost."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openrouter import OpenRouter
from tests.doubles.server import Server
from tests.integration.checkout import Checkout
from tests.integration.conftest import PROBE, TWO_SUBJECTS, Hold, Project, no_traceback, until
from tests.integration.several import (
    ADAPTER,
    BASE,
    BOTH,
    kept,
    over_all,
    prepare,
    sum_of,
    write_benchmarks,
)
from tests.integration.test_outcomes import SHORT_PATIENCE

WHOLES = ("-k", "preflight or suite or test_group or test_subject", *BOTH, *TWO_SUBJECTS)


def is_asked(asked: dict[str, Any]) -> bool:
    """Whether a request asks a question of a benchmark, and no proof or preflight."""
    content = str(asked["messages"])
    return "ANSWER:" in content and PROBE not in content


def serve(project: Project, server: Server, **keys: object) -> None:
    """The project of `several`, with a target that gives up soon."""
    prepare(project, server)
    file = project.root / "config" / "models.yaml"
    more = "".join(f"  {name}: {value}\n" for name, value in keys.items())
    file.write_text(file.read_text().replace("  max_connections: 32\n", more), encoding="utf-8")


def test_a_server_that_is_not_there_is_told_once(project: Project) -> None:
    """One preflight fails, all other tests point to it, and the verdict over all is an ERROR."""
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        prepare(project, server)
    outcome = project.pytest("benchmarks", "-m", "full", *BOTH, *TWO_SUBJECTS, "-rs")
    assert outcome.code == 11, outcome.text
    assert outcome.counts == {"failed": 1, "skipped": 5, "deselected": 3}
    assert no_traceback(outcome.text)
    shown = outcome.text.split("= capgate =")[0]
    assert shown.count("nothing accepts connections there") == 1
    assert re.search(rf"SKIPPED.*not run: the preflight of {ADAPTER} failed", outcome.text)
    assert over_all(project)["kind"] == "ERROR"


def test_all_benchmarks_that_cannot_be_asked_are_told_at_once(project: Project) -> None:
    """Two files of questions are missing: the preflight names both, with the remedy of each."""
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        prepare(project, server)
        for name in ("sums", "kinds"):
            (project.root / "data" / f"{name}.jsonl").unlink()
        both = ("--benchmark", "sums", "--benchmark", "kinds", "--benchmark", "mmlu")
        outcome = project.pytest("benchmarks", "-k", "preflight", *both)
    assert outcome.code == 11, outcome.text
    assert no_traceback(outcome.text)
    for name in ("sums", "kinds"):
        assert re.search(rf"^  {name}: .*{name}\.jsonl", outcome.text, re.MULTILINE)


@pytest.mark.parametrize("chosen", [("-m", "full"), ("-m", "quick")], ids=["whole", "quick"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_death_in_the_middle_is_told_once(
    project: Project, chosen: tuple[str, ...], workers: str
) -> None:
    """A server that dies in one benchmark fails the verdict over all; the others are skipped."""
    project.write("conftest.py", SHORT_PATIENCE)
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        serve(project, server, max_connections=2, request_timeout=5.0, max_retries=1)
        hold = Hold(server, after=6, counts=is_asked)
        server.script(forever=hold)
        process = project.start("benchmarks", *chosen, *BOTH, *TWO_SUBJECTS, "-n", workers)
        assert hold.reached.wait(30)
        server.stop()
        outcome = process.finish(90)
    assert outcome.code == 11, outcome.text
    assert no_traceback(outcome.text)
    assert outcome.counts["failed"] == 1, outcome.text
    assert f"ERROR: {ADAPTER} over 2 benchmarks" in outcome.text
    mode = chosen[-1]
    again = f"again: pytest benchmarks -m {mode} --model-id {ADAPTER} --benchmark mmlu --benchmark"
    assert again in outcome.text
    shown = outcome.text.split("= FAILURES =")[1].split("= capgate =")[0]
    assert shown.count("nothing accepts connections there") == 1
    assert over_all(project)["kind"] == "ERROR"


def test_a_killed_run_goes_on(project: Project) -> None:
    """After SIGKILL in the second benchmark the next run asks what was not answered."""
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        serve(project, server, max_connections=1)
        hold = Hold(server, after=30, counts=is_asked)
        server.script(forever=hold)
        process = project.start("benchmarks", *WHOLES, "--model-id", BASE, "--measure")
        assert hold.reached.wait(30)
        until(lambda: sum(project.stored().values()) == 30, "30 answers stored")
        process.kill()
        assert process.finish().code == -signal.SIGKILL
        hold.release()
        before = len([chat for chat in server.chats if sum_of(chat.body)])
        assert before == 30 - 8 + 1
        outcome = project.pytest("benchmarks", *WHOLES, "--model-id", BASE, "--measure")
        assert outcome.code == 0, outcome.text
        after = [chat for chat in server.chats if sum_of(chat.body)]
    # The question that was in flight was put twice.
    assert len(after) == 100 + 1
    assert project.stored() == {"correct": 108}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_interrupted_run_is_partial(project: Project, workers: str) -> None:
    """Ctrl-C ends the run with code 2; there is no verdict over all."""
    with Server(models=(BASE, ADAPTER), answer=kept) as server:
        serve(project, server, max_connections=2)
        hold = Hold(server, after=20, counts=is_asked)
        server.script(forever=hold)
        process = project.start("benchmarks", *WHOLES, "-n", workers)
        assert hold.reached.wait(30)
        until(lambda: sum(project.stored().values()) == 20, "20 answers stored")
        process.signal_group(signal.SIGINT)
        outcome = process.finish(30)
    assert outcome.code == 2
    assert "PARTIAL" in outcome.text
    assert project.stored() == {"correct": 20}
    (report,) = project.reports()
    assert report["complete"] is False
    assert not report.get("suites")


def test_the_cost_is_bounded_over_all_benchmarks(tmp_path: Path) -> None:
    """`--max-cost` is one for the run: what MMLU has spent is gone for the sums."""
    checkout = Checkout.make(tmp_path / "checkout")
    with OpenRouter(answer=kept) as router:
        checkout.use(router=router)
        write_benchmarks(checkout.write)
        checkout.floors(**{"gpt-4o": 0.5})
        checkout.write(
            "thresholds/policy.yaml", "benchmarks:\n  sums: {floor: 0.5, reason: demanded}\n"
        )
        command = ("capgate", "run", "--full", "--model-id", "gpt-4o", *BOTH, *TWO_SUBJECTS)
        outcome = checkout.run(*command, "--max-cost", "0.02")
        assert outcome.code == 10, outcome.text
        assert router.spent <= 0.02
        assert "questions were not put, since they could have passed --max-cost" in outcome.text
        assert outcome.text.count("the run stops at $0.02") == 2
        whole = checkout.run(*command, "--max-cost", "1")
        assert whole.code == 0, whole.text
