"""A run beside published scores: names are matched loosely, never wrongly, and always stated."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.common.answers import Answer, AnswerState
from capgate.config.published_scores import SHIPPED, Published, load_published
from capgate.report.data.published_beside import beside, find_match
from capgate.report.text.published_lines import lines


@pytest.fixture(scope="module")
def published() -> Published:
    """The published scores that capgate ships."""
    return load_published(SHIPPED)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai/gpt-4o", "GPT-4o"),
        ("openai/gpt-4o-2024-08-06", "GPT-4o"),
        ("openai/gpt-4o-mini", "GPT-4o-mini"),
        ("anthropic/claude-3.5-sonnet", "Claude-3.5-Sonnet"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct"),
        ("meta-llama/llama-3.1-8b-instruct:free", "Llama-3.1-8B-Instruct"),
        ("Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "Llama-3.1-8B-Instruct"),
        ("meta-llama/Llama-3.1-8B", "Llama-3.1-8B"),
        ("qwen/qwen-2.5-72b-instruct", "Qwen2.5-72B-Instruct"),
        ("deepseek/deepseek-chat-v3", "DeepSeek-V3"),
        ("anthropic/claude-sonnet-4", None),
        ("openai/gpt-4o-audio", None),
        ("meta-llama/llama-3-70b-instruct", None),
        ("meta-llama/llama-3.3-70b-instruct", None),
        ("smollm2-135m-instruct", None),
        ("", None),
    ],
)
def test_names_are_matched(published: Published, name: str, meant: str | None) -> None:
    """Makers, dates and weight formats may differ; sizes, versions and kinds may not."""
    match = find_match((name,), published.of("mmlu"))
    assert (match.score.model if match else None) == meant


def test_what_differs_in_the_names_is_stated(published: Published) -> None:
    """A loose match names the words that it passed over."""
    match = find_match(("Meta-Llama-3.1-8B-Instruct-AWQ",), published.of("mmlu"))
    assert match is not None
    assert match.note.endswith("was taken for 'Llama-3.1-8B-Instruct', apart from awq, meta")


def answers(correct: int, wrong: int, errors: int = 0) -> list[Answer]:
    """Answers of so many kinds."""
    states = [AnswerState.CORRECT] * correct + [AnswerState.WRONG] * wrong
    states += [AnswerState.ERROR] * errors
    return [Answer(str(at), "anatomy", state) for at, state in enumerate(states)]


def test_a_run_stands_beside_its_score(published: Published) -> None:
    """Accuracy (errors left out), interval, score, source and difference are shown."""
    one = beside("mine", "openai/gpt-4o", "t", answers(80, 20, 5), published)
    assert one.questions == 100
    assert one.difference == pytest.approx(0.80 - 0.887)
    shown = "\n".join(lines(one, published))
    for piece in ("80.0%", "100 questions", "88.7%", "CAIS", "difference -8.7 points"):
        assert piece in shown
    data = one.to_dict()
    assert data["published"]["model"] == "GPT-4o"
    assert "another" not in data["published"]["matched"]
    assert "a point or two means nothing" in data["caution"]


def test_without_a_score_the_nearest_names_are_told(published: Published) -> None:
    """Where no published model is meant, none is shown; only names like it."""
    one = beside("mine", "meta-llama/llama-3.3-70b-instruct", "t", answers(1, 1), published)
    assert one.difference is None
    assert one.to_dict()["published"] is None
    assert "Llama-3.1-70B-Instruct" in one.nearest
    assert "none of this name in published.yaml" in "\n".join(lines(one, published))


def test_nothing_scored_has_no_difference(published: Published) -> None:
    """A run of errors alone has no accuracy to stand beside anything."""
    one = beside("mine", "gpt-4o", "t", answers(0, 0, 3), published)
    assert one.accuracy is None
    assert one.difference is None
    assert "nothing was scored" in "\n".join(lines(one, published))


def test_another_benchmark_stands_beside_its_own_score(tmp_path: Path) -> None:
    """Its percent has a name of its own, and MMLU's score is not taken for it."""
    file = tmp_path / "published.csv"
    file.write_text("Model Name,MMLU,GSM8K\nGPT-4o,88.7,92.0\nGPT-4o-mini,82.0,\n")
    published = load_published(file)
    one = beside("mine", "openai/gpt-4o", "t", answers(80, 20), published, "gsm8k")
    assert one.difference == pytest.approx(0.80 - 0.92)
    found = one.to_dict()["published"]
    assert (found["benchmark"], found["percent"], "mmlu" in found) == ("gsm8k", 92.0, False)
    assert beside("mine", "gpt-4o-mini", "t", answers(1, 1), published, "gsm8k").match is None
    assert beside("mine", "gpt-4o", "t", answers(1, 1), published, "sums").match is None
