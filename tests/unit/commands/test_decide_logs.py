"""`capgate decide` on logs of lm-evaluation-harness and NeMo Evaluator, as these wrote them.

The logs are in tests/logs; tests/doubles/lm_eval_run.py and nemo_run.py made them, with the
versions that their folders are named by.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOGS = Path(__file__).parents[2] / "logs"
LM_EVAL = LOGS / "lm_eval-0.4.13"
NEMO = LOGS / "nemo_evaluator-0.3.0"

Told = Callable[..., tuple[str, str]]
Row = dict[str, Any]
Edit = Callable[[Row], Row | None]


def copy_of(run: Path, folder: Path) -> Path:
    """A copy of a run's logs that a test may change."""
    return Path(shutil.copytree(run, folder / "changed"))


def samples(run: Path, task: str) -> Path:
    """The file of a task's samples."""
    (found,) = run.rglob(f"samples_{task}_*.jsonl")
    return found


def edit(path: Path, change: Edit) -> None:
    """Changes each row of a file; a row of which nothing is left goes."""
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row is not None))


def edit_results(run: Path, change: Callable[[Row], object]) -> None:
    """Changes the results of a run."""
    (path,) = run.rglob("results_*.json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def identical(folder: Path, copies: int = 8) -> Path:
    """A run of one task with enough questions for a verdict: the fixture's, numbered."""
    run = copy_of(LM_EVAL / "yesterday", folder)
    for task in ("sums", "larger"):
        samples(run, task).unlink()
    path = samples(run, "products")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    more = [
        {**row, "doc": {**row["doc"], "part": part}} for row in rows[:20] for part in range(copies)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in more))
    edit_results(run, lambda data: data["n-samples"]["products"].update(effective=len(more)))
    return run


def test_two_folders_give_one_verdict(told: Told) -> None:
    """Yesterday's and today's logs are judged in one command, each group of tasks as one."""
    out, _ = told("decide", str(LM_EVAL / "yesterday"), str(LM_EVAL / "today"), "--json", code=1)
    found = json.loads(out)
    assert found["verdict"]["kind"] == "REGRESSION"
    assert set(found["benchmarks"]) == {"arithmetic", "larger"}
    arithmetic = found["benchmarks"]["arithmetic"]
    lost = {one["subject"]: one["losses"] for one in arithmetic["subjects"]}
    assert lost == {"products": 20, "sums": 0}
    words = {one["subject"]: one["word"] for one in arithmetic["verdict"]["subjects"]}
    assert words["products"] == "lost"
    assert "judged by exact_match (filter strict-match)" in arithmetic["notes"][0]
    assert "judged by acc," in found["benchmarks"]["larger"]["notes"][0]
    assert arithmetic["differ"] == "model yesterday → today"


def test_each_lost_question_is_told_with_both_answers(told: Told) -> None:
    """A flip has the question, the key and what each side answered."""
    out, _ = told("decide", str(LM_EVAL / "yesterday"), str(LM_EVAL / "today"), "--json", code=1)
    flips = json.loads(out)["benchmarks"]["arithmetic"]["flips"]
    assert len(flips) == 20
    (one,) = [flip for flip in flips if flip["text"] == "What is 6 times 9?"]
    assert (one["change"], one["key"]) == ("loss", "54")
    assert (one["reference"]["text"], one["candidate"]["text"]) == ("54", "55")


@pytest.mark.parametrize("rule", ["--fixed", "--sequential"])
def test_the_same_answers_pass(told: Told, tmp_path: Path, rule: str) -> None:
    """A run that answers as the reference does passes where its questions suffice."""
    run = identical(tmp_path, copies=30)
    out, _ = told("decide", str(run), str(run), "--metric", "exact_match", rule)
    assert "PASS: " in out


def test_several_tasks_are_judged_in_order(told: Told) -> None:
    """`--sequential` gives one verdict over all tasks as well."""
    logs = str(LM_EVAL / "yesterday"), str(LM_EVAL / "today")
    found = json.loads(told("decide", *logs, "--sequential", "--json", code=1)[0])
    assert found["verdict"]["kind"] == "REGRESSION"
    assert {one["verdict"]["scope"] for one in found["benchmarks"].values()} == {"quick"}


def test_programs_are_told_of_errors(told: Told) -> None:
    """Where nothing can be judged, `--json` still prints a verdict, of kind ERROR."""
    out, _ = told("decide", str(LM_EVAL / "yesterday"), "nowhere", "--json", code=11)
    assert json.loads(out)["verdict"]["kind"] == "ERROR"


def test_results_files_and_samples_can_be_named(told: Told) -> None:
    """A run is its folder, its file of results, or one file of samples."""
    before, after = LM_EVAL / "yesterday", LM_EVAL / "today"
    (one,), (other,) = before.rglob("results_*"), after.rglob("results_*")
    assert "arithmetic" in told("compare", str(one), str(other), code=1)[0]
    files = str(samples(before, "products")), str(samples(after, "products"))
    out, _ = told("decide", *files, code=1)
    assert "20 lost, 0 gained of 20 questions" in out


def test_a_benchmark_can_be_chosen(told: Told) -> None:
    """`--benchmark` judges one of the tasks alone."""
    logs = str(LM_EVAL / "yesterday"), str(LM_EVAL / "today")
    out, _ = told("decide", *logs, "--benchmark", "larger", code=10)
    assert "of 20 questions" in out
    assert "arithmetic" not in out
    _, err = told("decide", *logs, "--benchmark", "smaller", code=11)
    assert "holds no log of smaller" in err
    assert "larger, arithmetic" in err


def test_what_is_not_judged_has_no_faults(told: Told, tmp_path: Path) -> None:
    """A task without a metric of right and wrong does not keep another from being judged."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "larger"), lambda row: row | {"metrics": ["bleu", "chrf"]})
    edit_results(run, lambda data: data["configs"]["larger"].pop("metric_list"))
    assert "none of them is known" in told("decide", str(run), str(run), code=11)[1]
    out, _ = told("decide", str(run), str(run), "--benchmark", "arithmetic", code=10)
    assert "of 40 questions" in out


def test_a_policy_may_name_the_tasks_of_logs(told: Told, tmp_path: Path) -> None:
    """Tasks and groups of logs have their own bars; a name that no log has is told."""
    policy = tmp_path / "policy.yaml"
    bar = "{catch: 0.3, reason: few questions}"
    policy.write_text(f"benchmarks: {{arithmetic: {bar}, larger: {bar}, smaler: {bar}}}\n")
    logs = str(LM_EVAL / "yesterday"), str(LM_EVAL / "yesterday")
    out, err = told("decide", *logs, "--policy", str(policy))
    assert out.startswith("PASS: ")
    assert "the policy names smaler, which neither the logs nor" in err


def test_a_task_that_the_candidate_lacks_is_missed(told: Told, tmp_path: Path) -> None:
    """What the reference alone was asked makes an ERROR, and is named."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    samples(run, "larger").unlink()
    out, _ = told("decide", str(LM_EVAL / "yesterday"), str(run), code=11)
    assert "was not asked it" in out
    samples(run, "sums").unlink()
    logs = str(LM_EVAL / "yesterday"), str(run), "--benchmark", "arithmetic"
    _, err = told("decide", *logs, code=11)
    assert "sums: only the reference was asked it" in err


def _other_version(data: Row) -> None:
    data["versions"]["products"] = 2.0


def _more_shots(data: Row) -> None:
    data["n-shot"]["products"] = 5


def _other_filter(data: Row) -> None:
    data["configs"]["products"]["filter_list"][0]["filter"][0]["regex_pattern"] = "(.*)"


def _system(data: Row) -> None:
    data["system_instruction"] = "Think first."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_version, "task version: 1.0 in the reference, 2.0 in the candidate"),
        (_more_shots, "few-shot examples: 0 in the reference, 5 in the candidate"),
        (_other_filter, "filter_list:"),
        (_system, "system instruction: not set in the reference, Think first. in the candidate"),
    ],
)
def test_tasks_that_were_set_otherwise_are_refused(
    told: Told, tmp_path: Path, change: Callable[[Row], object], said: str
) -> None:
    """Another version, few-shot count, filter or instruction is told by name, with both values."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit_results(run, change)
    logs = str(LM_EVAL / "yesterday"), str(run), "--benchmark", "arithmetic"
    _, err = told("decide", *logs, code=11)
    assert said in err
    assert "products" in err


def _other_prompt(row: Row) -> Row:
    if row["doc_id"] < 3:
        asked = row["arguments"]["gen_args_0"]
        asked["arg_0"] = f"Think. {asked['arg_0']}"
    return row


def _other_key(row: Row) -> Row:
    return {**row, "target": "7"} if row["doc_id"] == 1 else row


def _other_question(row: Row) -> Row:
    return {**row, "doc": {**row["doc"], "question": "What?"}} if row["doc_id"] == 1 else row


def _longer(row: Row) -> Row:
    row["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] = 2048
    return row


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_prompt, "3 of 40 questions were asked with another prompt"),
        (_other_key, "1 of 40 questions have another right answer"),
        (_other_question, "1 of 40 questions are only in the candidate (products)"),
        (_longer, "generation settings: "),
    ],
)
def test_samples_that_differ_are_counted(
    told: Told, tmp_path: Path, change: Edit, said: str
) -> None:
    """Other prompts, keys, questions and generation settings are refused, with how many."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "products"), change)
    logs = str(LM_EVAL / "yesterday"), str(run), "--benchmark", "arithmetic"
    _, err = told("decide", *logs, code=11)
    assert said in " ".join(err.split())


def test_addresses_of_functions_do_not_matter(told: Told, tmp_path: Path) -> None:
    """A filter that is a function is logged with its address, which differs from run to run."""
    runs = [copy_of(LM_EVAL / "yesterday", tmp_path / str(at)) for at in range(2)]
    for run, address in zip(runs, ("0x7f1a", "0x7f2b"), strict=True):
        edit_results(
            run,
            lambda data, at=address: data["configs"]["sums"]["metric_list"][0].update(
                metric=f"<function score at {at}>"
            ),
        )
    out, _ = told("decide", *map(str, runs), "--benchmark", "arithmetic", code=10)
    assert "of 40 questions" in out


def test_common_questions_alone_are_judged_on_demand(told: Told, tmp_path: Path) -> None:
    """`--common` leaves out what was asked otherwise, and the verdict over all says so."""
    run = copy_of(LM_EVAL / "today", tmp_path)
    edit(samples(run, "products"), _other_prompt)
    out, _ = told("decide", str(LM_EVAL / "yesterday"), str(run), "--common", "--json", code=1)
    found = json.loads(out)
    assert found["benchmarks"]["arithmetic"]["verdict"]["counts"]["n"] == 37
    assert "3 questions of arithmetic are not judged (--common)" in " ".join(
        found["verdict"]["reasons"]
    )


def test_the_order_of_samples_does_not_matter(told: Told, tmp_path: Path) -> None:
    """Samples are paired by what they ask, not by where they stand."""
    run = copy_of(LM_EVAL / "today", tmp_path)
    path = samples(run, "products")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*reversed(lines[:20]), *reversed(lines[20:])]))
    edit(path, lambda row: {**row, "doc_id": 99 - row["doc_id"]})
    kept, moved = (
        told("decide", str(LM_EVAL / "yesterday"), str(one), "--json", code=1)[0]
        for one in (LM_EVAL / "today", run)
    )
    assert json.loads(kept)["verdict"] == json.loads(moved)["verdict"]


def _mute(row: Row) -> Row:
    if row["doc_id"] < 2:
        row |= {"resps": [[""]], "filtered_resps": ["[invalid]"], "exact_match": 0.0}
    return row


def _without_answer(row: Row) -> Row:
    return row | ({"resps": [], "filtered_resps": []} if row["doc_id"] < 2 else {})


@pytest.mark.parametrize("change", [_mute, _without_answer])
def test_empty_answers_are_no_wrong_ones(told: Told, tmp_path: Path, change: Edit) -> None:
    """An empty answer may be a failed request: it leaves the accuracy and is counted."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "products"), change)
    logs = str(LM_EVAL / "yesterday"), str(run), "--benchmark", "arithmetic"
    out, _ = told("decide", *logs, code=10)
    assert "2 of 40 questions (5.0%) have no answer" in out


def test_answers_in_no_form_are_unreadable(told: Told, tmp_path: Path) -> None:
    """What a filter could not read is no knowledge lost, and concludes nothing on both sides."""

    def unread(row: Row) -> Row:
        said = "I would rather not."
        return row | {"resps": [[said]], "filtered_resps": ["[invalid]"], "exact_match": 0.0}

    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "products"), unread)
    out, _ = told("decide", str(run), str(run), "--benchmark", "arithmetic", code=10)
    assert "answers of the candidate are unreadable" in out


def test_the_metric_and_its_filter_can_be_named(told: Told) -> None:
    """`--metric` takes another filter or metric of one task; one that is not there is told."""
    logs = str(LM_EVAL / "yesterday"), str(LM_EVAL / "today")
    chosen = "--metric", "products=exact_match,flexible-extract", "--metric", "larger=acc_norm"
    out, _ = told("decide", *logs, *chosen, code=1)
    assert "exact_match (filter flexible-extract) and exact_match (filter strict-match)" in out
    assert "judged by acc_norm," in out
    _, err = told("decide", *logs, "--metric", "sums=bleu", code=11)
    assert "has no metric bleu" in err
    assert "exact_match, by the filters strict-match, flexible-extract" in err


def test_partial_credit_is_refused_by_name(told: Told, tmp_path: Path) -> None:
    """Scores between right and wrong are told with their number, unless a bar is given."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "larger"), lambda row: row | {"acc": 0.25 + row["doc_id"] % 2 / 2})
    logs = str(run), str(run), "--benchmark", "larger"
    _, err = told("decide", *logs, code=11)
    assert "acc is neither right nor wrong in 20 samples (0.25 in samples_larger_" in err
    out, _ = told("decide", *logs, "--correct-at", "larger=0.5", "--json", code=10)
    assert json.loads(out)["reference"]["accuracy"] == 0.5


def test_unknown_metrics_are_asked_for(told: Told, tmp_path: Path) -> None:
    """Where no metric is known to say right or wrong, the message names those that there are."""

    def renamed(row: Row) -> Row:
        return row | {"metrics": ["bleu", "chrf"], "bleu": 1.0, "chrf": 1.0}

    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    edit(samples(run, "larger"), renamed)
    edit_results(run, lambda data: data["configs"]["larger"].pop("metric_list"))
    _, err = told("decide", str(run), str(run), code=11)
    assert "has the metrics bleu, chrf" in err
    assert "--metric larger=bleu" in err


def test_all_faults_of_a_file_are_told_at_once(told: Told, tmp_path: Path) -> None:
    """Each faulty line is named with its file and number."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    path = samples(run, "products")
    lines = path.read_text().splitlines()
    lines[2], lines[4] = lines[2][:50], "[1]"
    lines[6] = json.dumps({"filter": "strict-match", "exact_match": 1})
    path.write_text("\n".join(lines))
    _, err = told("decide", str(path), str(path), code=11)
    for number, what in ((3, "not a JSON object"), (5, "not a JSON object"), (7, "neither doc")):
        assert f"{path.name}, line {number}: " in err
        assert what in err
    assert "3 faulty samples" in err


def test_a_file_that_was_cut_is_refused(told: Told, tmp_path: Path) -> None:
    """A file with fewer samples than its run had is no smaller run."""
    run = copy_of(LM_EVAL / "yesterday", tmp_path)
    path = samples(run, "products")
    path.write_text("\n".join(path.read_text().splitlines()[:12]))
    _, err = told("decide", str(run), str(run), "--benchmark", "arithmetic", code=11)
    assert "holds 12 of 20 samples; it was cut" in err


def test_samples_without_results_are_judged_with_a_note(told: Told, tmp_path: Path) -> None:
    """Where no file of results stands beside the samples, it is told what was not compared."""
    run = copy_of(LM_EVAL / "today", tmp_path)
    edit_results(run, lambda data: data.clear())
    (results,) = run.rglob("results_*.json")
    results.unlink()
    path = str(samples(run, "products"))
    out, _ = told("decide", path, path, code=10)
    assert "no results_DATE.json stands beside" in out


def test_questions_that_stand_twice_count_once(told: Told, tmp_path: Path) -> None:
    """Of a question that a task asks twice one answer is judged."""
    run = copy_of(LM_EVAL / "today", tmp_path)
    path = samples(run, "larger")
    path.write_text(path.read_text() * 2)
    out, _ = told("decide", str(path), str(path), code=10)
    assert "20 questions repeat another" in out
    assert "of 20 questions" in out


def test_two_runs_in_a_folder_are_refused(told: Told) -> None:
    """A folder with several runs of a task does not say which of them is meant."""
    _, err = told("decide", str(LM_EVAL), str(LM_EVAL / "today"), code=11)
    assert "holds the task products, as" in err
    assert "the logs of one run" in err


def test_logs_of_different_harnesses_are_refused(told: Told, tmp_path: Path) -> None:
    """Two harnesses ask and score in their own ways, so their logs are no pair."""
    run = copy_of(NEMO / "yesterday", tmp_path)
    (bundle,) = run.glob("eval-*.json")
    bundle.write_text(bundle.read_text().replace('"name": "sums"', '"name": "larger"'))
    larger = str(samples(LM_EVAL / "yesterday", "larger"))
    _, err = told("decide", larger, str(run), code=11)
    assert "the reference is a log of lm-evaluation-harness, the candidate of NeMo Evaluator" in err


def test_what_is_no_log_is_named(told: Told, tmp_path: Path) -> None:
    """A path that is not there, an empty folder and a file of something else are told."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.txt").write_text("no log")
    log = str(LM_EVAL / "yesterday")
    assert "there is no " in told("decide", log, str(tmp_path / "none"), code=11)[1]
    assert "holds no log" in told("decide", log, str(tmp_path / "empty"), code=11)[1]
    assert "is no log" in told("decide", log, str(tmp_path / "other.txt"), code=11)[1]
    both = told("decide", str(tmp_path / "none"), str(tmp_path / "empty"), code=11)[1]
    assert "there is no " in both
    assert "holds no log" in both


@pytest.mark.parametrize(
    "arguments",
    [
        ("--correct-at", "high"),
        ("--correct-at", "nan"),
        ("--metric", "=acc"),
        ("--metric", "acc", "--metric", "em"),
        ("--orders", "3"),
    ],
)
def test_options_that_say_nothing_are_refused(told: Told, arguments: tuple[str, ...]) -> None:
    """An option without a meaning ends with its name."""
    logs = str(LM_EVAL / "yesterday"), str(LM_EVAL / "today")
    assert arguments[0] in told("decide", *logs, *arguments, code=11)[1]


def test_options_on_logs_need_logs(told: Told, tmp_path: Path) -> None:
    """Rows have no metric to choose, and one log is not a pair."""
    rows = tmp_path / "rows.csv"
    rows.write_text("question,subject,reference,candidate\na,x,1,1\nb,x,1,1\n")
    _, err = told("decide", str(rows), "--metric", "acc", code=11)
    assert "--metric can be used with logs of other harnesses alone" in err
    _, err = told("decide", str(rows), "--benchmark", "x", code=11)
    assert "--benchmark chooses among the tasks of two logs" in err
    _, err = told("decide", str(LM_EVAL / "yesterday"), code=11)
    assert "capgate decide REFERENCE CANDIDATE" in err


def test_bundles_of_nemo_evaluator_are_judged(told: Told) -> None:
    """A bundle's records are paired by their prompts, in the groups of their categories."""
    out, _ = told("decide", str(NEMO / "yesterday"), str(NEMO / "today"), "--json", code=1)
    found = json.loads(out)
    assert {one["subject"]: one["losses"] for one in found["subjects"]} == {"even": 10, "odd": 10}
    assert "judged by reward, as logged by NeMo Evaluator" in found["notes"]
    assert found["differ"] == "model yesterday → today"
    (bundle,) = (NEMO / "today").glob("eval-*.json")
    assert "20 lost" in told("decide", str(NEMO / "yesterday"), str(bundle), code=1)[0]


def test_failed_requests_of_nemo_evaluator_are_no_wrong_answers(told: Told) -> None:
    """A record of a failed request has the reward 0 and is an error all the same."""
    out, _ = told("decide", str(NEMO / "yesterday"), str(NEMO / "broken"), code=10)
    assert "3 of 24 questions (12.5%) have no answer" in out
    assert "0 lost, 0 gained of 21 questions" in out
    assert "3 without an answer in the candidate: connection refused" in out


def test_dropped_records_of_nemo_evaluator_are_refused(told: Told, tmp_path: Path) -> None:
    """Records that a run dropped are no smaller benchmark: what fails may depend on the answer."""
    run = copy_of(NEMO / "yesterday", tmp_path)
    edit(run / "results.jsonl", lambda row: row if row["problem_idx"] > 3 else None)
    (bundle,) = run.glob("eval-*.json")
    data = json.loads(bundle.read_text())
    data["benchmark"]["samples"] = 20
    bundle.write_text(json.dumps(data))
    _, err = told("decide", str(NEMO / "yesterday"), str(run), "--common", code=11)
    assert "results.jsonl: holds 20 of 24 samples" in err


def test_repeats_of_nemo_evaluator_are_reduced(told: Told) -> None:
    """Of several answers to a question the first one counts, and that is told."""
    out, _ = told("decide", str(NEMO / "yesterday"), str(NEMO / "again"), code=10)
    assert "each question was asked 2 times; the first answer counts" in out
    assert "of 24 questions" in out


def test_records_without_prompts_are_refused(told: Told, tmp_path: Path) -> None:
    """A record that tells its position alone can't be paired by what it asks."""
    run = copy_of(NEMO / "yesterday", tmp_path)
    edit(run / "results.jsonl", lambda row: {key: row[key] for key in ("problem_idx", "reward")})
    _, err = told("decide", str(NEMO / "yesterday"), str(run), code=11)
    assert "results.jsonl, line 1: it has no prompt" in err
    assert "24 faulty samples, the first 20 are shown" in err
