"""Stored runs without a server: written by the real store, read by the real commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.gate.verdict import Verdict
from capgate.store.answer_store import Store
from capgate.store.shard import Shard, ShardKind

TASK = "inspect_evals/mmlu_0_shot"
MAX_TOKENS = 512


def questions() -> tuple[Question, ...]:
    """The 228 questions that capgate ships, four of each subject."""
    return load_questions("bundled", shots=0).questions


def answer(question: Question, text: str, *, prompt_tokens: int = 100) -> Answer:
    """The answer that a text amounts to, where it is `ANSWER: X` or holds no choice."""
    key, letter = str(question.sample.target), text.removeprefix("ANSWER: ")
    state = AnswerState.UNPARSED
    if text.startswith("ANSWER: "):
        state = AnswerState.CORRECT if letter == key else AnswerState.WRONG
    parsed = letter if state is not AnswerState.UNPARSED else ""
    return Answer(question.hash, question.subject, state, parsed, text, prompt_tokens, 5, 0.1)


def right(question: Question) -> Answer:
    """The answer with the key."""
    return answer(question, f"ANSWER: {question.sample.target}")


def wrong(question: Question) -> Answer:
    """An answer with another letter."""
    return answer(question, f"ANSWER: {'B' if question.sample.target == 'A' else 'A'}")


def answers(*, lost: Iterable[int] = (), texts: Mapping[int, str] | None = None) -> list[Answer]:
    """An answer to each shipped question; right but for the positions named.

    Args:
        lost: Positions answered wrongly.
        texts: Position to what was answered there.
    """
    lost, texts = set(lost), texts or {}
    return [
        answer(one, texts[at]) if at in texts else wrong(one) if at in lost else right(one)
        for at, one in enumerate(questions())
    ]


def keep_run(
    root: Path,
    run: str,
    given: Iterable[Answer],
    *,
    target: str = "mine",
    verdict: Verdict | None = None,
    shard: ShardKind | None = "suite",
    chosen: int | None = None,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    **about: Any,  # noqa: ANN401
) -> None:
    """Keeps a run of the shipped questions in the project's store.

    Args:
        root: The project's folder.
        run: The run's id.
        given: Its answers.
        target: The target's id.
        verdict: The verdict on it; None where it was only measured.
        shard: How it was judged; None for a run that was broken off.
        chosen: Questions that it meant to ask; all where None.
        settings: Further settings.
        facts: Further facts of its fingerprint.
        reference: What it was compared with, as a judgement records it.
        about: Further facts of its entry.
    """
    asked = list(questions())[:chosen]
    selected: dict[str, int] = {}
    for one in asked:
        selected[one.subject] = selected.get(one.subject, 0) + 1
    use = mmlu_task(TASK, MAX_TOKENS)
    about = {
        "model_id": target,
        "adapter_name": None,
        "fingerprint": "f" * 16,
        "facts": {
            "model": "m",
            "generation": {"temperature": 0.0, "max_tokens": MAX_TOKENS},
            "versions": dict(use.versions),
            **(facts or {}),
        },
        "dataset": load_questions("bundled", shots=0).describe(),
        "prompt_hash": use.prompt_hash,
        "selected": selected,
        **about,
    }
    usage = {"asked": len(asked), "seconds": 11.4}
    with Store(root / "reports" / "answers.sqlite") as store:
        store.start_run(
            run, {"task": TASK, "max_tokens": MAX_TOKENS, "limit": chosen, **(settings or {})}
        )
        store.keep_questions(questions())
        context = store.context(about["fingerprint"], about["prompt_hash"], about["facts"])
        for one in given:
            store.add(context, one, run=run, target=target)
        store.end_shard(run, target, Shard("entry", MMLU), about)
        if shard is not None:
            said = None if verdict is None else verdict.to_dict()
            compared = {} if reference is None else {"reference": reference}
            store.end_shard(
                run, target, Shard(shard, MMLU), {"verdict": said, "usage": usage, **compared}
            )
