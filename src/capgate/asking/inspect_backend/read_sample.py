"""How a finished sample of Inspect's ended, as an `Outcome`."""

from __future__ import annotations

from inspect_ai.log import EvalSample
from inspect_ai.model import ModelOutput

from capgate.asking.inspect_backend.messages import facts_of
from capgate.asking.outcome import Fault, Outcome, error_answer, short_choice
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.redact import Redactor


def outcome_of(
    sample: EvalSample,
    fault: Fault | None,
    question: Question,
    benchmark: Benchmark,
    redactor: Redactor,
) -> Outcome:
    """How a finished sample ended; its text is without the secrets that are known.

    Args:
        sample: The sample as Inspect hands it out.
        fault: The fault that ended it, if one did.
        question: The question it asked.
        benchmark: Reads the scores.
        redactor: Cuts out the secrets that the target's client knows.
    """
    if fault is not None:
        return Outcome(error_answer(question, str(fault)), fault)
    if sample.error is not None:
        return Outcome(error_answer(question, sample.error.message))
    if not sample.scores:
        return Outcome(error_answer(question, "Inspect ended the sample without a score"))
    output = sample.output
    facts = facts_of(output)
    state, read = benchmark.read(sample.scores, output)
    choice = short_choice(redactor.known(read))
    usage = output.usage
    answer = Answer(
        question=question.hash,
        subject=question.subject,
        state=state,
        choice=choice,
        text=redactor.known(output.completion),
        prompt_tokens=usage.input_tokens if usage else 0,
        completion_tokens=usage.output_tokens if usage else 0,
        seconds=facts.seconds,
        margin=_margin(output, choice, benchmark),
        served_by=facts.served_by,
        cost=facts.cost,
        finish_reason=facts.finish_reason,
        cut_off=facts.cut_off,
        reasoning_tokens=(usage.reasoning_tokens or 0) if usage else 0,
        endpoint=facts.endpoint,
    )
    return Outcome(answer)


def _margin(output: ModelOutput, letter: str, benchmark: Benchmark) -> float | None:
    """Natural-log odds of the answered letter over the next-best one, where both are known."""
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or len(letter) != 1 or letter not in (letters := benchmark.letters):
        return None
    # The answer's letter is the last generated token that is one.
    for entry in reversed(logprobs.content):
        if entry.token.strip() != letter:
            continue
        best: dict[str, float] = {}
        for top in entry.top_logprobs or ():
            name = top.token.strip()
            if name and name in letters:
                best[name] = max(best.get(name, -float("inf")), top.logprob)
        best.setdefault(letter, entry.logprob)
        ranked = sorted(best.values(), reverse=True)
        return ranked[0] - ranked[1] if len(ranked) > 1 else None
    return None
