"""The tries on each candidate, as the store of answers keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import TYPE_CHECKING

from capgate.gate.tries import Allowance, Earlier, Kind, allow
from capgate.gate.verdict import Verdict, VerdictKind

if TYPE_CHECKING:
    from capgate.run.run import Run

_COLUMNS = "run, kind, variant, number, share, follows, verdict"

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that is about to judge a candidate.

    Attributes:
        run: The run's id.
        target: The candidate's id.
        kind: Quick or full.
        variant: A quick run's seed, a full one's limit.
        candidate: Fingerprint of the candidate.
        reference: Names what it is compared with.
        questions: Digest of the questions and of how they are put.
        fresh: Whether stored answers are left aside.
        beside_quick: Whether the same session makes a quick run as well.
    """

    run: str
    target: str
    kind: Kind
    variant: str
    candidate: str
    reference: str
    questions: str
    fresh: bool
    beside_quick: bool = False


def attempt_of(run: Run, target: str, kind: Kind) -> Attempt:
    """The attempt that a run makes at a target.

    Raises:
        CapgateError: The target does not answer, or it has no valid reference.
    """
    from capgate.asking.fingerprint import digest_of
    from capgate.run.reference import identify

    settings, reference = run.settings, run.reference(target)
    base = reference.target if reference.kind == "base" else target
    return Attempt(
        run=run.id,
        target=target,
        kind=kind,
        variant=str(run.seed(target) if kind == "quick" else settings.limit or "all"),
        candidate=run.contestant(target).fingerprint.hash,
        reference=identify(reference, run.contestant(base).fingerprint.hash),
        questions=digest_of(
            run.questions(target).describe()["digest"],
            run.harness.prompt_hash,
            *settings.subjects,
        ),
        fresh=settings.fresh,
        beside_quick=kind == "full" and run.beside_quick(target),
    )


def begin(transaction: Transaction, attempt: Attempt) -> Allowance:
    """Records an attempt and returns what it may spend; the same for all processes of a run."""
    mine = (attempt.run, attempt.target, attempt.kind)
    compared = (attempt.candidate, attempt.reference, attempt.questions)
    with transaction() as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM tries WHERE candidate = ? AND reference = ? AND questions = ? "
            "AND verdict IS NOT NULL AND run != ? ORDER BY started",
            (*compared, attempt.run),
        ).fetchall()
        earlier = [Earlier(*row) for row in rows]
        known = db.execute(
            "SELECT number, share, follows FROM tries WHERE run = ? AND target = ? AND kind = ?",
            mine,
        ).fetchone()
        if known is not None:
            said = next((one.verdict for one in earlier if one.run == known[2]), None)
            return Allowance(known[0], known[1], known[2], said)
        allowed = allow(
            attempt.kind,
            attempt.variant,
            earlier,
            fresh=attempt.fresh,
            beside_quick=attempt.beside_quick,
        )
        db.execute(
            "INSERT INTO tries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *mine,
                attempt.variant,
                *compared,
                allowed.number,
                allowed.share,
                allowed.after,
                time.time(),
            ),
        )
    return allowed


def end(
    transaction: Transaction,
    run: str,
    target: str,
    kind: Kind,
    verdict: VerdictKind,
    *,
    part: bool = False,
) -> None:
    """Records the verdict of an attempt.

    Args:
        transaction: The store's.
        run: The run's id.
        target: The candidate's id.
        kind: Quick or full.
        verdict: What was said.
        part: It was said of a part, such as a subject; the verdict on the whole replaces it.
    """
    with transaction() as db:
        db.execute(
            "UPDATE tries SET verdict = ? WHERE run = ? AND target = ? AND kind = ? "
            "AND (verdict IS NULL OR NOT ?)",
            (verdict, run, target, kind, part),
        )


def counted(run: Run, target: str, kind: Kind, verdict: Verdict | None) -> Verdict | None:
    """Records a verdict as a try on its candidate; returns it, saying which try it was."""
    if verdict is None or verdict.kind == "ERROR" or verdict.reference is None:
        return verdict
    part = verdict.scope == "subject"
    lost = verdict.kind in ("lost", "REGRESSION")
    if lost or not part:
        said = "REGRESSION" if lost else verdict.kind
        end(run.store.transaction, run.id, target, kind, said, part=part)
    reason = run.allowance(target, kind).reason
    if not reason or (part and not lost):
        return verdict
    return replace(verdict, reasons=(*verdict.reasons, reason))
