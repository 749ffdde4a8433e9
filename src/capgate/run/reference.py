"""What a candidate is compared with, and how its rows are made ready for the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeGuard

from capgate.common.answers import Answer
from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate.budget import Budget
from capgate.gate.decide_floor import Floor, decide_floor, judge_domain_floor, judge_subject_floor
from capgate.gate.decide_live import SequentialGate
from capgate.gate.decide_paired import decide_fixed, judge_domain, judge_subject
from capgate.gate.groups import floor_domains, judged_domains
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, Single, pair_up
from capgate.gate.verdict import Verdict
from capgate.store.baselines import Baseline

Rows = list[Pair] | list[Single]

_FEWEST: Final = 2
"""Questions that a verdict needs at least."""


@dataclass(frozen=True)
class BaseReference:
    """The base model, asked the same questions side by side.

    Attributes:
        target: The base's id.
    """

    target: str
    kind: Literal["base"] = "base"


@dataclass(frozen=True)
class BaselineReference:
    """A recorded run of the same questions.

    Attributes:
        baseline: The record.
    """

    baseline: Baseline
    kind: Literal["baseline"] = "baseline"


@dataclass(frozen=True)
class FloorReference:
    """A demanded or published accuracy.

    Attributes:
        floor: The accuracy.
    """

    floor: Floor
    kind: Literal["floor"] = "floor"


@dataclass(frozen=True)
class NoReference:
    """Nothing: the run only measures."""

    kind: Literal["none"] = "none"


Reference = BaseReference | BaselineReference | FloorReference | NoReference


def describe(reference: Reference) -> dict[str, Any]:
    """A reference as results record it: its kind, and which one of that kind it is."""
    match reference:
        case BaseReference():
            return {"kind": "base", "target": reference.target}
        case BaselineReference():
            recorded = reference.baseline
            return {
                "kind": "baseline",
                "target": recorded.target,
                "run": recorded.run,
                "recorded": recorded.recorded,
                "fingerprint": recorded.fingerprint,
            }
        case FloorReference():
            floor = reference.floor
            return {"kind": floor.kind, "accuracy": floor.accuracy, "source": floor.source}
        case NoReference():
            return {"kind": "none"}


def identify(reference: Reference, base: str) -> str:
    """Returns a text that tells a reference from others, so that tries can be counted.

    Args:
        reference: The reference.
        base: Fingerprint of the base, where it is one.
    """
    match reference:
        case BaseReference():
            return f"base {base}"
        case BaselineReference():
            return f"baseline {reference.baseline.fingerprint} {reference.baseline.run}"
        case FloorReference():
            return f"{reference.floor.kind} {reference.floor.accuracy:g}"
        case NoReference():
            return "none"


def rows(reference: Reference, answers: Mapping[str, Sequence[Answer]], target: str) -> Rows:
    """The gate's rows of a candidate's answers.

    Args:
        reference: What they are compared with.
        answers: Target's id to its answers: the candidate's and, with a base, the base's.
        target: The candidate.

    Raises:
        RowsError: The two sides are not of the same questions.
        ReferenceMissingError: The baseline lacks a question.
    """
    candidate = _singles(answers[target])
    match reference:
        case BaseReference():
            return pair_up(_singles(answers[reference.target]), candidate)
        case BaselineReference():
            pairs = pair_up(reference.baseline.singles(r.question for r in candidate), candidate)
            again = reference.baseline.second_look
            return [pair._replace(reference_again=again.get(pair.question)) for pair in pairs]
        case FloorReference() | NoReference():
            return candidate


def domains_judged(
    policy: Policy, subjects: Iterable[str], parents: Mapping[str, str], *, paired: bool
) -> dict[str, list[str]]:
    """The parents of groups that a run judges, each with its groups in the run.

    Args:
        policy: The target's.
        subjects: All groups of the run.
        parents: Group to the parent that it belongs to.
        paired: Whether the target is compared question by question, and not with a floor.
    """
    if paired:
        return judged_domains(subjects, parents)
    return floor_domains(subjects, parents, policy)


def judge_whole(
    reference: Reference,
    rows: Rows,
    policy: Policy,
    *,
    parents: Mapping[str, str],
    budget: Budget | None = None,
    nouns: Nouns = SUBJECTS,
) -> Verdict | None:
    """The verdict on a target over a whole benchmark; None where it is compared with nothing.

    Args:
        reference: What it is compared with.
        rows: Of all answers.
        policy: The target's.
        parents: Group to the parent that it belongs to.
        budget: How the error shares are divided; None for those of a run of this benchmark alone.
        nouns: What its groups are called.
    """
    if isinstance(reference, NoReference):
        return None
    if isinstance(reference, FloorReference):
        assert _are_singles(rows)
        floor = reference.floor
        return decide_floor(rows, floor, policy, domains=parents, budget=budget, nouns=nouns)
    assert _are_pairs(rows)
    kind = reference.kind
    return decide_fixed(rows, policy, reference=kind, domains=parents, budget=budget, nouns=nouns)


def judge_one(
    reference: Reference,
    rows: Rows,
    policy: Policy,
    *,
    subject: str,
    n_subjects: int,
    budget: Budget | None = None,
) -> Verdict | None:
    """A subject's own verdict; None where nothing can be said of the subject alone.

    That is so where the reference has no figure for the subject, or where a limit left one
    question of it.
    """
    if isinstance(reference, NoReference) or len(rows) < _FEWEST:
        return None
    if not isinstance(reference, FloorReference):
        assert _are_pairs(rows)
        return judge_subject(
            rows, policy, n_subjects=n_subjects, reference=reference.kind, budget=budget
        )
    assert _are_singles(rows)
    floor = policy.for_subject(subject).floor
    if floor is None:
        return None
    return judge_subject_floor(rows, Floor(floor), policy, n_subjects=n_subjects, budget=budget)


def judge_again(
    reference: Reference, rows: Rows, policy: Policy, *, domain: str, budget: Budget
) -> Verdict:
    """What a second look alone says of a domain that the suite's test named.

    Args:
        reference: What the domain was compared with.
        rows: The second look's.
        policy: The target's.
        domain: Its name.
        budget: `confirm.second_look`.
    """
    if not isinstance(reference, FloorReference):
        assert not isinstance(reference, NoReference)
        assert _are_pairs(rows)
        return judge_domain(rows, policy, domain=domain, budget=budget, reference=reference.kind)
    assert _are_singles(rows)
    floor = policy.for_domain(domain).floor
    assert floor is not None
    return judge_domain_floor(rows, Floor(floor), policy, domain=domain, budget=budget)


def sequential_gate(
    reference: Reference, policy: Policy, *, population: int, seed: int, budget: Budget
) -> SequentialGate | None:
    """The quick run's gate for a reference; None where it is compared with nothing.

    Args:
        reference: What the candidate is compared with.
        policy: The candidate's policy.
        population: Questions of the benchmark.
        seed: Of their order.
        budget: How its error shares are divided.
    """
    if isinstance(reference, NoReference):
        return None
    if isinstance(reference, FloorReference):
        floor = reference.floor
        return SequentialGate(policy, population=population, seed=seed, floor=floor, budget=budget)
    return SequentialGate(
        policy, population=population, seed=seed, reference=reference.kind, budget=budget
    )


def _singles(answers: Sequence[Answer]) -> list[Single]:
    return [Single.of(answer) for answer in answers]


def _are_singles(rows: Rows) -> TypeGuard[list[Single]]:
    return not rows or isinstance(rows[0], Single)


def _are_pairs(rows: Rows) -> TypeGuard[list[Pair]]:
    return not rows or isinstance(rows[0], Pair)
