"""The shipped default target: a real llama.cpp server that the run starts and ends."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
from pathlib import Path

import psutil
import pytest
import yaml
from tests.integration.conftest import (
    NEEDS_LLAMACPP,
    REAL,
    Process,
    Project,
    no_traceback,
    until,
)

pytestmark = NEEDS_LLAMACPP

ONE = ("benchmarks", "-k", "abstract_algebra", "-m", "full")


def change(project: Project, **changes: object) -> None:
    """Changes keys of the shipped default target; `serve`."""
    file = project.root / "config" / "models.yaml"
    entries = yaml.safe_load(file.read_text())
    project.write("config/models.yaml", yaml.safe_dump({REAL: {**entries[REAL], **changes}}))


def in_the_middle(project: Project, *options: str) -> tuple[Process, list[psutil.Process]]:
    """A run of which the first answer has come, and its servers."""
    process = project.start("benchmarks", "-m", "full", "--subjects", "virology,anatomy", *options)
    until(lambda: sum(project.stored().values()) >= 1, "a first answer", 120)
    return process, project.servers()


def all_ended(project: Project) -> None:
    """Waits until no process of the project is left."""
    until(lambda: not project.processes(), "every process has ended", 30)


def texts(project: Project) -> set[str]:
    """The stored answers' texts."""
    with contextlib.closing(sqlite3.connect(project.root / "reports" / "answers.sqlite")) as db:
        return {text for (text,) in db.execute("SELECT text FROM answers")}


@pytest.mark.slow
def test_workers_share_one_server(project: Project) -> None:
    """With -n 2 one server serves both workers, on 127.0.0.1 with a secret key, and ends."""
    process, servers = in_the_middle(project, "-n", "2", "--limit", "6")
    (server,) = servers
    (listens,) = {c.laddr.ip for c in server.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listens == "127.0.0.1"
    supervisor = server.parent()
    assert supervisor is not None
    key = supervisor.environ()["CAPGATE_SERVER_KEY"]
    assert len(key) >= 24
    assert not any(key in " ".join(one.cmdline()) for one in project.processes())
    outcome = process.finish()
    all_ended(project)
    assert outcome.code in (0, 10), outcome.text
    assert key not in outcome.text
    begun = (
        r"local-smollm2: starting llama\.cpp \(log: reports/\S+/server-\S+\.log\), up to \d+ s\n"
    )
    assert len(re.findall(begun, outcome.text)) == 1
    result = project.result(REAL)
    assert result["overall"]["questions"] == 6
    assert result["overall"]["unparsed"] == result["overall"]["errors"] == 0
    assert texts(project) <= {f"ANSWER: {letter}" for letter in "ABCD"}
    assert result["identity"]["generation"]["answer_format"] == "constrained"
    for file in project.root.rglob("*"):
        assert file.is_dir() or key.encode() not in file.read_bytes()


@pytest.mark.slow
def test_format_is_part_of_an_answer(project: Project) -> None:
    """Free answers are not taken for constrained ones: they are asked anew."""
    options = (*ONE, "--subjects", "abstract_algebra", "--limit", "2", "--max-tokens", "16")
    assert project.pytest(*options).code == 0
    change(project, answer_format="free")
    free = project.pytest(*options)
    assert free.code in (0, 10)
    assert project.result(REAL)["overall"]["asked"] == 2
    assert sum(project.stored().values()) == 4
    assert not texts(project) <= {f"ANSWER: {letter}" for letter in "ABCD"}


@pytest.mark.slow
def test_killed_run_leaves_no_server(project: Project) -> None:
    """SIGKILL of the controller ends server and workers; the next run starts at once."""
    project.warm = False
    process, servers = in_the_middle(project, "-n", "2", "--limit", "8")
    assert len(servers) == 1
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left
    all_ended(project)
    process.finish()
    stored = sum(project.stored().values())
    outcome = project.pytest(
        *ONE, "--subjects", "virology,anatomy,abstract_algebra", "--limit", "3"
    )
    assert outcome.code == 0, outcome.text
    assert sum(project.stored().values()) <= stored + 1
    all_ended(project)


def test_interrupted_run_ends_its_server(project: Project) -> None:
    """Ctrl-C ends the server with the run."""
    process, servers = in_the_middle(project)
    assert len(servers) == 1
    process.signal_group(signal.SIGINT)
    outcome = process.finish(60)
    assert outcome.code == 2, outcome.text
    all_ended(project)
    assert set(project.stored()) <= {"correct", "wrong"}


@pytest.mark.slow
def test_killed_server_is_told(project: Project) -> None:
    """A server that dies in the middle ends the run as an error that shows its last words."""
    process, (server,) = in_the_middle(project)
    server.kill()
    outcome = process.finish()
    assert outcome.code in (10, 11)
    assert set(project.stored()) <= {"correct", "wrong", "error"}
    assert no_traceback(outcome.text)
    assert "server-local-smollm2.log" in outcome.text
    all_ended(project)


def test_failed_starts_are_told(project: Project, tmp_path: Path) -> None:
    """A server that dies at its start says why in its log's last lines; a slow one is ended."""
    shipped = yaml.safe_load((project.root / "config" / "models.yaml").read_text())[REAL]
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(range(256)) * 16)
    project.targets(
        bad={**shipped, "serve": {"engine": "llamacpp", "model": str(bad)}},
        slow={**shipped, "default": False, "serve": {**shipped["serve"], "start_timeout": 0.2}},
    )
    project.floors(bad=0.1, slow=0.1)
    outcome = project.pytest(
        *("benchmarks", "-m", "full", "--subjects", "anatomy", "--model-id", "bad"),
        *("--model-id", "slow"),
    )
    assert outcome.code == 11, outcome.text
    assert outcome.counts == {"failed": 2, "skipped": 4, "deselected": 2}
    assert no_traceback(outcome.text)
    all_ended(project)
    assert "before it was ready" in outcome.text
    assert re.search(r"^ +.*bad\.gguf", outcome.text, re.MULTILINE)
    assert "not healthy within 0.2 s" in outcome.text
    assert "start_timeout" in outcome.text
