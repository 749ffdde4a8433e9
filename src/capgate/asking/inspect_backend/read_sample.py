"""What a finished sample of Inspect's amounts to: one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capgate.benchmarks.mmlu.reading import reading_of
from capgate.common.answers import Answer, AnswerState

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import Model

    from capgate.benchmarks.questions import Question


def answer_of(sample: EvalSample, question: Question, model: Model) -> Answer:
    """What a finished sample amounts to; its text is without the secrets that are known.

    Args:
        sample: The sample as Inspect hands it out.
        question: The question it asked.
        model: The model that was asked.
    """
    from capgate.asking.inspect_backend.provider import facts_of, fault_of, redactor_of

    if sample.error is not None:
        fault = fault_of(model, sample)
        return error_answer(question, str(fault) if fault else sample.error.message)
    score = next(iter((sample.scores or {}).values()), None)
    if score is None:
        return error_answer(question, "Inspect ended the sample without a score")
    output = sample.output
    facts = facts_of(output)
    state, letter = reading_of(score)
    return Answer(
        question=question.hash,
        subject=question.subject,
        state=state,
        choice=letter,
        text=redactor_of([model]).known(output.completion),
        prompt_tokens=output.usage.input_tokens if output.usage else 0,
        completion_tokens=output.usage.output_tokens if output.usage else 0,
        seconds=facts.seconds,
        margin=_margin(output, letter),
        served_by=facts.served_by,
        cost=facts.cost,
        finish_reason=facts.finish_reason,
        cut_off=facts.cut_off,
        reasoning_tokens=(output.usage.reasoning_tokens or 0) if output.usage else 0,
    )


def error_answer(question: Question, text: str) -> Answer:
    """A question that was asked and not answered."""
    return Answer(question.hash, question.subject, AnswerState.ERROR, text=text)


def _margin(output: object, letter: str) -> float | None:
    """Natural-log odds of the answered letter over the next-best one, where both are known."""
    choices = getattr(output, "choices", None)
    logprobs = choices[0].logprobs if choices else None
    if logprobs is None or not letter:
        return None
    # The answer's letter is the last generated token that is one.
    for entry in reversed(logprobs.content):
        if entry.token.strip() != letter:
            continue
        best: dict[str, float] = {}
        for top in entry.top_logprobs or ():
            name = top.token.strip()
            if name in {"A", "B", "C", "D"}:
                best[name] = max(best.get(name, -float("inf")), top.logprob)
        best.setdefault(letter, entry.logprob)
        ranked = sorted(best.values(), reverse=True)
        return ranked[0] - ranked[1] if len(ranked) > 1 else None
    return None
