"""A gate in real trainings of transformers and PEFT, as docs/trainers.md shows it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts.taught.served import PYTHON
from tests.doubles.vllm import Vllm
from tests.integration.conftest import REPOSITORY, Project, target
from tests.integration.test_adapters import FEW, forgot, like_a_model
from tests.processes import run

PAGE = (REPOSITORY / "docs" / "trainers.md").read_text(encoding="utf-8")
SECONDS = 240.0
ENDLESS = 1_000_000
OTHER_PYTHON = f'command=("{sys.executable}", "-m", "capgate.cli")'
"""What judges lives in another environment than what trains."""


@pytest.fixture
def training(project: Project) -> Project:
    """A project whose policy is content with few questions."""
    if not PYTHON.exists():
        pytest.skip("needs transformers in .venv-vllm (make test-vllm)")
    project.write("thresholds/policy.yaml", FEW)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The files of a project: no server of this folder's tests is needed."""
    return Project.make(tmp_path / "project")


def train(
    project: Project,
    url: str,
    *,
    steps: int,
    save_steps: int,
    launcher: tuple[str, ...] = (),
    attached: bool = True,
    **environment: str,
) -> tuple[list[dict[str, Any]], str]:
    """Runs the page's snippet in a training; what happened in each process, and the output."""
    project.targets(**{"my-model": target(url)})
    (snippet,) = re.findall(r"<!-- in a training -->\n```python\n(.*?)^```\n", PAGE, re.M | re.S)
    placed = snippet.replace('model_id="my-model"', f'model_id="my-model", {OTHER_PYTHON}')
    assert placed != snippet
    if not attached:
        placed = placed.replace("gate.attach(trainer)", "trainer.add_callback(gate)")
    file = project.write("train.py", placed)
    together = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))},
        "PYTHONPATH": str(REPOSITORY / "src"),
        "XDG_CACHE_HOME": str(project.root / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "STEPS": str(steps),
        "SAVE_STEPS": str(save_steps),
        **environment,
    }
    script = Path(__file__).with_name("training.py")
    command = (str(PYTHON), *launcher, str(script), str(file))
    code, text, _ = run(command, project.root, together, SECONDS)
    assert code == 0, text
    lines = re.findall(r"^happened: (.*)$", text, re.M)
    return [json.loads(line) for line in lines], text


def verdicts(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The logs that tell of a verdict."""
    return [log for log in logs if "capgate/verdict" in log]


def test_a_regression_stops_the_training(training: Project) -> None:
    """It goes on while it is judged, its checkpoint is deleted, and trackers get the verdict."""
    with Vllm(answer=like_a_model, tuned=forgot) as server:
        ((happened,), _) = train(training, server.url, steps=ENDLESS, save_steps=100)
        assert not server.adapters
    (logged,) = verdicts(happened["tracked"])
    assert verdicts(happened["history"])[0].items() <= {**logged, "step": happened["step"]}.items()
    assert logged["capgate/verdict"] == "REGRESSION"
    assert logged["capgate/verdict_code"] == 1
    assert logged["capgate/step"] == 100 < logged["global_step"] == happened["step"] < ENDLESS
    assert logged["capgate/drop_low"] <= logged["capgate/drop"] <= logged["capgate/drop_high"]
    assert logged["capgate/drop"] > 0.5
    assert logged["capgate/questions"] > 0
    assert not (training.root / "out" / "checkpoint-100").exists()
    assert not (training.root / "out" / "_capgate").exists()
    (report,) = training.reports()
    assert report["verdict"]["drop"] == logged["capgate/drop"]


def test_a_regression_stops_a_training_of_trl(training: Project) -> None:
    """TRL's trainers take the gate as those of transformers do."""
    folder = Path(os.environ.get("CAPGATE_TRL", "/nonexistent")).absolute()
    if not (folder / "trl").is_dir():
        pytest.skip("the package trl is not installed (make test-trl)")
    with Vllm(answer=like_a_model, tuned=forgot) as server:
        ((happened,), _) = train(
            training,
            server.url,
            steps=ENDLESS,
            save_steps=100,
            TRAINER="trl",
            PYTHONPATH=os.pathsep.join([str(REPOSITORY / "src"), str(folder)]),
        )
        assert not server.adapters
    (logged,) = verdicts(happened["tracked"])
    assert logged["capgate/verdict"] == "REGRESSION"
    assert logged["capgate/step"] == 100 < happened["step"] < ENDLESS


def test_a_dead_server_ends_no_training(training: Project) -> None:
    """The verdict is ERROR, its reason is told, and all steps are done."""
    ((happened,), text) = train(training, "http://127.0.0.1:9/v1", steps=20, save_steps=20)
    assert happened["step"] == 20
    (logged,) = verdicts(happened["tracked"])
    assert logged["capgate/verdict"] == "ERROR"
    assert "capgate/drop" not in logged
    assert "nothing accepts connections there" in text
    assert any("loss" in log for log in happened["history"] if log["step"] == 20)


def test_a_gate_without_its_trainer_judges_all_the_same(training: Project) -> None:
    """Its verdict is in the trainer's history alone, and a warning says how trackers get it."""
    url = "http://127.0.0.1:9/v1"
    ((happened,), text) = train(training, url, steps=20, save_steps=20, attached=False)
    assert happened["kinds"] == ["ERROR"]
    (logged,) = verdicts(happened["history"])
    assert logged["capgate/step"] == logged["step"] == 20
    assert verdicts(happened["tracked"]) == []
    assert "call gate.attach(trainer)" in text


def test_a_whole_model_is_not_judged(training: Project) -> None:
    """A checkpoint without an adapter is told of, and nothing is asked."""
    with Vllm(answer=like_a_model) as server:
        ((happened,), text) = train(training, server.url, steps=4, save_steps=4, PEFT="0")
        assert not server.chats
    assert happened["kinds"] == []
    assert "did not judge step 4: checkpoint-4 has no adapter_config.json" in text


def test_all_processes_of_a_training_stop(training: Project) -> None:
    """Only the world's main process judges; the others stop with it."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    with Vllm(answer=like_a_model, tuned=forgot) as server:
        happened, _ = train(
            *(training, server.url), steps=ENDLESS, save_steps=200, launcher=launcher
        )
    main, other = sorted(happened, key=lambda one: not one["main"])
    assert main["kinds"][0] == "REGRESSION"
    assert other["kinds"] == []
    assert main["step"] == other["step"] < ENDLESS
