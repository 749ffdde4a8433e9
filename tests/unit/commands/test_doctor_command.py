"""`capgate doctor`: each check's mark, what was found, and what mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.server import Server
from tests.doubles.sums import COUNT, FILE, write_sums
from tests.unit.commands.conftest import Told

KEY = "key-of-a-test-0123456789"


def models(folder: Path, url: str, **changes: Any) -> None:  # noqa: ANN401
    """Writes the targets of a project."""
    entry = {"model_name": "smollm2", "base_url": url, "context_window": 2048, "dataset": "bundled"}
    entry["default"] = True
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "models.yaml").write_text(yaml.safe_dump({"one": {**entry, **changes}}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A project whose one target a server serves; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SERVER_KEY", raising=False)
    models(tmp_path, server.url)
    return tmp_path


def checks(told: Told, *arguments: str, code: int = 0) -> dict[str, dict[str, str]]:
    """What `--json` says of each check."""
    found = json.loads(told("doctor", *arguments, "--json", code=code)[0])
    assert found["ok"] is (code == 0)
    rows = {one["name"]: one for one in found["checks"]}
    assert found["failed"] == [name for name, one in rows.items() if one["state"] == "failed"]
    return rows


@pytest.mark.usefixtures("project")
def test_a_sound_setup(told: Told) -> None:
    """Every line has a mark; the last one counts; nothing of it is kept."""
    lines = told("doctor", "--measure")[0].splitlines()
    assert {line[0] for line in lines if line and line[0] != " "} <= {"✓", "–", "a"}
    assert lines[-1].startswith("all ")
    assert "checks passed" in lines[-1]
    assert any(line.startswith("✓ context window") for line in lines)
    assert not list(Path("reports").glob("2*"))


def test_checks_for_programs(told: Told, project: Path, server: Server) -> None:
    """Each has a name, a state, a finding and a remedy; the probe reached the server."""
    rows = checks(told, "--measure")
    assert all(set(one) == {"name", "state", "finding", "remedy"} for one in rows.values())
    assert rows["models.yaml"]["finding"] == "1 target: one"
    assert rows["model served"]["finding"].startswith("smollm2")
    assert len(server.chats) >= 1
    assert (project / "reports" / "answers.sqlite").exists()


@pytest.mark.parametrize(
    ("changes", "name", "finding", "remedy"),
    [
        ({"model_name": "other"}, "model served", "'other'", "model_name"),
        ({"dataset": "/no/such/folder"}, "data set", "/no/such/folder", "--dataset"),
        ({"api_key_env": "SERVER_KEY"}, "key variable", "SERVER_KEY", "export SERVER_KEY="),
        ({"base_url": "nonsense"}, "models.yaml", "expected http://HOST", "configuration.md"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "server", "nothing accepts", "vllm serve smollm2"),
    ],
)
def test_each_fault_has_its_check(
    told: Told,
    project: Path,
    server: Server,
    changes: dict[str, Any],
    name: str,
    finding: str,
    remedy: str,
) -> None:
    """The check that fails tells what is wrong and what mends it; the exit code is 1."""
    models(project, server.url, **changes)
    rows = checks(told, "--measure", code=1)
    assert rows[name]["state"] == "failed"
    assert finding in rows[name]["finding"]
    assert remedy in rows[name]["remedy"]


def test_what_follows_a_failed_check_is_skipped(told: Told, project: Path) -> None:
    """Without targets no server is asked, and each check left out says why."""
    (project / "config" / "models.yaml").unlink()
    rows = checks(told, code=1)
    assert rows["models.yaml"]["state"] == "failed"
    assert rows["target"]["finding"] == "not checked: models.yaml failed"
    out, _ = told("doctor", code=1)
    assert "✗ models.yaml" in out
    assert "checks failed: models.yaml" in out.splitlines()[-1]


def test_a_key_that_is_refused(
    told: Told, project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's variable is named; its value is never shown."""
    server.key = "another-key-0123456789"
    monkeypatch.setenv("SERVER_KEY", KEY)
    models(project, server.url, api_key_env="SERVER_KEY")
    out, err = told("doctor", "--measure", code=1)
    assert "✗ key " in out
    assert "export SERVER_KEY=" in out
    assert KEY not in out + err


def test_lines_of_dotenv_that_can_not_be_read(told: Told, project: Path) -> None:
    """They are named by their line, without their words."""
    (project / ".env").write_text(f"GOOD=1\n'{KEY}\n")
    rows = checks(told, "--measure", code=1)
    assert rows[".env"]["state"] == "failed"
    assert "line 2" in rows[".env"]["finding"]
    assert KEY not in json.dumps(rows)


@pytest.mark.usefixtures("project")
def test_a_target_without_a_reference(told: Told) -> None:
    """It can be measured; what a verdict needs is told."""
    rows = checks(told)
    assert rows["reference"]["state"] == "skipped"
    assert "To judge it: " in rows["reference"]["finding"]


@pytest.mark.usefixtures("project")
def test_an_unknown_target(told: Told) -> None:
    """Its check fails, and names those there are."""
    rows = checks(told, "--model-id", "nobody", code=1)
    assert rows["target"]["state"] == "failed"
    assert "nobody" in rows["target"]["finding"]


@pytest.mark.usefixtures("project")
def test_wrong_usage(told: Told) -> None:
    """An option that is none ends with usage's exit code, before any check."""
    out, err = told("doctor", "--limit", "3", code=4)
    assert out == ""
    assert "--limit" in err
    assert "no task" in told("doctor", "--tasks", "poetry", code=4)[1]


def test_the_projects_own_benchmarks(told: Told, project: Path, server: Server) -> None:
    """Its file is checked, and of each benchmark that is chosen the questions and an answer."""
    server.answer = lambda asked: "8" if "3 + 5" in str(asked["messages"]) else "ANSWER: C"
    assert checks(told, "--measure")["benchmarks.yaml"]["state"] == "skipped"
    write_sums(project)
    rows = checks(told, "--measure", "--benchmark", "mmlu", "--benchmark", "sums")
    assert rows["benchmarks.yaml"]["finding"] == "1 of this project: sums"
    assert rows["data set"]["state"] == "ok"
    found = rows["questions of sums"]["finding"]
    assert found == f"{COUNT} questions in 2 groups; asked directly"
    said = rows["one question"]["finding"].splitlines()
    assert [line.split(": ")[0] for line in said] == ["mmlu", "sums"]


def test_a_benchmark_that_can_not_be_asked(told: Told, project: Path, server: Server) -> None:
    """A package or file that is missing is told before any server is asked."""
    write_sums(project)
    more = "lacking: {task: inspect_evals/gsm8k, requires: {no_such_module: pip install nothing}}\n"
    file = project / "config" / "benchmarks.yaml"
    file.write_text(file.read_text() + more)
    (project / FILE).write_text('{"question": "Why?"}\n')
    chosen = ("--measure", "--benchmark", "sums", "--benchmark", "lacking")
    rows = checks(told, *chosen, code=1)
    assert FILE in rows["questions of sums"]["finding"]
    assert "no_such_module" in rows["questions of lacking"]["finding"]
    assert rows["questions of lacking"]["remedy"] == "pip install nothing"
    assert rows["server"]["state"] == "skipped"
    assert not server.chats


def test_a_faulty_file_of_benchmarks(told: Told, project: Path) -> None:
    """All its faults are told by its check."""
    text = "a: {task: x, questions: y}\nb: {catsh: 0.1, task: z}\n"
    (project / "config" / "benchmarks.yaml").write_text(text)
    found = checks(told, "--measure", code=1)["benchmarks.yaml"]
    assert "2 faults" in found["finding"]
    assert "catsh" in found["finding"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("def tickets(:", "SyntaxError"),
        ("from inspect_ai import task", "tickets"),
    ],
)
def test_a_task_file_that_can_not_be_imported(
    told: Told, project: Path, text: str, said: str
) -> None:
    """The user's own file is imported; what keeps it from that is told with its line."""
    (project / "evals.py").write_text(text)
    (project / "config" / "benchmarks.yaml").write_text("desk: {task: evals.py@tickets}\n")
    found = checks(told, "--measure", "--benchmark", "desk", code=1)["questions of desk"]
    assert found["state"] == "failed"
    assert said in found["finding"]
    assert "evals.py" in found["finding"]
    assert found["remedy"]
