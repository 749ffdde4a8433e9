"""Which tests there are, and which of them a run takes."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Outcome, Project, question_of, target

from capgate.benchmarks.mmlu.subjects import DOMAINS, SUBJECTS

COLLECT = ("--collect-only", "-q")


def ids(outcome: Outcome) -> list[str]:
    """The ids of the tests that were collected."""
    return re.findall(r"^benchmarks/test_mmlu\.py::(\S+)$", outcome.text, re.MULTILINE)


def subjects(outcome: Outcome) -> set[str]:
    """The subjects whose tests were collected."""
    return set(re.findall(r"test_subject\[\S+-(\w+)]", " ".join(ids(outcome))))


def test_ids_of_the_shipped_targets(project: Project) -> None:
    """The shipped default target has a test for each subject, and for the whole."""
    found = ids(project.pytest("benchmarks", "-m", "full", *COLLECT))
    assert found[0] == "test_preflight[local-smollm2]"
    assert found[1:-1] == [f"test_subject[local-smollm2-{subject}]" for subject in SUBJECTS]
    assert found[-1] == "test_suite[local-smollm2]"


def test_collecting_leaves_no_trace(project: Project, server: Server) -> None:
    """Collecting starts no server, sends no request and writes no report."""
    project.serve(server)
    before = sorted(project.root.rglob("*"))
    both = ("--model-id", "double", "-p", "no:cacheprovider")
    outcome = project.pytest("benchmarks", *COLLECT, *both, PYTHONDONTWRITEBYTECODE="1")
    assert outcome.code == 0
    assert len(ids(outcome)) == 2 + len(SUBJECTS)
    assert server.asked == []
    assert sorted(project.root.rglob("*")) == before
    assert not project.processes()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("-m", "stem"), set(DOMAINS["stem"])),
        (("-k", "abstract_algebra"), {"abstract_algebra"}),
        (("--subjects", "virology,anatomy"), {"virology", "anatomy"}),
        (("--domains", "other,humanities"), {*DOMAINS["other"], *DOMAINS["humanities"]}),
        (("-m", "quick"), set()),
        (("-m", "full"), set(SUBJECTS)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_choosing(project: Project, chosen: tuple[str, ...], expected: set[str]) -> None:
    """Markers, -k, --subjects and --domains choose the subjects that they name."""
    outcome = project.pytest("benchmarks", *COLLECT, *chosen)
    assert outcome.code == 0
    assert subjects(outcome) == expected
    names = {test.split("[")[0] for test in ids(outcome)} - {"test_subject"}
    if chosen == ("-m", "quick"):
        assert names == {"test_preflight", "test_quick"}
    else:
        # A whole run contains the quick one's questions.
        assert "test_quick" not in names
    if chosen == ("-m", "stem"):
        assert names == {"test_preflight"}


NO_QUICK = "capgate: full run alone"


@pytest.mark.parametrize(
    ("chosen", "names", "says"),
    [
        ((), {"test_subject", "test_suite"}, NO_QUICK),
        (("-m", "quick or full"), {"test_subject", "test_suite"}, NO_QUICK),
        (("-k", "not suite"), {"test_subject"}, NO_QUICK),
        (("-m", "quick"), {"test_quick"}, ""),
        (("-m", "full"), {"test_subject", "test_suite"}, ""),
        (("-m", "stem"), {"test_subject"}, ""),
        (("-k", "test_quick"), {"test_quick"}, ""),
        (("-m", "quick or stem"), {"test_quick", "test_subject"}, "share one error budget"),
        (("-k", "quick or anatomy"), {"test_quick", "test_subject"}, "share one error budget"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_session_spends_one_budget(
    project: Project, chosen: tuple[str, ...], names: set[str], says: str
) -> None:
    """Without -m the full run is made alone; whatever is left out or shared is said."""
    outcome = project.pytest("benchmarks", *COLLECT, *chosen)
    assert outcome.code == 0
    assert {test.split("[")[0] for test in ids(outcome)} - {"test_preflight"} == names
    lines = [line for line in outcome.text.splitlines() if line.startswith("capgate: ")]
    assert len(lines) == bool(says)
    assert says in "".join(lines)


def test_a_node_id_names_a_quick_run(project: Project) -> None:
    """Both tests named by their ids: the whole benchmark, and what is left out is said."""
    file = "benchmarks/test_mmlu.py::"
    quick = project.pytest(f"{file}test_quick", f"{file}test_subject", *COLLECT)
    assert "test_quick[local-smollm2]" in ids(quick)
    assert "share one error budget" in quick.text
    both = project.pytest(f"{file}test_quick", f"{file}test_suite", *COLLECT)
    assert ids(both) == ["test_suite[local-smollm2]"]
    assert NO_QUICK in both.text


def test_a_subject_without_questions_is_told(project: Project, server: Server) -> None:
    """A subject of which the data set has no question is skipped, and the reason says so."""
    bundled = files("capgate.benchmarks.mmlu") / "bundled"
    for split in ("test", "dev"):
        lines = (bundled / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["subject"] == "virology"]
        project.write(f"data/{split}.jsonl", "".join(kept))
    project.serve(server, dataset="data")
    chosen = ("--subjects", "virology,anatomy")
    outcome = project.pytest("benchmarks", "-m", "full", "--measure", "-rs", *chosen, COLUMNS="200")
    assert outcome.code == 0, outcome.text
    assert "the data set has no question of this subject" in outcome.text


def test_limit_is_spread(project: Project, server: Server) -> None:
    """--limit 10 asks ten questions of ten subjects in several domains, not the first ten."""
    project.serve(server)
    outcome = project.pytest("benchmarks", "-m", "full", "--limit", "10")
    assert outcome.counts["skipped"] == len(SUBJECTS) - 10
    result = project.result()
    assert result["limit"] == 10
    assert result["overall"]["questions"] == 10
    assert len(result["subjects"]) == 10
    assert len(result["domains"]) >= 3
    assert list(result["subjects"]) != list(SUBJECTS[:10])
    assert len(server.chats) == 11


def test_two_targets(project: Project, server: Server) -> None:
    """--model-id twice judges both, each against its own floor and in its own file."""
    with Server(answer=lambda asked: f"ANSWER: {'A' if 'even' in str(asked) else 'B'}") as other:
        project.targets(one=target(server.url), two=target(other.url))
        project.floors(one=0.5, two=0.9)
        outcome = project.full("--model-id", "one", "--model-id", "two")
        assert len(other.chats) == len(server.chats) == 9
        assert {question_of(c.body) for c in other.chats} == {
            question_of(c.body) for c in server.chats
        }
    assert outcome.code == 1
    assert outcome.verdict("one") == "PASS"
    assert outcome.verdict("two") == "REGRESSION"
    assert project.result("one")["overall_score"] == 1.0
    assert project.result("two")["overall_score"] < 0.9
    (report,) = project.reports()
    assert report["verdict"]["kind"] == "REGRESSION"
    assert set(report["targets"]) == {"one", "two"}
