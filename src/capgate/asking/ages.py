"""How old answers are: a verdict on answers of yesterday says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from capgate.gate.verdict import Verdict


class HasAge(Protocol):
    """Answers of which the time is known."""

    @property
    def age(self) -> Age:
        """Of which time they are."""


@dataclass(frozen=True, slots=True)
class Age:
    """Of which time a target's answers are.

    Attributes:
        answers: How many they are.
        earlier: How many of them are from earlier runs.
        newest: When the newest of these came, Unix seconds; 0 where there is none.
    """

    answers: int = 0
    earlier: int = 0
    newest: float = 0.0

    def __add__(self, other: Age) -> Age:
        return Age(
            self.answers + other.answers,
            self.earlier + other.earlier,
            max(self.newest, other.newest),
        )


def dated(verdict: Verdict | None, shards: Sequence[Mapping[str, HasAge]]) -> Verdict | None:
    """A verdict that says last which of its answers are from earlier runs.

    Args:
        verdict: The verdict.
        shards: Target's id to its result, for each shard that it rests on.
    """
    ages: dict[str, Age] = {}
    for results in shards:
        for target, result in results.items():
            ages[target] = ages.get(target, Age()) + result.age
    sentence = age_sentence(ages)
    if verdict is None or not sentence:
        return verdict
    return replace(verdict, reasons=(*verdict.reasons, sentence))


def age_sentence(ages: Mapping[str, Age]) -> str:
    """What a verdict says of the answers that its run did not ask for; `""` where it asked all.

    Args:
        ages: Target's id to the age of its answers.
    """
    old = {target: age for target, age in ages.items() if age.earlier}
    if not old:
        return ""
    parts = [
        f"all {age.answers:,} answers of {target}"
        if age.earlier == age.answers
        else f"{age.earlier:,} of {age.answers:,} answers of {target}"
        for target, age in old.items()
    ]
    newest = minute(max(age.newest for age in old.values()))
    sentence = f"{' and '.join(parts)} are from earlier runs, the newest of {newest}."
    if all(age.earlier == age.answers for age in ages.values()):
        return f"NOTHING WAS ASKED: {sentence}"
    return sentence[0].upper() + sentence[1:]


def minute(seconds: float) -> str:
    """A Unix time for people, in UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
