"""The tries on each candidate, as the store of answers keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from sqlite3 import Connection

from capgate.gate.tries import Allowance, Earlier, Kind, allow
from capgate.gate.verdict import VerdictKind

_COLUMNS = "run, kind, variant, number, share, follows, verdict"

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that is about to judge a candidate.

    Attributes:
        run: The run's id.
        target: The candidate's id.
        benchmark: What it is asked.
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
    benchmark: str
    kind: Kind
    variant: str
    candidate: str
    reference: str
    questions: str
    fresh: bool
    beside_quick: bool = False


def begin(transaction: Transaction, attempt: Attempt) -> Allowance:
    """Records an attempt and returns what it may spend; the same for all processes of a run."""
    mine = (attempt.run, attempt.target, attempt.kind, attempt.benchmark)
    compared = (attempt.candidate, attempt.reference, attempt.questions)
    with transaction() as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM tries WHERE candidate = ? AND reference = ? AND questions = ? "
            "AND benchmark = ? AND verdict IS NOT NULL AND run != ? ORDER BY started",
            (*compared, attempt.benchmark, attempt.run),
        ).fetchall()
        earlier = [Earlier(*row) for row in rows]
        known = db.execute(
            "SELECT number, share, follows FROM tries "
            "WHERE run = ? AND target = ? AND kind = ? AND benchmark = ?",
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
            "INSERT INTO tries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
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
    benchmark: str,
    part: bool = False,
) -> None:
    """Records the verdict of an attempt.

    Args:
        transaction: The store's.
        run: The run's id.
        target: The candidate's id.
        kind: Quick or full.
        verdict: The verdict.
        benchmark: What was asked.
        part: It is on a part, such as a subject; the verdict on the whole replaces it.
    """
    with transaction() as db:
        db.execute(
            "UPDATE tries SET verdict = ? WHERE run = ? AND target = ? AND kind = ? "
            "AND benchmark = ? AND (verdict IS NULL OR NOT ?)",
            (verdict, run, target, kind, benchmark, part),
        )
