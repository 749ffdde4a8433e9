"""What a task's scores say of an answer: right, wrong or unparsed, and what was read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.benchmark import Reading
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError

if TYPE_CHECKING:
    from inspect_ai.scorer import Score

LONGEST: Final = 60
"""Characters of the longest answer that is kept beside its text; a longer one is the text."""

_FORMLESS: Final = frozenset({"invalid_response_format", "no_response", "refusal"})
"""Reasons by which Inspect's scorers say that they could read no answer."""

_NOT_SCORED: Final = frozenset({"grader_failed", "scoring_failed"})
"""Reasons by which a scorer says that it could not score an answer."""

_WORDS: Final = {
    **dict.fromkeys(("yes", "true", "correct", "pass", "passed"), True),
    **dict.fromkeys(("no", "false", "incorrect", "fail", "failed"), False),
}


@dataclass(frozen=True)
class ScoreRules:
    """How a benchmark's entry says that scores are to be read.

    Attributes:
        benchmark: The entry's name.
        scorer: The scorer that counts; None for the only one.
        correct: The key that counts of a score that holds several values.
        correct_at: The smallest number that counts as correct.
    """

    benchmark: str
    scorer: str | None = None
    correct: str | None = None
    correct_at: float | None = None

    def counting(self, scores: Mapping[str, Score]) -> Score:
        """The score that counts.

        Args:
            scores: Scorer's name to its score.

        Raises:
            ConfigError: There are several and the entry names none, or it names another.
        """
        names = ", ".join(scores)
        if self.scorer is None:
            if len(scores) == 1:
                return next(iter(scores.values()))
            raise ConfigError(
                f"the benchmark {self.benchmark} has {len(scores)} scorers ({names}), and its "
                "entry does not say which of them decides",
                remedy=f"add `scorer: {next(iter(scores))}`, or another of them, to its entry",
            )
        if self.scorer in scores:
            return scores[self.scorer]
        raise ConfigError(
            f"the benchmark {self.benchmark} has no scorer {self.scorer!r} (it has {names})",
            remedy="correct `scorer` of its entry",
        )

    def read(self, score: Score, text: str, *, extracts: bool) -> Reading:
        """What a score says.

        Args:
            score: Of the scorer that counts.
            text: What the model answered.
            extracts: Whether the scorer tells which answer it read, where it read one.

        Raises:
            ConfigError: The score has a form that the entry does not provide for; the message
                names the key to add.
        """
        reason = getattr(score, "reason", None)
        if reason in _NOT_SCORED:
            return Reading(AnswerState.ERROR, "")
        right = self._is_right(score)
        if right is None and not text.strip():
            return Reading(AnswerState.UNPARSED, "")
        if right is None:
            nothing = score.value == "N"
            return Reading(AnswerState.UNPARSED if nothing else AnswerState.ERROR, "")
        found = (score.answer or "").strip()
        short = found if len(found) <= LONGEST and "\n" not in found else ""
        if right and text.strip():
            return Reading(AnswerState.CORRECT, short)
        unread = not text.strip() or reason in _FORMLESS
        if unread or score.answer == "" or (extracts and score.answer is None):
            return Reading(AnswerState.UNPARSED, "")
        return Reading(AnswerState.WRONG, short)

    def _is_right(self, score: Score) -> bool | None:
        """Whether a score is that of a right answer; None for no answer and no score."""
        value: Any = score.value
        if isinstance(value, Mapping):
            value = self._of_several(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            raise self._unprovided(
                "a list of values",
                "have its scorer return one value, or a dict, and name a key "
                "of that with `correct`",
            )
        if isinstance(value, str):
            return self._of_text(value)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool):
            return value
        return self._of_number(float(value))

    def _of_several(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 (one of them)
        names = ", ".join(values)
        if self.correct is None:
            first = next((name for name, one in values.items() if isinstance(one, bool)), "")
            raise self._unprovided(
                f"several values ({names})",
                f"add `correct: {first or next(iter(values), 'KEY')}`, or another of these keys, "
                "to its entry",
            )
        if self.correct not in values:
            raise ConfigError(
                f"the scores of the benchmark {self.benchmark} have no key {self.correct!r} "
                f"(they have {names})",
                remedy="correct `correct` of its entry",
            )
        return values[self.correct]

    def _of_text(self, value: str) -> bool | None:
        if value in {"C", "I"}:
            return value == "C"
        if value == "N":
            return None
        if value == "P":
            return self._of_number(0.5)
        if value.strip().casefold() in _WORDS:
            return _WORDS[value.strip().casefold()]
        raise self._unprovided(
            f"the text {value[:40]!r}", "have its scorer return CORRECT or INCORRECT, or a number"
        )

    def _of_number(self, value: float) -> bool:
        if self.correct_at is None:
            raise self._unprovided(
                f"a number ({value:g})",
                "add `correct_at: NUMBER` to its entry, the smallest score that counts as correct",
            )
        return value >= self.correct_at

    def _unprovided(self, form: str, remedy: str) -> ConfigError:
        return ConfigError(
            f"the scorer of the benchmark {self.benchmark} returns {form}, and its entry does not "
            "say what of it is correct",
            remedy=remedy,
        )
