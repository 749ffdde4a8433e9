"""The group of questions that speaks most against a target, on one benchmark of a run."""

from __future__ import annotations

from collections import Counter

from capgate.common.answers import AnswerState
from capgate.gate.rows import Pair
from capgate.gate.stats import mcnemar_exact
from capgate.run.reference import FloorReference, NoReference, rows
from capgate.run.run import Run
from capgate.run.swept import WorstGroup


def worst_group(run: Run, target: str) -> WorstGroup | None:
    """The group with the smallest p-value of an exact McNemar test of its own.

    It was looked for among many, so that p-value itself proves nothing and is not returned.

    Args:
        run: The run's part on the benchmark.
        target: The target, which was compared with answers.

    Returns:
        None where no group lost more than it gained, or where there are no groups.
    """
    reference = run.reference(target)
    if isinstance(reference, FloorReference | NoReference) or not run.asked.has_groups(target):
        return None
    base = [reference.target] if reference.kind == "base" else []
    stored = {
        one: {
            kept.answer.question: kept.answer
            for kept in run.store.used(run.id, one, benchmark=run.name)
        }
        for one in (target, *base)
    }
    # Of the base's answers, some were given for other adapters.
    both = [question for question in stored[target] if all(question in s for s in stored.values())]
    answers = {one: [kept[question] for question in both] for one, kept in stored.items()}
    pairs = [pair for pair in rows(reference, answers, target) if isinstance(pair, Pair)]
    return _worst(pairs)


def _worst(pairs: list[Pair]) -> WorstGroup | None:
    asked: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    gained: Counter[str] = Counter()
    for pair in pairs:
        if not (pair.reference.scored and pair.candidate.scored):
            continue
        before, now = (one is AnswerState.CORRECT for one in (pair.reference, pair.candidate))
        asked[pair.subject] += 1
        lost[pair.subject] += before and not now
        gained[pair.subject] += now and not before
    worse = [group for group in asked if lost[group] > gained[group]]
    if not worse:
        return None
    name = min(worse, key=lambda group: (mcnemar_exact(lost[group], gained[group]), group))
    return WorstGroup(name, asked[name], lost[name], gained[name])
