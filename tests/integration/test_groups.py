"""What a run says of subjects and domains: lost, kept, or too few to tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Outcome, Project, question_of, right

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
from capgate.report.data.read import read_report

BASE, ADAPTER = "taught", "forgetful"
FEW = "formal_logic"
"""A subject that loses three of its four questions, which prove nothing."""


@cache
def of_humanities() -> frozenset[str]:
    """The texts of the bundled questions of the humanities."""
    text = (files("capgate.benchmarks.mmlu") / "bundled" / "test.jsonl").read_text(encoding="utf-8")
    rows = map(json.loads, text.splitlines())
    return frozenset(r["question"] for r in rows if DOMAIN_OF[r["subject"]] == "humanities")


def lost_question(asked: dict[str, Any]) -> str:
    """The question of the humanities that the adapter is asked; `""` where it is another."""
    content = asked["messages"][-1]["content"]
    found = asked["model"] == ADAPTER and "ANSWER:" in content and question_of(asked)
    return found if found and found in of_humanities() else ""


def forgetful(asked: dict[str, Any]) -> str:
    """Answers all right, but as the adapter those of the humanities with one letter."""
    if "ANSWER:" not in asked["messages"][-1]["content"]:
        return f"I am {asked['model']}."  # the proof that the adapter is live
    return "ANSWER: A" if lost_question(asked) else right(asked)


def write_targets(project: Project, server: Server) -> None:
    """A base, and an adapter of it on the same server."""
    project.write(
        "config/models.yaml",
        f"{BASE}:\n  model_name: openai/{BASE}\n  base_url: {server.url}\n  dataset: bundled\n"
        f"  context_window: 2048\n  max_connections: 32\n{ADAPTER}:\n  adapter_of: {BASE}\n"
        f"  default: true\n",
    )


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Outcome]]:
    """A whole run on an adapter that lost 39 of the 52 questions of the humanities."""
    project = Project.make(tmp_path_factory.mktemp("groups") / "project")
    with Server(models=(BASE, ADAPTER), answer=forgetful) as server:
        write_targets(project, server)
        summary = str(project.root / "summary.md")
        chosen = ("-k", f"suite or {FEW} or anatomy", "-v")
        outcome = project.pytest("benchmarks", *chosen, GITHUB_STEP_SUMMARY=summary)
    yield project, outcome
    project.close()


def test_the_domain_that_was_lost_is_named(red: tuple[Project, Outcome]) -> None:
    """No subject of four questions shows anything, and their domain does."""
    _, outcome = red
    assert outcome.code == 1, outcome.text
    assert outcome.verdict(ADAPTER) == "REGRESSION"
    named = "Domains that lost (Holm over 57 subjects and 4 domains): humanities (75.0 points)."
    assert f"  {named}" in outcome.text
    assert "Subjects that lost" not in outcome.text
    assert "  where: the domain humanities 75.0 points (39 lost, 0 gained of 52): lost" in (
        outcome.text
    )
    assert "The loss is concentrated in the domain humanities" in outcome.text
    assert "4 domains: 1 lost, 3 too few to tell; 57 subjects: 57 too few to tell" in outcome.text


def test_a_cell_never_says_pass_of_a_group(red: tuple[Project, Outcome]) -> None:
    """Formal logic stands at 25 % against its base's 100 %: too few to tell, in each form."""
    project, outcome = red
    rows = dict(re.findall(r"^ +([a-z_]+) +\d.*  (\S.*)$", outcome.text, re.MULTILINE))
    assert (rows[FEW], rows["humanities"], rows["stem"], rows["all"]) == (
        "too few to tell",
        "lost",
        "too few to tell",
        "REGRESSION",
    )
    page = next(project.root.glob("reports/2*/report.html")).read_text()
    cells = re.findall(r'<th scope="row(?:group)?">([^<]*)</th>.*?<td>([^<]*)</td></tr>', page)
    said = {name: word for name, word in cells if word}
    assert (said["formal logic"], said["humanities"], said["other"]) == (
        "too few to tell",
        "lost",
        "too few to tell",
    )
    assert "PASS" not in said.values()
    summary = (project.root / "summary.md").read_text()
    assert re.search(r"\| humanities \| 52 \|.*\| lost \|\n", summary)
    assert re.search(r"\| STEM \| 72 \|.*\| too few to tell \|\n", summary)
    assert re.search(r"\| `humanities` \| domain \| 52 \| 39 \| 0 \| 75.0 points \|", summary)


def test_a_test_s_line_says_what_its_subject_proved(red: tuple[Project, Outcome]) -> None:
    """The test of a subject whose questions prove nothing passes, and its line says so."""
    _, outcome = red
    lines = re.findall(r"::(test_\w+)\[\w+-?(\w*)\] (.*?) +\[ *\d+%\]", outcome.text)
    assert ("test_subject", FEW, "PASSED too few to tell") in lines
    assert ("test_suite", "", "FAILED REGRESSION") in lines
    assert outcome.counts == {"failed": 1, "passed": 2, "deselected": 57}


def test_the_report_holds_the_words(red: tuple[Project, Outcome]) -> None:
    """Of each subject and domain, and the domains' own findings in the verdict."""
    project, _ = red
    result = project.result(ADAPTER)
    assert {name: one["word"] for name, one in result["domains"].items()} == {
        "stem": "too few to tell",
        "humanities": "lost",
        "social_sciences": "too few to tell",
        "other": "too few to tell",
    }
    assert result["subject_details"][FEW]["verdict"]["kind"] == "too few to tell"
    assert result["subject_details"][FEW]["verdict"]["exit_code"] == 0
    assert {one["word"] for one in result["subject_details"].values()} == {"too few to tell"}
    found = {one["domain"]: one for one in result["verdict"]["domains"]}
    assert (found["humanities"]["losses"], found["humanities"]["failed"]) == (39, True)
    report = read_report(next(project.root.glob("reports/2*/report.json")))
    assert report.verdict is not None
    assert (report.verdict["kind"], report.verdict["exit_code"]) == ("REGRESSION", 1)


def test_triage_names_the_domain(
    red: tuple[Project, Outcome],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The list of lost questions begins with where they were lost."""
    from capgate.cli import main

    project, _ = red
    monkeypatch.chdir(project.root)
    assert main(["triage", "latest"]) == 0
    assert "; lost: the domain humanities; compared with its base" in capsys.readouterr().out


def test_a_domain_whose_loss_is_gone_when_asked_again_is_cleared(project: Project) -> None:
    """With `--confirm` all subjects of a lost domain are asked again before it fails for good."""
    seen: set[str] = set()

    def once(asked: dict[str, Any]) -> str:
        """Answers each question of the domain wrong at first, and right after that."""
        question = lost_question(asked)
        if not question or question not in seen:
            seen.add(question)
            return forgetful(asked)
        return right(asked)

    with Server(models=(BASE, ADAPTER), answer=once) as server:
        write_targets(project, server)
        chosen = f"{FEW},philosophy,prehistory,world_religions,anatomy,virology"
        outcome = project.pytest("benchmarks", "-k", "suite", "--confirm", "--subjects", chosen)
    assert "asked again, and so not counted as lost: humanities." in outcome.text, outcome.text
    words = {name: one["word"] for name, one in project.result(ADAPTER)["domains"].items()}
    assert words == {"humanities": "too few to tell", "other": "too few to tell"}
    assert "Domains that lost" not in outcome.text
