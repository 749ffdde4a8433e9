"""Published scores: ours, a user's, and the rows that can't be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.common.errors import ConfigError
from capgate.config.published_scores import SHIPPED, load_published, published_file


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A user's file with every kind of impossible row."""
    file = tmp_path / "scores.csv"
    rows = [
        "Model Name,MMLU",
        "good-7b,63.5",
        "over,163.5",
        "minus,-3",
        "words,n/a",
        "gap,",
        "chance,22.9",
        "fraction,0.635",
        "twice,50.0",
        "twice,51.0",
        ",70.0",
        "good-8b,68.1",
    ]
    file.write_text("\n".join(rows))
    return file


def test_shipped_scores_are_sound() -> None:
    """Our own list has no impossible row, the five that users expect, and a source for each."""
    shipped = load_published(SHIPPED)
    assert shipped.faults == ()
    expected = {
        "Llama-3.1-8B": 63.5,
        "Llama-3.1-8B-Instruct": 68.1,
        "Llama-3.1-70B-Instruct": 83.6,
        "GPT-4o": 88.7,
        "Claude-3.5-Sonnet": 89.3,
    }
    assert {name: shipped.scores[name].mmlu for name in expected} == expected
    assert all(score.source for score in shipped.scores.values())


def test_a_published_score_is_a_floor_with_its_tolerance() -> None:
    """The floor is the score less the file's tolerance, and says where it is from."""
    floor = load_published(SHIPPED).floor("Llama-3.1-8B-Instruct")
    assert floor.accuracy == pytest.approx(0.651)
    assert floor.kind == "published"
    assert "68.1 less 3 points" in floor.source


def test_a_project_s_own_list_takes_the_shipped_one_s_place(tmp_path: Path) -> None:
    """Without a file of its own a project has the shipped scores."""
    assert published_file(tmp_path) == SHIPPED
    own = tmp_path / "published.yaml"
    own.write_text("models: {a: {mmlu: 50.0, source: paper}}")
    assert published_file(tmp_path) == own


def test_a_score_that_the_shipped_list_lacks() -> None:
    """The message says where a project adds it, and names no folder of installed packages."""
    with pytest.raises(ConfigError) as caught:
        load_published(SHIPPED).floor("no-model-of-this-name-at-all")
    assert "capgate's list of published scores has no usable MMLU score" in str(caught.value)
    assert "thresholds/published.yaml" in str(caught.value)
    assert str(SHIPPED) not in str(caught.value)


def test_lint_names_each_impossible_row(scores: Path) -> None:
    """Rows that can't be right are named by line and reason; the sound ones stay usable."""
    published = load_published(scores)
    assert {fault.place: fault.what.split(":")[0] for fault in published.faults} == {
        "line 3": "the score of `over` is over 100 %",
        "line 4": "the score of `minus` is negative",
        "line 5": "the score of `words` is not a number",
        "line 6": "the score of `gap` is not a number",
        "line 7": "the score of `chance` is under chance (25 %)",
        "line 8": "the score of `fraction` looks like a fraction, not percent",
        "line 10": "`twice` stands in line 9 already",
        "line 11": "the model's name is empty",
    }
    assert set(published.scores) == {"good-7b", "good-8b"}


@pytest.mark.parametrize(
    ("model", "says"),
    [("chance", "under chance"), ("twice", "line 10"), ("good7b", "Did you mean good-7b")],
)
def test_an_unusable_score_is_an_error(scores: Path, model: str, says: str) -> None:
    """Asking for an impossible or unknown row is an error that says why."""
    with pytest.raises(ConfigError) as caught:
        load_published(scores).floor(model)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "model,score\na,1\n", "Model Name;MMLU\na;50\n"])
def test_other_columns_are_refused(tmp_path: Path, text: str) -> None:
    """A file without the two columns is refused with the header it needs."""
    file = tmp_path / "scores.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match="Model Name,MMLU"):
        load_published(file)


def test_yaml_needs_a_source(tmp_path: Path) -> None:
    """A figure without its source, or an unknown key, is a fault of the file."""
    file = tmp_path / "published.yaml"
    file.write_text("models: {a: {mmlu: 50.0}, b: {mmlu: 50.0, source: paper, from: x}}")
    with pytest.raises(ConfigError) as caught:
        load_published(file)
    assert [fault.place for fault in caught.value.faults] == ["models.a.source", "models.b.from"]


def test_a_wider_tolerance_needs_its_reason(tmp_path: Path) -> None:
    """A tolerance beyond the usual lowers every floor: it is refused without a word on why."""
    file = tmp_path / "published.yaml"
    rows = "models: {m: {mmlu: 70, source: a paper}}\n"
    file.write_text(f"tolerance: 0.1\n{rows}", encoding="utf-8")
    with pytest.raises(ConfigError, match="say why in `reason:`"):
        load_published(file)
    file.write_text(f"tolerance: 0.1\nreason: other prompts\n{rows}", encoding="utf-8")
    assert round(load_published(file).floor("m").accuracy, 6) == 0.6
