"""What a red run leaves: commands that read it, and no secret in any of its files."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import zipfile_zstd  # noqa: F401 (teaches the standard library Inspect's compression)
from aiohttp import web
from tests.doubles.hook import Hook
from tests.doubles.red import ADAPTER, BASE, BROKEN, Answers, Red, capgate, make_red_run
from tests.doubles.server import answer
from tests.processes import run

from capgate.report.data.nouns import name_words
from capgate.report.data.read import read_report

KEY = "canary-key-5b1f9c0a7d"
ENVIRONMENT = "canary-environment-77aa21"
URL = "canary-url-90ff3e"
ARGUMENT = "canary-argument-1234abcd"
VARIABLE = "canary-variable-9876fedc"
CHANNEL = "canary-channel-5566eeff"
HEADER = "canary-header-c0ffee42"
HOME = "canaryhome"
LASTING = (KEY, ENVIRONMENT, URL, CHANNEL, HEADER, HOME)
"""What commands can know or tell by its form long after the run."""

CANARIES = (*LASTING, ARGUMENT, VARIABLE)
"""Each is known from one place alone; see `environment` and `red`."""

SAID = (
    f"\nMy key is {KEY}, my token {ENVIRONMENT}. Authorization: Bearer {HEADER} "
    f"https://user:{URL}@host.example/v1?access_token={URL} /home/{HOME}/models "
    f"/{ARGUMENT} /{VARIABLE} /{CHANNEL}"
)


@pytest.fixture(scope="module")
def hooks() -> Iterator[tuple[Hook, Hook]]:
    """A webhook that takes what it gets, and one that refuses it and repeats its own path."""
    with Hook() as hook, Hook() as refusing:
        refusing.status, refusing.said = 404, "Cannot POST {path}"
        yield hook, refusing


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory, hooks: tuple[Hook, Hook]) -> Iterator[Red]:
    """A red run with a secret planted wherever one can be."""
    hook, refusing = hooks
    root = tmp_path_factory.mktemp("canary") / "home" / HOME / "project"
    (root / "config").mkdir(parents=True)
    (root / "config" / "alerts.yaml").write_text("chat: CHANNEL\n")
    secrets = f"SOME_API_TOKEN={ENVIRONMENT}\nCHANNEL={refusing.url(CHANNEL)}\n"
    (root / ".env").write_text(secrets)
    made = make_red_run(
        root,
        "--subjects",
        f"{BROKEN},formal_logic,anatomy,astronomy,abstract_algebra",
        "--junitxml=out/junit.xml",
        "--json-report",
        "--json-report-file=out/report.json",
        "--alert",
        hook.url(ARGUMENT),
        "--alert",
        f"http://127.0.0.1:9/{ARGUMENT}",
        environment=environment(root, hook.url(VARIABLE)),
        extra=SAID,
        key=KEY,
    )
    assert made.exit_code == 1, made.output
    yield made
    made.server.stop()


def environment(root: Path, url: str) -> dict[str, str]:
    """Variables that hold secrets, and a job of GitHub's."""
    return {
        "HOME": str(root.parent),
        "RED_SERVER": KEY,
        "CAPGATE_ALERT_URL": url,
        "GITHUB_STEP_SUMMARY": str(root / "out-summary.md"),
        "GITHUB_ACTIONS": "true",
    }


def texts(path: Path) -> Iterator[str]:
    """Everything that a file says, unpacked where it is packed."""
    raw = path.read_bytes()
    yield raw.decode("utf-8", "replace")
    if path.suffix == ".html":
        for packed in re.findall(rb'id="data"[^>]*>([^<]+)<', raw):
            yield zlib.decompress(base64.b64decode(packed)).decode()
    elif path.suffix == ".sqlite":
        with sqlite3.connect(path) as db:
            yield "\n".join(db.iterdump())


def no_secret_in_logs(red: Red) -> None:
    """Makes sure that no log of the run's folder, whoever wrote it, tells a secret."""
    for path in (red.folder / "logs").iterdir():
        for text in texts(path):
            assert not [canary for canary in LASTING if canary in text], path.name


def test_no_secret_is_left_in_any_file(red: Red, hooks: tuple[Hook, Hook]) -> None:
    """Store, logs, reports, trend, summary, JUnit, pytest's JSON, alerts and the terminal."""
    kinds: set[str] = set()
    for path in sorted(red.root.rglob("*")):
        ours = "data" not in path.parts[len(red.root.parts) :] and path.name not in (
            "models.yaml",
            ".env",
        )
        if path.is_file() and ours:
            kinds.add(path.suffix)
            for text in texts(path):
                for canary in CANARIES:
                    at = text.find(canary)
                    assert at < 0, (path.name, canary, text[max(0, at - 200) : at + 100])
    assert {".html", ".json", ".sqlite", ".xml", ".md"} <= kinds
    assert any(answer.headers.get("Authorization") for answer in red.server.asked)
    posted = [*hooks[0].got, *hooks[1].got]
    assert {one.path for one in posted} == {f"/{ARGUMENT}", f"/{VARIABLE}", f"/{CHANNEL}"}
    assert {one.message["verdict"] for one in posted} == {"REGRESSION"}
    for canary in CANARIES:
        assert not [one for one in posted if canary.encode() in one.raw]
        # pytest itself tells where it runs, and where it wrote what it was asked to write.
        told = [line for line in red.output.splitlines() if canary in line]
        assert all(
            line.startswith("rootdir: ") or "generated xml" in line or "report saved to" in line
            for line in told
        ), told


def test_what_was_redacted_was_there(red: Red) -> None:
    """The canaries did reach the run: their marks stand where they stood."""
    stored = next(texts(red.root / "reports" / "answers.sqlite"))
    report = (red.folder / "report.json").read_text()
    assert "My key is [redacted], my token [redacted]" in report
    faults = read_report(red.folder / "report.json").targets[ADAPTER].faults
    assert any("refused" in one.text and "https://[redacted]@" in one.text for one in faults)
    assert "https://[redacted]@host.example" in report
    assert stored


def test_the_terminal_tells_the_story_in_25_lines(red: Red) -> None:
    """Besides table, alerts and faults: verdict, where, why, what next, the files and the logs."""
    lines = red.output.splitlines()
    start = next(at for at, line in enumerate(lines) if line == f"REGRESSION: {ADAPTER}")
    ends = (at for at, line in enumerate(lines) if at > start and line.startswith(("::", "====")))
    story = [line for line in lines[start : next(ends)] if line]
    besides = re.compile(r"alert |  no answer to |    \d+ × ")
    assert sum(not besides.match(line) for line in story) <= 25, "\n".join(story)
    text = "\n".join(story)
    for part in ("where: ", "why:   ", "next:  ", "capgate triage", "report.html", "inspect view"):
        assert part in text
    assert "are format and" in text
    assert "(127.0.0.1): sent" in text


def test_an_alert_that_fails_is_shown_and_changes_nothing(red: Red) -> None:
    """Nobody listens there, or the post is refused; the run is as red as it was, and says so."""
    assert "alert 2 of 4 (127.0.0.1): NOT SENT, ConnectError after 3 attempts; the verdict" in (
        red.output
    )
    refusal = (
        'alert 4 of 4 (127.0.0.1): NOT SENT, HTTP 404 ("Cannot POST /[redacted]"); the verdict'
    )
    assert refusal in red.output
    assert red.exit_code == 1


def test_github_s_forms(red: Red) -> None:
    """Annotations on the terminal, a step summary, and a comment file on demand."""
    subject = name_words(BROKEN)
    assert re.search(rf"^::error title=capgate%3A {subject}::", red.output, re.MULTILINE)
    assert "### ❌ REGRESSION" in (red.root / "out-summary.md").read_text()
    out = capgate(red.root, "report", "latest", "--github", environment={"RED_SERVER": KEY})
    assert "comment.md" in out
    assert "::error" in out
    comment = (red.folder / "comment.md").read_text()
    assert comment.startswith("<!-- capgate-report")
    assert f"measured: `{BASE}`" not in comment
    commands = [line for line in out.splitlines() if line.lstrip().startswith("::")]
    assert all(line.startswith("::error title=capgate") for line in commands)


def test_junit_carries_the_verdict_s_numbers(red: Red) -> None:
    """As properties of each test case."""
    tree = ElementTree.parse(red.root / "out" / "junit.xml")
    suite = next(c for c in tree.iter("testcase") if c.get("name") == f"test_suite[{ADAPTER}]")
    found = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert found["capgate_verdict"] == "REGRESSION"
    assert {"capgate_n", "capgate_losses", "capgate_gains", "capgate_drop"} <= found.keys()


def test_triage_lists_flips(red: Red) -> None:
    """By subject and label; in full for programs."""
    comparison = read_report(red.folder / "report.json").comparisons[ADAPTER]
    out = capgate(red.root, "triage", "latest", "--subject", BROKEN, "--label", "knowledge")
    mine = [f for f in comparison.losses if f.subject == BROKEN and f.label == "knowledge"]
    assert sum(line.startswith("- ") for line in out.splitlines()) == min(len(mine), 50)
    assert out.splitlines()[0].startswith(f"{ADAPTER} lost")
    rows = capgate(red.root, "triage", "latest", "--json").splitlines()
    assert [json.loads(row)["question"] for row in rows] == [f.question for f in comparison.losses]
    assert comparison.labels.keys() >= {"error", "unparsed", "letter shift", "knowledge"}
    assert comparison.split is not None
    assert comparison.split.status == "asked"
    assert (comparison.split.format or 0) > 0.01


def test_show_tells_everything_of_one_question(red: Red) -> None:
    """Both transcripts with the prompt as it was sent, and a command that asks again."""
    report = read_report(red.folder / "report.json")
    hostile = next(
        f for f in report.comparisons[ADAPTER].flips if "##[error]" in (f.candidate.text or "")
    )
    out = capgate(red.root, "show", "latest", hostile.question[:10])
    assert out.count("Answer the following multiple choice question.") == 2
    assert f"reference: its base {BASE}: correct {hostile.key}" in out
    assert f"candidate: {ADAPTER}: wrong" in out
    assert f"capgate show {report.run} {hostile.question} --target {ADAPTER} --ask" in out
    assert "\x1b" not in out
    assert not [line for line in out.splitlines() if line.lstrip().startswith("::")]
    asked = len(red.server.chats)
    again = capgate(
        red.root, "show", "latest", hostile.question, "--ask", environment={"RED_SERVER": KEY}
    )
    assert f"now, {ADAPTER}: wrong" in again
    assert f"now, {BASE}: correct {hostile.key}  (as stored)\n" in again
    # Some secrets of that run's environment are no longer known, and so are not cut out.
    assert re.search(rf"now, {ADAPTER}: wrong \w  \(as stored, in other words\)\n", again)
    usual = Answers(red.root / "data", extra=SAID)

    async def otherwise(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        there = hostile.text in asked["messages"][-1]["content"]
        reply = answer(f"ANSWER: {hostile.key}") if there and asked["model"] == ADAPTER else usual
        return await reply(request, asked)

    red.server.script(forever=otherwise)
    again = capgate(
        red.root, "show", "latest", hostile.question, "--ask", environment={"RED_SERVER": KEY}
    )
    red.server.script(forever=usual)
    now = f"now, {ADAPTER}: correct {hostile.key}  ANSWERS OTHERWISE THAN STORED (wrong "
    assert now in again
    assert f"now, {BASE}: correct {hostile.key}  (as stored)\n" in again
    assert len(red.server.chats) > asked
    before, after = report, read_report(red.folder / "report.json")
    assert before == after
    no_secret_in_logs(red)


def test_unparsed_questions_can_be_asked_again_later(red: Red) -> None:
    """`triage --reask` writes the report anew; what an engine can't do is said."""
    data = red.folder / "report.json"
    report = read_report(data)
    comparison = report.comparisons[ADAPTER]
    out = capgate(red.root, "triage", "latest", "--reask", environment={"RED_SERVER": KEY})
    assert "answers were asked for once more in a constrained form" in out
    assert read_report(data).comparisons[ADAPTER].split == comparison.split
    for canary in CANARIES:
        assert canary not in data.read_text()
    no_secret_in_logs(red)


def test_what_is_not_there_is_said(red: Red) -> None:
    """Unknown runs, questions and targets end with the way out, not with a traceback."""
    for arguments in (
        ("triage", "2001"),
        ("show", "latest", "ffffffffffff0"),
        ("show", "latest", "x", "--target", "nobody"),
        ("report", "latest", "--redux", "nowhere.csv"),
    ):
        called = (sys.executable, "-m", "capgate.cli", *arguments)
        code, output, errors = run(called, red.root, os.environ, 300, apart=True)
        assert code == 4, output + errors
        assert errors.startswith("capgate: ")
        assert "Traceback" not in errors
