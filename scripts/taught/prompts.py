"""Exports questions as the suite asks them, for the interpreter that teaches (it has no Inspect).

Run with the project's own Python:

    .venv/bin/python scripts/taught/prompts.py MMLU_FOLDER OUT.jsonl --subjects virology,marketing
    .venv/bin/python scripts/taught/prompts.py bundled OUT.jsonl --questions sums.jsonl

One line for each question: `hash`, `subject`, `domain`, `messages` (by the benchmark's own solver)
and `target` (the key's letter). The questions of a file (`--questions`) follow those of MMLU; their
domain is the file's name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question

TASK = "inspect_evals/mmlu_0_shot"
MAX_TOKENS = 16


def export(source: str, subjects: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """MMLU's questions from `source`, each with the messages that the 0-shot task sends.

    Args:
        source: `bundled`, or a folder with MMLU.
        subjects: Only these; all where it is None.

    Raises:
        ValueError: The source has no question of one of `subjects`.
    """
    benchmark = mmlu_task(TASK, MAX_TOKENS)
    by_subject = benchmark.load(source).by_subject
    missing = sorted(set(subjects or ()) - set(by_subject))
    if missing:
        raise ValueError(f"{source} has no questions of {', '.join(missing)}")
    chosen = [q for s in sorted(subjects or by_subject) for q in by_subject[s]]
    yield from _lines(benchmark, chosen)


def export_file(file: Path) -> Iterator[dict[str, Any]]:
    """The questions of a file, each with the messages that the suite sends.

    Args:
        file: A file of questions, as an entry of `config/benchmarks.yaml` names it.
    """
    entry = BenchmarkEntry(questions=file.name)
    benchmark = make_benchmark(
        file.stem, entry, task=TASK, max_tokens=MAX_TOKENS, root=file.resolve().parent
    )
    yield from _lines(benchmark, benchmark.load("").questions)


def _lines(benchmark: Benchmark, chosen: Sequence[Question]) -> Iterator[dict[str, Any]]:
    os.environ.setdefault("INSPECT_EVAL_MODEL", "none/none")
    rendered = asyncio.run(_rendered(benchmark, chosen))
    for question, messages in zip(chosen, rendered, strict=True):
        yield {
            "hash": question.hash,
            "subject": question.subject,
            "domain": benchmark.parents.get(question.subject, benchmark.name),
            "messages": messages,
            "target": question.sample.target,
        }


async def _rendered(
    benchmark: Benchmark, questions: Sequence[Question]
) -> list[list[dict[str, str]]]:
    """Runs the solver over `questions` with a generator that only notes what it gets."""
    from inspect_ai.model import ChatMessageUser, ModelName, ModelOutput
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState

    sent: list[list[dict[str, str]]] = []

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        sent.append([{"role": m.role, "content": m.text} for m in state.messages])
        state.output = ModelOutput.from_content("none/none", "ANSWER: A")
        return state

    solver = benchmark.task(questions, shard="taught").solver
    for question in questions:
        sample = question.sample
        assert isinstance(sample.input, str), "these questions are plain text"
        state = TaskState(
            model=ModelName("none/none"),
            sample_id=str(sample.id),
            epoch=1,
            input=sample.input,
            messages=[ChatMessageUser(content=sample.input)],
            target=Target(sample.target),
            choices=sample.choices,
        )
        await solver(state, generate)
    return sent


def main() -> None:
    """Writes the file that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="bundled, or a folder of MMLU")
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", help="comma-separated; all without it")
    parser.add_argument("--questions", type=Path, help="a file of further questions")
    args = parser.parse_args()
    rows = [*export(args.source, args.subjects.split(",") if args.subjects else None)]
    if args.questions is not None:
        rows += export_file(args.questions)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
