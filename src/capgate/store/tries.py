"""The tries on each candidate, as the store of answers keeps them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from capgate.gate.tries import Allowance, Earlier, Kind, allow
from capgate.gate.verdict import VerdictKind
from capgate.store.opened import OpenStore
from capgate.store.tables import TABLE

_COLUMNS = "started, run, kind, variant, number, share, follows, verdict"


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


def begin(store: OpenStore, attempt: Attempt) -> Allowance:
    """Records an attempt and returns what it may spend; the same for all processes of a run."""
    mine = (attempt.run, attempt.target, attempt.kind, attempt.benchmark)
    compared = (attempt.candidate, attempt.reference, attempt.questions)
    with store.transaction(alone=True) as db:
        rows = store.rows(
            f"SELECT {_COLUMNS} FROM tries WHERE candidate = ? AND reference = ? AND questions = ? "
            "AND benchmark = ? AND verdict IS NOT NULL AND run != ?",
            (*compared, attempt.benchmark, attempt.run),
        )
        earlier = [Earlier(*row[1:]) for row in sorted(set(rows), key=lambda row: row[:2])]
        known = store.rows(
            "SELECT number, share, follows FROM tries "
            "WHERE run = ? AND target = ? AND kind = ? AND benchmark = ?",
            mine,
        )
        if known:
            number, share, follows = known[0]
            said = next((one.verdict for one in earlier if one.run == follows), None)
            return Allowance(number, share, follows, said)
        allowed = allow(
            attempt.kind,
            attempt.variant,
            earlier,
            fresh=attempt.fresh,
            beside_quick=attempt.beside_quick,
        )
        db.execute(
            TABLE["tries"].new(),
            (
                *mine,
                attempt.variant,
                *compared,
                allowed.number,
                allowed.share,
                allowed.after,
                time.time(),
                None,
                0.0,
            ),
        )
    return allowed


def end(
    store: OpenStore,
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
        store: The store.
        run: The run's id.
        target: The candidate's id.
        kind: Quick or full.
        verdict: The verdict.
        benchmark: What was asked.
        part: It is on a part, such as a subject; the verdict on the whole replaces it.
    """
    with store.transaction() as db:
        db.execute(
            "UPDATE tries SET verdict = ?, judged = ? WHERE run = ? AND target = ? AND kind = ? "
            "AND benchmark = ? AND (verdict IS NULL OR NOT ?)",
            (verdict, time.time(), run, target, kind, benchmark, part),
        )
