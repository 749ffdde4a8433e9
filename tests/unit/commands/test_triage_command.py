"""`capgate triage`: the questions that flipped, listed, filtered and asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.runs import keep_run, questions
from tests.doubles.server import Server
from tests.unit.commands.conftest import (
    ADAPTER,
    BASE,
    FAILED,
    GAINED,
    LOST,
    RUN,
    SUMS_LOST,
    UNPARSED,
    Told,
)

from capgate.report.data.build import build_report
from capgate.report.data.read import read_report
from capgate.report.write import write_data
from capgate.store.answer_store import Store

NOT_ANSWERED = len(LOST) + 2
"""Questions lost: those answered wrong, the unread one and the failed one."""


@pytest.mark.usefixtures("finished")
def test_losses_are_listed_with_their_labels(told: Told) -> None:
    """A headline, the labels' counts, a line for each question lost, and the way to one."""
    lines = told("triage", "latest")[0].splitlines()
    assert lines[0].startswith(f"{ADAPTER} lost ")
    assert lines[0].endswith(f"; compared with its base {BASE}")
    assert "unparsed 1" in lines[1]
    assert "error 1" in lines[1]
    flips = [line for line in lines if line.startswith("- ")]
    assert len(flips) == NOT_ANSWERED
    assert not [line for line in lines if line.startswith("+ ")]
    assert lines[-1].startswith("one in full: capgate show")


@pytest.mark.usefixtures("finished")
def test_gains_are_listed_on_demand(told: Told) -> None:
    """`--gains` adds what the adapter alone answers right."""
    gains = [line for line in told("triage", RUN, "--gains")[0].splitlines() if line[:2] == "+ "]
    assert len(gains) == 1
    assert questions()[GAINED].hash[:12] in gains[0]


@pytest.mark.usefixtures("finished")
def test_by_label_and_subject(told: Told) -> None:
    """`--label` and `--subject` leave the others out."""
    out, _ = told("triage", RUN, "--label", "unparsed", "--json")
    assert [json.loads(row)["question"] for row in out.splitlines()] == [questions()[UNPARSED].hash]
    subject = questions()[LOST[0]].subject
    out, _ = told("triage", RUN, "--subject", subject, "--json")
    assert {json.loads(row)["subject"] for row in out.splitlines()} == {subject}
    out, _ = told("triage", RUN, "--subject", questions()[FAILED].subject, "--label", "knowledge")
    assert "no question fits" in out


@pytest.mark.usefixtures("finished")
def test_a_long_list_is_cut(told: Told) -> None:
    """`--limit` shows so many, and says how to see all; JSON is never cut."""
    out, _ = told("triage", RUN, "--limit", "5")
    assert sum(line.startswith("- ") for line in out.splitlines()) == 5
    assert f"… and {NOT_ANSWERED - 5} more (--limit {NOT_ANSWERED} shows all)" in out
    assert len(told("triage", RUN, "--limit", "5", "--json")[0].splitlines()) == NOT_ANSWERED


@pytest.mark.usefixtures("finished")
def test_json_rows_tell_both_sides(told: Told) -> None:
    """One object a line, with text, choices, key and both answers."""
    rows = map(json.loads, told("triage", RUN, "--json")[0].splitlines())
    row = next(one for one in rows if one["question"] == questions()[LOST[0]].hash)
    assert row["change"] == "loss"
    assert row["reference"]["choice"] == row["key"]
    assert row["candidate"]["choice"] != row["key"]
    assert len(row["choices"]) == 4
    assert row["text"] == questions()[LOST[0]].sample.input


def test_unparsed_answers_are_asked_for_again(finished: Path, told: Told, served: Server) -> None:
    """`--reask` asks them in a constrained form; the report tells what that brought back."""
    key = str(questions()[UNPARSED].sample.target)
    served.answer = lambda _: f"ANSWER: {key}"
    data = finished / "reports" / RUN / "report.json"
    before = read_report(data)
    told("triage", RUN, "--reask")
    asked = [one for one in served.chats if "structured_outputs" in one.body]
    assert len(asked) == 1
    after = read_report(data)
    split = after.comparisons[ADAPTER].split
    assert split is not None
    assert split.status == "asked"
    assert (after.finished, after.verdict) == (before.finished, before.verdict)
    assert (finished / "reports" / RUN / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("2001",), "2001"),
        ((RUN, "--target", "nobody"), "no target 'nobody'"),
        ((RUN, "--subject", "alchemy"), "alchemy"),
        ((RUN, "--label", "bad luck"), "bad luck"),
        ((RUN, "--limit", "0"), "at least 1"),
        ((RUN, "--redux", "nowhere.csv"), "nowhere.csv"),
        ((RUN, "--reask", "--store", "other.sqlite"), "does not hold the run"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_wrong_usage(told: Told, arguments: tuple[str, ...], words: str) -> None:
    """Unknown runs, targets, subjects, labels and files are named; the exit code is usage's."""
    assert words in told("triage", *arguments, code=4)[1]


def test_a_run_that_compared_nothing(finished: Path, told: Told) -> None:
    """A run that only measured has no flips, and is told so."""
    run = "20260102T000000Z-0002"
    keep_run(finished, run, [], target="alone", shard="suite")
    with Store(finished / "reports" / "answers.sqlite") as store:
        write_data(build_report(store, run, complete=True), finished / "reports" / run)
    _, err = told("triage", run, code=4)
    assert "compared nothing question by question" in err


@pytest.mark.usefixtures("with_sums")
def test_each_benchmark_has_a_part(told: Told) -> None:
    """A run of several benchmarks has a headline for each, and `--benchmark` leaves one."""
    out, _ = told("triage", RUN)
    heads = [line for line in out.splitlines() if "; compared with " in line]
    assert [head.split()[:2] for head in heads] == [[ADAPTER, "[mmlu]"], [ADAPTER, "[sums]"]]
    out, _ = told("triage", RUN, "--benchmark", "sums")
    assert "[mmlu]" not in out
    assert len([line for line in out.splitlines() if line.startswith("- ")]) == len(SUMS_LOST)
    last = out.splitlines()[-1]
    assert last.startswith(f"one in full: capgate show {RUN} ")
    assert last.endswith(" --benchmark sums")
    rows = [json.loads(row) for row in told("triage", RUN, "--json")[0].splitlines()]
    assert sum(row.get("benchmark") == "sums" for row in rows) == len(SUMS_LOST)
    assert sum("benchmark" not in row for row in rows) == NOT_ANSWERED
    _, err = told("triage", RUN, "--benchmark", "gsm8k", code=4)
    assert "did not ask gsm8k" in err
    assert "mmlu, sums" in err


@pytest.mark.usefixtures("with_sums")
def test_groups_of_any_benchmark(told: Told) -> None:
    """`--group` takes a group of any benchmark of the run, and names those there are."""
    out, _ = told("triage", RUN, "--group", "doubling", "--json")
    assert {json.loads(row)["subject"] for row in out.splitlines()} <= {"doubling"}
    _, err = told("triage", RUN, "--group", "adition", code=4)
    assert "did you mean addition" in err.lower()
    _, err = told("triage", RUN, "--benchmark", "sums", "--group", "virology", code=4)
    assert "in sums" in err
