"""Runs whose answers can't be read: nothing is concluded from them, and each is told why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import ContentReasoning
from tests.doubles.replies import Said
from tests.doubles.server import Server
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import Outcome, Project, keys, question_of, right, target, wrong
from tests.integration.test_adapters import FEW, is_question, like_a_model

SOME = "abstract_algebra,anatomy,astronomy,philosophy,virology"

ADAPTERS = ("bold", "thinks", "opens", "apart", "endless")


def key_of(asked: dict[str, Any]) -> str:
    """The right letter of the question that a request asks."""
    return keys()[question_of(asked)]


def in_bold(asked: dict[str, Any]) -> str:
    """Answers questions right, in a form that the benchmark's scorer does not read."""
    return f"**Answer:** {key_of(asked)}" if is_question(asked) else like_a_model(asked)


def tuned(path: str, asked: dict[str, Any]) -> str:
    """What each of the adapters writes."""
    if not is_question(asked):
        return like_a_model(asked)
    good, bad = right(asked), wrong(asked)
    match Path(path).name:
        case "bold":
            return in_bold(asked)
        case "thinks":
            return f"<think>First guess:\n{bad}\nNo.</think> The correct answer is ({good[-1]})."
        case "opens":
            return Said(f"<think>It may be\n{good}\nor it may", cut_off=True)
        case "apart":
            return Said(good, thought=f"First guess:\n{bad}\nNo.")
        case _:
            return Said(f"{good}\n\nQuestion: another one\n{bad}\n\nQuestion: and", cut_off=True)


class Judged:
    """A run that judged all the adapters at once."""

    def __init__(self, project: Project, outcome: Outcome) -> None:
        self.project = project
        self.outcome = outcome
        (self.report,) = project.reports()

    def verdict(self, adapter: str) -> dict[str, Any]:
        """An adapter's verdict in report.json."""
        return dict(self.report["targets"][f"base+{adapter}"]["verdict"])

    def overall(self, adapter: str) -> dict[str, Any]:
        """An adapter's counts in report.json."""
        return dict(self.report["targets"][f"base+{adapter}"]["overall"])

    def labels(self, adapter: str) -> dict[str, int]:
        """Why an adapter lost what it lost."""
        return dict(self.report["comparisons"][f"base+{adapter}"]["labels"])


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """One run over all the adapters."""
    project = Project.make(tmp_path_factory.mktemp("unreadable") / "project")
    project.write("thresholds/policy.yaml", FEW)
    for at, name in enumerate(ADAPTERS):
        make_adapter(project.root / "adapters" / name, seed=at)
    with Vllm(answer=like_a_model, tuned=tuned) as server:
        project.targets(base=target(server.url))
        named = [option for name in ADAPTERS for option in ("--adapter-name", name)]
        outcome = project.full(
            *("--model-id", "base", *named, "--max-tokens", "64"),
            XDG_CACHE_HOME=str(project.root / "cache"),
        )
    yield Judged(project, outcome)
    project.close()


def test_answers_in_another_form_conclude_nothing(judged: Judged) -> None:
    """A candidate of which nothing can be read is INCONCLUSIVE, and the remedy is named."""
    assert judged.verdict("bold")["kind"] == "INCONCLUSIVE"
    said = "8 of 8 answers of the candidate are unreadable (100.0%). More than 10.0%"
    assert said in judged.outcome.text
    assert "set answer_format: constrained" in judged.outcome.text


def test_what_is_unreadable_again_tells_nothing(judged: Judged) -> None:
    """A server that ignores the constraint leaves the shares of format and knowledge open."""
    split = judged.report["comparisons"]["base+bold"]["split"]
    assert (split["status"], split["format"], split["knowledge"]) == ("not had", None, None)
    said = "8 could not be read either when asked once more in a constrained form"
    assert said in split["reason"]
    assert "is format could not be told" in judged.outcome.text


def test_a_thought_is_never_read_for_an_answer(judged: Judged) -> None:
    """A letter that stands in a thought alone is no answer; the thought stays in the log."""
    overall = judged.overall("thinks")
    assert (overall["correct"], overall["wrong"], overall["unparsed"]) == (0, 0, 8)
    assert judged.labels("thinks") == {"unparsed": 8}
    logs = judged.project.root.glob("reports/*/logs/*.json")
    thoughts = [
        part.reasoning
        for log in logs
        for sample in read_eval_log(str(log)).samples or []
        for part in sample.output.message.content
        if isinstance(part, ContentReasoning) and "First guess" in part.reasoning
    ]
    # The run asks each of them once more, in a constrained form.
    assert len(thoughts) >= 16


def test_a_text_that_ends_inside_a_thought_holds_no_answer(judged: Judged) -> None:
    """An answer that is cut off while it thinks is unreadable and counted as cut off."""
    overall = judged.overall("opens")
    assert (overall["correct"], overall["unparsed"], overall["cut_off"]) == (0, 8, 8)
    (reason, *_) = judged.verdict("opens")["reasons"]
    assert "8 of 8 answers of the candidate are unreadable (100.0%), 8 of them cut off" in reason
    assert "--max-tokens" in reason


def test_a_thought_that_the_server_sends_apart_is_no_answer(judged: Judged) -> None:
    """Where the server sends thought and answer apart, the answer alone is read."""
    overall = judged.overall("apart")
    assert (overall["correct"], overall["unparsed"]) == (8, 0)


def test_an_answer_that_does_not_stop_is_format(judged: Judged) -> None:
    """Right answers that run on into wrong ones are labelled so, and the advice is about EOS."""
    assert judged.verdict("endless")["kind"] == "REGRESSION"
    assert judged.labels("endless") == {"does not stop": 8}
    assert judged.overall("endless")["cut_off"] == 8
    assert "The model does not stop" in judged.outcome.text
    assert "lower learning rate" not in judged.outcome.text


@pytest.mark.parametrize("mark", ["full", "quick"])
def test_unreadable_on_both_sides_is_no_agreement(project: Project, mark: str) -> None:
    """A base and an adapter of which nothing can be read do not pass for being alike."""
    project.write("thresholds/policy.yaml", "catch: 0.3\nreason: few questions\n")
    make_adapter(project.root / "adapters" / "mine")
    with Vllm(answer=in_bold) as server:
        project.targets(base=target(server.url))
        outcome = project.pytest(
            *("benchmarks", "-m", mark, "--subjects", SOME),
            *("--model-id", "base", "--adapter-name", "mine"),
            XDG_CACHE_HOME=str(project.root / "cache"),
        )
    assert outcome.code == 10, outcome.text
    assert outcome.verdict("base+mine") == "INCONCLUSIVE"
    assert "answers of the reference are unreadable (100.0%)" in outcome.text


def test_a_measurement_tells_of_unreadable_answers(project: Project) -> None:
    """A run that only measures says how many answers it could not read, and why."""
    cut = Said("The answer is", cut_off=True)
    with Server(answer=lambda asked: cut if is_question(asked) else right(asked)) as server:
        project.targets(double=target(server.url))
        outcome = project.full("--measure")
    assert outcome.code == 10, outcome.text
    said = "8 of 8 answers of the candidate are unreadable (100.0%), 8 of them cut off at --max-"
    assert said in outcome.text


def test_a_thought_that_the_prompt_began_is_no_answer_when_cut_off(project: Project) -> None:
    """Where the chat template begins the thought, a text that is cut off inside it is unreadable.

    Such a text holds no mark of a thought; the preflight's answer shows that there is one.
    """

    def think(asked: dict[str, Any]) -> str:
        if not is_question(asked) or question_of(asked) in few:
            return f"At first I thought\n{wrong(asked)}\n</think>\n{right(asked)}"
        return Said(f"It may be\n{right(asked)}\nor it may", cut_off=True)

    few = sorted(keys())[::2]
    with Server(answer=think) as server:
        project.serve(server)
        project.full("-n", "2")
        overall = project.result()["overall"]
    assert overall["wrong"] == 0
    assert overall["cut_off"] == overall["unparsed"] > 0
    assert overall["correct"] + overall["unparsed"] == 8


@pytest.mark.parametrize("mark", ["full", "quick"])
def test_unreadable_answers_are_under_no_floor(project: Project, mark: str) -> None:
    """Held against a floor, a model of which nothing can be read is INCONCLUSIVE."""
    with Server(answer=lambda asked: in_bold(asked) if is_question(asked) else right(asked)) as one:
        project.serve(one)
        outcome = project.pytest("benchmarks", "-m", mark, "--subjects", SOME)
    assert outcome.code == 10, outcome.text
    assert outcome.verdict() == "INCONCLUSIVE"
