"""The gate's input: the answers of both sides to each question, and their counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line

_SHOWN_FAULTS = 20


class RowsError(ConfigError):
    """Answers that can't be judged; names every faulty row (up to 20) and the way out."""


class Pair(NamedTuple):
    """One question answered by both sides.

    Attributes:
        question: Content hash of the question; a question is never known by its position.
        subject: One of the benchmark's subjects.
        reference: How the reference's answer ended.
        candidate: How the candidate's answer ended.
        reference_cut_off: Whether the token limit ended the reference's answer.
        candidate_cut_off: Whether it ended the candidate's.
        reference_again: How the reference's answer ended when it was asked once more; None where
            it was asked once.
        reference_tokens: Tokens of the reference's answer; 0 where they are not known.
        candidate_tokens: Tokens of the candidate's.
        cluster: What the question shares with others, such as a passage; `""` where it stands
            alone.
    """

    question: str
    subject: str
    reference: AnswerState
    candidate: AnswerState
    reference_cut_off: bool = False
    candidate_cut_off: bool = False
    reference_again: AnswerState | None = None
    reference_tokens: int = 0
    candidate_tokens: int = 0
    cluster: str = ""

    @property
    def states(self) -> tuple[AnswerState, ...]:
        """How the answers ended, the reference's first."""
        return self.reference, self.candidate


class Single(NamedTuple):
    """One question answered by the candidate alone, to be held against a floor.

    Attributes:
        question: Content hash of the question.
        subject: One of the benchmark's subjects.
        candidate: How the candidate's answer ended.
        cut_off: Whether the token limit ended it.
        tokens: Of the answer; 0 where they are not known.
        cluster: What the question shares with others, such as a passage; `""` where it stands
            alone.
    """

    question: str
    subject: str
    candidate: AnswerState
    cut_off: bool = False
    tokens: int = 0
    cluster: str = ""

    @classmethod
    def of(cls, answer: Answer, cluster: str = "") -> Single:
        """Returns an answer as the gate takes it, with its question's cluster."""
        cut_off, tokens = answer.cut_off, answer.completion_tokens
        return cls(answer.question, answer.subject, answer.state, cut_off, tokens, cluster)

    @property
    def states(self) -> tuple[AnswerState, ...]:
        """How the answer ended."""
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Counts of a paired comparison.

    Attributes:
        n: Questions that both sides answered; the denominator of every rate but the errors'.
        losses: Reference correct, candidate not.
        gains: Candidate correct, reference not.
        both_correct: Both correct.
        errors: Questions where either side had no answer; outside `n`.
        reference_errors: Of those, questions where the reference had none.
        candidate_errors: Of those, questions where the candidate had none.
        reference_unparsed: Answers of the reference that held no readable choice.
        candidate_unparsed: The same of the candidate.
        newly_unparsed: Candidate unparsed where the reference was not.
        newly_parsed: Reference unparsed where the candidate was not.
        reference_cut_off: Of the reference's unparsed answers, those that the token limit ended.
        candidate_cut_off: The same of the candidate.
    """

    n: int
    losses: int
    gains: int
    both_correct: int
    errors: int
    reference_errors: int
    candidate_errors: int
    reference_unparsed: int
    candidate_unparsed: int
    newly_unparsed: int
    newly_parsed: int
    reference_cut_off: int = 0
    candidate_cut_off: int = 0

    @property
    def drop(self) -> float | None:
        """Accuracy lost, as a fraction; None where nothing was scored."""
        return (self.losses - self.gains) / self.n if self.n else None

    @property
    def discordance(self) -> float | None:
        """Share of questions where the two sides differ; None where nothing was scored."""
        return (self.losses + self.gains) / self.n if self.n else None

    @property
    def reference_accuracy(self) -> float | None:
        """Accuracy of the reference on the scored questions."""
        return (self.both_correct + self.losses) / self.n if self.n else None

    @property
    def candidate_accuracy(self) -> float | None:
        """Accuracy of the candidate on the scored questions."""
        return (self.both_correct + self.gains) / self.n if self.n else None

    @property
    def error_rate(self) -> float | None:
        """Share of all questions put where an answer is missing; None where none was put."""
        asked = self.n + self.errors
        return self.errors / asked if asked else None


@dataclass(frozen=True, slots=True)
class FloorCounts:
    """Counts of a candidate held against a floor.

    Attributes:
        n: Questions answered.
        correct: Answered correctly.
        errors: Questions without an answer; outside `n`.
        unparsed: Answers that held no readable choice; in `n`, not correct.
        cut_off: Of those, answers that the token limit ended.
    """

    n: int
    correct: int
    errors: int
    unparsed: int
    cut_off: int = 0

    @property
    def accuracy(self) -> float | None:
        """Share correct of the scored questions; None where nothing was scored."""
        return self.correct / self.n if self.n else None

    @property
    def error_rate(self) -> float | None:
        """Share of all questions put that have no answer; None where none was put."""
        asked = self.n + self.errors
        return self.errors / asked if asked else None


def count_pairs(pairs: Iterable[Pair]) -> PairCounts:
    """Counts losses, gains, errors and unparsed answers."""
    correct, unparsed, error = AnswerState.CORRECT, AnswerState.UNPARSED, AnswerState.ERROR
    n = losses = gains = both = errors = ref_errors = cand_errors = 0
    ref_unparsed = cand_unparsed = newly_unparsed = newly_parsed = ref_cut = cand_cut = 0
    for _, _, reference, candidate, reference_cut_off, candidate_cut_off, *_ in pairs:
        if reference is error or candidate is error:
            errors += 1
            ref_errors += reference is error
            cand_errors += candidate is error
            continue
        n += 1
        if reference is correct:
            both += candidate is correct
            losses += candidate is not correct
        else:
            gains += candidate is correct
        ref_unparsed += reference is unparsed
        cand_unparsed += candidate is unparsed
        newly_unparsed += candidate is unparsed and reference is not unparsed
        newly_parsed += reference is unparsed and candidate is not unparsed
        ref_cut += reference is unparsed and reference_cut_off
        cand_cut += candidate is unparsed and candidate_cut_off
    return PairCounts(
        n=n,
        losses=losses,
        gains=gains,
        both_correct=both,
        errors=errors,
        reference_errors=ref_errors,
        candidate_errors=cand_errors,
        reference_unparsed=ref_unparsed,
        candidate_unparsed=cand_unparsed,
        newly_unparsed=newly_unparsed,
        newly_parsed=newly_parsed,
        reference_cut_off=ref_cut,
        candidate_cut_off=cand_cut,
    )


def count_singles(singles: Iterable[Single]) -> FloorCounts:
    """Counts correct, unparsed and missing answers."""
    n = correct = errors = unparsed = cut_off = 0
    for single in singles:
        if not single.candidate.scored:
            errors += 1
            continue
        n += 1
        correct += single.candidate is AnswerState.CORRECT
        unparsed += single.candidate is AnswerState.UNPARSED
        cut_off += single.candidate is AnswerState.UNPARSED and single.cut_off
    return FloorCounts(n=n, correct=correct, errors=errors, unparsed=unparsed, cut_off=cut_off)


def check_rows(rows: Sequence[Pair | Single]) -> None:
    """Makes sure that rows can be judged: two or more, each question once, under a subject.

    Raises:
        RowsError: With every fault found.
    """
    faults: list[FileFault] = []
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        place = f"row {number}"
        if not row.question:
            faults.append(FileFault(place, "the question's hash is empty"))
        elif row.question in first:
            twice = f"question {one_line(row.question, limit=40)} stands in row "
            faults.append(FileFault(place, f"{twice}{first[row.question]} already"))
        else:
            first[row.question] = number
        if not row.subject:
            faults.append(FileFault(place, "the subject is empty"))
        if not all(isinstance(state, AnswerState) for state in row.states):
            faults.append(FileFault(place, "an answer is not one of the four answer states"))
    check_clusters(rows)
    if faults:
        hidden = len(faults) - _SHOWN_FAULTS
        more = f" ({hidden} more are not shown)" if hidden > 0 else ""
        raise RowsError(
            f"the answers can't be judged: {len(faults)} faults{more}",
            faults=faults[:_SHOWN_FAULTS],
            remedy="give each question once, with its subject and how its answer ended",
        )
    if len(rows) < 2:
        raise RowsError(
            f"{len(rows)} answered questions can't be judged",
            remedy="give at least two; a few hundred before anything can be seen",
        )


def check_clusters(rows: Iterable[Pair | Single]) -> None:
    """Makes sure that each question stands alone: an exact test takes them as independent.

    Raises:
        RowsError: Several questions are of one cluster.
    """
    sizes = Counter(row.cluster for row in rows if row.cluster)
    shared = {name: size for name, size in sizes.items() if size > 1}
    if not shared:
        return
    name, size = max(shared.items(), key=lambda one: one[1])
    raise RowsError(
        f"{sum(shared.values())} questions share {len(shared)} passages (clusters) with each "
        f"other, {one_line(name, limit=40)} alone has {size}: the answers to a passage depend on "
        "each other, so an exact test of them errs more often than stated",
        remedy="keep one question of each cluster (gate.rows.one_of_each)",
    )


def one_of_each(cluster_of: Mapping[str, str], *, seed: int) -> list[str]:
    """Returns one question of each cluster: the first in the random order of a seed.

    Args:
        cluster_of: Question's hash to its cluster; `""` where it stands alone.
        seed: As of `seeded_order`.

    Returns:
        Hashes in that order.
    """
    seen: set[str] = set()
    kept: list[str] = []
    for question in seeded_order(cluster_of, seed=seed):
        cluster = cluster_of[question]
        if not cluster or cluster not in seen:
            kept.append(question)
            seen.add(cluster)
    return kept


def pair_up(reference: Iterable[Single], candidate: Iterable[Single]) -> list[Pair]:
    """Joins the answers of two runs by question, in the candidate's order.

    Raises:
        RowsError: If the two did not answer the same questions, or one did so twice.
    """
    theirs: dict[str, Single] = {}
    ours: dict[str, Single] = {}
    for side, rows, index in (("reference", reference, theirs), ("candidate", candidate, ours)):
        for row in rows:
            if row.question in index:
                raise RowsError(
                    f"the {side} answers question {one_line(row.question, limit=40)} twice",
                    remedy="keep one answer of each question",
                )
            index[row.question] = row
    if theirs.keys() != ours.keys():
        raise RowsError(
            f"the two runs did not answer the same questions: {len(theirs.keys() - ours.keys())} "
            f"only in the reference, {len(ours.keys() - theirs.keys())} only in the candidate",
            remedy="record the reference again with the same data set, shots and limit",
        )
    moved = [q for q, row in ours.items() if row.subject != theirs[q].subject]
    if moved:
        raise RowsError(
            f"{len(moved)} questions stand under other subjects in the two runs, "
            f"the first is {one_line(moved[0], limit=40)}",
            remedy="record the reference again with the same version of the data set",
        )
    return [
        Pair(
            q,
            row.subject,
            theirs[q].candidate,
            row.candidate,
            theirs[q].cut_off,
            row.cut_off,
            reference_tokens=theirs[q].tokens,
            candidate_tokens=row.tokens,
            cluster=row.cluster,
        )
        for q, row in ours.items()
    ]


def seeded_order(questions: Iterable[str], *, seed: int) -> list[str]:
    """Returns question hashes in the random order of a seed.

    The order is by a keyed digest of each hash, so it is the same on every machine and for
    every order in which the questions are given, and a subset keeps the whole set's order.
    """
    return sorted(questions, key=lambda question: order_key(question, seed))


def order_key(question: str, seed: int) -> bytes:
    """Returns a question's place in the order of a seed."""
    return hashlib.blake2b(question.encode(), key=str(seed).encode()[:64], digest_size=16).digest()
