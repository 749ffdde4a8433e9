"""`capgate baseline`: a bar is recorded from a good run and lowered only with open eyes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.runs import answers, keep_run, questions

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.cli import main
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.gate import Pair
from capgate.gate.verdict import Verdict
from capgate.run.reference import BaselineReference, rows
from capgate.store.answer_store import Store
from capgate.store.baselines import load_baseline
from capgate.store.shard import Shard


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def baseline_of(project: Path) -> Path:
    """Where the target's baseline lies."""
    return project / "thresholds" / "baselines" / "mine.json"


def reviewed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The digest that diff shows."""
    capsys.readouterr()
    assert main(["baseline", "diff", "mine", "--json", *arguments]) == 0
    digest: str = json.loads(capsys.readouterr().out)["digest"]
    return digest


def test_the_newest_whole_run_is_recorded(project: Path) -> None:
    """Without --run it is the newest run of the whole benchmark, each question on its line."""
    keep_run(project, "r1", answers(lost=range(60)))
    keep_run(project, "r2", answers(lost=range(50)))
    keep_run(project, "r3", answers()[:100], shard="quick")
    assert main(["baseline", "record", "mine"]) == 0
    baseline = load_baseline(baseline_of(project))
    assert (baseline.run, baseline.n, baseline.correct) == ("r2", 228, 178)
    lines = baseline_of(project).read_text(encoding="utf-8").splitlines()
    one = questions()[0]
    mine = [line.strip(" ,") for line in lines if one.hash in line]
    assert mine == [f'"{one.hash}": "W {"B" if one.sample.target == "A" else "A"}"']


def test_the_same_answers_give_the_same_file(project: Path) -> None:
    """The order in which answers came leaves no trace, so that a diff shows changes alone."""
    keep_run(project, "r1", answers(lost=[3]))
    assert main(["baseline", "record", "mine"]) == 0
    first = load_baseline(baseline_of(project))
    baseline_of(project).unlink()
    keep_run(project, "r2", reversed(answers(lost=[3])))
    assert main(["baseline", "record", "mine"]) == 0
    second = load_baseline(baseline_of(project))
    assert json.dumps(first.answers) == json.dumps(second.answers)


def test_texts_that_say_more_than_the_letter_are_kept(project: Path) -> None:
    """A plain answer stands for itself; others are kept as they were, the endless ones not."""
    texts = {0: "ANSWER: A", 1: "I'd say B\u202e", 2: "x" * 5000}
    keep_run(project, "r1", answers(texts=texts))
    assert main(["baseline", "record", "mine"]) == 0
    kept = load_baseline(baseline_of(project)).texts
    asked = questions()
    assert kept == {asked[1].hash: "I'd say B\u202e", asked[2].hash: None}


def keep_second_look(project: Path, run: str, given: list[Answer], **about: object) -> None:
    """Keeps what `capgate calibrate` leaves in the store: a run's entry and its second look."""
    keep_run(project, run, [], shard=None, **about)
    with Store(project / "reports" / "answers.sqlite") as store:
        facts = store.shards(run)["mine", Shard("entry", MMLU)]
        context = store.context(facts["fingerprint"], facts["prompt_hash"], facts["facts"])
        for one in given:
            store.add(context, one, run=run, target="mine", look="repeat")


def test_a_second_look_is_kept(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both answers are kept where the target was asked twice; a comparison is by each of them."""
    keep_run(project, "r1", answers(lost=[3]))
    keep_second_look(project, "c1", list(answers(lost=[3, 5, 8])))
    assert main(["baseline", "record", "mine"]) == 0
    assert "asked twice: 2 answers differ" in capsys.readouterr().out
    baseline = load_baseline(baseline_of(project))
    assert (baseline.schema_version, baseline.looks, baseline.correct) == (2, 2, 227)
    asked = questions()
    assert set(baseline.again) == {asked[5].hash, asked[8].hash}
    pairs = rows(BaselineReference(baseline), {"mine": list(answers())}, "mine")
    wrong = [one for one in pairs if isinstance(one, Pair) and one.reference_again is not None]
    assert {(one.question, one.reference_again) for one in wrong} == {
        (asked[5].hash, AnswerState.WRONG),
        (asked[8].hash, AnswerState.WRONG),
    }


@pytest.mark.parametrize("other", ["fingerprint", "questions"])
def test_a_look_at_something_else_is_not_kept(project: Path, other: str) -> None:
    """A second look counts if the same target answered all of the same questions."""
    keep_run(project, "r1", answers())
    if other == "fingerprint":
        keep_second_look(project, "c1", list(answers(lost=[3])), fingerprint="e" * 16)
    else:
        keep_second_look(project, "c1", list(answers(lost=[3]))[:100])
    assert main(["baseline", "record", "mine"]) == 0
    assert load_baseline(baseline_of(project)).looks == 1


def test_a_baseline_of_the_first_form_is_read(project: Path) -> None:
    """A file that knows of no second look is read as one of a target that was asked once."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    form = json.loads(baseline_of(project).read_text(encoding="utf-8"))
    del form["looks"], form["again"]
    baseline_of(project).write_text(json.dumps(form | {"schema_version": 1}), encoding="utf-8")
    baseline = load_baseline(baseline_of(project))
    assert (baseline.looks, baseline.second_look) == (1, {})


def test_a_second_answer_to_no_question_is_a_fault(project: Path) -> None:
    """A second look that was changed by hand is refused, with its place."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    form = json.loads(baseline_of(project).read_text(encoding="utf-8"))
    form |= {"looks": 2, "again": {"nothing": "W A", questions()[0].hash: "X"}}
    baseline_of(project).write_text(json.dumps(form), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_baseline(baseline_of(project))
    assert "again.nothing: no such question" in str(error.value)
    assert f"again.{questions()[0].hash}: unknown state" in str(error.value)


RED = Verdict(kind="REGRESSION", scope="suite", reasons=("lost",))
UNDECIDED = Verdict(kind="INCONCLUSIVE", scope="suite", reasons=("too few",))


def failed(at: int) -> list[Answer]:
    """Answers of which one is an error."""
    given = answers()
    given[at] = Answer(given[at].question, given[at].subject, AnswerState.ERROR, text="refused")
    return given


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"given": answers()[:100], "chosen": 100}, "asked 100 of the benchmark's 228 questions"),
        ({"given": answers()[:100]}, "asked 100 of its 228 questions"),
        ({"given": answers()[:90], "shard": "quick"}, "it is a quick run"),
        ({"given": answers(), "shard": None}, "it is unfinished"),
        ({"given": answers(), "verdict": RED}, "is red: REGRESSION, failed in suite"),
        ({"given": answers(), "verdict": UNDECIDED}, "is red: INCONCLUSIVE"),
        ({"given": failed(7)}, "1 of 228 questions of the run r1 have no answer"),
    ],
)
def test_only_a_whole_green_run_is_recorded(
    project: Path, capsys: pytest.CaptureFixture[str], run: dict, said: str
) -> None:
    """Partial, red and faulty runs are refused, and nothing is written."""
    keep_run(project, "r1", **run)
    assert main(["baseline", "record", "mine", "--run", "r1"]) == 4
    assert said in capsys.readouterr().err
    assert not baseline_of(project).exists()


def test_a_run_that_can_not_be_read_is_no_baseline(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unreadable answers are counted, those cut off among them; none of it is recorded."""
    given = answers(texts=dict.fromkeys(range(60), "The answer is"))
    given[:50] = [replace(one, cut_off=True) for one in given[:50]]
    keep_run(project, "r1", given)
    assert main(["baseline", "record", "mine"]) == 4
    said = capsys.readouterr().err
    assert "60 of 228 answers of the candidate are unreadable (26.3%), 50 of them cut off" in said
    assert "--max-tokens" in said
    assert not baseline_of(project).exists()


def test_few_answers_that_were_cut_off_are_recorded_as_such(project: Path) -> None:
    """The file says of an unreadable answer whether the token limit ended it."""
    given = answers(texts={3: "The answer is", 4: "?"})
    given[3] = replace(given[3], cut_off=True)
    keep_run(project, "r1", given)
    assert main(["baseline", "record", "mine"]) == 0
    recorded = load_baseline(baseline_of(project))
    codes = {q: code for mine in recorded.answers.values() for q, code in mine.items()}
    assert (codes[given[3].question], codes[given[4].question]) == ("U cut off", "U")
    kept = {single.question: single for single in recorded.singles(codes)}
    assert kept[given[3].question].cut_off
    assert not kept[given[4].question].cut_off


@pytest.mark.parametrize(
    ("version", "text", "found"),
    [
        (1, "<think>ANSWER: A</think>ANSWER: B", True),
        (1, "ANSWER: B because", False),
        (2, "ANSWER: B because", False),
    ],
)
def test_a_baseline_that_was_read_from_thoughts_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], version: int, text: str, found: bool
) -> None:
    """A baseline of an earlier version whose texts hold thoughts is a finding of lint."""
    keep_run(project, "r1", answers(texts={3: "hm"}))
    assert main(["baseline", "record", "mine"]) == 0
    file = baseline_of(project)
    raw = json.loads(file.read_text())
    raw["schema_version"] = version
    raw["texts"] = dict.fromkeys(raw["texts"], text)
    file.write_text(json.dumps(raw))
    capsys.readouterr()
    main(["baseline", "lint"])
    assert ("read the model's thoughts as its answers" in capsys.readouterr().out) is found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("record", "mine", "--run", "r9"), "has no run r9. did you mean r1"),
        (("record", "yours"), "nor any other run of it"),
        (("record", "yours", "--run", "r1"), "has no answers of yours. It has those of mine"),
        (("diff", "mine"), "there is no baseline"),
        (("record", "mine", "--store", "other.sqlite"), "there is no store"),
        (("record", "mine", "--run", "broken.json"), "is not a run's report"),
    ],
)
def test_what_is_not_there_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Unknown runs, targets, stores and reports end with usage's code and a way out."""
    keep_run(project, "r1", answers())
    (project / "broken.json").write_text("[" * 100_000, encoding="utf-8")
    assert main(["baseline", *arguments]) == 4
    assert said.lower() in capsys.readouterr().err.lower()


def test_a_baseline_is_not_recorded_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second record says to look at the change first."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    before = baseline_of(project).read_bytes()
    assert main(["baseline", "record", "mine"]) == 4
    assert "capgate baseline diff mine" in capsys.readouterr().err
    assert baseline_of(project).read_bytes() == before


def test_an_update_writes_what_was_reviewed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Diff names the subjects that change and a digest; update takes that and nothing else."""
    keep_run(project, "r1", answers(lost=range(8)))
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=range(4)))
    capsys.readouterr()
    assert main(["baseline", "diff", "mine"]) == 0
    shown = capsys.readouterr().out
    assert questions()[5].subject in shown
    assert "LOWER" not in shown
    digest = reviewed(capsys)
    assert f"update mine --run r2 --reviewed {digest}" in shown
    assert main(["baseline", "update", "mine", "--reviewed", "0" * 12]) == 4
    assert load_baseline(baseline_of(project)).run == "r1"
    assert main(["baseline", "update", "mine", "--reviewed", digest]) == 0
    after = load_baseline(baseline_of(project))
    assert (after.run, after.correct) == ("r2", 224)
    assert [one.run for one in after.history] == ["r1", "r2"]
    # The same digest is of a change that has been made; it opens nothing more.
    assert main(["baseline", "update", "mine", "--reviewed", digest]) == 4


def test_a_newer_run_is_not_what_was_reviewed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A digest names the very answers: one other answer, and it no longer fits."""
    keep_run(project, "r1", answers(lost=[1, 2]))
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers())
    digest = reviewed(capsys)
    keep_run(project, "r3", answers(lost=[2]))
    assert main(["baseline", "update", "mine", "--reviewed", digest]) == 4
    assert main(["baseline", "update", "mine", "--run", "r2", "--reviewed", digest]) == 0


def test_a_bar_gets_lower_only_with_a_reason(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drop is shown as one, refused without a reason, and the file keeps the reason."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=range(30)), verdict=RED)
    digest = reviewed(capsys)
    assert main(["baseline", "diff", "mine"]) == 0
    assert "LOWER: accuracy 100.00% → 86.84%" in capsys.readouterr().out
    for blank in ((), ("--reason", "  ")):
        assert main(["baseline", "update", "mine", "--reviewed", digest, *blank]) == 4
    assert load_baseline(baseline_of(project)).correct == 228
    why = ("--reason", "the new tokenizer, agreed in #12")
    assert main(["baseline", "update", "mine", "--reviewed", digest, *why]) == 0
    assert load_baseline(baseline_of(project)).history[-1].reason == why[1]


def test_a_lower_bar_of_a_green_run_needs_a_reason_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One answer fewer is a lower bar, whatever the run's verdict."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=[4]))
    assert main(["baseline", "update", "mine", "--reviewed", reviewed(capsys)]) == 4
    assert "the bar would get lower" in capsys.readouterr().err


def test_a_gain_that_hides_a_lost_subject_needs_a_reason(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A better overall accuracy does not cover a subject that collapsed."""
    asked = questions()
    subject = asked[0].subject
    mine = [at for at, one in enumerate(asked) if one.subject == subject]
    others = [at for at in range(228) if at not in mine]
    keep_run(project, "r1", answers(lost=others[:40]))
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=mine))
    capsys.readouterr()
    assert main(["baseline", "diff", "mine", "--json"]) == 0
    review = json.loads(capsys.readouterr().out)
    lost = next(one for one in review["subjects"] if one["subject"] == subject)
    # Four questions can't show it (p = 1/16 of 57): it is listed, and not called lower.
    assert (lost["lost"], lost["gained"], review["lowers"]) == (4, 0, [])


def test_a_broken_baseline_is_told_with_its_faults(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was edited into nonsense is an error with its places, no traceback."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    text = baseline_of(project).read_text(encoding="utf-8")
    for broken in (text[:500], text.replace('"C ', '"X '), "[]", '{"answers": {}}'):
        baseline_of(project).write_text(broken, encoding="utf-8")
        assert main(["baseline", "diff", "mine"]) == 4
        assert "restore it from version control" in capsys.readouterr().err.lower()
