"""One real question, asked the way the benchmark asks: does an answer come back in form?"""

from __future__ import annotations

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.evaluator import Evaluator
from capgate.asking.outcome import QuestionTask
from capgate.asking.ready_target import ReadyTarget
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
        PreflightError: There was no answer, or no choice could be read from it.
    """
    question = evaluator.benchmark.probe
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
        raise PreflightError(
            "its answer to an easy question was cut off at "
            f"--max-tokens {evaluator.settings.max_tokens}, before a choice could be read",
            target=target.id,
            said=answer.text,
            remedy="raise --max-tokens, or switch the model's thinking off (extra_body: "
            "{chat_template_kwargs: {enable_thinking: false}})",
        )
    if answer.state is AnswerState.UNPARSED:
        raise PreflightError(
            "it answered an easy question, but not in the form that the prompt demands "
            "(ANSWER: and a letter)",
            target=target.id,
            said=answer.text,
            remedy="if the model can't follow the form, set answer_format: constrained for it, or "
            "give it examples (--tasks inspect_evals/mmlu_5_shot)",
        )
    return answer


def field_note(target: ReadyTarget) -> str:
    """What to note where a target's server takes another field than `max_tokens`; `""` else."""
    field = target.client.max_tokens_field
    return "" if field == "max_tokens" else f"{field} is sent in place of max_tokens"
