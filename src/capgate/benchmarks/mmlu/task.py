"""The benchmark's tasks: inspect_evals' solver and scorer over one shard of questions."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.mmlu.reading import mmlu_scorer_hash, no_model, unasked
from capgate.common.errors import ConfigError
from capgate.common.event_loop import in_own_loop

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.solver import TaskState

    from capgate.benchmarks.questions import Question

TASKS: Final[dict[str, int]] = {"inspect_evals/mmlu_0_shot": 0, "inspect_evals/mmlu_5_shot": 5}
"""Task name to its number of few-shot examples."""

MIN_MAX_TOKENS: Final = 16
"""Upstream's solver raises a smaller limit by itself, so a smaller one is refused here."""


@dataclass(frozen=True)
class MmluTask:
    """One of upstream's tasks with the answer's token limit that a run asks for.

    Attributes:
        name: A key of `TASKS`.
        max_tokens: The most tokens of an answer; it reaches the server as it is.
    """

    name: str
    max_tokens: int

    @property
    def shots(self) -> int:
        """Few-shot examples before each question."""
        return TASKS[self.name]

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds the Inspect task that asks `questions`.

        Args:
            questions: What to ask, in order.
            shard: Name of this part, such as the subject.
        """
        from inspect_ai import Task
        from inspect_ai.dataset import MemoryDataset
        from inspect_ai.model import GenerateConfig
        from inspect_ai.scorer import choice
        from inspect_evals.mmlu.mmlu import EVAL_VERSION, mmlu_multiple_choice

        return Task(
            name=f"{self.name.split('/')[-1]}_{shard}",
            dataset=MemoryDataset([question.sample for question in questions], name=shard),
            solver=mmlu_multiple_choice(max_non_cot_tokens=self.max_tokens),
            scorer=choice(),
            config=GenerateConfig(temperature=0.0),
            version=EVAL_VERSION.comparability_version,
            metadata=EVAL_VERSION.to_metadata(),
        )

    @property
    def solver(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """The solver's registered name, its arguments, and those of them that are passed."""
        passed = {"max_non_cot_tokens": self.max_tokens}
        return "inspect_evals/mmlu_multiple_choice", {"cot": False, **passed}, passed

    @cached_property
    def prompt_hash(self) -> str:
        """Hash of what this task makes of a fixed question: 16 hex digits.

        Together with a question's own hash it determines the whole prompt, so two answers
        are comparable only where both agree.
        """
        rendered = json.dumps([self.name, _render_probe(self.max_tokens)], sort_keys=True)
        return hashlib.sha256(rendered.encode()).hexdigest()[:16]

    @cached_property
    def versions(self) -> dict[str, str]:
        """What decides how an answer is read, and the packages' versions for people.

        See `capgate.benchmarks.mmlu.versions`.
        """
        from inspect_evals.mmlu.mmlu import EVAL_VERSION

        return {
            "task": f"{self.name}@{EVAL_VERSION.comparability_version}",
            "scorer": mmlu_scorer_hash(),
            "inspect_ai": version("inspect-ai"),
            "inspect_evals": version("inspect-evals"),
        }


def mmlu_task(task: str, max_tokens: int) -> MmluTask:
    """Returns the MMLU task of a name.

    Raises:
        ConfigError: The task is unknown, or the token limit is one that it would override.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1, cutoff=0.3)
        raise ConfigError(
            f"there is no task {task!r}",
            remedy=f"use {near[0] if near else 'one'} (known: {', '.join(TASKS)})",
        )
    if max_tokens < MIN_MAX_TOKENS:
        raise ConfigError(
            f"--max-tokens {max_tokens} is below {MIN_MAX_TOKENS}, to which the task may raise it",
            remedy=f"ask for at least {MIN_MAX_TOKENS}",
        )
    return MmluTask(task, max_tokens)


def _render_probe(max_tokens: int) -> list[list[str]]:
    """The messages that upstream's solver sends for a fixed question."""
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_evals.mmlu.mmlu import format_mmlu_question, mmlu_multiple_choice

    sent: list[list[str]] = []

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        sent.extend([message.role, message.text] for message in state.messages)
        state.output = ModelOutput.from_content("none/none", "ANSWER: A")
        return state

    probe = Sample(
        id="probe",
        input="⟨question⟩",
        choices=["⟨a⟩", "⟨b⟩", "⟨c⟩", "⟨d⟩"],
        target="A",
    )
    state = unasked(probe)

    async def run() -> None:
        with no_model():
            await mmlu_multiple_choice(max_non_cot_tokens=max_tokens)(state, generate)

    in_own_loop(run)
    # The form of the few-shot examples; their text is part of each question's own hash.
    return [*sent, ["example", format_mmlu_question(str(probe.input), state.choices)]]
