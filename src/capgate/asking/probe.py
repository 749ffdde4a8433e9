"""One real question, asked the way the benchmark asks: does an answer come back in form?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.asking.inspect_backend.read_sample import answer_of
from capgate.asking.ready_target import ReadyTarget
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError
from capgate.config.settings import Settings

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

PROBE: Final = {
    "question": "Which of these numbers is even?",
    "subject": "elementary_mathematics",
    "choices": ["3", "5", "8", "9"],
    "answer": 2,
}


class PreflightError(CapgateError):
    """A target answers, but not so that it can be judged."""


def ask_probe(
    ready_target: ReadyTarget, mmlu_task: MmluTask, settings: Settings, logs: Path
) -> Answer:
    """Asks a target one easy question in the benchmark's form.

    Whether it is answered right does not matter; the answer is not stored.

    Returns:
        The answer; an error where `--max-cost` kept the question from being put.

    Raises:
        PreflightError: No answer was had, or no choice could be read from it.
    """
    from inspect_evals.mmlu.mmlu import record_to_sample_mmlu

    from capgate.asking.inspect_backend.provider import was_refused
    from capgate.asking.inspect_backend.run_eval import run_eval
    from capgate.benchmarks.questions import Question, question_hash

    sample = record_to_sample_mmlu(PROBE)
    question = Question(question_hash(sample), str(PROBE["subject"]), sample)
    answers: list[Answer] = []
    refused: list[bool] = []

    def take(_: str, done: EvalSample) -> None:
        answers.append(answer_of(done, question, ready_target.model))
        refused.append(was_refused(ready_target.model, done))

    run_eval(
        mmlu_task.task([question], shard="preflight"),
        ready_target.model,
        logs,
        on_sample=take,
        temperature=settings.temperature,
    )
    if not answers:
        raise PreflightError("its evaluation ended without an answer", target=ready_target.id)
    answer = answers[0]
    if refused[0]:
        # Nor will any other question be put; the verdict says so.
        return answer
    if answer.state is AnswerState.ERROR:
        raise PreflightError(answer.text)
    if answer.state is AnswerState.UNPARSED and answer.cut_off:
        raise PreflightError(
            f"its answer to an easy question was cut off at --max-tokens {settings.max_tokens}, "
            "before a choice could be read",
            target=ready_target.id,
            said=answer.text,
            remedy="raise --max-tokens, or switch the model's thinking off (extra_body: "
            "{chat_template_kwargs: {enable_thinking: false}})",
        )
    if answer.state is AnswerState.UNPARSED:
        raise PreflightError(
            "it answered an easy question, but not in the form that the prompt demands "
            "(ANSWER: and a letter)",
            target=ready_target.id,
            said=answer.text,
            remedy="if the model can't follow the form, set answer_format: constrained for it, or "
            "give it examples (--tasks inspect_evals/mmlu_5_shot)",
        )
    return answer


def field_note(ready_target: ReadyTarget) -> str:
    """What to note where a target's server takes another field than `max_tokens`; `""` else."""
    field = ready_target.api.client.answer_limit.field(ready_target.endpoint.model)
    return "" if field == "max_tokens" else f"{field} is sent in place of max_tokens"
