"""What a run leaves behind: files for people and programs, and no secret in any of them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import jsonschema
import psutil
import pytest
from inspect_ai.log import read_eval_log
from tests.doubles.replies import Reply
from tests.doubles.server import Server, hashed_answer
from tests.integration.conftest import Hold, Project, no_traceback, questions, right, target

from capgate.report.result import shipped_schema

CANARY = "sk-canary-9f8e7d6c5b4a39281706"
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

    logs = [read_eval_log(str(path)) for path in project.root.glob("reports/*/logs/*.eval")]
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
    if file.suffix == ".eval":
        with zipfile.ZipFile(file) as members:
            raw += b"".join(members.read(name) for name in members.namelist())
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
    assert len([path for path in files if path.suffix == ".eval"]) >= 4
    for path in files:
        assert CANARY.encode() not in contents(path), path
