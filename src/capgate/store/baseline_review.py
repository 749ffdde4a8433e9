"""From a stored run to a baseline, and what a new recording changes in an old one.

Later runs are held to a baseline. A new recording replaces it only after a review: `review` names
each change and its digest, and an update must repeat that digest. Where the baseline gets lower,
the update must say why, and the file keeps the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer
from capgate.common.distinct_faults import distinct_faults, fault_line
from capgate.common.errors import ConfigError
from capgate.config.shown_command import of_benchmark
from capgate.gate.conclude import too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import count_singles
from capgate.gate.stats import mcnemar_exact
from capgate.store.answer_store import Store
from capgate.store.baselines import (
    Baseline,
    Revision,
    dump_baseline,
    make_baseline,
    plain_baseline,
)
from capgate.store.comparable import describe_change
from capgate.store.runs import StoredRun
from capgate.store.shard import Shard

LOST_SUBJECTS: Final = 0.05
"""Chance that an update calls a subject lost although no subject has changed."""

_NAMED: Final = ("fingerprint", "task", "prompt_hash", "dataset", "identity", "looks")


@dataclass(frozen=True)
class SubjectChange:
    """How a subject's record changes.

    Attributes:
        subject: Its name.
        n_before: Questions in the old record.
        n_after: Questions in the new one.
        correct_before: Of them, correct.
        correct_after: Of them, correct.
        lost: Questions in both, correct only in the old.
        gained: Questions in both, correct only in the new.
        other: Questions in both, not correct in either, answered otherwise.
    """

    subject: str
    n_before: int
    n_after: int
    correct_before: int
    correct_after: int
    lost: int
    gained: int
    other: int

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return self.n_before != self.n_after or bool(self.lost + self.gained + self.other)


@dataclass(frozen=True)
class Review:
    """What a recording changes.

    Attributes:
        target: The target's id.
        digest: Names exactly this change: the old file and the new content.
        facts: What answered and how, where that changes, as `name: before → after`.
        subjects: Each subject of either record.
        lowers: Why the bar gets lower; empty where it does not.
    """

    target: str
    digest: str
    facts: tuple[str, ...]
    subjects: tuple[SubjectChange, ...]
    lowers: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything would be written that is not there yet."""
        return bool(self.facts) or any(one.changed for one in self.subjects)


def recordable(run: StoredRun, policy: Policy, *, red: bool = False) -> None:
    """Makes sure that a run is fit to be a baseline.

    Args:
        run: The run.
        policy: The target's; it says how many answers may be unreadable.
        red: Whether a run whose verdict failed may be recorded.

    Raises:
        ConfigError: It is partial, red, has errors, or too many of its answers are unreadable.
    """
    named = f"the run {run.id}" + ("" if run.benchmark == MMLU else f" on {run.benchmark}")
    whole = f"capgate run --model-id {quote(run.target)}{of_benchmark(run.benchmark)}"
    if run.missing:
        raise ConfigError(
            f"{named} is partial: {run.missing}",
            target=run.target,
            remedy=f"record a run of the whole benchmark: {whole} (with --measure if there is "
            "nothing to compare it with yet)",
        )
    if run.errors:
        raise ConfigError(
            f"{run.errors:,} of {len(run.answers):,} questions of {named} have no answer",
            target=run.target,
            said=fault_line(distinct_faults(run.answers)[0][0]),
            remedy=f"run it again: {whole}; only what has no answer is asked",
        )
    if unread := too_many_unread(count_singles(run.singles), policy):
        raise ConfigError(
            f"{named} is no baseline: {unread}",
            target=run.target,
            remedy="run it again so that its answers can be read",
        )
    verdicts = {shard.label: facts.get("verdict") or {} for shard, facts in run.shards.items()}
    failed = sorted(label for label, verdict in verdicts.items() if verdict.get("fails"))
    if failed and not red:
        kind = (run.verdict or verdicts[failed[0]])["kind"]
        raise ConfigError(
            f"{named} is red: {kind}, failed in {', '.join(failed[:5])}"
            + (f" and {len(failed) - 5} more" if len(failed) > 5 else ""),
            target=run.target,
            remedy="record a green run; to accept a loss, look at it with capgate baseline diff "
            "and update with --reason",
        )


def kept_look(store: Store, run: StoredRun) -> list[Answer] | None:
    """A second look at the questions of a run, by the same target; None where there is none.

    It was taken by `capgate calibrate` or for a baseline. The newest one that answered all of the
    run's questions counts.
    """
    wanted = {answer.question for answer in run.answers}
    for other in store.run_ids():
        used = store.used(other, run.target, "repeat", benchmark=run.benchmark)
        answers = {one.answer.question: one.answer for one in used if one.answer.state.scored}
        if not wanted <= answers.keys():
            continue
        about = store.shard(other, run.target, Shard("entry", run.benchmark)) or {}
        if all(about.get(key) == run.about[key] for key in ("fingerprint", "prompt_hash")):
            return [answers[question] for question in sorted(wanted)]
    return None


def baseline_of(
    run: StoredRun,
    recorded: str,
    *,
    second: Sequence[Answer] | None = None,
    reason: str = "",
    history: tuple[Revision, ...] = (),
) -> Baseline:
    """Makes a baseline of a run.

    Args:
        run: The run.
        recorded: When, ISO 8601, UTC.
        second: The target's answers when it was asked again; None where it was asked once.
        reason: Why it is accepted.
        history: Earlier recordings.

    Raises:
        ConfigError: There are errors among its answers.
    """
    return make_baseline(
        run.answers,
        second=second,
        reason=reason,
        history=history,
        schema_version=2 if run.benchmark == MMLU else 3,
        target=run.target,
        benchmark=run.benchmark,
        letters=run.letters,
        run=run.id,
        recorded=recorded,
        fingerprint=run.about["fingerprint"],
        identity=dict(run.about["facts"]),
        task=run.task,
        prompt_hash=run.about["prompt_hash"],
        dataset=dict(run.about["dataset"]),
    )


def review(before: Baseline, after: Baseline) -> Review:
    """Compares two recordings of a target.

    Args:
        before: The one in force.
        after: The one that would replace it.
    """
    subjects = tuple(
        _change(subject, before, after) for subject in sorted({*before.subjects, *after.subjects})
    )
    old, new = plain_baseline(before), plain_baseline(after)
    facts = tuple(
        f"{name}: {describe_change(old[name], new[name])}"
        for name in _NAMED
        if old[name] != new[name]
    )
    digest = hashlib.sha256((dump_baseline(before) + _content(after)).encode()).hexdigest()[:12]
    return Review(before.target, digest, facts, subjects, _lowers(before, after, subjects))


def _content(baseline: Baseline) -> str:
    """A baseline's text without its time and reason, which the update adds."""
    return dump_baseline(baseline.model_copy(update={"recorded": "", "history": ()}))


def _change(subject: str, before: Baseline, after: Baseline) -> SubjectChange:
    old, new = before.answers.get(subject, {}), after.answers.get(subject, {})
    both = [(old[question], new[question]) for question in old if question in new]
    right = "C"
    return SubjectChange(
        subject=subject,
        n_before=len(old),
        n_after=len(new),
        correct_before=sum(code.startswith(right) for code in old.values()),
        correct_after=sum(code.startswith(right) for code in new.values()),
        lost=sum(a.startswith(right) and not b.startswith(right) for a, b in both),
        gained=sum(b.startswith(right) and not a.startswith(right) for a, b in both),
        other=sum(a != b and not a.startswith(right) and not b.startswith(right) for a, b in both),
    )


def _lowers(
    before: Baseline, after: Baseline, subjects: tuple[SubjectChange, ...]
) -> tuple[str, ...]:
    found: list[str] = []
    old, new = before.correct / before.n, after.correct / after.n
    if new < old:
        found.append(f"accuracy {old:.2%} → {new:.2%}")
    if after.n < before.n:
        found.append(f"questions {before.n:,} → {after.n:,}")
    share = LOST_SUBJECTS / max(len(subjects), 1)
    found += [
        f"{one.subject}: {one.lost} lost, {one.gained} gained"
        for one in subjects
        if mcnemar_exact(one.lost, one.gained) <= share
    ]
    return tuple(found)
