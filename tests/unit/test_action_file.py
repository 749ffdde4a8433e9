"""action.yml: what GitHub documents of such a file, and what its scripts do with hostile inputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.composite import Ended, run_action

REPOSITORY = Path(__file__).parents[2]
ACTION = REPOSITORY / "action.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = DOCUMENT["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]
KEY = "canary%0A0123456789abcdef"

_TOP = {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
_OF_STEP = {"run", "shell", "if", "name", "id", "env", "working-directory", "uses", "with"}
_OF_INPUT = {"description", "required", "default", "deprecationMessage", "type"}
# A stand-in for capgate keeps what it was called with, and says nothing.
_RECORDS = """#!{python}
import json, os, sys
json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, open({file!r}, "w"))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder, with a `capgate` on the PATH that keeps what it is called with."""
    program = tmp_path / "bin" / "capgate"
    program.parent.mkdir()
    called = str(tmp_path / "called.json")
    program.write_text(_RECORDS.format(python=sys.executable, file=called), encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path


def act(folder: Path, **inputs: str) -> Ended:
    """Runs the action with an installed capgate, on a push."""

    def run(command: tuple[str, ...], where: Path, further: dict[str, str]) -> tuple[int, str]:
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=where,
            env={"PATH": path, "HOME": str(folder)} | further,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    given = {"target": "my-model", "version": "installed"} | given
    github = {"token": "ghs_x", "action_path": str(REPOSITORY), "event": {}}
    return run_action(ACTION, run, folder / "work", folder / "temp", given, github)


def called(folder: Path) -> dict[str, Any]:
    """How capgate was called."""
    found: dict[str, Any] = json.loads((folder / "called.json").read_text(encoding="utf-8"))
    return found


def test_it_has_what_github_documents() -> None:
    """Each key is one of the metadata syntax, and what that requires is there."""
    assert set(DOCUMENT) <= _TOP
    assert {"name", "description", "inputs", "outputs", "runs", "branding"} <= set(DOCUMENT)
    assert set(DOCUMENT["branding"]) == {"icon", "color"}
    assert DOCUMENT["runs"]["using"] == "composite"
    assert set(DOCUMENT["runs"]) == {"using", "steps"}
    for name, one in DOCUMENT["inputs"].items():
        assert re.fullmatch(r"[a-z_][a-z0-9_-]*", name)
        assert set(one) <= _OF_INPUT, name
        assert one["description"].endswith("."), name
        assert one.get("required") or isinstance(one["default"], str), name
    for name, one in DOCUMENT["outputs"].items():
        assert set(one) == {"description", "value"}, name


def test_each_step_is_one_that_github_takes() -> None:
    """A step runs a script in a shell that it names, or uses an action; ids are told apart."""
    for step in STEPS:
        assert set(step) <= _OF_STEP, step
        assert ("run" in step) != ("uses" in step)
        assert ("run" in step) == ("shell" in step)
    ids = [step["id"] for step in STEPS if "id" in step]
    assert len(ids) == len(set(ids))
    for named in re.findall(r"steps\.([\w-]+)\.", ACTION.read_text(encoding="utf-8")):
        assert named in ids


def test_other_actions_are_pinned() -> None:
    """What it uses is named by a commit: a tag can be moved to other code."""
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert len(used) == 2
    for one in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one), one


def test_no_expression_is_a_part_of_a_script() -> None:
    """Inputs reach the scripts as variables, so that none can be read as commands."""
    assert len(SCRIPTS) == 3
    for step in SCRIPTS:
        assert "${{" not in step["run"], step["name"]


def test_each_input_is_used() -> None:
    """No input does nothing, and no step reads one that is not there."""
    text = yaml.safe_dump(DOCUMENT["runs"])
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(DOCUMENT["inputs"])


def test_the_key_reaches_no_other_step() -> None:
    """The key is a variable of the gate's script alone, and the token of the comment's."""
    for secret, owner in (("inputs.key }}", "Gate"), ("inputs.token }}", "Comment")):
        holders = [step["name"] for step in SCRIPTS if secret in str(step["env"].values())]
        assert holders == [owner]


@pytest.mark.parametrize(
    "hostile",
    [
        "$(touch owned)",
        "`touch owned`",
        '"; touch owned; "',
        "'; touch owned; '",
        "--help",
        "* ~ ${HOME} $PATH",
        "x && touch owned",
    ],
)
def test_hostile_inputs_stay_text(folder: Path, hostile: str) -> None:
    """Each input arrives as one argument, as it was written, and nothing of it is run."""
    act(
        folder,
        target=hostile,
        adapter=hostile,
        suite=hostile,
        endpoints=hostile,
        store=hostile,
        benchmark=f"{hostile}\n\nmmlu",
        args=f"--limit=5\n{hostile}",
        output_dir=hostile,
    )
    assert called(folder)["arguments"] == [
        "run",
        "--quick",
        f"--model-id={hostile}",
        f"--output-dir={hostile}",
        f"--junitxml={hostile}/junit.xml",
        f"--adapter-name={hostile}",
        f"--suite={hostile}",
        f"--endpoints={hostile}",
        f"--store={hostile}",
        f"--benchmark={hostile}",
        "--benchmark=mmlu",
        "--limit=5",
        hostile,
    ]
    assert not list(folder.rglob("owned"))


def test_the_least_that_can_be_given(folder: Path) -> None:
    """Inputs that are left out give no argument, and `baseline` gives one without a value."""
    act(folder)
    few = ["run", "--quick", "--model-id=my-model", "--output-dir=reports"]
    assert called(folder)["arguments"] == [*few, "--junitxml=reports/junit.xml"]
    act(folder, baseline="true", mode="full")
    assert called(folder)["arguments"][1] == "--full"
    assert called(folder)["arguments"][-1] == "--baseline"


def test_the_key_is_masked_and_on_no_command_line(folder: Path) -> None:
    """The run gets it under the name that the target reads, and the log cuts it out."""
    ended = act(folder, key=KEY, key_variable="MY_SERVER_KEY")
    assert called(folder)["environment"]["MY_SERVER_KEY"] == KEY
    assert KEY not in str(called(folder)["arguments"])
    assert "SERVER_KEY" not in called(folder)["environment"]
    # GitHub reads %25 as %: the mask is the key itself.
    (mask,) = re.findall(r"^::add-mask::(.*)$", ended.text, re.M)
    assert mask.replace("%25", "%") == KEY
    assert KEY not in ended.text


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"key": "a\n::error::b"}, "more than one line"),
        ({"key": KEY, "key_variable": "PATH"}, "key-variable"),
        ({"key": KEY, "key_variable": "A_KEY=b\nTOKEN"}, "key-variable"),
        ({"store": "postgresql://me:pass@db/answers"}, "PGPASSWORD"),
        ({"store": "postgresql://db/answers?password=pass"}, "PGPASSWORD"),
        ({"target": ""}, "target is empty"),
        ({"mode": "$(touch owned)"}, "neither quick nor full"),
    ],
)
def test_an_input_that_can_not_be_used(folder: Path, inputs: dict[str, str], said: str) -> None:
    """It is named in an annotation and the summary, and nothing is run."""
    ended = act(folder, **inputs)
    assert ended.steps["Gate"].code == 4
    assert ended.outputs == {"verdict": "ERROR", "exit-code": "4", "report": ""}
    (annotation,) = re.findall(r"^::error title=capgate::(.*)$", ended.text, re.M)
    assert said in annotation
    assert said in ended.summary
    assert not (folder / "called.json").exists()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"version": "0.2 --index-url=http://evil"}, "version"),
        ({"version": "", "extras": "local] @ http://evil"}, "extras"),
    ],
)
def test_a_version_that_is_none(folder: Path, inputs: dict[str, str], said: str) -> None:
    """A version or an extra gives pip no argument and no address."""
    ended = act(folder, **inputs)
    assert ended.steps["Install capgate"].code == 4
    assert f"the input {said}" in ended.text
    assert "Gate" not in ended.steps
    assert ended.outputs["verdict"] == "ERROR"
