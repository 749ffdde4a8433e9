"""One easy question, asked the way the benchmark asks: does an answer come back in form?"""

from __future__ import annotations

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.evaluator import Evaluator
from capgate.asking.fingerprint import has_form
from capgate.asking.outcome import QuestionTask
from capgate.asking.ready_target import ReadyTarget
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError


class PreflightError(CapgateError):
    """A target answers, but not so that it can be judged."""


def ask_probe(target: ReadyTarget, evaluator: Evaluator) -> Answer:
    """Asks a target one easy question in the benchmark's form.

    Whether it is answered right does not matter; the answer is not stored.

    Args:
        target: The target.
        evaluator: Asks it.

    Returns:
        The answer; an error where `--max-cost` forbade the question.

    Raises:
        PreflightError: There was no answer, or it could not be read.
    """
    benchmark = evaluator.benchmark
    question = benchmark.probe
    task = QuestionTask("preflight", [question], target.client)
    outcome = evaluator.ask_one(task).get(question.hash)
    if outcome is None:
        raise PreflightError("its evaluation ended without an answer", target=target.id)
    answer = outcome.answer
    if isinstance(outcome.fault, NotAskedError):
        # No other question will be asked either; the verdict says so.
        return answer
    if answer.state is AnswerState.ERROR:
        raise PreflightError(answer.text)
    if answer.state is AnswerState.UNPARSED and answer.cut_off:
        limit = "--max-tokens" if benchmark.name == MMLU else f"max_tokens of {benchmark.name},"
        raise PreflightError(
            f"its answer to an easy question was cut off at {limit} {benchmark.max_tokens}, before "
            f"{'a choice' if benchmark.letters else 'an answer'} could be read",
            target=target.id,
            said=answer.text,
            remedy=f"raise {limit.strip(',')}, or switch the model's thinking off (extra_body: "
            "{chat_template_kwargs: {enable_thinking: false}})",
        )
    if answer.state is AnswerState.UNPARSED:
        raise PreflightError(
            "it answered an easy question, but not in the form that the prompt demands "
            f"({benchmark.form})",
            target=target.id,
            said=answer.text,
            remedy=_remedy(benchmark, target),
        )
    return answer


def _remedy(benchmark: Benchmark, target: ReadyTarget) -> str:
    """What to do about a model that does not answer in form."""
    if target.target.prompt_format == "completion":
        return (
            "give it examples (--tasks inspect_evals/mmlu_5_shot)"
            if benchmark.name == MMLU
            else "put an example into each question: a base model goes on as a text begins"
        )
    if benchmark.name == MMLU:
        return (
            "if the model can't follow the form, set answer_format: constrained for it, or "
            "give it examples (--tasks inspect_evals/mmlu_5_shot)"
        )
    if has_form(benchmark) and target.target.answer_format == "free":
        return "if the model can't follow the form, set answer_format: constrained for it"
    return (
        f"check the model's chat template, and what the scorer of {benchmark.name} looks for; a "
        "model that can't answer in this form can't be judged by this benchmark"
    )


def field_note(target: ReadyTarget) -> str:
    """What to note where a target's server takes another field than `max_tokens`; `""` else."""
    field = target.client.max_tokens_field
    return "" if field == "max_tokens" else f"{field} is sent in place of max_tokens"
