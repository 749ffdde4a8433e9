"""What upstream's solver and scorer read in an answer's text, and a hash of how they read.

Stored answers and baselines stay valid as long as that hash is the same. The versions of
inspect_ai and inspect_evals are recorded for people; alone they say nothing about the reading.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.benchmark import Reading
from capgate.benchmarks.without_model import no_model, unasked
from capgate.common.answers import AnswerState
from capgate.common.code_facts import code_fact
from capgate.common.errors import ConfigError
from capgate.common.event_loop import in_own_loop

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import Score, Scorer
    from inspect_ai.solver import Solver, TaskState

KEY: Final = "B"
"""The right letter of the question that `TEXTS` answer."""

TEXTS: Final[tuple[str, ...]] = (
    # The form that the prompt asks for, each letter; what is outside of the choices.
    *(f"ANSWER: {letter}" for letter in "ABCDEZ012"),
    *(f"ANSWER: {letter}" for letter in "abcd"),
    "Answer: B",
    "answer : b",
    "ANSWER:B",
    "ANSWER B",
    "ANSWER - B",
    "ANSWER: B.",
    "ANSWER: B)",
    "ANSWER: (B)",
    "ANSWER: [B]",
    "ANSWER: B,",
    "  ANSWER: B  \n\n",
    "\tANSWER:\tB",
    "ANSWER:\nB",
    "ANSWER: $LETTER",
    # No answer, or none in the form that was asked for.
    "",
    " \n",
    "B",
    "b",
    "(B)",
    "B) Paris",
    "The answer is B.",
    "The correct choice is **B**.",
    "Option B",
    "I can not answer that.",
    "A",
    "None of the above",
    # More than a letter.
    "ANSWER: B) the second one",
    "ANSWER: B because A is wrong",
    "ANSWER: B - the second one",
    "ANSWER: Because",
    "ANSWER: the second one",
    "ANSWER: B or C",
    # Several letters.
    "ANSWER: A, B",
    "ANSWER: AB",
    "ANSWER: A B",
    "ANSWER: A and B",
    "ANSWER: B, B",
    "ANSWER: A\nANSWER: B",
    "ANSWER: B\nANSWER: A",
    "ANSWER: B\nNo, wait.\nANSWER: none",
    "ANSWER: A ANSWER: B",
    # Prose around it.
    "Paris is the capital of France.\nANSWER: B",
    "Paris is the capital of France. ANSWER: B",
    "ANSWER: B\nParis is the capital of France.",
    "ANSWER: B. Paris is the capital of France.",
    "My answer: B",
    "The answer: B is right",
    "Well: ANSWER: B",
    '{"answer": "B"}',
    "ANSWER = B",
    # Markdown, LaTeX, HTML.
    "**ANSWER: B**",
    "**ANSWER:** B",
    "ANSWER: **B**",
    "ANSWER: __B__",
    "ANSWER: `B`",
    "# ANSWER: B",
    "> ANSWER: B",
    "- ANSWER: B",
    "ANSWER: $B$",
    "$ANSWER: B$",
    "ANSWER: $\\boxed{B}$",
    "\\boxed{B}",
    "ANSWER: \\boxed{B}",
    "ANSWER: \\text{B}",
    "$$\\text{ANSWER: B}$$",
    "<b>ANSWER: B</b>",
    "```\nANSWER: B\n```",
    # Thoughts that the server left in the text.
    "<think>\nANSWER: A\n</think>\n\nANSWER: B",
    "<think>It is B.</think>",
    "<think>ANSWER: B",
    "ANSWER: B<think>ANSWER: A</think>",
    "<|channel|>analysis<|message|>ANSWER: A<|end|><|channel|>final<|message|>ANSWER: B",
    # Tokens of chat templates.
    "ANSWER: B<|im_end|>",
    "ANSWER: B</s>",
    "<|assistant|>ANSWER: B",
    # Other scripts and characters: full-width, Cyrillic, Chinese, Arabic, Hindi, odd spaces.
    "ANSWER: \uff22",
    "ANSWER: \u0412",
    "ANSWER\uff1aB",
    "\u7b54\u6848\uff1aB",
    "ANSWER: \u0628",
    "ANSWER: \u0662",
    "\u0909\u0924\u094d\u0924\u0930: B",
    "R\u00c9PONSE : B",
    "ANTWORT: B",
    "ANSWER:\u00a0B",
    "ANSWER:\u3000B",
    "ANSWER: B\u200b",
    "\ufeffANSWER: B",
    "ANSWER: B\u2028",
    "ANSWER: B \U0001f44d",
    "ANSWER: B\x00",
    "ANSWER: B\r\n",
    # Long texts: the answer at the end, in the middle, nowhere, and cut off.
    "Paris lies on the Seine. " * 160 + "\nANSWER: B",
    "Paris lies on the Seine.\n" * 80 + "ANSWER: B\n" + "Lyon lies on the Rhone.\n" * 80,
    "Paris lies on the Seine. " * 160,
    "Paris lies on the Seine. " * 160 + "ANSWER:",
    "ANSWER: A\n" * 100 + "ANSWER: B",
)
"""Answers to one question of four choices, whose reading tells scorers apart.

They are never changed: another text would give every scorer another hash, and so make every
stored answer and baseline invalid.
"""


def mmlu_scorer_hash() -> str:
    """The `behaviour_hash` of the installed packages' solver and scorer."""
    return _hash_with(_others())


@cache
def _hash_with(_others: tuple[object, ...]) -> str:
    return str(upstream_fact("mmlu-scorer", _scorer_hash))


_FUNCTIONS: Final = (
    ("inspect_ai.scorer", "choice"),
    ("inspect_ai.solver", "multiple_choice"),
    ("inspect_evals.mmlu.mmlu", "mmlu_multiple_choice"),
    ("inspect_evals.mmlu.mmlu", "format_mmlu_question"),
)
"""Module and name of what asks and reads."""


def upstream_fact(name: str, find: Callable[[], Any], *, about: str = "") -> Any:  # noqa: ANN401
    """A fact about upstream's MMLU, kept for as long as its code stays the same.

    To import it takes half a second, since it imports `datasets`. To call its solver takes as
    long again: it asks for the model, for which Inspect imports every task that is installed.
    Where this process has put other functions in the place of upstream's, the fact is found
    anew, since the files say nothing of them.

    Args:
        name: What the fact is.
        find: Finds it; see `code_fact`.
        about: What else it depends on.
    """
    if _others():
        return find()
    return code_fact(name, ("inspect_ai", "inspect_evals", "capgate"), find, about=about)


def _others() -> tuple[object, ...]:
    """What stands in the place of upstream's functions in this process."""
    found = [
        (function, module)
        for module, name in _FUNCTIONS
        if (function := getattr(sys.modules.get(module), name, None)) is not None
    ]
    return tuple(
        function
        for function, module in found
        if str(function.__module__).split(".")[0] != module.split(".")[0]
    )


def _scorer_hash() -> str:
    from inspect_ai.scorer import choice
    from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

    return behaviour_hash(mmlu_multiple_choice(), choice())


def behaviour_hash(
    solver: Solver,
    scorer: Scorer,
    *,
    sample: Sample | None = None,
    texts: Sequence[str] = TEXTS,
    reading: Callable[[Score], Reading] | None = None,
) -> str:
    """Hash of what a solver and a scorer read in some texts: 16 hex digits.

    Two versions of a scorer that read all of these texts alike have one hash, however their code
    differs.

    Args:
        solver: Puts the question, and marks the choice that it finds in the answer.
        scorer: Compares the marked choice with the key.
        sample: The question; by default one of four choices, to which `TEXTS` are answers.
        texts: The answers.
        reading: What a score says; by default as scores of `choice` say it.
    """
    from inspect_ai.dataset import Sample

    choices = ["Rome", "Paris", "Bern", "Oslo"]
    asked = sample or Sample(input="Which city?", choices=choices, target=KEY)

    async def read_or_fail(text: str) -> tuple[str, str]:
        try:
            return await read(solver, scorer, asked, text, reading or reading_of)
        except Exception as error:
            # An upgrade after which the scorer fails on a text is a change, too.
            return "raises", type(error).__name__

    async def read_all() -> list[tuple[str, str]]:
        return [await read_or_fail(text) for text in texts]

    with no_model():
        found = in_own_loop(read_all)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


async def read(
    solver: Solver,
    scorer: Scorer,
    sample: Sample,
    text: str,
    reading: Callable[[Score], Reading] | None = None,
) -> Reading:
    """Reads a text as an evaluation reads a model's answer; to be called under `no_model`.

    Args:
        solver: Upstream's.
        scorer: Upstream's.
        sample: The question.
        text: What was answered.
        reading: What a score says; by default as scores of `choice` say it.

    Raises:
        ConfigError: The scorer gives no score.
    """
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Target

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        state.output = ModelOutput.from_content("none/none", text)
        return state

    score = await scorer(await solver(unasked(sample), generate), Target(sample.target))
    if score is None:
        raise ConfigError("today's scorer gives no score", remedy="see the task's changes")
    return (reading or reading_of)(score)


def reading_of(score: Score) -> Reading:
    """What a score of `choice` says: how the answer counts, and the letter that was read."""
    letter = score.answer or ""
    if score.value == "C":
        return Reading(AnswerState.CORRECT, letter)
    return Reading(AnswerState.WRONG if letter else AnswerState.UNPARSED, letter)
