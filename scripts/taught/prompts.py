"""Exports questions as the suite asks them, for the interpreter that teaches (it has no Inspect).

Run with the project's own Python:

    .venv/bin/python scripts/taught/prompts.py MMLU_FOLDER OUT.jsonl --subjects virology,marketing
    .venv/bin/python scripts/taught/prompts.py bundled OUT.jsonl

One line for each question: `hash`, `subject`, `domain`, `messages` (by upstream's solver) and
`target` (the key's letter).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
from capgate.benchmarks.questions import Question

MAX_TOKENS = 16


def export(source: str, subjects: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The questions of `source`, each with the messages that the 0-shot task sends.

    Args:
        source: What `capgate.benchmarks.mmlu.load.load_questions` takes: `bundled`, or a folder.
        subjects: Only these; all where it is None.

    Raises:
        ValueError: The source has no question of one of `subjects`.
    """
    by_subject = load_questions(source, shots=0).by_subject
    missing = sorted(set(subjects or ()) - set(by_subject))
    if missing:
        raise ValueError(f"{source} has no questions of {', '.join(missing)}")
    os.environ.setdefault("INSPECT_EVAL_MODEL", "none/none")
    chosen = [q for s in sorted(subjects or by_subject) for q in by_subject[s]]
    for question, messages in zip(chosen, asyncio.run(_rendered(chosen)), strict=True):
        yield {
            "hash": question.hash,
            "subject": question.subject,
            "domain": DOMAIN_OF[question.subject],
            "messages": messages,
            "target": question.sample.target,
        }


async def _rendered(questions: Sequence[Question]) -> list[list[dict[str, str]]]:
    """Runs upstream's solver over `questions` with a generator that only notes what it gets."""
    from inspect_ai.model import ChatMessageUser, ModelName, ModelOutput
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState
    from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

    sent: list[list[dict[str, str]]] = []

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        sent.append([{"role": m.role, "content": m.text} for m in state.messages])
        state.output = ModelOutput.from_content("none/none", "ANSWER: A")
        return state

    solver = mmlu_multiple_choice(max_non_cot_tokens=MAX_TOKENS)
    for question in questions:
        sample = question.sample
        assert isinstance(sample.input, str), "0-shot questions are plain text"
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
    args = parser.parse_args()
    rows = export(args.source, args.subjects.split(",") if args.subjects else None)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
