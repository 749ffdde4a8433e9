"""What people read of the project agrees with what it does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def read(path: str) -> str:
    """Reads a file of the repository."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_the_workflow_runs_what_ci_runs() -> None:
    """Each target of `.ci/run` is a job of the workflow, which installs first as that does."""
    parts = re.findall(r"^part \d+ (\S+)$", read(".ci/run"), re.M)
    job = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["make"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert parts == ["install", *job["strategy"]["matrix"]["target"]]
    assert commands[0] == "make install"
    assert commands[-1] == "make ${{ matrix.target }}"


def test_the_newest_changes_are_of_this_version() -> None:
    """The first section of the changelog is the version of the package."""
    (newest, *_) = re.findall(r"^## (\S+)$", read("CHANGELOG.md"), re.M)
    assert newest == PROJECT["project"]["version"]


def test_the_architecture_names_each_layer() -> None:
    """The table of packages has the layers that `make lint` checks, in their order."""
    (layers,) = [
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    page = read("docs/architecture.md").partition("## Packages")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = [re.findall(r"`(\w+)`", row) for row in rows]
    assert told == [layer.split(" | ") for layer in layers]


def test_the_license_is_the_declared_one() -> None:
    """The text of the license is that of the package's metadata, and names its holder."""
    text = read("LICENSE")
    assert text.startswith(f"{PROJECT['project']['license']} License")
    assert "The capgate authors" in text


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_each_module_that_is_named_is_there(page: str) -> None:
    """The pages for people who change the code name no file that has moved away."""
    there = [path.as_posix() for top in ("src", "tests") for path in (REPOSITORY / top).rglob("*")]
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", read(page)))
    ours = {name for name in named if not (REPOSITORY / name).exists()}
    assert not {name for name in ours if not any(p.endswith(f"/{name.strip('/')}") for p in there)}
