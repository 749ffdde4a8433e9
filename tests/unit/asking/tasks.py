"""Inspect tasks of all kinds as benchmarks: free text, several values, numbers, choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, ModelOutput
from inspect_ai.scorer import (
    Score,
    Scorer,
    Target,
    accuracy,
    choice,
    includes,
    match,
    mean,
    scorer,
    stderr,
)
from inspect_ai.solver import (
    TaskState,
    chain,
    generate,
    multiple_choice,
    prompt_template,
    system_message,
)
from inspect_evals.bbh.bbh import DatasetType, bbh_scorer, bbh_solver

from capgate.benchmarks.benchmark import Reading, Steps
from capgate.benchmarks.questions import Question, QuestionSet, question_hash
from capgate.common.answers import AnswerState

RIGHT, WRONG, UNPARSED = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED


def of_letters(scores: Mapping[str, Score], output: ModelOutput) -> Reading:
    """What scores of C and I say; an answer without a text is unparsed."""
    score = next(iter(scores.values()))
    read = (score.answer or "").strip()
    if score.value == "C":
        return Reading(RIGHT, read)
    return Reading(WRONG if output.completion.strip() else UNPARSED, read)


def of_strict(scores: Mapping[str, Score], output: ModelOutput) -> Reading:
    """What the key `strict` of a score of several values says."""
    (score,) = scores.values()
    assert isinstance(score.value, dict)
    if not output.completion:
        return Reading(UNPARSED, "")
    return Reading(RIGHT if score.value["strict"] else WRONG, "")


def of_number(scores: Mapping[str, Score], output: ModelOutput) -> Reading:
    """What a score between 0 and 1 says that counts from 0.5 on."""
    (score,) = scores.values()
    if not output.completion:
        return Reading(UNPARSED, "")
    return Reading(RIGHT if score.as_float() >= 0.5 else WRONG, f"{score.as_float():.2f}")


Read = Callable[[Mapping[str, Score], ModelOutput], Reading]


@dataclass(frozen=True)
class OwnTask:
    """An Inspect task as a benchmark.

    Attributes:
        name: Its name.
        samples: Its questions.
        parts: The parts of the task, each made anew for each task.
        read: What its scores say.
        letters: The letters of its choices.
    """

    name: str
    samples: tuple[Sample, ...]
    parts: Callable[[], dict[str, Any]]
    read: Read = of_letters
    letters: str = ""
    form: str = "a number"
    max_tokens: int = 64
    shots: int = 0
    catch: float | None = None
    advisory: bool = False
    steps: Steps | None = None
    groups: tuple[str, ...] = ()
    listed_groups: tuple[str, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)

    @property
    def task_name(self) -> str:
        """The same name."""
        return self.name

    @property
    def prompt_hash(self) -> str:
        """A mark: nothing is compared."""
        return f"prompt of {self.name}"

    @property
    def versions(self) -> Mapping[str, str]:
        """A mark: nothing is compared."""
        return {"task": f"{self.name}@1", "scorer": "1"}

    @property
    def questions(self) -> list[Question]:
        """Its questions."""
        return [Question(question_hash(one), self.name, one) for one in self.samples]

    def load(self, source: str) -> QuestionSet:
        """Its questions as a set."""
        return QuestionSet(source, "", 0, tuple(self.questions))

    def may_be_away(self, source: str) -> bool:  # noqa: ARG002
        """They are here."""
        return False

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """The task that asks questions."""
        plain = {"config": GenerateConfig(max_tokens=self.max_tokens, temperature=0.0)}
        return Task(
            dataset=MemoryDataset([question.sample for question in questions], name=shard),
            name=shard,
            **(plain | self.parts()),
        )

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """The same task."""
        return self.task(questions, shard=shard)

    @property
    def probe(self) -> Question:
        """Its first question."""
        return self.questions[0]

    def constraint(self, engine: str) -> Mapping[str, Any] | None:  # noqa: ARG002
        """None."""
        return None

    def again(self, text: str, choices: Sequence[str], key: str, group: str) -> Sample | None:
        """The question of that text."""
        del choices, key, group
        return next((one for one in self.samples if one.input == text), None)


def sums(count: int = 6) -> tuple[Sample, ...]:
    """Sums to be done."""
    return tuple(
        Sample(
            id=f"sum-{number}",
            input=f"Tom has {number} pens and buys 7 more. How many has he?",
            target=[str(number + 7), f"{number + 7}.0"],
            metadata={"reason": f"{number} + 7", "kind": ("small", "large")[number % 2]},
        )
        for number in range(count)
    )


def word_problems() -> OwnTask:
    """As GSM8K: examples in a system message, a prompt's template, a number at the end."""
    return OwnTask(
        "word-problems",
        sums(),
        lambda: {
            "solver": [
                system_message("Example: 1 and 1 more.\n\nANSWER: 2"),
                prompt_template("Solve this.\n\n{prompt}\n\nEnd with ANSWER: $ANSWER."),
                generate(),
            ],
            "scorer": match(numeric=True),
            "metrics": [accuracy(), stderr(cluster="kind")],
        },
    )


@scorer(
    metrics={"strict": [accuracy(), stderr()], "loose": [mean()]},
)
def follows(least: int = 3) -> Scorer:
    """Whether a text has as many words as it should, strictly and loosely."""

    async def score(state: TaskState, target: Target) -> Score:
        words = state.output.completion.split()
        return Score(
            value={"strict": len(words) == int(target.text), "loose": float(len(words) >= least)},
            explanation=f"{len(words)} words",
        )

    return score


def instructions() -> OwnTask:
    """As IFEval: free texts, and a score of several values."""
    return OwnTask(
        "instructions",
        tuple(
            Sample(id=number, input=f"Write {number} words about pens.", target=str(number))
            for number in range(1, 7)
        ),
        lambda: {"solver": generate(), "scorer": follows(least=2)},
        of_strict,
        form="a text",
    )


@scorer(metrics=[mean(), stderr()])
def overlap() -> Scorer:
    """Which share of the right words a text has."""

    async def score(state: TaskState, target: Target) -> Score:
        right = set(target.text.split())
        return Score(value=len(right & set(state.output.completion.split())) / len(right))

    return score


def overlaps() -> OwnTask:
    """A scorer of a user's own that gives a number between 0 and 1."""
    return OwnTask(
        "overlaps",
        tuple(
            Sample(id=f"o{number}", input=f"Name {number}.", target=f"ANSWER: {number}")
            for number in range(6)
        ),
        lambda: {"solver": chain(generate()), "scorer": overlap()},
        of_number,
        form="a text",
    )


def hard_ones() -> OwnTask:
    """As BBH: choices and words in one task, grouped metrics, upstream's solver and scorer."""
    kinds = (DatasetType.MULTIPLE_CHOICE, DatasetType.BINARY_CHOICE, DatasetType.EXACT_MATCH)
    return OwnTask(
        "hard-ones",
        tuple(
            Sample(
                id=f"hard-{number}",
                input=f"Is {number} even?",
                choices=["yes", "no"] if kinds[number % 3] is kinds[0] else None,
                target="AB"[number % 2] if kinds[number % 3] is kinds[0] else "yes",
                metadata={
                    "dataset_type": kinds[number % 3],
                    "dataset_name": kinds[number % 3].name,
                },
            )
            for number in range(9)
        ),
        lambda: {"solver": bbh_solver(), "scorer": bbh_scorer()},
    )


def conversations() -> OwnTask:
    """Questions that are whole conversations, with choices, and two scorers of one kind."""
    return OwnTask(
        "conversations",
        tuple(
            Sample(
                id=f"c{number}",
                input=[
                    ChatMessageSystem(content="Be short."),
                    ChatMessageUser(content=f"Which is {number}?"),
                ],
                choices=[str(number), str(number + 1), str(number + 2)],
                target="BCA"[number % 3],
            )
            for number in range(6)
        ),
        lambda: {
            "solver": [multiple_choice()],
            "scorer": [choice(), includes(ignore_case=False), includes()],
        },
        letters="ABC",
    )


ALL = (word_problems, instructions, overlaps, hard_ones, conversations)
