"""The quick gate: it takes batches and decides as early as the error rates allow.

    order = seeded_order(questions, seed=7)
    gate = SequentialGate(policy, population=len(order), seed=7)
    for batch in batches(order, limit=2000):
        if verdict := gate.update(ask(batch)):
            break
    else:
        verdict = gate.finish("the limit of 2,000 questions was reached")

Where all questions were put and the evidence suffices for neither side, the verdict is
INCONCLUSIVE: these questions, and these answers to them, are themselves a random sample.

Questions must come in the seeded order, also where some were answered before: an order that
depends on what is already known is not random. Answers may arrive in any order *within* a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log10
from typing import Final

import numpy as np

from capgate.gate.budget import Budget
from capgate.gate.conclude import (
    check_policy,
    describe_drop,
    hinges,
    judge_unparsed,
    nothing_scored,
    too_many_errors,
    too_many_unread,
    unparsed_reason,
)
from capgate.gate.decide_floor import Floor, check_floor
from capgate.gate.decide_paired import PairedReference
from capgate.gate.length import judge_length_in_play, length_reason
from capgate.gate.policy import Policy
from capgate.gate.power import visible_in_play
from capgate.gate.progress import Progress, expected_remaining
from capgate.gate.race import Outcome, Race, fill_in
from capgate.gate.readings import code_row, second_look
from capgate.gate.rows import (
    FloorCounts,
    Pair,
    PairCounts,
    RowsError,
    Single,
    check_clusters,
    count_pairs,
    count_singles,
    order_key,
)
from capgate.gate.scale import Scale, confidence_sequence
from capgate.gate.sequential import Floats
from capgate.gate.stats import Interval, hull
from capgate.gate.verdict import (
    Evidence,
    ReferenceKind,
    UnparsedFinding,
    Verdict,
    VerdictKind,
    harm_hypothesis,
    harmless_hypothesis,
)

_LN10: Final = 2.302585092994046
_METHOD: Final = "betting e-process"


class SequentialGate:
    """Decides while the answers come in; looking after every batch costs nothing.

    Args:
        policy: With the target's overrides already in force.
        population: Questions of the benchmark that the seeded order runs through.
        seed: Of `seeded_order`. With it, batches may hold their rows in any order and a batch
            out of turn is refused; without it, rows must come in a random order chosen before.
        floor: Accuracy to hold the candidate against, where there is no reference to pair with.
        reference: What the reference of pairs is.
        budget: How the false-alarm share is divided; by default `Budget.quick`.
        fixed_rule: How to have all questions judged together, as an advice where all were put
            and nothing was decided.

    Raises:
        ConfigError: If the policy or the floor contradicts itself.
        ValueError: If the population is not positive.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        population: int,
        seed: int | None = None,
        floor: Floor | None = None,
        reference: PairedReference = "base",
        budget: Budget | None = None,
        fixed_rule: str = "run `-m full`",
    ) -> None:
        check_policy(policy)
        if floor is not None:
            check_floor(floor, policy)
        self._policy, self._population, self._seed, self._floor = policy, population, seed, floor
        self._fixed_rule = fixed_rule
        self._reference: ReferenceKind = reference if floor is None else floor.kind
        self._budget = budget or Budget.quick(policy, paired=floor is None)
        self._scale = Scale.paired() if floor is None else Scale.floor(floor.accuracy)
        self._race = Race(self._scale, policy, self._budget, population=population)
        self._rows: list[Pair | Single] = []
        self._coded: list[Floats] = []
        self._coded_again: list[Floats] = []
        self._asked: set[str] = set()
        self._last_key = b""
        self.verdict: Verdict | None = None

    def update(self, batch: Sequence[Pair | Single]) -> Verdict | None:
        """Takes the next batch of answers, errors included.

        Returns:
            The verdict, once there is one (INCONCLUSIVE where all questions were put); None
            while the run must go on.

        Raises:
            RowsError: If a question comes twice or out of turn, is of the wrong form, or more
                come than the population holds.
            ValueError: If the verdict is already in.
        """
        if self.verdict is not None:
            raise ValueError("the verdict is in; no further answers are taken")
        rows = self._in_order(batch)
        if not rows:
            return None
        self._rows += rows
        self._asked.update(row.question for row in rows)
        coded, again = (
            np.array([code_row(row) for row in look], dtype=float).T
            for look in (rows, [_again(row) for row in rows])
        )
        self._coded.append(coded)
        self._coded_again.append(again)
        other = None if np.array_equal(coded, again) else (again[:1], again[1:2])
        self._race.update(coded[:1], coded[1:2], coded[2:] > 0, other)
        outcome = Outcome(int(self._race.outcome[0]))
        if outcome is not Outcome.UNDECIDED:
            self.verdict = self._conclude(outcome, "")
        elif len(self._rows) == self._population:
            self.verdict = self._conclude(
                outcome,
                f"all {self._population:,} questions were put, too few for a quick verdict; "
                f"{self._fixed_rule}, which judges them together",
            )
        return self.verdict

    def finish(self, reason: str) -> Verdict:
        """Ends a run that stopped undecided.

        Args:
            reason: Why it stopped, as a clause (`the limit of 2,000 questions was reached`).

        Returns:
            The verdict that is in, else INCONCLUSIVE with the reason.
        """
        if self.verdict is None:
            self.verdict = self._conclude(Outcome.UNDECIDED, reason)
        return self.verdict

    @property
    def progress(self) -> Progress:
        """Where the run stands after the last batch."""
        readings, values = self._race.readings, self._values()
        harm = min(float(one.harm.log_now[0]) for one in readings)
        harmless = min(float(one.harmless.log_now[0]) for one in readings)
        drop = float(values.mean()) - self._scale.offset if len(values) else None
        remaining = None
        if drop is not None:
            likely = expected_remaining(
                self._policy,
                self._budget,
                drop=drop,
                spread=float((values * values).mean()) - self._scale.offset**2,
                scored=len(values),
                harm=harm,
                harmless=harmless,
            )
            remaining = min(likely, self._population - len(self._rows))
        return Progress(
            questions=len(self._rows),
            population=self._population,
            scored=len(values),
            losses=int((values > 0).sum()),
            gains=int((values < 0).sum() if self._floor is None else (values == 0).sum()),
            drop=drop,
            log10_harm=harm / _LN10,
            log10_harmless=harmless / _LN10,
            needed_harm=-log10(self._budget.pooled),
            needed_harmless=-log10(self._budget.miss(self._policy)),
            expected_remaining=remaining,
            harm=harm_hypothesis(self._policy.tolerate),
            harmless=harmless_hypothesis(self._policy.catch),
            paired=self._floor is None,
        )

    def _values(self, *, against: bool | None = None, again: bool = False) -> Floats:
        """Returns the values of the questions put, shape `(questions,)`.

        Args:
            against: Whether missing answers speak against the candidate; None leaves them out.
            again: By the reference's second look.
        """
        parts = self._coded_again if again else self._coded
        coded = np.concatenate([np.zeros((3, 0)), *parts], axis=1)
        scored = coded[2] > 0
        if against is None:
            known: Floats = coded[0][scored]
            return known
        return fill_in(coded[0], scored, against=against)

    def _in_order(self, batch: Sequence[Pair | Single]) -> list[Pair | Single]:
        form = Pair if self._floor is None else Single
        seen = set(self._asked)
        for row in batch:
            if not isinstance(row, form):
                raise RowsError(
                    f"a {form.__name__} was expected, not a {type(row).__name__}",
                    remedy="give pairs to a paired gate and singles to one with a floor",
                )
            if row.question in seen:
                raise RowsError(
                    f"question {row.question} came twice", remedy="put each question once"
                )
            seen.add(row.question)
        if any(row.cluster for row in batch):
            check_clusters([*self._rows, *batch])
        if len(seen) > self._population:
            raise RowsError(
                f"{len(seen)} questions came, but the benchmark has {self._population}",
                remedy="give the gate the number of questions its order runs through",
            )
        if self._seed is None:
            return list(batch)
        keyed = sorted((order_key(row.question, self._seed), row) for row in batch)
        if keyed and keyed[0][0] <= self._last_key:
            raise RowsError(
                "a batch came out of the seeded order",
                remedy="put the questions in the order of seeded_order, stored answers included",
            )
        self._last_key = keyed[-1][0] if keyed else self._last_key
        return [row for _, row in keyed]

    def _conclude(self, outcome: Outcome, stopped: str) -> Verdict:
        policy, race, budget = self._policy, self._race, self._budget
        pairs = [row for row in self._rows if isinstance(row, Pair)]
        singles = [row for row in self._rows if isinstance(row, Single)]
        counts = count_pairs(pairs) if self._floor is None else count_singles(singles)
        draft = Verdict(
            kind="INCONCLUSIVE",
            scope="quick",
            reasons=(),
            reference=self._reference,
            counts=counts,
            floor=self._floor.accuracy if self._floor else None,
            budget=budget,
            policy=policy,
            population=self._population,
        )
        if not counts.n:
            reason = nothing_scored(counts) if counts.errors else "No question was put."
            return replace(draft, reasons=(reason, *([_sentence(stopped)] if stopped else [])))
        evidence = (
            Evidence.from_log_e(
                harm_hypothesis(policy.tolerate),
                _METHOD,
                min(float(one.harm.log_peak[0]) for one in race.readings),
                budget.pooled,
            ),
            Evidence.from_log_e(
                harmless_hypothesis(policy.catch),
                _METHOD,
                min(float(one.harmless.log_peak[0]) for one in race.readings),
                budget.miss(policy),
            ),
        )
        draft = replace(
            draft,
            drop=float(self._values().mean()) - self._scale.offset,
            interval=self._interval(),
            evidence=evidence,
            smallest_visible_drop=self._visible(counts),
            log10_e=min(float(one.harm.log_now[0]) for one in race.readings) / _LN10,
            unparsed=self._unparsed(
                counts if isinstance(counts, FloorCounts) else None, pairs, outcome
            ),
        )
        if self._budget.length:
            draft = replace(draft, length=judge_length_in_play(pairs, policy, self._budget.length))
        kind, reasons = self._reasons(draft, outcome, stopped)
        if draft.length is not None and draft.length.failed:
            reasons = [length_reason(draft.length), *reasons]
            if not too_many_errors(counts, policy):
                kind = "REGRESSION"
        if unread := too_many_unread(counts, policy):
            kind, reasons = "INCONCLUSIVE", [unread, *reasons]
        return replace(draft, kind=kind, reasons=tuple(reasons))

    def _interval(self) -> Interval:
        """Returns the drops that are not refuted on every reading of the answers."""
        policy, budget = self._policy, self._budget
        ways = [
            self._values(against=side, again=again)
            for again in (False, True)
            for side in (False, True)
        ]
        distinct = {way.tobytes(): way for way in ways}.values()
        found = [
            confidence_sequence(
                self._scale,
                values,
                gap=policy.catch - policy.tolerate,
                below=budget.pooled,
                above=budget.miss(policy),
            )
            for values in distinct
        ]
        return hull(found)

    def _visible(self, counts: PairCounts | FloorCounts) -> float | None:
        policy, gap = self._policy, self._policy.catch - self._policy.tolerate
        differing = counts.discordance if isinstance(counts, PairCounts) else None
        found = visible_in_play(
            self._scale.against_at_most(policy.tolerate, gap=gap, share=self._budget.pooled),
            questions=counts.n,
            chances=lambda drop: self._scale.chances(drop, differing),
            power=1.0 - policy.miss,
            top=self._floor.accuracy if self._floor else 1.0,
        )
        # A drop under `catch` may well pass before enough was asked to see it.
        return found and max(found, policy.catch)

    def _unparsed(
        self, alone: FloorCounts | None, pairs: list[Pair], outcome: Outcome
    ) -> UnparsedFinding | None:
        policy, race = self._policy, self._race
        if alone is not None:
            rate = alone.unparsed / alone.n
            return UnparsedFinding(None, rate, None, policy.max_unparsed_increase, None, False)
        evidence = None
        watches = [one.unparsed for one in race.readings if one.unparsed is not None]
        if watches:
            evidence = Evidence.from_log_e(
                "no more unreadable answers",
                _METHOD,
                min(float(one.log_peak[0]) for one in watches),
                self._budget.unparsed,
            )
        finding = judge_unparsed(count_pairs(pairs), policy, evidence)
        # The race tells who was first, question by question; here all of the batch is counted.
        return finding and replace(finding, failed=outcome is Outcome.UNPARSED)

    def _reasons(
        self, draft: Verdict, outcome: Outcome, stopped: str
    ) -> tuple[VerdictKind, list[str]]:
        policy, counts, change = self._policy, draft.counts, describe_drop(draft)
        assert counts is not None
        harm, harmless = draft.evidence
        if outcome is Outcome.DISAGREED:
            return "INCONCLUSIVE", [hinges(counts), f"{change} {harm}; {harmless}."]
        if outcome in (Outcome.UNDECIDED, Outcome.TOO_MANY_ERRORS):
            too_many = too_many_errors(counts, policy)
            stop = [_sentence(stopped)] if stopped else []
            more = f"{harm}; {harmless}."
            return "INCONCLUSIVE", [*([too_many] if too_many else []), *stop, f"{change} {more}"]
        if outcome is Outcome.UNPARSED:
            assert draft.unparsed is not None
            return "REGRESSION", [unparsed_reason(draft.unparsed), change]
        kind: VerdictKind = "REGRESSION" if outcome is Outcome.HARM else "PASS"
        decisive = harm if outcome is Outcome.HARM else harmless
        after = f"Decided after {len(self._rows):,} of {self._population:,} questions."
        return kind, [f"{change} {after} {decisive}."]


def _again(row: Pair | Single) -> Pair | Single:
    return second_look(row) if isinstance(row, Pair) else row


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:].rstrip(".") + "."
