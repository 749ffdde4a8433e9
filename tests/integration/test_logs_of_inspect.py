"""`capgate decide` and `compare` on logs that Inspect wrote: from its evaluation to a verdict."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, read_eval_log, write_eval_log
from inspect_ai.scorer import match, pattern
from tests.doubles.inspect_logs import QUESTIONS, evaluate

from capgate.cli import main

EVEN = range(0, QUESTIONS, 2)

Told = Callable[..., tuple[str, str]]
Change = Callable[[EvalLog], object]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logs of several runs of one task."""
    return tmp_path_factory.mktemp("inspect")


@pytest.fixture(scope="module")
def yesterday(logs: Path) -> Path:
    """The reference: all sums are right."""
    return evaluate(logs / "yesterday")


@pytest.fixture(scope="module")
def today(logs: Path) -> Path:
    """The candidate: half of the sums are wrong."""
    return evaluate(logs / "today", wrong=EVEN)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs `capgate decide`; makes sure of the exit code, returns both outputs."""

    def run(*arguments: str | Path, code: int, command: str = "decide") -> tuple[str, str]:
        capsys.readouterr()
        ended = main([command, *map(str, arguments)])
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out, err

    return run


def changed(log: Path, path: Path, change: Change) -> Path:
    """Writes a log again, with a change, through Inspect's own writer."""
    read = read_eval_log(log)
    change(read)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_eval_log(read, path)
    return path


def test_a_loss_is_a_regression_with_its_questions(
    told: Told, yesterday: Path, today: Path
) -> None:
    """The verdict names the lost group by the samples' metadata, and each lost question."""
    out, _ = told(yesterday, today, "--json", code=1)
    found = json.loads(out)
    assert found["verdict"]["kind"] == "REGRESSION"
    assert {one["subject"]: one["losses"] for one in found["subjects"]} == {"even": 20, "odd": 0}
    flips = {one["text"]: one for one in found["flips"]}
    assert len(flips) == 20
    lost = flips["What is 8 plus 1?"]
    assert (lost["change"], lost["key"]) == ("loss", "9")
    assert lost["reference"]["text"] == "9"
    assert lost["candidate"]["text"] == "10"


def test_both_forms_of_log_are_one(told: Told, logs: Path, yesterday: Path, today: Path) -> None:
    """A `.json` log is paired with a `.eval` one, and says the same."""
    form = evaluate(logs / "json", wrong=EVEN, form="json")
    assert form.suffix == ".json"
    in_json, _ = told(yesterday, form, "--json", code=1)
    packed, _ = told(yesterday, today, "--json", code=1)
    one, other = json.loads(in_json), json.loads(packed)
    assert one["verdict"] == other["verdict"]
    assert one["flips"] == other["flips"]


def test_folders_stand_for_their_log(told: Told, yesterday: Path, today: Path) -> None:
    """`capgate compare` takes the folders, as decide does."""
    out, _ = told(yesterday.parent, today.parent, code=1, command="compare")
    assert "judged by match, as logged by Inspect" in out


def test_failed_requests_are_no_wrong_answers(told: Told, logs: Path, yesterday: Path) -> None:
    """Samples that ended with an error leave the accuracy, are counted, and say why."""
    broken = evaluate(logs / "broken", broken={3, 4})
    out, _ = told(yesterday, broken, code=10)
    assert "2 of 40 questions (5.0%) have no answer" in out
    assert "2 without an answer in the candidate: RuntimeError('the server died')" in out
    assert "0 lost, 0 gained of 38 questions" in out


def test_samples_that_a_broken_run_lacks_are_errors(
    told: Told, logs: Path, yesterday: Path
) -> None:
    """What a run that broke off did not answer is no agreement: nothing is concluded."""

    def cut(log: EvalLog) -> None:
        log.status = "error"
        assert log.samples is not None
        log.samples = log.samples[:30]

    part = changed(yesterday, logs / "part" / "part.eval", cut)
    out, _ = told(yesterday, part, code=10)
    assert "lacks 10 of 40 samples: its run ended with the status error" in out
    assert "10 of 40 questions (25.0%) have no answer" in out
    out, _ = told(part, part, code=10)
    assert "10 of 40 questions (25.0%) have no answer" in out


@pytest.mark.parametrize("form", ["eval", "json"])
def test_scores_that_are_no_number_are_errors(
    told: Told, tmp_path: Path, yesterday: Path, form: str
) -> None:
    """A score of NaN, for which JSON has no form, is no answer; every other sample counts."""

    def spoil(log: EvalLog) -> None:
        assert log.samples is not None
        assert log.samples[20].scores is not None
        log.samples[20].scores["match"].value = float("nan")

    spoilt = changed(yesterday, tmp_path / form / f"log.{form}", spoil)
    out, _ = told(yesterday, spoilt, code=10)
    assert "1 of 40 questions (2.5%) have no answer" in out
    assert "1 without an answer in the candidate: its score is no number" in out


def test_other_instructions_are_refused(told: Told, logs: Path, yesterday: Path) -> None:
    """A run with another system message is refused by the setting's name."""
    other = evaluate(logs / "other", system="Think first.")
    _, err = told(yesterday, other, code=11)
    assert "the two runs of sums were not made in the same way" in err
    assert "solvers:" in err
    assert "Think first." in err


def _newer(log: EvalLog) -> None:
    log.eval.task_version = 2


def _warmer(log: EvalLog) -> None:
    log.eval.model_generate_config.temperature = 0.7


def _told_otherwise(log: EvalLog) -> None:
    assert log.samples is not None
    for sample in log.samples[:5]:
        sample.messages[0].content = "Be verbose."


def _other_keys(log: EvalLog) -> None:
    assert log.samples is not None
    log.samples[7].target = "99"


def _fewer(log: EvalLog) -> None:
    assert log.samples is not None
    log.samples = log.samples[:36]
    log.eval.dataset.sample_ids = [one.id for one in log.samples]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_newer, "task version: 0 in the reference, 2 in the candidate"),
        (_warmer, "temperature: not set in the reference, 0.7 in the candidate"),
        (_told_otherwise, "5 of 40 questions were asked with another prompt"),
        (_other_keys, "1 of 40 questions have another right answer"),
        (_fewer, "4 of 40 questions are only in the reference"),
    ],
)
def test_runs_that_differ_are_refused(
    told: Told, tmp_path: Path, yesterday: Path, change: Change, said: str
) -> None:
    """Another version, setting, prompt, key or question is told with how many differ."""
    other = changed(yesterday, tmp_path / "other" / "log.eval", change)
    _, err = told(yesterday, other, code=11)
    assert said in " ".join(err.split())


def test_only_common_questions_are_judged_on_demand(
    told: Told, tmp_path: Path, yesterday: Path
) -> None:
    """`--common` judges what both were asked in the same way, and the verdict says what is not."""

    def change(log: EvalLog) -> None:
        _fewer(log)
        _told_otherwise(log)

    other = changed(yesterday, tmp_path / "other" / "log.eval", change)
    out, _ = told(yesterday, other, "--common", "--json", code=10)
    verdict = json.loads(out)["verdict"]
    assert verdict["counts"]["n"] == 31
    assert "9 questions of sums are not judged (--common)" in " ".join(verdict["reasons"])


def test_the_first_answer_counts(told: Told, logs: Path, yesterday: Path) -> None:
    """Of a question that was asked several times, one answer is judged, and that is told."""
    twice = evaluate(logs / "twice", epochs=2)
    out, _ = told(yesterday, twice, code=10)
    assert "each question was asked 2 times; the first answer counts" in out
    assert "of 40 questions" in out


def test_the_scorer_that_counts_can_be_named(told: Told, logs: Path) -> None:
    """Of several scorers the task's first one counts, or that which `--metric` names."""
    both = [match(location="exact"), pattern(r"(\d+)", match_all=True)]
    log = evaluate(logs / "both", wrong=EVEN, scorers=both)
    assert "judged by match," in told(log, log, code=10)[0]
    assert "judged by pattern," in told(log, log, "--metric", "sums=pattern", code=10)[0]
    _, err = told(log, log, "--metric", "bleu", code=11)
    assert "it has no score bleu" in err
    assert "match, pattern" in err


def _grades(log: EvalLog) -> None:
    assert log.samples is not None
    for at, sample in enumerate(log.samples):
        assert sample.scores is not None
        sample.scores["match"].value = at / QUESTIONS


def test_partial_credit_is_refused_by_name(told: Told, tmp_path: Path, yesterday: Path) -> None:
    """Scores between right and wrong are no right or wrong, unless a person says from where on."""
    log = changed(yesterday, tmp_path / "graded" / "log.eval", _grades)
    _, err = told(log, log, code=11)
    assert "match is neither right nor wrong in 39 samples" in err
    out, _ = told(log, log, "--correct-at", "0.5", "--json", code=10)
    assert json.loads(out)["reference"]["accuracy"] == 0.5
    assert "judged by match of at least 0.5" in " ".join(json.loads(out)["notes"])


def test_questions_on_one_passage_count_once(told: Told, tmp_path: Path, yesterday: Path) -> None:
    """Of questions that share a passage one is judged, since their answers are no separate ones."""

    def share(log: EvalLog) -> None:
        assert log.samples is not None
        for at, sample in enumerate(log.samples):
            sample.metadata["passage"] = f"A story, number {at // 4}. {'So it goes on. ' * 10}"

    log = changed(yesterday, tmp_path / "shared" / "log.eval", share)
    out, _ = told(log, log, code=10)
    assert "30 questions repeat another or share a passage with it" in out
    assert "of 10 questions" in out
    out, _ = told(log, log, "--cluster", "passages", "--group", "topic", code=10)
    assert "no sample has the key passages that --cluster names" in out
    assert "no sample has the key topic that --group names" in out


def test_the_project_says_how_its_tasks_are_read(
    told: Told, tmp_path: Path, yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of the task lends its name, its bar for scores, its group and what is shared."""
    entry = "task: sums, group: half, correct_at: 0.5, catch: 0.4, cluster_pattern: '(plus .)'"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "benchmarks.yaml").write_text(f"our-sums: {{{entry}}}\n")
    monkeypatch.chdir(tmp_path)

    def change(log: EvalLog) -> None:
        _grades(log)
        assert log.samples is not None
        for at, sample in enumerate(log.samples):
            sample.metadata["half"] = "first" if at < 20 else "second"

    log = changed(yesterday, tmp_path / "mine" / "log.eval", change)
    out, _ = told(log, log, "--json", code=0)
    found = json.loads(out)
    assert found["benchmark"] == "our-sums"
    assert found["verdict"]["policy"]["catch"] == 0.4
    assert found["verdict"]["counts"]["n"] == 7
    assert {one["subject"] for one in found["subjects"]} <= {"first", "second"}
    assert found["reference"]["accuracy"] == 0.5


def test_two_runs_in_a_folder_are_refused(told: Told, logs: Path, today: Path) -> None:
    """A folder with two logs of one task does not say which of them is meant."""
    both = logs / "two"
    evaluate(both)
    evaluate(both)
    _, err = told(both, today, code=11)
    assert "holds the task sums, as" in err
    assert "the logs of one run" in err


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_damaged_archives_are_named(
    told: Told, tmp_path: Path, yesterday: Path, damage: str
) -> None:
    """An archive that is cut, empty or of something else is named, without a traceback."""
    path = tmp_path / "damaged.eval"
    whole = yesterday.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other": b"{}"}[damage])
    _, err = told(yesterday, path, code=11)
    assert "damaged.eval can't be read as a log of Inspect" in err
    assert "Traceback" not in err


def test_an_archive_that_unpacks_to_any_size_is_refused(told: Told, tmp_path: Path) -> None:
    """A small file that unpacks to hundreds of megabytes is refused before that."""
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/q_epoch_1.json", b" " * (300 << 20))
    assert path.stat().st_size < 1 << 20
    _, err = told(path, path, code=11)
    assert "which unpacks to 300 MiB" in err


def test_one_log_is_not_enough(told: Told, yesterday: Path) -> None:
    """A log by itself can't be judged, and the message says how two are given."""
    _, err = told(yesterday, code=11)
    assert "capgate decide REFERENCE CANDIDATE" in err


def test_hostile_words_do_nothing(told: Told, tmp_path: Path, yesterday: Path, today: Path) -> None:
    """What a model, a sample or a task says can't act on a terminal or a job's log."""
    words = "\x1b[31mred\x07\n::error::owned ##[error]x\u202e"

    def say(log: EvalLog) -> None:
        log.eval.model = words
        assert log.samples is not None
        for sample in log.samples:
            sample.input = f"{sample.input}{words}"
            sample.metadata["subject"] = words
            sample.output.choices[0].message.content = words

    def hostile(log: Path, name: str) -> Path:
        return changed(log, tmp_path / name / "log.eval", say)

    one, other = hostile(yesterday, "one"), hostile(today, "other")
    for further in ((), ("--json",)):
        out, err = told(one, other, *further, code=1)
        shown: Any = out + err
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "##[" not in shown
        assert not [line for line in shown.splitlines() if line.lstrip().startswith("::")]
