"""A run beside published scores: which published model is meant, and how far apart they are.

Names are matched loosely and the match is always stated. A published score was measured
with another harness; nothing is tested and no verdict follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.config.published_scores import BenchmarkScore, Published
from capgate.gate.stats import Interval, clopper_pearson

_MAKERS: Final = frozenset(
    {
        "ai",
        "anthropic",
        "cohere",
        "deepseek",
        "google",
        "meta",
        "microsoft",
        "mistralai",
        "nvidia",
        "openai",
        "qwen",
    }
)
"""Words before a model's name that other lists leave out."""

_NOISE: Final = frozenset({"hf", "chat", "latest", "preview", "model", "v"})
_FORMS: Final = frozenset(
    {
        "awq",
        "gptq",
        "gguf",
        "fp8",
        "fp16",
        "bf16",
        "int4",
        "int8",
        "bnb",
        "nf4",
        "quantized",
        "w4a16",
    }
)
"""Words for how a model's weights are stored."""

_DATE = re.compile(r"^(20\d{6}|20\d\d|\d{4}|\d\d)$")
_QUANT = re.compile(r"^(q\d(_[0-9a-z])*|\d+bit)$")


CAUTION: Final = (
    "Other harnesses measured the published scores, with other prompts and shots. They can't be "
    "compared question by question: a point or two means nothing. capgate compare RUN_A RUN_B "
    "compares two runs."
)


@dataclass(frozen=True, slots=True)
class Match:
    """A published model that a served one is taken for.

    Attributes:
        score: The published score.
        note: How the names were matched, in words.
    """

    score: BenchmarkScore
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: MMLU's score under `mmlu`, another's under `percent`."""
        score = self.score
        percent: dict[str, Any] = {"benchmark": score.benchmark, "percent": score.percent}
        return {
            "model": score.model,
            **({"mmlu": score.percent} if score.benchmark == MMLU else percent),
            "source": score.source,
            "setup": score.setup,
            "matched": self.note,
        }


@dataclass(frozen=True, slots=True)
class Beside:
    """A target's accuracy beside a published one.

    Attributes:
        target: The target's id.
        model: The name that it is served by.
        accuracy: Its accuracy; None where nothing was scored.
        interval: Its confidence interval.
        questions: Questions scored.
        task: The task.
        match: The published model; None where no published model has such a name.
        nearest: Published names like it, where there is no match.
    """

    target: str
    model: str
    accuracy: float | None
    interval: Interval | None
    questions: int
    task: str
    match: Match | None
    nearest: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Our accuracy less the published one, as a fraction."""
        if self.match is None or self.accuracy is None:
            return None
        return self.accuracy - self.match.score.percent / 100.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        match = self.match
        return {
            "target": self.target,
            "model": self.model,
            "accuracy": self.accuracy,
            "interval": self.interval._asdict() if self.interval else None,
            "questions": self.questions,
            "task": self.task,
            "published": None if match is None else match.to_dict(),
            "difference": self.difference,
            "nearest": list(self.nearest),
            "caution": CAUTION,
        }


def beside(
    target: str,
    model: str,
    task: str,
    answers: Sequence[Answer],
    published: Published,
    benchmark: str = MMLU,
) -> Beside:
    """Puts a target's answers beside the published score of its model.

    Args:
        target: The target's id.
        model: The name that it is served by.
        task: The task.
        answers: Its answers.
        published: The published scores.
        benchmark: What was asked.
    """
    scored = [answer for answer in answers if answer.state.scored]
    correct = sum(answer.state is AnswerState.CORRECT for answer in scored)
    scores = published.of(benchmark)
    match = find_match((model, target), scores)
    return Beside(
        target=target,
        model=model,
        accuracy=correct / len(scored) if scored else None,
        interval=clopper_pearson(correct, len(scored)) if scored else None,
        questions=len(scored),
        task=task,
        match=match,
        nearest=() if match else _nearest(model, scores),
    )


def find_match(names: Iterable[str], scores: Mapping[str, BenchmarkScore]) -> Match | None:
    """The published model that one of some names means, the first name first.

    Two names mean the same model where their words agree, but for the maker's name, a date,
    and words on how the weights are stored; figures such as `8b` or `3.1` always count.
    """
    for name in names:
        for loosely in (False, True):
            found = [
                (score, extra)
                for score in scores.values()
                if (extra := _extra(name, score.model, loosely)) is not None
            ]
            if found:
                score, extra = min(found, key=lambda one: len(one[1]))
                how = f", apart from {', '.join(extra)}" if extra else ""
                return Match(score, f"{name!r} was taken for {score.model!r}{how}")
    return None


def _extra(name: str, published: str, loosely: bool) -> tuple[str, ...] | None:
    """Words of one name alone that do not matter; None where the names differ in one that does."""
    ours, theirs = _words(name), _words(published)
    extra = sorted(set(ours) ^ set(theirs))
    if not extra:
        return ()
    if not loosely or not all(_is_aside(word) for word in extra):
        return None
    return tuple(extra)


def _words(name: str) -> list[str]:
    """A name's words: `openai/gpt-4o-2024-08-06` is gpt, 4o, 2024, 08, 06."""
    last = name.lower().rstrip("/").split("/")[-1].partition(":")[0]
    parted = re.sub(r"(?<=[a-z])(?=\d+\.)", "-", last)
    return [word for word in re.split(r"[^a-z0-9.]+", parted) if word]


def _is_aside(word: str) -> bool:
    return (
        word in _MAKERS
        or word in _NOISE
        or word in _FORMS
        or _DATE.match(word) is not None
        or _QUANT.match(word) is not None
    )


def _nearest(model: str, scores: Mapping[str, BenchmarkScore]) -> tuple[str, ...]:
    ours = set(_words(model))
    shared = {name: len(ours & set(_words(name))) for name in scores}
    ranked = sorted((name for name in shared if shared[name] > 1), key=lambda n: -shared[n])
    return tuple(ranked[:3])
