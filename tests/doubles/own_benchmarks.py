"""Two benchmarks of a project's own, files of questions, and stored runs of them by real parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from tests.doubles.runs import MAX_TOKENS, TASK

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.questions import Question
from capgate.benchmarks.recorded import facts_of
from capgate.common.answers import Answer, AnswerState
from capgate.config.benchmarks_file import load_benchmarks
from capgate.gate.verdict import Verdict
from capgate.store.answer_rows import NewAnswer
from capgate.store.answer_store import Store
from capgate.store.shard import Shard

ENTRIES = """
sums: {questions: data/sums.jsonl, catch: 0.05}
grouped: {questions: data/grouped.jsonl, catch: 0.05, groups: [even, odd],
          parents: {all: [even, odd]}}
"""


def write(root: Path, count: int = 400) -> None:
    """Writes a project's two benchmarks: free text without groups, and choices in two groups."""
    (root / "config").mkdir(exist_ok=True)
    (root / "data").mkdir(exist_ok=True)
    (root / "config" / "benchmarks.yaml").write_text(ENTRIES, encoding="utf-8")
    plain = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]
    grouped = [
        {
            "question": f"Which number follows {n}?",
            "choices": [str(n + 1), str(n + 2)],
            "answer": "A",
            "group": "odd" if n % 2 else "even",
        }
        for n in range(count)
    ]
    for name, rows in (("sums", plain), ("grouped", grouped)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "data" / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def benchmark(root: Path, name: str = "sums") -> Benchmark:
    """One of the two, as a run makes it."""
    entry = load_benchmarks(root).entry_of(name)
    return make_benchmark(name, entry, task=TASK, max_tokens=MAX_TOKENS, root=root)


def answers(
    questions: Iterable[Question], *, lost: Collection[int] = (), unread: Collection[int] = ()
) -> list[Answer]:
    """An answer to each question; right but for the positions named."""
    made: list[Answer] = []
    for at, one in enumerate(questions):
        letter = bool(one.sample.choices)
        key, other = ("A", "B") if letter else (str(one.sample.target), "0")
        said = other if at in lost else key
        text = f"ANSWER: {said}" if letter else f"I think it is {said}."
        state = AnswerState.WRONG if at in lost else AnswerState.CORRECT
        if at in unread:
            state, said, text = AnswerState.UNPARSED, "", "no idea"
        made.append(Answer(one.hash, one.subject, state, said, text, 100, 5, 0.1))
    return made


def keep(
    root: Path,
    run: str,
    given: Iterable[Answer],
    *,
    name: str = "sums",
    target: str = "mine",
    verdict: Verdict | None = None,
    fingerprint: str = "e" * 16,
) -> None:
    """Keeps a target's part in a benchmark of a run, whether or not the run is there already.

    Args:
        root: The project's folder.
        run: The run's id.
        given: Its answers.
        name: The benchmark's name.
        target: The target's id.
        verdict: The verdict on it; None where it was only measured.
        fingerprint: Of who answered.
    """
    asked, given = benchmark(root, name), list(given)
    questions = asked.load("").questions
    counts: dict[str, int] = {}
    for one in questions:
        counts[one.subject] = counts.get(one.subject, 0) + 1
    about = {
        "model_id": target,
        "adapter_name": None,
        "fingerprint": fingerprint,
        "facts": {
            "model": "m",
            "generation": {"temperature": 0.0, "max_tokens": asked.max_tokens},
            "versions": dict(asked.versions),
            "benchmark": name,
        },
        "dataset": asked.load("").describe(),
        "prompt_hash": asked.prompt_hash,
        "selected": counts,
        **facts_of(asked),
    }
    with Store(root / "reports" / "answers.sqlite") as store:
        store.start_run(run, {"task": TASK, "max_tokens": MAX_TOKENS, "limit": None})
        store.keep_questions(questions, benchmark=name)
        context = store.context(fingerprint, asked.prompt_hash, about["facts"])
        new = [NewAnswer(context, one, target, "first", name) for one in given]
        store.add_all(new, run=run)
        store.end_shard(run, target, Shard("entry", name), about)
        said = None if verdict is None else verdict.to_dict()
        usage = {"asked": len(given), "seconds": 1.0}
        store.end_shard(run, target, Shard("suite", name), {"verdict": said, "usage": usage})
