"""What people read of the project agrees with what it does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from capgate.common import exit_codes

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


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """It has at most 120 lines, and a link to each page of the docs."""
    text = read("README.md")
    assert len(text.splitlines()) <= 120
    pages = {f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", text))


def test_the_readme_says_what_each_verdict_means() -> None:
    """The table has the exit codes that commands end with, and the two first commands stand."""
    text = read("README.md")
    told = dict(re.findall(r"^\| ([A-Z]+) \| (\d+) \|", text, re.M))
    codes = ("PASS", "REGRESSION", "INCONCLUSIVE", "ERROR")
    assert told == {name: str(getattr(exit_codes, name)) for name in codes}
    assert re.search(r"^make quick .*\nmake test ", text, re.M)


PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_a_place_on_a_page_have_their_goal(page: str) -> None:
    """The heading that a link names is on the page that it names."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.S)
    for file, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", text):
        goal = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert anchor in anchors(goal.read_text(encoding="utf-8")), f"{file}#{anchor}"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-") for one in plain}


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
