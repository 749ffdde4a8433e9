"""What a verdict will take, and what it will be able to see, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from capgate.gate.budget import Budget
from capgate.gate.orders import Orders, run_orders
from capgate.gate.overrides import ReferenceChoice
from capgate.gate.policy import Policy
from capgate.gate.power import visible_drop, visible_shortfall
from capgate.gate.scale import Scale
from capgate.store.runs import StoredRun

ASSUMED_DISCORDANCE: Final = 0.10
"""Share of questions on which two related models differ, where nothing is known."""

ASSUMED_SECONDS: Final = 1.0
"""Wall time of one request, where nothing is known."""

_FRAME_TOKENS: Final = 70
"""Tokens of the prompt around a question, where nothing is known."""

_CHARACTERS_PER_TOKEN: Final = 4.0
_LETTER_TOKENS: Final = 5.0
_TOKENS_A_SECOND: Final = 50.0
"""Of one long answer, where nothing is known."""

_ORDERS: Final = 400
_ENOUGH: Final = 100
"""Questions from which time and tokens of one are known well enough."""


@dataclass(frozen=True)
class Known:
    """A figure and where it comes from.

    Attributes:
        value: The figure.
        source: An earlier run, the command line, or a stated assumption.
        assumed: Whether it is the latter.
    """

    value: float
    source: str
    assumed: bool = False


@dataclass(frozen=True)
class Rates:
    """What one question takes, put to one side.

    Attributes:
        prompt_tokens: Tokens of its prompt.
        completion_tokens: Tokens of its answer.
        seconds: Wall time, others being asked at the same time.
        cost: US dollars; None where no earlier run says.
    """

    prompt_tokens: Known
    completion_tokens: Known
    seconds: Known
    cost: Known | None


@dataclass(frozen=True)
class Effort:
    """What a verdict takes.

    Attributes:
        questions: Questions put.
        seconds: Wall time, of all who are asked.
        tokens: Of prompts and answers, of all who are asked.
        cost: US dollars of all who are asked, where known.
    """

    questions: float
    seconds: float
    tokens: float
    cost: float | None


@dataclass(frozen=True)
class Quick:
    """A quick run in one case.

    Attributes:
        case: What is true of the candidate.
        mean: On average.
        q90: In nine of ten runs no more.
        verdicts: Share of the runs by kind of verdict.
    """

    case: str
    mean: Effort
    q90: Effort
    verdicts: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What verdicts on a target will take and see.

    Attributes:
        reference: What it is compared with.
        figure: The discordance, or against a floor the accuracy, that all rests on.
        rates: What one question takes.
        quick: Quick runs, by case.
        whole: The whole benchmark.
        visible: Smallest drop that the whole benchmark would usually show; None if none.
        subjects: The same for each subject that is judged, by its own test.
        domains: The same for each domain that is judged.
        sizes: Questions of each subject, and of each domain that is judged.
    """

    reference: ReferenceChoice
    figure: Known
    rates: Rates
    quick: tuple[Quick, ...]
    whole: Effort
    visible: float | None
    subjects: Mapping[str, float | None]
    domains: Mapping[str, float | None]
    sizes: Mapping[str, int]


def plan(
    policy: Policy,
    budget: Budget,
    *,
    reference: ReferenceChoice,
    floor: float | None,
    figure: Known,
    rates: Rates,
    population: int,
    sizes: Mapping[str, int],
    domains: Mapping[str, Sequence[str]],
    quick_budget: Budget | None = None,
    seed: int = 0,
) -> Plan:
    """Reckons what verdicts will take.

    Args:
        policy: The target's policy.
        budget: How a whole run's false alarms are divided.
        reference: What the target is compared with.
        floor: The accuracy demanded, where the reference is one.
        figure: Discordance, or against a floor the candidate's accuracy.
        rates: What one question takes.
        population: Questions that a quick run draws from.
        sizes: Subject to its questions in a whole run.
        domains: Domain that is judged to its subjects.
        quick_budget: How a quick run's false alarms are divided, where other benchmarks are asked
            beside this one.
        seed: Of the simulated orders.
    """
    sides = 2 if reference == "base" else 1

    def effort(questions: float) -> Effort:
        each = rates.prompt_tokens.value + rates.completion_tokens.value
        return Effort(
            questions,
            questions * rates.seconds.value * sides,
            questions * each * sides,
            None if rates.cost is None else questions * rates.cost.value * sides,
        )

    quick = []
    far = f"{100 * policy.catch:g} points"
    cases = (
        (("nothing was lost", 0.0), (f"{far} were lost", policy.catch))
        if floor is None
        else (
            ("the accuracy is that", floor - figure.value),
            (f"it is {far} under the floor", policy.catch),
        )
    )
    for case, drop in cases:
        found = quick_orders(
            policy,
            quick_budget or Budget.quick(policy, paired=floor is None),
            figure.value,
            drop,
            floor=floor,
            population=population,
            seed=seed,
        )
        ends = effort(found.mean_questions), effort(found.q90_questions)
        quick.append(Quick(case, *ends, found.verdicts))
    return Plan(
        reference=reference,
        figure=figure,
        rates=rates,
        quick=tuple(quick),
        whole=effort(sum(sizes.values())),
        visible=_visible(sum(sizes.values()), budget.pooled, policy, figure.value, floor),
        subjects=_by_subject(policy, budget, sizes, figure.value, floor=floor)
        if budget.subjects
        else {},
        domains={
            name: _visible(
                sum(sizes[subject] for subject in mine),
                budget.per_domain(len(domains)),
                policy.for_domain(name),
                figure.value,
                None if floor is None else policy.for_domain(name).floor,
            )
            for name, mine in domains.items()
        },
        sizes={**sizes, **{d: sum(sizes[s] for s in mine) for d, mine in domains.items()}},
    )


def discordance_of(
    runs: Iterable[StoredRun], siblings: Iterable[StoredRun], given: float | None
) -> Known:
    """The discordance to reckon with.

    Args:
        runs: Earlier runs of the target, newest first.
        siblings: Earlier runs of other adapters of its base.
        given: What the command line says.
    """
    if given is not None:
        return Known(given, "--discordance")
    others = list(siblings)
    names = {run.target for run in others}
    for run in by_weight([*runs, *others]):
        counts = (run.verdict or {}).get("counts") or {}
        found = counts.get("discordance")
        if found is not None:
            whose = f" on {run.target}" if run.target in names else ""
            source = f"{counts['n']:,} questions of the run {run.id}{whose}"
            return Known(float(found), source)
    return Known(ASSUMED_DISCORDANCE, "no earlier run tells", assumed=True)


def by_weight(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Runs in the order in which their figures count: whole ones first, then the larger ones.

    Of equals the one that stands first comes first.
    """

    def weight(run: StoredRun) -> tuple[bool, int]:
        partial = run.mode != "full" or (bool(run.about) and bool(run.missing))
        return partial, 0 if not partial else -len(run.answers)

    return sorted(runs, key=weight)


_LETTER: Final = Known(_LETTER_TOKENS, "a bare `ANSWER: X`", assumed=True)


def answer_assumed(*, letters: bool, max_tokens: int, others: float | None = None) -> Known:
    """The tokens of an answer, where no run of the target tells them.

    Args:
        letters: Whether an answer is one letter, and not free text.
        max_tokens: The most tokens of an answer.
        others: Tokens of other targets' answers on average; None where there are none.
    """
    if others is not None and not letters:
        return Known(min(others, max_tokens), "as another target's answers", assumed=True)
    if letters:
        return _LETTER
    return Known(max_tokens, "all that it may have", assumed=True)


def rates_of(
    runs: Sequence[StoredRun],
    texts: Iterable[str],
    connections: int,
    *,
    answer: Known = _LETTER,
) -> Rates:
    """What one question takes, by the newest run that asked enough, else by the largest.

    Args:
        runs: Earlier runs of the target, newest first.
        texts: The questions, where no run tells.
        connections: Requests in flight at a time.
        answer: The tokens of an answer, where no run tells.
    """
    found: dict[str, Known] = {}
    for run in sorted(runs, key=lambda run: -min(len(run.answers), _ENOUGH)):
        source = f"the run {run.id}"
        answers = [answer for answer in run.answers if answer.state.scored]
        costs = [answer.cost for answer in answers if answer.cost is not None]
        asked, seconds = _pace(run)
        for name, total, n in (
            ("prompt", sum(a.prompt_tokens for a in answers), len(answers)),
            ("completion", sum(a.completion_tokens for a in answers), len(answers)),
            ("seconds", seconds, asked),
            ("cost", sum(costs), len(costs)),
        ):
            if n and total > 0:
                found.setdefault(name, Known(total / n, source))
    lengths = [len(text) for text in texts]
    tokens = sum(lengths) / max(len(lengths), 1) / _CHARACTERS_PER_TOKEN + _FRAME_TOKENS
    length = found.get("completion", answer)
    seconds, pace = ASSUMED_SECONDS, f"{ASSUMED_SECONDS:g} s a request"
    if length.value > _LETTER_TOKENS:
        seconds += length.value / _TOKENS_A_SECOND
        pace += f" and {_TOKENS_A_SECOND:g} tokens a second"
    pace += f", {connections} at a time"
    return Rates(
        found.get("prompt", Known(tokens, "four characters a token", assumed=True)),
        length,
        found.get("seconds", Known(seconds / connections, pace, assumed=True)),
        found.get("cost"),
    )


def _pace(run: StoredRun) -> tuple[int, float]:
    """Requests that a run made by itself, and the wall time of making them.

    Where it compared with its base, that was asked in the same time.
    """
    said = [(shard.kind, facts.get("usage")) for shard, facts in run.shards.items()]
    usages = [usage for kind, usage in said if kind != "suite" and usage and usage["asked"]]
    if not usages:
        usages = [usage for kind, usage in said if kind == "suite" and usage]
    sides = 2 if (run.verdict or {}).get("reference") == "base" else 1
    return sides * sum(u["asked"] for u in usages), sum(u["seconds"] for u in usages)


def quick_orders(
    policy: Policy,
    budget: Budget,
    figure: float,
    drop: float,
    *,
    floor: float | None,
    population: int,
    seed: int,
) -> Orders:
    """The quick rule over random orders of a benchmark with exactly that drop."""
    rows: npt.NDArray[np.int8] = np.zeros((3, population), dtype=np.int8)
    rows[2] = 1
    if floor is None:
        differing = max(figure, abs(drop))
        losses = round(population * (differing + drop) / 2)
        gains = round(population * (differing - drop) / 2)
        rows[0, :losses] = 1
        rows[0, losses : losses + gains] = -1
        scale = Scale.paired()
    else:
        rows[0, : round(population * min(max(1.0 - floor + drop, 0.0), 1.0))] = 1
        scale = Scale.floor(floor)
    return run_orders(scale, policy, budget, rows, orders=_ORDERS, seed=seed)


def _by_subject(
    policy: Policy,
    budget: Budget,
    sizes: Mapping[str, int],
    figure: float,
    *,
    floor: float | None,
) -> dict[str, float | None]:
    floors = {subject: policy.for_subject(subject).floor for subject in sizes}
    judged = [s for s, n in sizes.items() if n and (floor is None or floors[s] is not None)]
    return {
        subject: _visible(
            sizes[subject],
            budget.per_subject(len(judged)),
            policy.for_subject(subject),
            figure,
            None if floor is None else floors[subject],
        )
        for subject in judged
    }


def _visible(
    n: int, share: float, policy: Policy, figure: float, floor: float | None
) -> float | None:
    power = 1.0 - policy.miss
    if floor is None:
        return visible_drop(
            n, discordance=figure, alpha=share, power=power, tolerate=policy.tolerate
        )
    return visible_shortfall(n, floor=floor, alpha=share, power=power, tolerate=policy.tolerate)
