"""What is wrong with a project's floors and baselines: too low to fail, or out of date.

Pure functions of what the files and the store hold; each returns findings, none a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from shlex import quote
from typing import Final, Literal

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import AnswerState
from capgate.common.errors import FileFault
from capgate.config.published_scores import CHANCE
from capgate.config.shown_command import of_benchmark
from capgate.config.thresholds import TargetFloors, baseline_name, weakened
from capgate.gate.conclude import too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import count_singles
from capgate.gate.stats import clopper_pearson
from capgate.store.baselines import (
    READ_FROM_THOUGHTS,
    Baseline,
    count,
)
from capgate.store.comparable import comparable, describe_change, mismatch, same_model
from capgate.store.runs import StoredRun

FAR: Final = 0.10
"""A floor further than this under the measured accuracy is a dead alarm; a fraction."""

Kind = Literal[
    "dead alarm",
    "near chance",
    "impossible",
    "changed n",
    "wrong fingerprint",
    "twins",
    "can't decide",
    "weakened without a reason",
    "faulty",
]
"""Classes of findings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: Its class.
        place: Where: a file and a place in it.
        what: What is wrong, as a clause.
        remedy: What to do about it.
    """

    kind: Kind
    place: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A target's measured accuracy on a benchmark.

    Attributes:
        source: Where it was measured.
        overall: Correct and scored questions.
        subjects: The same by group.
        chance: Accuracy by guessing, as a fraction.
    """

    source: str
    overall: tuple[int, int]
    subjects: Mapping[str, tuple[int, int]]
    chance: float = CHANCE / 100

    @classmethod
    def of_baseline(cls, baseline: Baseline) -> Measured:
        """What a baseline records."""
        return cls(
            f"its baseline of {baseline.recorded[:10]}",
            (baseline.correct, baseline.n),
            {s: (one.correct, one.n) for s, one in baseline.subjects.items()},
            baseline.chance,
        )

    @classmethod
    def of_run(cls, run: StoredRun) -> Measured:
        """What a stored run found."""
        subjects: dict[str, tuple[int, int]] = {}
        for answer in run.answers:
            correct, n = subjects.get(answer.subject, (0, 0))
            right = answer.state is AnswerState.CORRECT
            subjects[answer.subject] = (correct + right, n + answer.state.scored)
        total = (sum(c for c, _ in subjects.values()), sum(n for _, n in subjects.values()))
        return cls(f"the run {run.id}", total, subjects, run.chance)


def of_faults(place: str, faults: Iterable[FileFault], remedy: str) -> list[Finding]:
    """Faults of a file, as findings."""
    found: list[Finding] = []
    for fault in faults:
        kind: Kind = "weakened without a reason" if fault.kind == "weakened" else fault.kind
        found.append(Finding(kind, f"{place}, {fault.place}", fault.what, remedy))
    return found


def of_floors(
    target: str,
    policy: Policy,
    measured: Measured | None,
    *,
    reason: bool,
    benchmark: str = MMLU,
) -> list[Finding]:
    """Floors so low that a model passes them after a large loss, or by guessing.

    Args:
        target: The target's id.
        policy: The policy in force for it on the benchmark, floors included.
        measured: Its measured accuracy; None where it was never measured.
        reason: Whether a reason stands beside its floors.
        benchmark: The benchmark's name.
    """
    found: list[Finding] = []
    chance = CHANCE / 100 if benchmark == MMLU else measured.chance if measured else 0.0
    reason = reason or policy.reason is not None
    of = target if benchmark == MMLU else f"{target} on {benchmark}"
    places: list[tuple[str, float, tuple[int, int] | None]] = []
    if policy.floor is not None:
        places.append(("overall", policy.floor, measured.overall if measured else None))
    subjects = {*policy.subjects, *(measured.subjects if measured else ())}
    for subject in sorted(subjects):
        floor = policy.for_subject(subject).floor
        if floor is not None:
            places.append((subject, floor, measured.subjects.get(subject) if measured else None))
    for name, floor, reached in places:
        place = f"floor of {of}, {name}"
        if floor <= chance and reason:
            # Its reason says that it detects a broken setup, not a loss.
            continue
        if floor <= chance:
            found.append(
                Finding(
                    "near chance",
                    place,
                    f"a floor of {floor:.0%} is passed by guessing ({100 * chance:g} %)",
                    "raise it, or say in `reason:` what it is for",
                )
            )
        if reached is None or not reached[1] or _is_chance(*reached, chance):
            continue
        accuracy = reached[0] / reached[1]
        if accuracy - floor > FAR and floor < clopper_pearson(*reached).low:
            assert measured is not None
            found.append(
                Finding(
                    "dead alarm",
                    place,
                    f"the floor is {floor:.1%}, but {measured.source} measured {accuracy:.1%}: a "
                    f"loss of {100 * (accuracy - floor):.0f} points would pass",
                    f"raise it towards {accuracy - 0.02:.2f}, or compare with a baseline",
                )
            )
    return found


def of_unexplained_floors(target: str, floors: TargetFloors, suite: Policy) -> list[Finding]:
    """Floors of one target that are lower than those for all, without a reason beside them."""
    return [
        Finding(
            "weakened without a reason",
            f"floors.yaml, {fault.place}",
            fault.what,
            "say why in `reason:` beside it",
        )
        for fault in weakened(target, floors, suite)
    ]


def of_baseline(name: str, baseline: Baseline, policy: Policy) -> list[Finding]:
    """Faults that a baseline's file shows without a run.

    It may be edited by hand, unreadable, at chance, or lowered without a reason.

    Args:
        name: The file's name without its ending.
        baseline: What it holds.
        policy: The target's policy.
    """
    place, chance = f"baselines/{name}.json", baseline.chance
    again = f"record it anew: capgate baseline update {_named(baseline)}"
    found: list[Finding] = []
    if name != baseline_name(baseline.target, baseline.benchmark):
        what = f"the file is named {name} but records {baseline.target}"
        remedy = "give it the target's name"
        if baseline.benchmark != MMLU:
            what += f" on {baseline.benchmark}"
            remedy = f"name it {baseline_name(baseline.target, baseline.benchmark)}.json"
        found.append(Finding("faulty", place, what, remedy))
    for subject, counts in baseline.subjects.items():
        actual = count(baseline.answers.get(subject, {}).values())
        if actual != counts:
            what = f"{subject}: its counts ({counts}) are not those of its answers ({actual})"
            found.append(Finding("changed n", place, what, "it was edited by hand; " + again))
    reasons = [revision.reason for revision in baseline.history]
    for before, after in zip(baseline.history, baseline.history[1:], strict=False):
        if after.correct / after.n < before.correct / before.n and not after.reason:
            old, new = before.correct / before.n, after.correct / after.n
            what = f"the update of {after.recorded[:10]} lowered it from {old:.1%} to {new:.1%}"
            found.append(Finding("weakened without a reason", place, what, again + " --reason …"))
    if baseline.history and (baseline.history[-1].n, baseline.history[-1].correct) != (
        baseline.n,
        baseline.correct,
    ):
        what = "its answers are not those that its history tells of"
        found.append(Finding("changed n", place, what, "it was edited by hand; " + again))
    if unread := too_many_unread(count_singles(baseline.by_question.values()), policy):
        found.append(Finding("dead alarm", place, unread.rstrip("."), again))
    if baseline.may_rest_on_thoughts:
        found.append(Finding("faulty", place, READ_FROM_THOUGHTS, again))
    accuracy, interval = (
        baseline.correct / baseline.n,
        clopper_pearson(baseline.correct, baseline.n),
    )
    if interval.high < chance:
        what = f"{accuracy:.1%} is worse than guessing ({100 * chance:g} %)"
        remedy = "look at its answers: prompt, key or parsing is broken"
        found.append(Finding("impossible", place, what, remedy))
    elif _is_chance(baseline.correct, baseline.n, chance) and not any(reasons):
        by_chance = f"guessing ({100 * chance:g} %)" if chance else "a model that knows nothing"
        what = f"{accuracy:.1%} can't be told from {by_chance}: nothing can get lost"
        remedy = "look at its answers, or say what it is for: capgate baseline update … --reason"
        found.append(Finding("near chance", place, what, remedy))
    return found


def of_newest(baseline: Baseline, newest: StoredRun) -> list[Finding]:
    """Differences between a baseline and its target's newest run."""
    place = f"baselines/{baseline_name(baseline.target, baseline.benchmark)}.json"
    again = f"see capgate baseline diff {_named(baseline)}, and update it"
    found: list[Finding] = []
    chosen = {s: n for s, n in newest.about["selected"].items() if n}
    recorded = {s: counts.n for s, counts in baseline.subjects.items()}
    differ = [s for s in sorted({*chosen, *recorded}) if chosen.get(s, 0) != recorded.get(s, 0)]
    if differ:
        shown = ", ".join(f"{s} {recorded.get(s, 0)} → {chosen.get(s, 0)}" for s in differ[:5])
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        what = f"the run {newest.id} asked other numbers of questions: {shown}{more}"
        found.append(Finding("changed n", place, what, again))
    if newest.about["fingerprint"] != baseline.fingerprint:
        about = newest.about
        ours = comparable(about["facts"], about["prompt_hash"], about["dataset"])
        clash = mismatch(ours, baseline.comparable_by)
        if clash is None and same_model(baseline.identity, about["facts"]):
            return found
        change = describe_change(baseline.identity, dict(about["facts"]))
        effect = (
            f"can't be compared: it was made with {clash.clause}"
            if clash is not None
            else "another model or server answered"
        )
        what = f"the run {newest.id} has another fingerprint ({change}); {effect}"
        found.append(Finding("wrong fingerprint", place, what, again))
    return found


def of_power(target: str, benchmark: str, policy: Policy, newest: StoredRun) -> list[Finding]:
    """A benchmark that usually would not see a drop of its `catch`, as its newest run differed.

    Args:
        target: The target's id.
        benchmark: The benchmark's name.
        policy: The target's on it.
        newest: The target's newest run of the whole benchmark.
    """
    verdict = newest.verdict or {}
    counts = verdict.get("counts") or {}
    discordance, seen = counts.get("discordance"), verdict.get("smallest_visible_drop")
    if discordance is None or (seen is not None and seen <= policy.catch):
        return []
    sees = "no drop at all" if seen is None else f"a drop of {100 * seen:.1f} points at best"
    return [
        Finding(
            "can't decide",
            f"{benchmark}, {target}",
            f"its catch is {100 * policy.catch:g} points, but where {discordance:.1%} of answers "
            f"differ, as in the run {newest.id}, {counts['n']:,} questions usually show {sees}",
            "ask more questions, or say in policy.yaml (benchmarks:) why its `catch` may be larger "
            "or why it is advisory",
        )
    ]


def of_twins(baselines: Mapping[str, Baseline]) -> list[Finding]:
    """Baselines of two targets with the same answer to every question of a benchmark."""
    return [
        Finding(
            "twins",
            f"baselines/{one}.json and baselines/{other}.json",
            f"both give the same {baselines[one].n:,} answers",
            "one is a copy, or an adapter that did nothing: record it from a run of its own",
        )
        for one, other in combinations(sorted(baselines), 2)
        if baselines[one].benchmark == baselines[other].benchmark
        and baselines[one].answers == baselines[other].answers
    ]


def near_chance_scores(place: str, scores: Mapping[str, float]) -> list[Finding]:
    """Published scores that are possible, but hardly above guessing.

    Args:
        place: Their file.
        scores: Model to score in percent.
    """
    return [
        Finding(
            "near chance",
            f"{place}, {model}",
            f"the score {score:g} is hardly above guessing ({CHANCE:g} %)",
            "check it against its source",
        )
        for model, score in scores.items()
        if CHANCE <= score < CHANCE + 2.0
    ]


def _is_chance(correct: int, n: int, chance: float) -> bool:
    return clopper_pearson(correct, n).low <= chance


def _named(baseline: Baseline) -> str:
    """What names a baseline on a command line."""
    return f"{quote(baseline.target)}{of_benchmark(baseline.benchmark)}"


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Findings ordered by class, then place."""
    order: dict[str, int] = {
        kind: at
        for at, kind in enumerate(
            ("faulty", "impossible", "weakened without a reason", "wrong fingerprint", "changed n")
        )
    }
    return sorted(findings, key=lambda one: (order.get(one.kind, len(order)), one.place))
