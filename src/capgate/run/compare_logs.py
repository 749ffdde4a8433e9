"""Two runs that other harnesses logged, question by question, through the gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError, ReferenceMissingError
from capgate.common.text import one_line, shortened
from capgate.gate.rows import Pair, one_of_each
from capgate.gate.suite import combine_quick, decide_suite
from capgate.gate.suite_verdict import SuiteVerdict
from capgate.gate.verdict import Verdict
from capgate.logs.logged import LoggedBenchmark, LoggedSample, Wanted
from capgate.logs.pairing import check_conditions, pair_sides
from capgate.logs.side import Side, read_samples, read_side
from capgate.run.compare_stored import (
    Compared,
    ComparedRuns,
    Flip,
    flipped,
    group_rows,
    parts_of,
)
from capgate.run.judge_rows import Rules, judge_fixed, judge_in_order
from capgate.store.kept import KeptQuestion


@dataclass(frozen=True)
class LoggedRun:
    """One of two logged runs.

    Attributes:
        id: The path that was given.
        target: The model that was asked, or where the log does not tell, the path.
        benchmark: The benchmark's name.
        accuracy: Share correct of its scored answers; None where there is none.
    """

    id: str
    target: str
    benchmark: str
    accuracy: float | None


@dataclass(frozen=True)
class Judging:
    """How logs are judged.

    Attributes:
        rules: By which rules all benchmarks are judged.
        common: Whether only what both runs were asked in the same way is judged.
        seed: Of the order of questions, and of what stands for a cluster.
        sequential: Whether the answers are looked at batch after batch, until they suffice.
        wanted: What a person wants of the logs.
    """

    rules: Rules
    common: bool = False
    seed: int = 0
    sequential: bool = False
    wanted: Wanted = field(default_factory=Wanted)


Texts = Mapping[str, KeptQuestion]
"""Question's id to its text."""

Logged = tuple[str, Mapping[str, LoggedBenchmark]]
"""A path that was given, and what is logged there: benchmark's name to its logs."""


def compare_logs(
    reference: Logged, candidate: Logged, names: Sequence[str], judging: Judging
) -> tuple[ComparedRuns, dict[str, Texts]]:
    """Compares two logged runs.

    Args:
        reference: The run in the reference's place.
        candidate: The run in the candidate's place.
        names: The benchmarks to compare.
        judging: How.

    Returns:
        The comparison, and the texts of the questions that flipped, benchmark by benchmark.

    Raises:
        CapgateError: There is one benchmark, and its two runs can't be compared.
    """
    compared: dict[str, Compared] = {}
    texts: dict[str, Texts] = {}
    missing: dict[str, str] = {}
    partial: list[str] = []
    for name in names:
        try:
            for path, logged in (reference, candidate):
                if name not in logged:
                    raise ReferenceMissingError(
                        f"the run {path} was not asked it",
                        remedy="name the benchmarks to compare with --benchmark",
                    )
            compared[name], texts[name], left_out = _one(name, reference, candidate, judging)
            partial += [left_out] if left_out else []
        except CapgateError as error:
            if len(names) == 1:
                raise
            missing[name] = str(error)
    if len(names) == 1:
        verdict: Verdict | SuiteVerdict = compared[names[0]].verdict
    else:
        parts = parts_of(names, compared, missing, judging.rules)
        decide = combine_quick if judging.sequential else decide_suite
        verdict = decide(parts, judging.rules.policy)
        verdict = replace(verdict, reasons=(*verdict.reasons, *(f"{one}." for one in partial)))
    return ComparedRuns(verdict, compared, missing), texts


def _one(
    name: str, reference: Logged, candidate: Logged, judging: Judging
) -> tuple[Compared, Texts, str]:
    """Compares two runs of one benchmark."""
    (before, theirs), (after, ours) = reference, candidate
    check_conditions(theirs[name], ours[name])
    sides = read_side(theirs[name]), read_side(ours[name])
    paired = pair_sides(*sides, common=judging.common)
    pairs, told = _independent(paired.pairs, judging.seed)
    parents, rules = ours[name].parents, judging.rules
    if judging.sequential:
        verdict = judge_in_order(pairs, rules, name, parents, seed=judging.seed)
    else:
        verdict = judge_fixed(pairs, rules, name, parents)
    if paired.left_out:
        verdict = replace(verdict, reasons=(*verdict.reasons, f"{paired.left_out}."))
    flips = flipped(pairs)
    wanted = {pair.question for pair, _ in flips}
    said = read_samples(theirs[name], wanted), read_samples(ours[name], wanted)
    subjects, domains = group_rows(pairs, parents)
    compared = Compared(
        _run(before, sides[0]),
        _run(after, sides[1]),
        verdict,
        subjects,
        domains,
        tuple(
            Flip(
                pair.question,
                pair.subject,
                change,
                *(
                    _answer(pair, state, each.get(pair.question))
                    for state, each in zip(pair.states, said, strict=True)
                ),
            )
            for pair, change in flips
        ),
        _differ(theirs[name], ours[name]),
        (*_judged_by(ours[name]), *paired.notes, *told, *_unused(sides, judging.wanted)),
    )
    kept = {
        question: KeptQuestion(question, "", sample.place, sample.text, sample.choices, sample.keys)
        for question, sample in said[1].items()
    }
    return compared, kept, paired.left_out


def _independent(pairs: list[Pair], seed: int) -> tuple[list[Pair], list[str]]:
    """One question of each cluster, which the gate's tests need, and what that left out."""
    chosen = set(one_of_each({pair.question: pair.cluster for pair in pairs}, seed=seed))
    left = len(pairs) - len(chosen)
    if not left:
        return pairs, []
    return [pair for pair in pairs if pair.question in chosen], [
        f"{left:,} questions repeat another or share a passage with it; one of each is judged, "
        "since such answers depend on each other"
    ]


def _unused(sides: Sequence[Side], wanted: Wanted) -> Iterator[str]:
    """Keys that were named and that no sample has."""
    if wanted.cluster is not None and not any(side.clustered for side in sides):
        yield f"no sample has the key {_shown(wanted.cluster)} that --cluster names"
    if wanted.group is not None and not any(side.grouped for side in sides):
        yield f"no sample has the key {_shown(wanted.group)} that --group names"


def _run(path: str, side: Side) -> LoggedRun:
    states = [row.state for row in side.rows.values() if row.state.scored]
    right = sum(state is AnswerState.CORRECT for state in states)
    models = dict.fromkeys(log.model for log in side.benchmark.logs if log.model)
    target = ", ".join(models) or path
    return LoggedRun(path, target, side.benchmark.name, right / len(states) if states else None)


def _answer(pair: Pair, state: AnswerState, sample: LoggedSample | None) -> Answer:
    if sample is None:
        return Answer(pair.question, pair.subject, state)
    text = shortened(sample.answer)
    return Answer(pair.question, pair.subject, state, choice=sample.choice, text=text)


def _judged_by(benchmark: LoggedBenchmark) -> list[str]:
    """Which metric was judged, and what wrote the logs."""
    metrics = dict.fromkeys(log.metric for log in benchmark.logs)
    tools = dict.fromkeys(log.tool for log in benchmark.logs)
    return [f"judged by {' and '.join(metrics)}, as logged by {' and '.join(tools)}"]


def _differ(reference: LoggedBenchmark, candidate: LoggedBenchmark) -> str:
    """What may differ and does, as a clause; `""` where nothing does."""
    found: dict[str, None] = {}
    ours = {log.task: log for log in candidate.logs}
    for log in reference.logs:
        other = ours[log.task]
        if log.model != other.model:
            found[f"model {_shown(log.model)} → {_shown(other.model)}"] = None
        for name in dict.fromkeys([*log.facts, *other.facts]):
            before, after = log.facts.get(name, ""), other.facts.get(name, "")
            if before != after:
                found[f"{name} {_shown(before)} → {_shown(after)}"] = None
    return ", ".join(found)


def _shown(text: str) -> str:
    return one_line(text, limit=60) or "not told"
