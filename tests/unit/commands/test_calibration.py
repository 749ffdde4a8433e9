"""What a target's contradictions amount to, and what a verdict on it will take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.doubles.runs import answers, keep_run

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.cli import main
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.gate.calibration import calibrate
from capgate.gate.policy import Policy
from capgate.gate.power import visible_drop

C, W, U, E = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED, AnswerState.ERROR


def look(states: list[AnswerState], choices: str = "") -> list[Answer]:
    """One look at a target."""
    return [
        Answer(f"q{i}", SUBJECTS[i % 5], state, (choices or "A" * len(states))[i])
        for i, state in enumerate(states)
    ]


def test_flips_are_counted_both_ways() -> None:
    """Changes of letter, of correctness and errors are told apart; unread ones are no change."""
    first = look([C, C, W, W, E, U], "AAAAAA")
    second = look([C, W, C, W, C, U], "ABABAA")
    found = calibrate(
        first,
        second,
        Policy(max_unparsed=0.2, reason="few"),
        population=6,
        simulations=10,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert (found.n, found.errors) == (5, 1)
    assert (found.changed.count, found.flips.count, found.losses) == (3, 2, 1)
    assert found.flips.interval.low < 0.4 < found.flips.interval.high
    assert (found.accuracy_first, found.accuracy_second) == (0.4, 0.4)


def test_unreadable_answers_are_no_steadiness() -> None:
    """A target of which nothing can be read is not called steady."""
    with pytest.raises(ConfigError, match=r"5 of 5 answers of the first look are unreadable"):
        calibrate(
            look([U] * 5),
            look([U] * 5),
            Policy(),
            population=5,
            simulations=10,
            seed=1,
            domains=DOMAIN_OF,
        )


def test_a_steady_target_never_fails() -> None:
    """Without flips there is nothing that could be a false alarm."""
    steady = look([C] * 700 + [W] * 300)
    found = calibrate(
        steady,
        steady,
        Policy(),
        population=1000,
        simulations=50,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert (found.changed.count, found.whole.count, found.quick.count) == (0, 0, 0)
    assert found.holds


def test_the_false_alarms_of_a_wavering_target_are_within_the_promise() -> None:
    """3 % of 3,000 answers flip, all to the worse: luck of one look, and no alarm of many."""
    rng = np.random.default_rng(3)
    flips = rng.random(3000) < 0.03
    first = look([C] * 3000)
    second = look([W if flip else C for flip in flips])
    found = calibrate(
        first,
        second,
        Policy(),
        population=14_042,
        simulations=150,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert found.losses == found.flips.count == int(flips.sum())
    assert found.holds
    assert found.whole.share <= 0.05
    assert found.quick.share <= 0.08
    assert found.quick_questions < 3000


def test_two_looks_without_an_answer_are_an_error() -> None:
    """Nothing can be said of a target that did not answer."""
    with pytest.raises(ConfigError, match="no question was answered both times"):
        calibrate(
            look([E]),
            look([C]),
            Policy(),
            population=1,
            simulations=10,
            seed=1,
            domains=DOMAIN_OF,
        )


MODELS = """
mine: {model_name: m, base_url: "http://127.0.0.1:1/v1", dataset: bundled, max_connections: 8}
theirs: {adapter_of: mine}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a base and an adapter, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(MODELS, encoding="utf-8")
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """The plan for the one target that is named."""
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    (plan,) = json.loads(capsys.readouterr().out).values()
    found: dict = plan
    return found


@pytest.mark.usefixtures("project")
def test_a_plan_without_history_names_its_assumptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every figure that nobody measured is marked as assumed; an adapter's base is asked too."""
    plan = planned(capsys, "--model-id", "mine", "--adapter-name", "theirs")
    assert plan["reference"] == "base"
    assert plan["figure"] == {
        "value": 0.1,
        "source": "no earlier run tells",
        "assumed": True,
    }
    assert all(plan["rates"][name]["assumed"] for name in ("prompt_tokens", "seconds"))
    assert plan["whole"]["questions"] == 228
    each = sum(plan["rates"][name]["value"] for name in ("prompt_tokens", "completion_tokens"))
    assert plan["whole"]["tokens"] == pytest.approx(2 * 228 * each)
    assert main(["plan", "--model-id", "theirs"]) == 0
    assert "ASSUMED" in capsys.readouterr().out


def test_a_plan_rests_on_earlier_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens and pace of the newest run; and the drop that a fixed test can see."""
    keep_run(project, "r1", answers())
    plan = planned(capsys, "--model-id", "mine", "--baseline", "--discordance", "0.05")
    rates = plan["rates"]
    assert (rates["prompt_tokens"]["value"], rates["prompt_tokens"]["source"]) == (
        100,
        "the run r1",
    )
    assert rates["seconds"]["value"] == pytest.approx(11.4 / 228)
    assert plan["whole"]["seconds"] == pytest.approx(11.4)
    assert plan["figure"]["source"] == "--discordance"
    assert plan["visible"] == visible_drop(228, discordance=0.05, alpha=0.025, power=0.95)
    # Four questions of a subject show nothing at 1/57 of a quarter of 5 %.
    assert set(plan["subjects"].values()) == {None}
    assert plan["quick"][0]["mean"]["questions"] <= plan["quick"][0]["q90"]["questions"] <= 228


def test_subjects_alike_have_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """57 subjects of four questions, of which none can show anything, are one line of a plan."""
    keep_run(project, "r1", answers())
    capsys.readouterr()
    assert main(["plan", "--model-id", "mine", "--adapter-name", "theirs"]) == 0
    shown = capsys.readouterr().out
    assert "  by subject alone:\n    57 subjects of 4 questions each: none\n" in shown
    assert "anatomy" not in shown


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model-id", "mine"), "nothing to be compared with"),
        (("--model-id", "mien"), "Did you mean mine"),
        (("--model-id", "mine", "--baseline", "--published", "x.csv"), "two references"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Unknown targets and missing references end with usage's code."""
    assert main(["plan", *arguments]) == 4
    assert said in capsys.readouterr().err
