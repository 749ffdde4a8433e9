"""`capgate questions export`: shipped benchmarks in a folder, and asked of it without the hub."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_upstream_tasks import SKIPPED, TRANSLATED, shipped


def export(
    folder: Path, home: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a project, with what `HF_HOME` names as the only source."""
    return subprocess.run(
        [sys.executable, "-m", "capgate.cli", "questions", "export", *arguments],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def project(folder: Path, names: Sequence[str]) -> Path:
    """A project with a suite `all` of these benchmarks."""
    (folder / "config").mkdir(parents=True)
    suites = {"suites": {"all": {"benchmarks": list(names)}}}
    (folder / "config" / "benchmarks.yaml").write_text(json.dumps(suites), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_every_shipped_benchmark_comes_back_without_the_hub(hub_home: Path, tmp_path: Path) -> None:
    """What was exported and read back is the same to the byte: questions, digests, tasks, versions.

    The second export has no cache of the hub: it makes each task from the first one's files.
    """
    names = [name for name in shipped() if name not in SKIPPED]
    folder = project(tmp_path / "project", names)

    first = export(folder, hub_home, "all", "first")
    assert first.returncode == 0, first.stderr
    again = export(folder, tmp_path / "empty", "all", "again", "--dataset", "first")
    assert again.returncode == 0, again.stderr

    files = sorted(path.name for path in (folder / "first").iterdir())
    assert files == sorted(f"{name}{end}" for name in names for end in (".json", ".jsonl"))
    for name in files:
        assert (folder / "again" / name).read_bytes() == (folder / "first" / name).read_bytes(), (
            name
        )
    for name in names:
        assert f"{name}: " in first.stdout
        about: dict[str, Any] = json.loads((folder / "first" / f"{name}.json").read_text())
        assert f"{about['questions']:,} questions, digest {about['digest']}" in again.stdout
        # The module of MMLU pins two data sets, and does not say which is which.
        assert len(about["revision"]) == (0 if name in TRANSLATED else 40), name


@pytest.mark.skipif("ifeval" not in SKIPPED, reason="the package that ifeval needs is installed")
def test_a_benchmark_that_can_not_be_had_is_told_and_the_others_are_written(
    hub_home: Path, tmp_path: Path
) -> None:
    """A suite's other benchmarks are exported; what is missing is told, and the way out."""
    folder = project(tmp_path / "project", ["gsm8k", "ifeval"])

    done = export(folder, hub_home, "all", "data", "--json")

    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [one["benchmark"] for one in told["written"]] == ["gsm8k"]
    assert "instruction_following_eval, which is not installed" in told["failed"]["ifeval"]
    assert "pip install git+https://" in told["failed"]["ifeval"]
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        "gsm8k.json",
        "gsm8k.jsonl",
    ]


def test_without_the_hub_the_message_says_how_to_bring_the_questions(tmp_path: Path) -> None:
    """Offline and without a cache, the way out is an export made elsewhere."""
    done = export(project(tmp_path / "project", ["gsm8k"]), tmp_path / "empty", "gsm8k", "data")

    assert done.returncode != 0
    assert "the questions of gsm8k can't be loaded" in done.stderr
    assert "capgate questions export gsm8k DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "project" / "data").exists()


@pytest.mark.parametrize(("name", "file"), [("mgsm", "mgsm_{lang}.tsv"), ("gpqa_diamond", ".csv")])
def test_files_out_of_reach_are_named(name: str, file: str, tmp_path: Path) -> None:
    """What is no data set of the hub is told with its address and the folder that keeps it."""
    kept = tmp_path / "kept"
    with socket.socket() as closed:
        # Nothing listens there, so every way out of this machine ends at once.
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        away = {"HTTPS_PROXY": dead, "https_proxy": dead, "INSPECT_EVALS_CACHE_DIR": str(kept)}
        done = export(project(tmp_path / "project", [name]), tmp_path, name, "data", **away)

    assert done.returncode != 0
    assert f"the questions of {name} can't be loaded from https://" in done.stderr
    assert file in done.stderr
    assert f"{kept}/" in done.stderr
    assert f"capgate questions export {name} DIR" in done.stderr


def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    """A misspelled benchmark names the nearest one."""
    done = export(project(tmp_path / "project", ["gsm8k"]), tmp_path / "empty", "gsm8", "data")
    assert done.returncode != 0
    assert "there is no benchmark 'gsm8'" in done.stderr
    assert "gsm8k" in done.stderr
