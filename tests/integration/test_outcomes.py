"""What a run ends with: good models, bad models, and servers that give no answers."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import replies
from tests.doubles.replies import Handler, Reply
from tests.doubles.server import Server, answer
from tests.integration.conftest import (
    PROBE,
    Hold,
    Project,
    hide,
    no_traceback,
    question_of,
    questions,
    target,
    until,
    wrong,
)

from capgate.report.data.history import FILE, read_history


def paragraph(text: str, name: str) -> str:
    """The message of a target's preflight, on one line."""
    found = re.search(rf"\nERROR: {name} preflight\n(.*?)(?=\n[_=]{{3}})", text, re.DOTALL)
    assert found is not None, text
    return " ".join(found.group(1).split())


def summary_verdicts(text: str) -> set[str]:
    """The verdicts that the first 80 columns of pytest's short summary name."""
    (part,) = re.findall(r"\n=+ short test summary info =+\n(.*?)\n=", text, re.DOTALL)
    lines = [line[:80] for line in part.splitlines() if line.startswith("FAILED")]
    assert lines
    found = [re.match(r"FAILED (\w+) benchmarks/test_mmlu.py::", line) for line in lines]
    return {match[1] if match else "" for match in found}


def test_all_right_passes(project: Project, server: Server) -> None:
    """A server that answers everything right passes, with exit code 0 and a table."""
    project.serve(server)
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    assert outcome.counts == {"passed": 4, "deselected": 1}
    assert outcome.verdict() == "PASS"
    assert re.search(r"\n +abstract_algebra +4 +100\.0% +39\.8% – 100\.0%", outcome.text)
    assert re.search(r"\n all +8 +100\.0%", outcome.text)
    assert project.result()["overall_score"] == 1.0


def test_under_its_floor_is_a_regression(project: Project) -> None:
    """A server under its floor fails the build with exit code 1, with progress on the way."""
    project.write(
        "conftest.py",
        "from capgate.asking import progress\n"
        "progress.Progress.__init__.__kwdefaults__['every'] = 0.0\n"
        "progress.FLUSH_SECONDS = 0.0\n",
    )
    with Server(answer=wrong) as server:
        project.serve(server)
        outcome = project.full("-n", "2", COLUMNS="80")
    assert outcome.code == 1
    assert outcome.verdict() == "REGRESSION"
    assert summary_verdicts(outcome.text) == {"REGRESSION"}
    block = outcome.text.split("short test summary info")[0]
    # The suite's answers were asked for in two workers: only the summary tells what that took.
    failed, summary = block.split("= FAILURES =")[1].split("= capgate =")
    assert "asked now" not in failed
    assert "8 questions (8 asked now), " in summary
    assert "50.0 points under the floor 50.0%" in outcome.text
    assert no_traceback(outcome.text)
    assert project.result()["verdict"]["kind"] == "REGRESSION"
    lines = re.findall(r"^double  .* questions  .*$", outcome.text, re.MULTILINE)
    assert re.match(r"double  2/2 subjects  8/8 questions  .*accuracy 0\.0%", lines[-1])


def test_one_subject_s_verdict_is_the_run_s(project: Project) -> None:
    """Where one subject alone is judged, its verdict is what exit code, report and summary say."""
    with Server(answer=wrong) as server:
        project.serve(server)
        floors = "double: {overall: 0.5, subjects: {virology: 0.9}}\n"
        project.write("thresholds/floors.yaml", floors)
        outcome = project.pytest("benchmarks", "-k", "virology", COLUMNS="80")
    assert summary_verdicts(outcome.text) == {"lost"}
    (report,) = project.reports()
    assert outcome.code == report["verdict"]["exit_code"] == 1, outcome.text
    assert (report["verdict"]["scope"], report["verdict"]["subject"]) == ("subject", "virology")
    assert report["verdict"]["kind"] == "lost"
    assert report["verdict_of"] == "double"
    assert report["targets"]["double"]["verdict"] is None
    assert "judged by subject alone (1 lost): double" in outcome.text


def test_a_published_score_is_shown_as_what_it_is(project: Project, server: Server) -> None:
    """Held against a published score, a run names the score, its source, and its limits."""
    project.serve(server)
    project.write("scores.csv", "Model Name,MMLU\nsmollm2,70\n")
    outcome = project.full("--published", "scores.csv")
    assert outcome.code == 0, outcome.text
    line = "vs:    a published score, less its tolerance, of 67.0% (scores.csv, line 2: 70 less 3"
    assert line in outcome.text
    assert "measured by another harness" in outcome.text


def test_quick_decides(project: Project, server: Server) -> None:
    """A quick run passes a good server, and stops a bad one before all questions are asked."""
    with Server(answer=wrong) as bad:
        project.targets(good=target(server.url), bad=target(bad.url, max_connections=16))
        project.floors(good=0.9, bad=0.9)
        outcome = project.pytest(
            *("benchmarks", "-m", "quick", "--model-id", "good", "--model-id", "bad"),
            COLUMNS="120",
        )
        assert len(questions(bad.chats)) < 57
    assert outcome.code == 1
    assert re.search(r"^FAILED REGRESSION .*::test_quick\[bad\] - REGRESSION: ", outcome.text, re.M)
    assert (outcome.verdict("good"), outcome.verdict("bad")) == ("PASS", "REGRESSION")
    assert project.result("bad")["mode"] == "quick"


def test_a_missing_package_is_an_error(project: Project, server: Server) -> None:
    """A package that can't be imported ends a run with code 11 and one paragraph, not a verdict."""
    project.serve(server)
    outcome = project.full("-n", "2", PYTHONPATH=str(hide(project, "inspect_evals")))
    assert outcome.code == 11, outcome.text
    assert outcome.counts == {"failed": 1, "skipped": 3}
    said = paragraph(outcome.text, "double")
    assert said.startswith("the package inspect_evals can't be imported by ")
    assert "No module named 'inspect_evals'" in said
    assert "pip install" in said
    assert no_traceback(outcome.text)
    assert "REGRESSION" not in outcome.text
    assert not server.chats


def test_a_fault_of_capgate_is_an_error(project: Project, server: Server) -> None:
    """A bug shows its traceback and ends with code 11; the model's verdict is not a loss."""
    project.serve(server)
    project.write(
        "conftest.py",
        "from capgate.run import whole_judge\n"
        "def broken(*_, **__):\n"
        "    raise KeyError('a bug')\n"
        "whole_judge.judge_whole = broken\n",
    )
    outcome = project.full()
    assert outcome.code == 11, outcome.text
    assert outcome.verdict() == "ERROR"
    assert "capgate failed by itself: KeyError" in outcome.text
    assert "def broken" in outcome.text
    assert "REGRESSION" not in outcome.text


def test_a_worker_that_crashes_is_no_regression(project: Project, server: Server) -> None:
    """A worker that dies in a test leaves no verdict: code 11, or what other tests found."""
    project.serve(server)
    project.write(
        "conftest.py",
        "import os\n"
        "from capgate.run import whole_judge\n"
        "whole_judge.judge_whole = lambda *_, **__: os._exit(9)\n",
    )
    outcome = project.full("-n", "2")
    assert outcome.code == 11, outcome.text
    assert "REGRESSION" not in outcome.text


def test_an_adapter_that_is_not_there_leaves_its_base_alone(
    project: Project, server: Server
) -> None:
    """The adapter's ERROR is told and stands in the trend; its base's results stay as they were."""
    project.serve(server)
    assert project.full().code == 0
    before = project.result()
    outcome = project.full("--adapter-name", "not-there")
    assert outcome.code == 11, outcome.text
    assert "ERROR: double+not-there" in outcome.text
    assert "measured, not judged" not in outcome.text
    assert project.result() == before
    page = max(project.root.glob("reports/*/report.html"), key=lambda path: path.parent.name)
    title = re.search(r"<h1.*?</h1>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert title is not None
    assert "measured" not in title[0]
    rows = read_history(project.root / "reports" / FILE)
    assert [(row.target, row.verdict) for row in rows] == [
        ("double", "PASS"),
        ("double+not-there", "ERROR"),
    ]


SHORT_PATIENCE = (
    "from capgate.client.client import ClientLimits\n"
    "names = [name for name in ClientLimits.__dataclass_fields__]\n"
    "given = list(ClientLimits.__init__.__defaults__)\n"
    "given[names.index('patience')] = 2.0\n"
    "ClientLimits.__init__.__defaults__ = tuple(given)\n"
)
"""A project's conftest.py that has a server that worked count as gone after 2 seconds."""

FAULTS: dict[str, tuple[Handler | None, tuple[str, ...]]] = {
    "refused": (None, ("no response from", "nothing accepts connections", "Start the server")),
    "locked": (replies.UNAUTHORIZED, ("HTTP 401", "Unauthorized", "api_key_env")),
    "no-model": (replies.NO_MODEL, ("HTTP 404", "does not exist", "model_name")),
    "broken": (replies.ENGINE_DEAD, ("HTTP 500", "EngineCore", "server's own log")),
    "hung": (replies.hang, ("no answer came within 1 s", "no response from")),
    "chatty": (answer("Nice weather!"), ("Nice weather!", "answer_format: constrained")),
}
"""What a server does with questions, and what must be said of it."""


def test_no_answers_is_an_error_and_no_score(project: Project) -> None:
    """Servers that give no answers end a run with code 11 and a paragraph each: who, what, how."""
    with ExitStack() as stack:
        entries = {}
        for name, (handler, _) in FAULTS.items():
            server = stack.enter_context(Server())
            entries[name] = target(server.url, request_timeout=1.0, max_retries=0)
            if handler is None:
                server.stop()
            else:
                server.script(forever=handler)
        other = stack.enter_context(Server(models=("another-model",)))
        entries["other"] = target(other.url)
        project.targets(**entries)
        project.floors(**dict.fromkeys(entries, 0.5))
        named = [part for name in entries for part in ("--model-id", name)]
        outcome = project.full(*named, COLUMNS="80")
        assert not other.chats
    assert outcome.code == 11, outcome.text
    assert summary_verdicts(outcome.text) == {"ERROR"}
    each = len(entries)
    assert outcome.counts == {"failed": each, "skipped": 3 * each, "deselected": each}
    assert no_traceback(outcome.text)
    assert "TRACE" not in outcome.text
    wanted = {name: words for name, (_, words) in FAULTS.items()}
    wanted["other"] = ("does not serve 'smollm2'", "another-model", "model_name")
    (report,) = project.reports()
    for name, words in wanted.items():
        said = paragraph(outcome.text, name)
        assert said.startswith(f"{name}: ")
        for word in words:
            assert word in said
        if name not in {"other", "chatty"}:
            assert re.search(r"http://127\.0\.0\.1:\d+/v1/", said)
        known = report["targets"].get(name) or {"verdict": report["not_judged"][name]}
        assert known["verdict"]["kind"] == "ERROR"
    assert report["verdict"]["kind"] == "ERROR"
    assert all(one["overall_score"] is None for one in report["targets"].values())
    assert project.stored() == {}


def test_skipped_tests_point_to_the_preflight(project: Project) -> None:
    """With -n 2 too, one test tells of a dead server and the others point to it."""
    with Server() as gone:
        url = gone.url
    project.targets(double=target(url))
    outcome = project.full("-n", "2", "-rs")
    assert outcome.code == 11
    assert outcome.counts == {"failed": 1, "skipped": 3}
    assert outcome.text.count("nothing accepts connections there") <= 2  # the test, the summary
    assert re.search(r"SKIPPED.*not run: the preflight of double failed", outcome.text)


def test_a_subject_by_itself_tells_of_the_fault(project: Project) -> None:
    """Chosen with -k, without its preflight, a subject's test fails by the fault itself."""
    with Server() as gone:
        url = gone.url
    project.targets(double=target(url))
    outcome = project.pytest("benchmarks", "-k", "abstract_algebra")
    assert outcome.code == 11
    assert outcome.counts["failed"] == 1
    assert "nothing accepts connections there" in outcome.text
    assert "Start the server" in outcome.text
    assert no_traceback(outcome.text)


@pytest.mark.slow
def test_death_in_the_middle(project: Project, server: Server) -> None:
    """A server that dies is told of at once, fails one test, and leaves what it answered."""
    project.write("conftest.py", SHORT_PATIENCE)
    project.serve(server, max_connections=2, request_timeout=5.0, max_retries=1)
    hold = Hold(server, after=52)
    server.script(forever=hold)
    page = project.root / "summary.md"
    process = project.start(*("benchmarks", "-m", "full", "-n", "2"), GITHUB_STEP_SUMMARY=str(page))
    assert hold.reached.wait(120)
    until(lambda: project.stored() == {"correct": 52}, "52 answers stored")
    server.stop()
    outcome = process.finish(60)
    assert outcome.code == 11, outcome.text
    assert outcome.verdict() == "ERROR"
    assert no_traceback(outcome.text)
    assert outcome.counts["failed"] == 1, outcome.text
    assert project.stored()["correct"] == 52
    shown = outcome.text.split("= FAILURES =")[0]
    assert shown.count("stopped answering") == 1
    assert f"double: its server {server.url} stopped answering (" in shown
    assert outcome.text.count("52 of 228 questions answered (52 now)") == 2
    assert "228 asked now" not in outcome.text
    assert "again: pytest benchmarks -m full --model-id double" in outcome.text
    result = project.result()
    assert (result["chosen"], result["overall"]["asked"]) == (228, 52)
    assert result["overall_score"] is result["overall"]["accuracy"] is None
    assert result["overall"]["correct"] == 52
    html = next(project.root.glob("reports/*/report.html")).read_text(encoding="utf-8")
    assert "52 of 228 questions" in html
    for text in (html, page.read_text(encoding="utf-8")):
        assert "52 of 228 questions" in text
        assert "pytest benchmarks -m full --model-id double" in text
    assert "100.0%" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [("-m", "quick"), ("-k", "test_subject")])
def test_death_fails_one_test_of_any_selection(
    project: Project, server: Server, options: tuple[str, ...]
) -> None:
    """A quick run, or subjects without the suite's test, have one failure as well."""
    project.write("conftest.py", SHORT_PATIENCE)
    project.serve(server, max_connections=2, request_timeout=5.0, max_retries=1)
    hold = Hold(server, after=17)
    server.script(forever=hold)
    process = project.start("benchmarks", *options)
    assert hold.reached.wait(120)
    until(lambda: project.stored() == {"correct": 17}, "17 answers stored")
    server.stop()
    outcome = process.finish(60)
    assert outcome.code == 11, outcome.text
    assert outcome.counts["failed"] == 1
    assert project.stored()["correct"] == 17
    assert (project.reports()[-1]["verdict"] or {})["kind"] == "ERROR"


def test_too_many_errors_is_inconclusive(project: Project, server: Server) -> None:
    """Too many questions without an answer: nothing is concluded, and the next run asks them."""
    project.serve(server, max_retries=0, max_connections=1)
    good: Handler = Hold(server, after=100)
    server.script(good, good, good, replies.PROMPT_TOO_LONG)
    outcome = project.full()
    assert outcome.code == 10, outcome.text
    assert outcome.verdict() == "INCONCLUSIVE"
    assert "errors" in outcome.text
    assert no_traceback(outcome.text)
    assert project.result()["overall"]["errors"] == 1
    server.asked.clear()
    assert project.full().code == 0
    assert sum(questions(server.chats).values()) == 1


def test_a_question_too_long_is_no_dead_server(project: Project, server: Server) -> None:
    """Where the last batch is one question that does not fit, what was answered still counts."""
    project.serve(server, max_connections=1)
    good: Handler = Hold(server, after=100)
    server.script(*[good] * 17, forever=replies.PROMPT_TOO_LONG)
    outcome = project.pytest("benchmarks", "-m", "quick", "--limit", "17")
    assert outcome.code == 10, outcome.text
    verdict = project.result()["verdict"]
    assert (verdict["kind"], verdict["counts"]["n"]) == ("INCONCLUSIVE", 16)
    assert verdict["counts"]["errors"] == 1


def test_hostile_text_stays_off_the_terminal(project: Project) -> None:
    """Escape sequences and endless lines of a model or server never reach the terminal raw."""
    hostile = "\x1b]0;owned\x07\x1b[2J\x1b[31m\u202e" + "x" * 100_000 + "\r\x00"

    def writes(asked: dict[str, Any]) -> str:
        return "ANSWER: C" if question_of(asked) == PROBE else hostile

    with Server(answer=writes) as model, Server() as broken:
        broken.script(forever=Reply(400, {"error": {"message": hostile}}))
        project.targets(model=target(model.url), broken=target(broken.url))
        project.floors(model=0.5, broken=0.5)
        outcome = project.full("-rA", "-vv", "--model-id", "model", "--model-id", "broken")
    assert outcome.code == 11, outcome.text
    for raw in "\x1b\x07\x00\u202e":
        assert raw not in outcome.text
    assert max(map(len, outcome.text.splitlines())) < 2_000


def test_other_projects_are_left_alone(tmp_path: Path) -> None:
    """A project without the benchmark has its tests run as ever, and nothing is written."""
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "test_it.py").write_text("def test_it():\n    assert True\n")
    theirs = Project(plain)
    outcome = theirs.pytest("-p", "no:cacheprovider", PYTHONDONTWRITEBYTECODE="1")
    assert outcome.code == 0
    assert outcome.counts == {"passed": 1}
    assert "capgate" not in outcome.text.split("plugins:")[1].split("\n", 1)[1]
    assert [path.name for path in plain.iterdir()] == ["test_it.py"]
