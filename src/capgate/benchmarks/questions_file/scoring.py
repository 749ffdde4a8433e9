"""How answers to a file's questions are scored: by scorers of Inspect's own.

| scorer | right is an answer | default where |
|---|---|---|
| `choice` | that names the right letter | there are choices |
| `numeric` | whose last number is the right one | every right answer is a number |
| `match` | that ends with a right text | answers are other texts |
| `includes` | that holds a right text | |
| `exact` | that is a right text, but for case, articles and punctuation | |

Inspect compares numbers at five significant digits: 111801 is taken for 111800.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from capgate.benchmarks.benchmark import Reading, SolverStep, Steps
from capgate.benchmarks.mmlu.reading import behaviour_hash, mmlu_scorer_hash, reading_of
from capgate.common.answers import AnswerState
from capgate.common.text import one_line

if TYPE_CHECKING:
    from inspect_ai.scorer import Score, Scorer
    from inspect_ai.solver import Solver

CHOICE: Final = "choice"
NUMERIC: Final = "numeric"
FREE_TEXT: Final = (NUMERIC, "match", "includes", "exact")
"""Scorers of questions without choices."""

_LONGEST: Final = 80
"""Characters of a text that stand for an answer in reports."""

_TEXTS: Final = (
    *("Paris", "paris", "PARIS", " Paris \n", "Paris.", "**Paris**", "The answer is Paris."),
    *("Paris, Texas", "It is Paris, the capital", "Not Paris", "Lyon", "", " ", "Parisian"),
    *("ANSWER: Paris", "ANSWER: Lyon", "the Paris", "Paris\nLyon", "<think>Lyon</think>Paris"),
)

_NUMBERS: Final = (
    *("42", " 42 ", "42.", "42.0", "042", "+42", "-42", "42%", "$42", "42 €", "4,2", "42,000"),
    *("The answer is 42", "The answer is 42.", "**42**", "ANSWER: 42", "42 apples", "x = 42"),
    *("41", "41, not 42", "42, not 41", "forty-two", "", " ", "no number", "4 2", "1/42", "4.2e1"),
    *("\\boxed{42}", "(42)", "<think>41</think>42", "42\n41", "41\n42", "\u0664\u0662", "42\u00b0"),
)
"""Answers whose reading tells versions of scorers apart. They are never changed: another text would
make every stored answer invalid."""


def make_solver(scorer: str) -> Solver:
    """The solver of a file whose answers are scored by `scorer`."""
    from inspect_ai.solver import generate, multiple_choice

    return multiple_choice() if scorer == CHOICE else generate()


def make_scorer(scorer: str) -> Scorer:
    """Inspect's scorer of a name; see the table of this module."""
    from inspect_ai.scorer import choice, exact, includes, match

    if scorer == NUMERIC:
        return match(numeric=True)
    return {CHOICE: choice, "match": match, "includes": includes, "exact": exact}[scorer]()


def steps_of(scorer: str) -> Steps:
    """The solver and the scorer of a file, as logs record them."""
    if scorer == CHOICE:
        unset = {"template": None, "cot": False, "multiple_correct": False, "max_tokens": None}
        solver = SolverStep("multiple_choice", unset, {})
    else:
        solver = SolverStep("generate", {"tool_calls": "loop"}, {})
    return Steps([solver], [{"numeric": True} if scorer == NUMERIC else {}])


def form_of(scorer: str) -> str:
    """What an answer must hold to be read, for people."""
    if scorer == CHOICE:
        return "ANSWER: and a letter"
    return "a number" if scorer == NUMERIC else "a text"


def read_score(scorer: str, score: Score) -> Reading:
    """How an answer counts, and what was read in it.

    Unparsed is an answer without a letter of a choice, without a number where one is asked for,
    or without any text.

    Args:
        scorer: What scored it.
        score: The score.
    """
    if scorer == CHOICE:
        return reading_of(score)
    found = one_line((score.answer or "").strip(), limit=_LONGEST)
    if score.value == "C":
        return Reading(AnswerState.CORRECT, found)
    if not found or (scorer == NUMERIC and not _is_number(found)):
        return Reading(AnswerState.UNPARSED, "")
    return Reading(AnswerState.WRONG, found)


@cache
def scorer_hash(scorer: str) -> str:
    """Hash of what the installed scorer reads in fixed texts: 16 hex digits."""
    from inspect_ai.dataset import Sample

    if scorer == CHOICE:
        return mmlu_scorer_hash()
    numeric = scorer == NUMERIC
    return behaviour_hash(
        make_solver(scorer),
        make_scorer(scorer),
        sample=Sample(input="What?", target="42" if numeric else "Paris"),
        texts=_NUMBERS if numeric else _TEXTS,
        reading=lambda score: read_score(scorer, score),
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
