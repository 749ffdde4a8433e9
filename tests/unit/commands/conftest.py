"""What tests of commands share: a project with a finished red run, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.doubles.runs import answers, keep_run
from tests.doubles.server import Server
from tests.doubles.sums import keep_sums

from capgate.cli import main
from capgate.common.answers import Answer, AnswerState
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.report.data.build import build_report
from capgate.report.data.history import FILE, add_run
from capgate.report.write import write_data
from capgate.store.answer_store import Store

RUN = "20260101T000000Z-0001"
BASE, ADAPTER = "base", "mine"
LOST = range(40)
"""Positions that the adapter answers wrong and its base right."""

GAINED, UNPARSED, FAILED = 100, 150, 200
"""Positions that the adapter alone answers right, answers in no form, and does not answer."""

SUMS_LOST = range(20)
"""Positions of sums that the adapter answers wrong."""

Told = Callable[..., tuple[str, str]]


def base_answers() -> list[Answer]:
    """The base's answers: all right but one."""
    return answers(lost=[GAINED])


def adapter_answers() -> list[Answer]:
    """The adapter's answers."""
    given = answers(lost=LOST, texts={UNPARSED: "Let me think about it."})
    one = given[FAILED]
    given[FAILED] = Answer(one.question, one.subject, AnswerState.ERROR, text="refused")
    return given


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with a red run's store, report and trend."""
    root = tmp_path_factory.mktemp("finished")
    base, adapter = base_answers(), adapter_answers()
    verdict = decide_fixed(
        [
            Pair(one.question, one.subject, one.state, other.state)
            for one, other in zip(base, adapter, strict=True)
        ],
        Policy(),
        reference="base",
    )
    asked = {"model_ids": [ADAPTER], "dataset": "bundled"}
    reference = {"kind": "base", "target": BASE}
    facts = {"identity": {"engine": "vllm"}}
    keep_run(root, RUN, base, target=BASE, shard=None, settings=asked, facts=facts)
    keep_run(root, RUN, adapter, target=ADAPTER, verdict=verdict, facts=facts, reference=reference)
    with Store(root / "reports" / "answers.sqlite") as store:
        report = build_report(store, RUN, complete=True)
    write_data(report, root / "reports" / RUN)
    add_run(root / "reports" / FILE, report)
    return root


@pytest.fixture
def finished(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project; the working directory."""
    root = tmp_path / "project"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return root


@pytest.fixture
def with_sums(finished: Path) -> Path:
    """That project, whose run asked a second benchmark as well: sums in free text."""
    keep_sums(finished, RUN, base=BASE, target=ADAPTER, lost=SUMS_LOST)
    with Store(finished / "reports" / "answers.sqlite") as store:
        write_data(build_report(store, RUN, complete=True), finished / "reports" / RUN)
    return finished


@pytest.fixture
def served(finished: Path, server: Server) -> Server:
    """The server of that project's targets, as its `config/models.yaml` says."""
    server.models = (BASE, ADAPTER)
    base = {
        "model_name": BASE,
        "base_url": server.url,
        "context_window": 2048,
        "dataset": "bundled",
    }
    (finished / "config").mkdir()
    targets = {BASE: base, ADAPTER: {"adapter_of": BASE}}
    (finished / "config" / "models.yaml").write_text(yaml.safe_dump(targets))
    return server


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs `capgate` in this process; makes sure of the exit code, returns both outputs."""

    def run(*arguments: str, code: int | None = 0) -> tuple[str, str]:
        capsys.readouterr()
        try:
            ended = main(arguments)
        except SystemExit as stop:
            ended = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert code in (None, ended), out + err
        return out, err

    return run
