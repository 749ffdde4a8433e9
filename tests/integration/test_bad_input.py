"""What a person gets wrong: one clear paragraph, no traceback, and no question asked."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Project, no_traceback, questions, target

from capgate.store.answer_store import Store

USAGE, NO_PREFLIGHT = 4, 11


@dataclass(frozen=True)
class Case:
    """One thing that is wrong.

    Attributes:
        words: What must be said.
        options: Command-line options.
        files: Path to text, relative to the project.
        keys: Keys of the target's entry.
        code: The exit code.
    """

    words: tuple[str, ...]
    options: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    keys: dict[str, object] = field(default_factory=dict)
    code: int = USAGE


ROW = {"question": "1+1?", "subject": "anatomy", "choices": ["1", "2", "3", "4"], "answer": 1}
BAD_ROWS = "\n".join(
    [json.dumps(ROW), json.dumps(ROW | {"answer": 7}), "{", json.dumps(ROW | {"subject": "anatom"})]
)

CASES = {
    "model id": Case(
        ("there is no model id 'doubel'", "did you mean double?"), ("--model-id", "doubel")
    ),
    "subject": Case(("no subject 'anatomi'", "did you mean anatomy"), ("--subjects", "anatomi")),
    "domain": Case(("no domain 'stm'", "stem"), ("--domains", "stm")),
    "task": Case(
        ("no task 'inspect_evals/mmlu_1_shot'", "inspect_evals/mmlu_0_shot"),
        ("--tasks", "inspect_evals/mmlu_1_shot"),
    ),
    "limit": Case(("--limit", "at least 1, got '0'"), ("--limit", "0")),
    "temperature": Case(("--temperature", "from 0 to 2, got '3'"), ("--temperature", "3")),
    "few tokens": Case(
        ("--max-tokens 4 is below 16", "ask for at least 16"), ("--max-tokens", "4")
    ),
    "many tokens": Case(
        ("--max-tokens 512 is above", "max_output_tokens of 64"), keys={"max_output_tokens": 64}
    ),
    "broken YAML": Case(
        ("models.yaml is not valid YAML", "line 3"), files={"config/models.yaml": "a:\n  b: [\n"}
    ),
    "date that is none": Case(
        ("models.yaml is not valid YAML", "line 2", "no valid timestamp"),
        files={"config/models.yaml": "double:\n  description: 2024-13-45\n"},
    ),
    "loop": Case(
        ("models.yaml is not valid YAML", "line 1", "stands within itself"),
        files={"config/models.yaml": "double: &a {extra_body: *a}\n"},
    ),
    "time-out without end": Case(
        ("double.request_timeout", "finite number"), keys={"request_timeout": float("inf")}
    ),
    "key as variable": Case(
        ("double.api_key_env", "the name of an environment variable"),
        keys={"api_key_env": "ca11ab1e0123456789abcdef01234567"},
    ),
    "deep question": Case(
        ("2 malformed rows", "test.jsonl, line 1:", "line 2:", "nested too deep"),
        ("--dataset", "data"),
        {"data/test.jsonl": "[" * 100_000 + "\n" + '{"answer": ' + "9" * 5_000 + "}\n"},
        code=NO_PREFLIGHT,
    ),
    "unknown key": Case(
        ("double.base_ulr", "did you mean base_url", "double.max_connections", "2 faults"),
        keys={"base_ulr": "http://x/v1", "max_connections": 0},
    ),
    "secret": Case(("double.api_key", "api_key_env"), keys={"api_key": "sk-canary-0123456789"}),
    "no file": Case(
        ("nowhere.yaml does not exist", "name the file"), ("--models-file", "nowhere.yaml")
    ),
    "no key": Case(
        ("variable NO_SUCH_KEY is not set", "NO_SUCH_KEY=… to .env"),
        keys={"api_key_env": "NO_SUCH_KEY"},
        code=NO_PREFLIGHT,
    ),
    "no folder": Case(
        ("nowhere does not exist", "--dataset DIR", "bundled"),
        ("--dataset", "nowhere"),
        code=NO_PREFLIGHT,
    ),
    "empty folder": Case(
        ("holds no questions", "test.jsonl"),
        ("--dataset", "data"),
        {"data/README.txt": "nothing"},
        code=NO_PREFLIGHT,
    ),
    "malformed rows": Case(
        ("3 malformed rows", "test.jsonl, line 2: answer", "line 3: not JSON", "mean anatomy?"),
        ("--dataset", "data"),
        {"data/test.jsonl": BAD_ROWS},
        code=NO_PREFLIGHT,
    ),
    "no floor": Case(
        ("nothing to be compared with", "thresholds/floors.yaml"),
        files={"thresholds/floors.yaml": ""},
        code=NO_PREFLIGHT,
    ),
    "floor as percentage": Case(
        ("double.overall", "65 % as 0.65"),
        files={"thresholds/floors.yaml": "double: {overall: 65}"},
        code=NO_PREFLIGHT,
    ),
}


def check(project: Project, server: Server, case: Case, workers: str) -> None:
    """Runs a case and checks what is said."""
    project.serve(server, **case.keys)
    for path, text in case.files.items():
        project.write(path, text)
    outcome = project.pytest(
        *("benchmarks", "-m", "full", "-n", workers, *case.options),
        *(() if "--subjects" in case.options else ("--subjects", "anatomy")),
    )
    said = " ".join(outcome.text.split())
    for word in case.words:
        assert word.lower() in said.lower(), outcome.text
    assert outcome.code in {case.code, USAGE}, outcome.text
    assert no_traceback(outcome.text), outcome.text
    assert not re.search(r"sk-canary|ca11ab1e", outcome.text)
    assert not questions(server.chats)
    assert project.stored() == {}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(project: Project, server: Server, name: str) -> None:
    """Wrong options, files and data are told at once, with the way out."""
    check(project, server, CASES[name], "0")


@pytest.mark.parametrize("name", ["model id", "malformed rows"])
def test_bad_input_with_workers(project: Project, server: Server, name: str) -> None:
    """With -n 2 the same is said, with the same exit code."""
    check(project, server, CASES[name], "2")


def test_newer_store(project: Project, server: Server) -> None:
    """A store that a newer capgate has written is left as it is, and the run says so."""
    project.serve(server)
    file = project.write("reports/answers.sqlite", "")
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE future (x)")
        db.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    outcome = project.full()
    assert outcome.code in (USAGE, NO_PREFLIGHT), outcome.text
    assert "has schema 99" in outcome.text
    assert "Upgrade capgate" in outcome.text
    assert no_traceback(outcome.text)
    assert file.read_bytes() == before
    assert not questions(server.chats)


def test_file_that_is_no_store(project: Project, server: Server) -> None:
    """Another file in the store's place is left as it is, and the run says so."""
    project.serve(server)
    file = project.write("notes.txt", "my notes, more than a hundred characters of them " * 20)
    before = file.read_bytes()
    outcome = project.full("--store", "notes.txt", "-n", "2")
    assert outcome.code in (USAGE, NO_PREFLIGHT), outcome.text
    assert "notes.txt can't be opened" in outcome.text
    assert "--store" in outcome.text
    assert no_traceback(outcome.text)
    assert file.read_bytes() == before


def test_damaged_store(project: Project, server: Server) -> None:
    """A store whose pages were lost is named with what to do; it stays, and nothing is asked."""
    project.serve(server)
    file = project.root / "reports" / "answers.sqlite"
    with Store(file):
        pass
    file.write_bytes(file.read_bytes()[:4096] + b"\xa5" * 65536)
    before = file.read_bytes()
    outcome = project.full()
    assert outcome.code in (USAGE, NO_PREFLIGHT), outcome.text
    assert "ove it away, or name another file with --store" in " ".join(outcome.text.split())
    assert no_traceback(outcome.text)
    assert file.read_bytes()[4096:] == before[4096:]
    assert not questions(server.chats)


def test_dotenv_in_another_encoding(project: Project, server: Server) -> None:
    """A .env that is no UTF-8 is named with the remedy, and nothing of it is shown."""
    project.serve(server)
    (project.root / ".env").write_bytes("SOME_KEY=canaré\n".encode("latin-1"))
    outcome = project.full()
    assert outcome.code in (USAGE, NO_PREFLIGHT), outcome.text
    assert ".env can't be read" in outcome.text
    assert "Save it as UTF-8" in outcome.text
    assert "canar" not in outcome.text
    assert no_traceback(outcome.text)
    assert not questions(server.chats)


def test_unreachable_hub(project: Project, server: Server, tmp_path: str) -> None:
    """With the hub out of reach the run fails within seconds and names the three ways out."""
    project.serve(server, dataset="hub")
    outcome = project.pytest(
        *("benchmarks", "-m", "full", "--subjects", "anatomy"),
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=f"{tmp_path}/hf",
        HF_HUB_OFFLINE="",
    )
    assert outcome.code == NO_PREFLIGHT, outcome.text
    for way in ("HF_HOME", "--dataset DIR", "--dataset bundled"):
        assert way in outcome.text
    assert no_traceback(outcome.text)
    assert not questions(server.chats)


def test_a_silent_hub_is_asked_once(project: Project, server: Server, tmp_path: Path) -> None:
    """A hub that takes the connection and says nothing costs one wait, not one a subject."""
    project.serve(server, dataset="hub")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = project.pytest(
            *("benchmarks", "-m", "full", "-k", "anatomy or virology or astronomy"),
            HF_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
            HF_HOME=f"{tmp_path}/hf",
            HF_HUB_OFFLINE="",
        )
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert outcome.counts["failed"] == 3
    assert "--dataset bundled" in outcome.text


def test_one_bad_target_among_good_ones(project: Project, server: Server) -> None:
    """Two targets of which one is wrong: the right one is judged all the same."""
    project.targets(good=target(server.url), bad=target(server.url, api_key_env="NO_SUCH_KEY"))
    project.floors(good=0.5, bad=0.5)
    outcome = project.full("--model-id", "good", "--model-id", "bad")
    assert outcome.code == NO_PREFLIGHT
    assert outcome.verdict("good") == "PASS"
    assert "NO_SUCH_KEY" in outcome.text
    assert project.result("good")["overall_score"] == 1.0
