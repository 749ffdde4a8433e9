"""A whole MMLU run of two targets: its report keeps under 2 MB."""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path

import pytest

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.config.run_options import OPTIONS
from capgate.config.settings import Settings
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.report.data.read import read_report
from capgate.report.page.html import LIMIT
from capgate.report.page.payload import unpack
from capgate.report.write import write_results
from capgate.run.judgement import Judgement, Usage
from capgate.run.reference import BaseReference, describe
from capgate.run.run import Run
from capgate.store.shard import Shard

LETTERS = "ABCD"


@pytest.fixture(
    params=[
        pytest.param(0.06, id="usual", marks=pytest.mark.slow),
        pytest.param(0.6, id="collapsed"),
    ]
)
def run(request: pytest.FixtureRequest, mmlu_folder: Path, tmp_path: Path) -> Run:
    """The store of a run: a base and two adapters, all 14,042 questions."""
    parser = argparse.ArgumentParser()
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.dest, **option.keywords)
    settings = Settings.from_options(parser.parse_args([]), tmp_path)
    made = Run(settings, "20260101T000000Z-0001", endpoint=lambda _: pytest.fail("asked"))
    questions = load_questions(str(mmlu_folder), shots=0)
    dice = random.Random(0)
    right = {q.hash: dice.random() < 0.7 for q in questions.questions}
    store = made.store
    store.keep_questions(questions.questions)
    states: dict[str, dict[str, AnswerState]] = {}
    for target in ("base", "one", "two"):
        context = store.context(target, "p", {})
        rows = []
        for question in questions.questions:
            good = right[question.hash]
            if target != "base" and dice.random() < request.param:
                good = not good if dice.random() < 0.3 else False
            key = str(question.sample.target)
            letter = key if good else dice.choice([one for one in LETTERS if one != key])
            unread = target == "two" and dice.random() < 0.01
            state = AnswerState.CORRECT if good else AnswerState.WRONG
            rows.append(
                Answer(
                    question.hash,
                    question.subject,
                    AnswerState.UNPARSED if unread else state,
                    "" if unread else letter,
                    "I can't say. " * 20 if unread else f"ANSWER: {letter}",
                    120,
                    5,
                    0.1,
                    dice.random() * 5,
                )
            )
        for row in rows:
            store.add(context, row, run=made.id, target=target)
        states[target] = {row.question: row.state for row in rows}
        facts = {
            "fingerprint": target,
            "facts": {"versions": {}, "generation": {}},
            "dataset": questions.describe(),
            "prompt_hash": "p",
            "selected": {s: len(q) for s, q in questions.by_subject.items()},
        }
        store.end_shard(made.id, target, Shard("entry", MMLU), facts)
    for target in ("one", "two"):
        pairs = [
            Pair(q.hash, q.subject, states["base"][q.hash], states[target][q.hash])
            for q in questions.questions
        ]
        verdict = decide_fixed(pairs, Policy())
        usage = Usage(len(pairs), len(pairs), 0, 0, 60.0, None, len(pairs))
        facts = Judgement(target, Shard("suite", MMLU), verdict, usage).facts()
        reference = {"reference": describe(BaseReference("base"))}
        store.end_shard(made.id, target, Shard("suite", MMLU), facts | reference)
    return made


def test_the_report_of_a_whole_run_of_two_targets_is_under_2_mb(run: Run) -> None:
    """Even where most answers flipped: texts are left out then, never a flip."""
    write_results(run, complete=True)
    run.close()
    page = (run.folder / "report.html").read_bytes()
    assert len(page) < LIMIT
    report = read_report(run.folder / "report.json")
    packed = re.search(rb'data-left="(\d+)">([^<]+)<', page)
    assert packed is not None
    data = unpack(packed[2].decode())
    for target in data["targets"]:
        assert len(target["flips"]) == len(report.comparisons[target["name"]].flips)
    whole = sum(question[1] is not None for question in data["questions"].values())
    if len(data["questions"]) < 3_000:
        assert int(packed[1]) == 0
    assert whole > 1_000
    print(f"{len(page):,} bytes, {len(data['questions']):,} flipped, {whole:,} with text")
