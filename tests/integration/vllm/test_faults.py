"""What a run does when its server, its worker or its user ends something in the middle."""

from __future__ import annotations

import contextlib
import re
import signal
import time

import psutil
from scripts.taught.teach import BASE, SUBJECTS
from tests.integration.conftest import no_traceback, until
from tests.integration.vllm.conftest import (
    SECONDS,
    TARGET,
    Checkout,
    Taught,
    adapter_id,
    endings,
    failed,
)


def engine_of(supervisor: psutil.Process) -> psutil.Process:
    """The process of a vLLM server that computes."""
    for child in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("EngineCore" in part for part in child.cmdline()):
                return child
    raise AssertionError("the server has no engine process")


def test_killed_engine(alone: Checkout, taught: Taught) -> None:
    """SIGKILL of the engine ends the run within 60 s as an error; the next one asks the rest.

    No answer of a dead server is scored.
    """
    harmless = taught.adapter("harmless")
    process = alone.begin(harmless)
    alone.in_the_middle(process, 150)
    (supervisor,) = alone.supervisors()
    engine_of(supervisor).kill()
    killed = time.monotonic()
    outcome = process.finish(SECONDS)
    assert time.monotonic() - killed <= 60
    assert outcome.code == 11, outcome.text
    assert no_traceback(outcome.text)
    assert "Its server has ended" in outcome.text
    assert not alone.processes()
    kept = alone.answered()
    assert 150 <= kept < 2 * taught.questions
    assert all(re.fullmatch(r"ANSWER: [A-D]", text) for text in alone.texts())
    assert set(alone.stored()) <= {"correct", "wrong", "error"}
    again = alone.judge(harmless)
    assert again.code == 0, again.text
    assert again.verdict(adapter_id("harmless")) == "PASS"
    targets = alone.reports()[-1]["targets"]
    asked = sum(targets[t]["overall"]["asked"] for t in (TARGET, adapter_id("harmless")))
    assert asked == 2 * taught.questions - kept


def test_killed_worker(project: Checkout, taught: Taught) -> None:
    """With a worker killed the others finish; the suite's verdict is about all questions."""
    project.warm = False
    process = project.begin(taught.adapter("harmless"), options=("-n", "2"))
    project.in_the_middle(process, 1)
    worker = next(
        child
        for child in psutil.Process(process.pid).children()
        if "import sys;exec(eval(sys.stdin.readline()))" in child.cmdline()
    )
    worker.kill()
    outcome = process.finish(SECONDS)
    ended = endings(outcome)
    assert len(ended) == len(SUBJECTS) + 2
    # The test that the worker was at can't be known to have ended well.
    assert len(failed(outcome, adapter_id("harmless"))) <= 1
    assert ended[f"test_suite[{adapter_id('harmless')}]"] == "PASSED"
    assert outcome.verdict(adapter_id("harmless")) == "PASS"
    result = project.result(adapter_id("harmless"))
    assert result["overall"]["correct"] == taught.questions - result["overall"]["wrong"]


def test_interrupted_run_ends_its_server(alone: Checkout, taught: Taught) -> None:
    """Ctrl-C ends the server with the run; what was answered is kept and called partial."""
    process = alone.begin(taught.adapter("harmless"))
    alone.in_the_middle(process, 50)
    (supervisor,) = alone.supervisors()
    family = [supervisor, *supervisor.children(recursive=True)]
    process.signal_group(signal.SIGINT)
    outcome = process.finish(SECONDS)
    assert outcome.code == 2, outcome.text
    assert "PARTIAL" in outcome.text
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left
    assert alone.answered() >= 50
    (report,) = alone.reports()
    assert report["complete"] is False
    assert report["verdict"] is None
    assert sum(one["overall"]["questions"] for one in report["targets"].values()) >= 50


def test_interrupted_run_unloads_its_adapter(
    project: Checkout, taught: Taught, server: Checkout
) -> None:
    """Ctrl-C leaves a server that others use as it was: running, without the run's adapter."""
    process = project.begin(taught.adapter("harmless"), options=("-n", "2"))
    project.in_the_middle(process, 20)
    assert len(server.served()) == 2
    process.signal_group(signal.SIGINT)
    assert process.finish(SECONDS).code == 2
    until(lambda: set(server.served()) == {BASE}, "the adapter is unloaded", 30)
    (report,) = project.reports()
    assert report["complete"] is False
