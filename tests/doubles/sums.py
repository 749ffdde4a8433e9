"""A team's own benchmark in a finished run: sums in free text, asked beside MMLU."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.store.answer_store import Store
from capgate.store.shard import Shard

SUMS = "sums"
FILE = "sums.jsonl"
COUNT = 60
GROUPS = ("addition", "doubling")


def write_sums(root: Path) -> Benchmark:
    """Writes the questions, and the project's entry of them; the benchmark."""
    rows = [
        {"question": f"What is {n} + {n + at}?", "answer": 2 * n + at, "group": group}
        for at, group in enumerate(reversed(GROUPS))
        for n in range(10, 10 + COUNT // 2)
    ]
    (root / FILE).write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    (root / "config").mkdir(exist_ok=True)
    entries = root / "config" / "benchmarks.yaml"
    entries.write_text(f"{SUMS}: {{questions: {FILE}, catch: 0.05}}\n", encoding="utf-8")
    entry = BenchmarkEntry(questions=FILE, catch=0.05)
    return make_benchmark(SUMS, entry, task="inspect_evals/mmlu_0_shot", max_tokens=64, root=root)


def answer(question: Question, *, lost: bool) -> Answer:
    """The right sum, or one that is off by one."""
    said = str(int(str(question.sample.target)) + lost)
    state = AnswerState.WRONG if lost else AnswerState.CORRECT
    text = f"The sum is {said}."
    return Answer(question.hash, question.subject, state, said, text, 30, 7, 0.1)


def keep_sums(root: Path, run: str, *, base: str, target: str, lost: Collection[int]) -> None:
    """Adds the sums to a run that the project's store holds, with a red verdict on `target`.

    Args:
        root: The project's folder.
        run: The run's id.
        base: Answers everything right.
        target: The adapter, which loses some.
        lost: Positions that it answers wrong.
    """
    benchmark = write_sums(root)
    asked = benchmark.load("hub").questions
    sides = {
        base: [answer(one, lost=False) for one in asked],
        target: [answer(one, lost=at in lost) for at, one in enumerate(asked)],
    }
    pairs = [
        Pair(one.question, one.subject, one.state, other.state)
        for one, other in zip(sides[base], sides[target], strict=True)
    ]
    verdict = decide_fixed(pairs, Policy(), reference="base")
    with Store(root / "reports" / "answers.sqlite") as store:
        store.keep_questions(asked, benchmark=SUMS)
        for name, given in sides.items():
            about = {
                "model_id": name,
                "adapter_name": None,
                "fingerprint": f"{name}-sums",
                "facts": {
                    "model": "m",
                    "generation": {"temperature": 0.0, "max_tokens": 64},
                    "versions": dict(benchmark.versions),
                    "identity": {"engine": "vllm"},
                },
                "dataset": benchmark.load("hub").describe(),
                "prompt_hash": benchmark.prompt_hash,
                "selected": dict.fromkeys(GROUPS, COUNT // 2),
                "benchmark": {"letters": benchmark.letters},
            }
            context = store.context(about["fingerprint"], about["prompt_hash"], about["facts"])
            for one in given:
                store.add(context, one, run=run, target=name, benchmark=SUMS)
            store.end_shard(run, name, Shard("entry", SUMS), about)
        said = {"verdict": verdict.to_dict(), "reference": {"kind": "base", "target": base}}
        usage = {"asked": len(asked), "seconds": 6.0}
        store.end_shard(run, target, Shard("suite", SUMS), {**said, "usage": usage})
