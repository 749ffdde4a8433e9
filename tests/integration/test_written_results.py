"""What a run leaves behind: files for people and programs, and no secret in any of them."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from inspect_ai.log import read_eval_log
from tests.doubles.hook import Hook
from tests.doubles.red import capgate
from tests.doubles.replies import Reply
from tests.doubles.server import Server, hashed_answer
from tests.integration.conftest import (
    PROBE,
    Hold,
    Project,
    no_traceback,
    question_of,
    questions,
    right,
    target,
    wrong,
)

from capgate.report.data.result import shipped_schema

CANARY = "sk-canary-9f8e7d6c5b4a39281706"
TOKEN, ARGUMENT, CHANNEL = "canary-token-51fe", "canary-argument-62ad", "canary-channel-73bc"
GUIDE_S_FIELDS = {
    "model_id",
    "adapter_name",
    "timestamp",
    "limit",
    "overall_score",
    "metrics",
    "subjects",
}


def test_files_of_a_run(project: Project) -> None:
    """Results, report, pytest's own reports and Inspect's logs tell the same of one run."""
    with Server(answer=hashed_answer) as server:
        project.serve(server)
        project.floors(double=0.9)
        outcome = project.full(
            *("-n", "2", "--json-report", "--json-report-file", "r.json", "--junitxml", "r.xml")
        )
    assert outcome.code == 1, outcome.text
    (report,) = project.reports()
    jsonschema.validate(report, shipped_schema())
    (stamped,) = project.root.glob("reports/double/mmlu_double_2*.json")
    result = project.result()
    assert json.loads(stamped.read_text()) == result == report["targets"]["double"]
    assert result.keys() >= GUIDE_S_FIELDS
    assert result["metrics"]["accuracy"] == {"value": result["overall_score"], "name": "Accuracy"}
    assert set(result["subjects"]) == {"abstract_algebra", "virology"}
    assert set(result["domains"]) == {"stem", "other"}
    assert result["dataset"]["source"] == "bundled"
    assert result["dataset"]["questions"] == 228
    assert result["verdict"]["kind"] == report["verdict"]["kind"] == "REGRESSION"

    tests = {
        test["nodeid"].split("::")[1]: test.get("metadata", {}).get("capgate")
        for test in json.loads((project.root / "r.json").read_text())["tests"]
    }
    assert tests["test_suite[double]"]["verdict"]["kind"] == "REGRESSION"
    assert tests["test_suite[double]"]["verdict"] == result["verdict"]
    for subject, one in result["subject_details"].items():
        assert tests[f"test_subject[double-{subject}]"]["verdict"] == one["verdict"]

    cases = {}
    for case in ET.parse(project.root / "r.xml").iter("testcase"):
        found = {p.get("name"): p.get("value") for p in case.iter("property")}
        cases[case.get("name")] = found
    assert cases["test_suite[double]"]["capgate_verdict"] == "REGRESSION"
    assert cases["test_suite[double]"]["capgate_n"] == "8"
    assert cases["test_subject[double-virology]"]["capgate_target"] == "double"
    assert cases["test_subject[double-virology]"]["capgate_shard"] == "virology"

    logs = [read_eval_log(str(path)) for path in project.root.glob("reports/*/logs/*.json")]
    assert all(log.status == "success" for log in logs)
    sizes = sorted(len(log.samples or []) for log in logs)
    assert sizes == [1, 4, 4]
    scores = [
        sample.scores["choice"].value == "C"
        for log in logs
        for sample in log.samples or []
        if sample.scores and len(log.samples or []) == 4
    ]
    assert sum(scores) == result["overall"]["correct"]


def test_unwritable_reports(project: Project, server: Server) -> None:
    """Where results can't be written the run says so; its answers are in the store."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=7)
    server.script(forever=hold)
    process = project.start_full("--output-dir", "elsewhere", "--store", "answers.sqlite")
    assert hold.reached.wait(120)
    # A file in the way stops every user, root included.
    (project.root / "elsewhere" / "double").write_text("in the way")
    hold.release()
    outcome = process.finish()
    assert outcome.code not in (0, 1), outcome.text
    assert "can't be written" in outcome.text
    assert "--output-dir" in outcome.text
    assert no_traceback(outcome.text)
    server.asked.clear()
    assert project.full("--store", "answers.sqlite").code == 0
    assert not questions(server.chats)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_logs_that_can_not_be_written(project: Project, workers: str) -> None:
    """One test tells of it in a sentence, the others are skipped, and what was answered stays."""

    def in_the_way(asked: dict[str, Any]) -> str:
        if question_of(asked) != PROBE:
            for logs in filter(Path.is_dir, project.root.glob("elsewhere/*/logs")):
                logs.rename(logs.with_name("moved"))
                logs.write_text("a file stands here now")
        return right(asked)

    with Server(answer=in_the_way) as server:
        project.serve(server)
        outcome = project.pytest(
            *("benchmarks", "-m", "full", "-n", workers, "--domains", "stem"),
            *("--output-dir", "elsewhere", "--store", "answers.sqlite"),
        )
    assert outcome.code == 11, outcome.text
    assert outcome.counts["failed"] == 1
    assert no_traceback(outcome.text)
    # The evaluation's logs, or the folder, where a worker comes later.
    assert re.search("the (evaluation's logs|reports folder)", outcome.text)
    assert "can't be written" in outcome.text
    assert "--output-dir" in outcome.text
    assert len(outcome.text.splitlines()) < 60
    assert project.root.joinpath("answers.sqlite").exists()


def test_alerts_go_out_where_results_can_not_be_written(project: Project) -> None:
    """Then more than ever somebody should hear of the verdict."""
    project.write("elsewhere/double", "in the way")
    with Server(answer=wrong) as server, Hook() as hook:
        project.serve(server)
        outcome = project.full("--output-dir", "elsewhere", "--alert", hook.url("hook"))
    assert "can't be written" in outcome.text
    assert "alert 1 of 1 (127.0.0.1): sent" in outcome.text
    assert [one.message["verdict"] for one in hook.got] == ["REGRESSION"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bad_alert_url_is_told_before_anything_is_asked(
    project: Project, server: Server, workers: str
) -> None:
    """Usage's exit code and one paragraph, in which no word of the URL stands."""
    project.serve(server)
    project.write("config/alerts.yaml", "chat: CHANNEL\n")
    outcome = project.full("-n", workers, "--alert", "hooks.example/very-secret")
    assert outcome.code == 4, outcome.text
    assert "--alert: it does not begin with https:// or http://" in outcome.text
    assert "config/alerts.yaml, chat: the variable CHANNEL is not set" in outcome.text
    assert "very-secret" not in outcome.text
    assert no_traceback(outcome.text)
    assert not server.chats


def test_reports_folder_that_is_a_file(project: Project, server: Server) -> None:
    """A reports folder that can't be made is told before a question is asked."""
    project.serve(server)
    project.write("taken", "")
    outcome = project.full("--output-dir", "taken", "--store", "answers.sqlite")
    assert outcome.code in (4, 11), outcome.text
    assert "taken" in outcome.text
    assert "--output-dir" in outcome.text
    assert no_traceback(outcome.text)
    assert not questions(server.chats)


def contents(file: Path) -> bytes:
    """What a file says, its packed parts unpacked."""
    raw = file.read_bytes()
    if file.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(file)) as db:
            raw += "\n".join(db.iterdump()).encode()
    return raw


@pytest.mark.parametrize("place", ["env", ".env"])
def test_key_stays_secret(project: Project, place: str) -> None:
    """The key is in no file, no output and no process list, even where the server echoes it."""
    environment = {"CANARY_KEY": CANARY} if place == "env" else {}
    if place == ".env":
        project.write(".env", f"CANARY_KEY={CANARY}\n")
    echo = Reply(400, {"error": {"message": f"bad request with header Bearer {CANARY}"}})
    with Server(answer=right, key=CANARY) as server, Server(key=CANARY) as echoing:
        server.script(forever=(hold := Hold(server, after=6)))
        echoing.script(forever=echo)
        keys = {"api_key_env": "CANARY_KEY", "max_retries": 0}
        project.targets(
            double=target(server.url, **keys, max_connections=2),
            echo=target(echoing.url, **keys),
        )
        project.floors(double=0.5, echo=0.5)
        # The command lines of forks are those of the process that they were forked from.
        project.warm = place != "env"
        process = project.start_full(
            *("-n", "2" if place == "env" else "0", "-vv", "-rA", "--showlocals"),
            *("--model-id", "echo", "--model-id", "double"),
            *("--json-report", "--json-report-file", "r.json", "--junitxml", "r.xml"),
            **environment,
        )
        assert hold.reached.wait(120)
        parent = psutil.Process(process.pid)
        lines = [" ".join(p.cmdline()) for p in [parent, *parent.children(recursive=True)]]
        hold.release()
        outcome = process.finish()
    assert outcome.code == 11, outcome.text
    assert "bad request with header" in outcome.text
    assert outcome.verdict("double") == "PASS"
    assert not any(CANARY in line for line in lines)
    assert CANARY not in outcome.text
    files = [path for path in project.root.rglob("*") if path.is_file() and path.name != ".env"]
    assert len([path for path in files if path.parent.name == "logs"]) >= 4
    for path in files:
        assert CANARY.encode() not in contents(path), path


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_secret_that_is_known_from_one_place_alone(project: Project, workers: str) -> None:
    """`.env`, the command line or config/alerts.yaml: models and servers may repeat it in vain."""
    said = f"I know {TOKEN}, /hook/{ARGUMENT} and /hook/{CHANNEL}. ##[error]owned\n"
    with (
        Server(answer=lambda asked: said + right(asked)) as server,
        Server() as echoing,
        Hook() as hook,
    ):
        hook.status, hook.said = 404, "Cannot POST {path}"
        project.write(
            ".env", f"SOME_API_TOKEN={TOKEN}\nCHANNEL={hook.url(f'hook/{CHANNEL}')}?a=b\n"
        )
        project.write("config/alerts.yaml", "chat: CHANNEL\n")
        server.script(forever=(hold := Hold(server, after=6)))
        echoing.script(forever=Reply(400, {"error": {"message": said}}))
        project.targets(
            double=target(server.url, max_connections=2),
            echo=target(echoing.url, max_retries=0),
        )
        project.floors(double=0.5, echo=0.5)
        process = project.start_full(
            *("-n", workers, "-vv", "-rA", "--showlocals", "--junitxml", "r.xml"),
            *("--json-report", "--json-report-file", "r.json", "--log-file", "log.txt"),
            *("--log-file-level", "INFO", "--alert", hook.url(f"hook/{ARGUMENT}")),
            *("--model-id", "echo", "--model-id", "double"),
        )
        assert hold.reached.wait(120)
        store = {
            path.name: path.read_bytes() for path in project.root.glob("reports/answers.sqlite*")
        }
        hold.release()
        outcome = process.finish()
    assert outcome.code == 11, outcome.text
    assert outcome.verdict("double") == "PASS"
    assert "I know [redacted], /[redacted] and /[redacted]" in outcome.text
    assert len(hook.got) == 2
    assert outcome.text.count('NOT SENT, HTTP 404 ("Cannot POST /[redacted]"); ') == 2
    assert store["answers.sqlite-wal"]
    files = {str(p): contents(p) for p in project.root.rglob("*") if p.is_file()}
    del files[str(project.root / ".env")]
    for canary in (TOKEN, ARGUMENT, CHANNEL):
        for name, raw in (files | store | {"the terminal": outcome.text.encode()}).items():
            assert canary.encode() not in raw, name
    assert "##[" not in outcome.text


def test_a_command_s_logs_are_read_once_more(project: Project) -> None:
    """`calibrate` asks as a run does, and leaves no more than a run does."""
    said = "Authorization: Bearer canary-header-c0ffee42 https://u:canary-url-1@host /home/canary/x"
    with Server(answer=lambda asked: f"{said}\n{right(asked)}") as server:
        project.serve(server)
        capgate(
            project.root,
            *("calibrate", "--model-id", "double", "--subjects", "virology", "--simulations", "20"),
        )
    logs = list(project.root.glob("reports/*/logs/*.json"))
    assert logs
    assert all(b"canary" not in contents(path) for path in logs)
