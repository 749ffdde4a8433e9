"""From answers to the counts of a result: of a subject, a domain or the whole benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from capgate.common.answers import Answer, AnswerState
from capgate.common.grouping import by_subject, grouped
from capgate.gate.stats import clopper_pearson
from capgate.report.data.result import Group, Interval


def total_cost(costs: Iterable[float | None]) -> float | None:
    """What those whose cost is known cost together; None where none is known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def group(
    answers: Iterable[Answer],
    now: Sequence[Answer],
    *,
    seconds: float,
    verdict: Mapping[str, Any] | None = None,
) -> Group:
    """Counts answers.

    Args:
        answers: Of a subject, a domain or all.
        now: Those of them that this run asked for.
        seconds: Wall time of asking.
        verdict: The gate's verdict on them, if any.
    """
    states = dict.fromkeys(AnswerState, 0)
    prompt = completion = cut_off = 0
    costs: list[float | None] = []
    for answer in answers:
        states[answer.state] += 1
        prompt += answer.prompt_tokens
        completion += answer.completion_tokens
        cut_off += answer.cut_off
        costs.append(answer.cost)
    cost = total_cost(costs)
    correct = states[AnswerState.CORRECT]
    scored = sum(count for state, count in states.items() if state.scored)
    interval = clopper_pearson(correct, scored) if scored else None
    return Group(
        questions=sum(states.values()),
        correct=correct,
        wrong=states[AnswerState.WRONG],
        unparsed=states[AnswerState.UNPARSED],
        errors=states[AnswerState.ERROR],
        cut_off=cut_off,
        accuracy=correct / scored if scored else None,
        interval=Interval(low=interval.low, high=interval.high, level=interval.level)
        if interval
        else None,
        asked=sum(answer.state.scored for answer in now),
        seconds=round(seconds, 3),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost,
        cost_now=None if cost is None else total_cost(answer.cost for answer in now) or 0.0,
        verdict=dict(verdict) if verdict else None,
    )


def subject_groups(
    answers: Sequence[Answer],
    now: Sequence[Answer],
    shards: Mapping[str, Mapping[str, Any]],
    *,
    wall: float,
) -> dict[str, Group]:
    """Counts answers by subject.

    Args:
        answers: All of a target's.
        now: Those of them that this run asked for.
        shards: Subject to how its shard ended (`Judgement.facts`).
        wall: Seconds of asking in shards that mix subjects.
    """
    given, asked = by_subject(answers), by_subject(now)
    # A quick run's batches mix subjects, and a whole benchmark may be asked in one test: their
    # wall time is divided by the requests' own.
    alone = {s for s, facts in shards.items() if facts.get("usage")}
    spent = {s: sum(one.seconds for one in mine) for s, mine in given.items() if s not in alone}
    total = sum(spent.values())
    shares = {s: wall * part / total for s, part in spent.items()} if total else {}
    groups: dict[str, Group] = {}
    for subject in sorted(given):
        facts = shards.get(subject, {})
        usage = facts.get("usage") or {}
        groups[subject] = group(
            given[subject],
            asked.get(subject, ()),
            seconds=usage.get("seconds", shares.get(subject, 0.0)),
            verdict=facts.get("verdict"),
        )
    return groups


def parent_groups(
    answers: Sequence[Answer],
    now: Sequence[Answer],
    groups: Mapping[str, Group],
    parents: Mapping[str, str],
) -> dict[str, Group]:
    """Counts answers by the parent of their group; parents that have none are left out.

    Args:
        answers: All of a target's.
        now: Those of them that this run asked for.
        groups: Group to its counts.
        parents: Group to the parent that it belongs to.
    """
    given = grouped(answers, lambda answer: parents.get(answer.subject))
    asked = grouped(now, lambda answer: parents.get(answer.subject))
    return {
        parent: group(
            given[parent],
            asked.get(parent, ()),
            seconds=sum(one.seconds for name, one in groups.items() if parents.get(name) == parent),
        )
        for parent in dict.fromkeys(parents.values())
        if parent in given
    }


def answered_by(endpoints: Mapping[str, int]) -> str:
    """How many answers each endpoint of a target gave, as a phrase."""
    return ", ".join(f"{place} {count:,}" for place, count in endpoints.items())
