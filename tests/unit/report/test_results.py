"""What a run leaves behind: results that follow their schema, written whole or not at all."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.doubles.runs import answers, keep_run

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError
from capgate.common.files import write_atomically
from capgate.config.run_options import OPTIONS
from capgate.config.settings import Settings
from capgate.gate.decide_floor import Floor, decide_floor
from capgate.gate.decide_paired import judge_subject
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, Single
from capgate.gate.verdict import Verdict
from capgate.report.data.build import build_report, exit_code
from capgate.report.data.result import answered_of, json_schema, shipped_schema
from capgate.report.page.html import render_html
from capgate.report.text.github import summary
from capgate.report.text.terminal import render_report
from capgate.report.write import write_results
from capgate.run.judgement import Judgement, Usage
from capgate.run.run import Run
from capgate.serving.endpoint import Endpoint
from capgate.store.answer_store import Store
from capgate.store.shard import Shard

C, W, U, E = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED, AnswerState.ERROR

GUIDE_S_FIELDS = {
    "model_id",
    "adapter_name",
    "timestamp",
    "limit",
    "overall_score",
    "metrics",
    "subjects",
}


def never(target: str) -> Endpoint:
    """No endpoint is needed to write results."""
    raise AssertionError(target)


def settings(root: Path, *arguments: str) -> Settings:
    """Returns the settings of a command line."""
    parser = argparse.ArgumentParser()
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.dest, **option.keywords)
    return Settings.from_options(parser.parse_args(arguments), root)


Recorded = Mapping[str, Sequence[AnswerState]]
Record = Callable[..., Run]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """Records a run: subject to the states of its answers."""
    runs: list[Run] = []

    def make(answers: Recorded, *arguments: str, judged: bool = True, run: str = "r1") -> Run:
        made = Run(settings(tmp_path, *arguments), run, endpoint=never)
        runs.append(made)
        context = made.store.context("f" * 16, "p" * 16, {})
        singles: list[Single] = []
        for subject, states in answers.items():
            for number, state in enumerate(states):
                one = Answer(
                    f"{subject} {number}", subject, state, "A", "text", 10, 4, 0.5, cost=0.001
                )
                made.store.add(context, one, run=run, target="mine")
                singles.append(Single(one.question, subject, state))
        made.store.end_shard(
            run,
            "mine",
            Shard("entry", MMLU),
            {
                "fingerprint": context.fingerprint,
                "facts": {"model": "m"},
                "dataset": {"source": "bundled", "revision": "", "digest": "d", "questions": 9},
                "prompt_hash": context.prompt,
                "selected": {subject: len(states) for subject, states in answers.items()},
            },
        )
        if judged:
            scored = any(state is not E for state in (one.candidate for one in singles))
            verdict = (
                decide_floor(singles, Floor(0.2), Policy())
                if scored
                else Verdict.of_error("refused", scope="suite")
            )
            answered = sum(state is not E for _, _, state, *_ in singles)
            usage = Usage(len(singles), answered, 0, 0, 1.0, None, answered)
            judgement = Judgement("mine", Shard("suite", MMLU), verdict, usage)
            made.store.end_shard(run, "mine", Shard("suite", MMLU), judgement.facts())
        return made

    yield make
    for one in runs:
        one.close()


def result_of(run: Run) -> dict[str, Any]:
    """Writes a run's results and returns the latest one as a reader finds it."""
    write_results(run, complete=True)
    file = run.settings.output_dir / "mine" / "mmlu_mine_latest.json"
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_shipped_schema_is_the_models_own() -> None:
    """The JSON Schema that is shipped is made from the models as they are."""
    assert shipped_schema() == json_schema(), (
        "write it anew: python -c 'import json; "
        "from capgate.report.data.result import json_schema; "
        "print(json.dumps(json_schema(), indent=2))' > src/capgate/report/schema/report.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(shipped_schema())


@pytest.mark.parametrize(
    "answers",
    [
        {"anatomy": [C, W, U, E], "virology": [C] * 30},
        {"anatomy": [E, E]},
    ],
)
@pytest.mark.parametrize("judged", [True, False])
def test_what_is_written_follows_the_schema(
    record: Record, answers: Recorded, judged: bool
) -> None:
    """Reports and results are valid by the shipped schema, whatever happened in the run."""
    run = record(answers, judged=judged)
    result = result_of(run)
    report = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    schema = shipped_schema()
    jsonschema.validate(report, schema, cls=jsonschema.Draft202012Validator)
    one = {"$ref": "#/$defs/Result", "$defs": schema["$defs"]}
    jsonschema.validate(result, one, cls=jsonschema.Draft202012Validator)
    assert report["targets"] == {"mine": result}


def test_the_guide_s_fields_are_there(record: Record) -> None:
    """The fields that the guide names stand at the top, with the guide's meaning."""
    result = result_of(record({"anatomy": [C, C, W, U, E], "virology": [W]}, "--limit", "6"))
    assert set(result) >= GUIDE_S_FIELDS
    assert result["model_id"] == "mine"
    assert result["adapter_name"] is None
    assert result["limit"] == 6
    assert result["overall_score"] == 2 / 5
    assert result["metrics"]["accuracy"] == {"value": 2 / 5, "name": "Accuracy"}
    assert result["subjects"] == {"anatomy": 0.5, "virology": 0.0}


def test_counts_by_state_subject_and_domain(record: Record) -> None:
    """Unparsed answers count as not correct, errors not at all; domains add their subjects up."""
    result = result_of(record({"anatomy": [C, C, W, U, E], "virology": [W], "sociology": [C]}))
    anatomy = result["subject_details"]["anatomy"]
    names = ("questions", "correct", "wrong", "unparsed", "errors", "asked")
    assert [anatomy[name] for name in names] == [5, 2, 1, 1, 1, 4]
    assert list(result["domains"]) == ["social_sciences", "other"]
    assert [result["domains"]["other"][name] for name in names] == [6, 2, 2, 1, 1, 5]
    assert result["overall"]["prompt_tokens"] == 70
    assert result["overall"]["cost"] == pytest.approx(0.007)
    low, high = (anatomy["interval"][end] for end in ("low", "high"))
    assert 0 < low < 0.5 < high < 1


def test_a_run_that_broke_off_has_no_accuracy_on_either_side(tmp_path: Path) -> None:
    """What was answered until a server died is counted, and is no score of target or base."""
    gone = Verdict.of_error("the server is gone", scope="suite")
    keep_run(tmp_path, "r1", answers()[:50], target="base", shard=None)
    keep_run(tmp_path, "r1", answers()[:40], verdict=gone)
    with Store(tmp_path / "reports" / "answers.sqlite") as store:
        facts = {"verdict": gone.to_dict(), "reference": {"kind": "base", "target": "base"}}
        store.end_shard("r1", "mine", Shard("suite", MMLU), facts)
        report = build_report(store, "r1", complete=True)
    for target, answered in (("mine", 40), ("base", 50)):
        result = report.targets[target]
        assert answered_of(result) == (228, answered, answered)
        assert result.overall_score is result.metrics.accuracy.value is None
        assert {one.accuracy for one in (result.overall, *result.domains.values())} == {None}
    text = "\n".join(render_report(report, [], root=tmp_path))
    assert "40 of 228 questions answered (40 now)" in text
    assert "100.0%" not in text.split("\n all ")[1].split("\n")[0]
    assert "again: pytest benchmarks -m full" in text
    for page in (summary(report), render_html(report)):
        assert "40 of 228 questions" in page


def test_nothing_scored_is_null_and_never_zero(record: Record) -> None:
    """Where every question failed, scores and intervals are null."""
    result = result_of(record({"anatomy": [E, E, E]}))
    assert result["overall_score"] is None
    assert result["metrics"]["accuracy"]["value"] is None
    assert result["subjects"] == {"anatomy": None}
    assert result["overall"]["interval"] is None
    assert result["overall"]["errors"] == 3
    assert result["complete"] is False


def test_answers_of_an_earlier_run_count_but_were_not_asked(record: Record) -> None:
    """Reused answers are in the accuracy; `asked` tells how many were asked for now."""
    first = record({"anatomy": [C, W]})
    earlier = first.store.used("r1", "mine")
    second = record({"anatomy": [], "virology": [C]}, run="r2", judged=False)
    second.store.reuse(earlier, run="r2", target="mine")
    result = result_of(second)
    assert (result["overall"]["questions"], result["overall"]["asked"]) == (3, 1)
    assert result["overall_score"] == 2 / 3


def test_the_exit_code_is_that_of_the_weightiest_verdict(record: Record) -> None:
    """A run without a judgement ends with 0, one that compared nothing with its own code."""
    plain = record({"anatomy": [C]}, judged=False)
    assert exit_code(build_report(plain.store, "r1", complete=True)) == 0
    dead = record({"anatomy": [E]}, run="r2")
    assert exit_code(build_report(dead.store, "r2", complete=True)) == 11


def test_a_verdict_that_an_older_version_stored_has_the_words_of_today(record: Record) -> None:
    """A report made anew from the store says `too few to tell` where PASS was stored."""
    run = record({"anatomy": [C, W], "virology": [C, C]}, judged=False)
    pairs = [Pair(f"q{i}", "anatomy", C, C) for i in range(4)]
    judged = judge_subject(pairs, Policy(), n_subjects=2).to_dict()
    del judged["domains"]
    del judged["budget"]["domains"]
    old = {**judged, "schema": 1, "kind": "PASS", "evidence": judged["evidence"][:1]}
    run.store.end_shard(
        "r1", "mine", Shard("group", MMLU, "anatomy"), {"verdict": old, "usage": None}
    )
    result = build_report(run.store, "r1", complete=True).targets["mine"]
    words = {name: one.word for name, one in result.subject_details.items()}
    assert words == {"anatomy": "too few to tell", "virology": None}
    assert (result.subject_details["anatomy"].verdict or {})["kind"] == "too few to tell"


def test_a_run_s_result_and_the_latest_one_are_the_same(record: Record) -> None:
    """Each run's result keeps its own name; `…_latest.json` is the newest."""
    run = record({"anatomy": [C, W]})
    latest = result_of(run)
    folder = run.settings.output_dir / "mine"
    stamp = latest["timestamp"].replace(":", "").replace("-", "")
    own = json.loads((folder / f"mmlu_mine_{stamp}.json").read_text(encoding="utf-8"))
    assert own == latest
    assert {path.name for path in folder.iterdir()} == {
        f"mmlu_mine_{stamp}.json",
        "mmlu_mine_latest.json",
    }


def test_the_lines_shown_tell_verdict_table_and_files(record: Record) -> None:
    """A run ends with a table by subject and domain, the verdict, and what was written."""
    lines = write_results(record({"anatomy": [C, W, U, E]}), complete=False)
    text = "\n".join(lines)
    assert "anatomy" in text
    assert "other" in text
    assert "33.3%" in text
    assert "PARTIAL" in text
    assert any(line.startswith("written: reports/mine/mmlu_mine_") for line in lines)


def test_an_unwritable_folder_is_told_and_nothing_is_lost(record: Record, tmp_path: Path) -> None:
    """Where results can't be written, the message says so and the answers stay in the store."""
    (tmp_path / "taken").write_text("a file")
    run = record({"anatomy": [C, W]}, "--output-dir", "taken")
    with pytest.raises(CapgateError, match=r"can't be written.*every answer is in the store"):
        write_results(run, complete=True)
    assert len(run.store.used("r1", "mine")) == 2


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A text that can't be written leaves the old file as it was, and no rest of a new one."""
    file = tmp_path / "deep" / "result.json"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new " * 100_000 + "\ud800")
    assert file.read_text(encoding="utf-8") == "old\n"
    assert [path.name for path in file.parent.iterdir()] == ["result.json"]
    write_atomically(file, "new\n")
    assert file.read_text(encoding="utf-8") == "new\n"


def test_a_baseline_has_the_permissions_of_any_new_file_and_results_are_private(
    tmp_path: Path,
) -> None:
    """What is under version control is shared; results, and the folders made for them, are not."""
    write_atomically(tmp_path / "shared" / "ours", "text", shared=True)
    (tmp_path / "shared" / "plain").touch()
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "shared").iterdir()}
    assert modes["ours"] == modes["plain"]
    write_atomically(tmp_path / "own" / "mine" / "file", "text")
    for path in (tmp_path / "own").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
