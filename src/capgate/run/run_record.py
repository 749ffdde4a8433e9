"""What a run keeps of its targets in the store of answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, replace
from typing import Any

from capgate.gate.tries import Allowance, Kind
from capgate.gate.verdict import Verdict
from capgate.run.judgement import Judgement, Mode, Usage
from capgate.run.reference import Reference, describe
from capgate.run.target_plan import TargetPlan
from capgate.store.answer_store import Store
from capgate.store.shard import Shard
from capgate.store.tries import end


class RunRecord:
    """Keeps what a run finds out of one benchmark, and finds what its other processes have kept.

    Args:
        store: Returns the store of answers; the first call opens it.
        run: The run's id.
        benchmark: The benchmark's name.
        mode: Target to what its tests were asked for; None where that is not known.
        reference: Target to what it is compared with; None while that is not known.
        attempt: Target and kind of run to what it may spend; None while that is not settled.

    Attributes:
        benchmark: The benchmark's name.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        run: str,
        benchmark: str,
        *,
        mode: Callable[[str], Mode | None] = lambda target: None,  # noqa: ARG005
        reference: Callable[[str], Reference | None] = lambda target: None,  # noqa: ARG005
        attempt: Callable[[str, Kind], Allowance | None] = lambda target, kind: None,  # noqa: ARG005
    ) -> None:
        self._store = store
        self._run = run
        self.benchmark = benchmark
        self._entry = Shard("entry", benchmark)
        self._preflight = Shard("preflight", benchmark)
        self._mode = mode
        self._reference = reference
        self._attempt = attempt

    def keep(self, judgement: Judgement) -> Judgement:
        """Keeps how a shard ended, and what it was compared with; returns the judgement."""
        target, shard = judgement.target, judgement.shard
        known = self._reference(target)
        facts = judgement.facts() | ({"reference": describe(known)} if known else {})
        facts |= {"mode": self._mode(target)}
        allowed = self._attempt(target, "quick" if shard.kind == "quick" else "full")
        if allowed is not None:
            facts["attempt"] = asdict(allowed)
        self._store().end_shard(self._run, target, shard, facts)
        return judgement

    def preflight(
        self,
        target: str,
        look: Callable[[], Mapping[str, Any]],
        meanwhile: Callable[[], AbstractContextManager[None]],
    ) -> Mapping[str, Any]:
        """How a target's preflight ended; the first process of the run to ask makes it.

        Args:
            target: The target's id.
            look: Makes the preflight, keeps how it ended and returns that.
            meanwhile: Entered while this process waits for another one that makes it.
        """
        store, name = self._store(), f"preflight-{self._run}-{self.benchmark}-{target}"
        with ExitStack() as claims:
            first = store.claim_free(claims, name)
        with nullcontext() if first else meanwhile(), store.claim(name, once=True):
            return store.shard(self._run, target, self._preflight) or look()

    def used(self, target: str, chosen: int) -> Usage:
        """What a target's part in the run took so far, whichever process asked.

        Args:
            target: The target's id.
            chosen: How many questions it was to put.
        """
        used = self._store().used(self._run, target, benchmark=self.benchmark)
        return Usage.of_run(used, self._run, chosen)

    def count(self, plan: TargetPlan, kind: Kind, verdict: Verdict | None) -> Verdict | None:
        """Records a verdict as a try on its candidate; returns it, saying which try it was."""
        if verdict is None or verdict.kind == "ERROR" or verdict.reference is None:
            return verdict
        part = verdict.scope == "subject"
        lost = verdict.kind in ("lost", "REGRESSION")
        if lost or not part:
            said = "REGRESSION" if lost else verdict.kind
            end(
                self._store(),
                self._run,
                plan.target,
                kind,
                said,
                benchmark=self.benchmark,
                part=part,
            )
        reason = plan.allowance(kind).reason
        if not reason or (part and not lost):
            return verdict
        return replace(verdict, reasons=(*verdict.reasons, reason))

    def enter(self, target: str, facts: Mapping[str, Any]) -> None:
        """Keeps what is known of a target before it is asked."""
        self._store().end_shard(self._run, target, self._entry, facts)

    def entry(self, target: str) -> Mapping[str, Any] | None:
        """What was kept of a target before it was asked; None where it has not been entered."""
        return self._store().shard(self._run, target, self._entry)

    def note(self, target: str, note: str) -> None:
        """Keeps a sentence on a target that was entered, for the reports."""
        facts, notes = self.entry(target) or {}, self.notes(target)
        if note not in notes:
            self.enter(target, {**facts, "notes": [*notes, note]})

    def notes(self, target: str, *, besides: Collection[str] = ()) -> list[str]:
        """What was noted on a target so far, by any process of the run."""
        facts = self.entry(target) or {}
        return [note for note in facts.get("notes", ()) if note not in besides]
