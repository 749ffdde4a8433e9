"""A sweep: many adapters of one base, each judged by quick runs, and then all of them together.

Few of them are loaded at a time and asked in turns, batch by batch; the next one is loaded while
they are asked. The base is asked each question once; for the next adapter its answers are found in
the store. An adapter's quick run ends by what that adapter has shown (`gate.sweep`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from capgate.asking.ready_target import Foreseen
from capgate.client.faults import CONNECTION_KINDS
from capgate.common.errors import CapgateError, RequestFault, ServerEndedError
from capgate.gate.suite import combine_quick
from capgate.gate.suite_verdict import Part
from capgate.gate.sweep import evidence, part_evidence
from capgate.gate.verdict import Verdict, points
from capgate.run.judgement import Judgement, Usage
from capgate.run.loader import Loader
from capgate.run.quick_judge import QuickRun
from capgate.run.ready_targets import OtherWeightsError
from capgate.run.run import Run
from capgate.run.runs import Runs
from capgate.run.sweep_record import SweepRecord
from capgate.run.swept import SweepKind, SweepResult, Swept, SweptBenchmark, rank
from capgate.run.worst_group import worst_group
from capgate.serving.adapters.refusals import NoSlotError
from capgate.store.shard import OVER_ALL, Shard


@dataclass
class _Live:
    """An adapter that is being asked.

    Attributes:
        target: Its id.
        digest: Hash of its content; `""` where this machine can't read it.
        left: The benchmarks that it has not been asked.
        asked: The benchmark that it is being asked, and its quick run there; None before the first
            and after the last.
        parts: Its verdicts so far.
        benchmarks: How it stands on each of them.
    """

    target: str
    digest: str
    left: deque[Run]
    asked: tuple[Run, QuickRun] | None = None
    parts: list[Part] = field(default_factory=list)
    benchmarks: list[SweptBenchmark] = field(default_factory=list)


class _ServerGoneError(Exception):
    """The base's server is gone, so nothing more can be asked."""


class Sweep:
    """Judges the adapters of a sweep.

    Args:
        runs: The run's part for each benchmark; the adapters are its targets.
        base: The base's id.
        adapters: Adapter's target id to what it was named.
        record: What the sweep keeps.
        most: Adapters that are loaded at a time, at most.
        load: Loads an adapter; called in another thread.
        release: Unloads an adapter.
        say: Shows a line of progress.
    """

    def __init__(
        self,
        runs: Runs,
        base: str,
        adapters: Mapping[str, str],
        record: SweepRecord,
        *,
        most: int,
        load: Callable[[str], object],
        release: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._runs = runs
        self._base = base
        self._adapters = dict(adapters)
        self._record = record
        self._most = most
        self._loader = Loader(load)
        self._release = release
        self._say = say
        self._policy = runs.first.policies.together(base)
        self._waiting = deque(self._adapters)
        self._live: deque[_Live] = deque()
        self._swept: dict[str, Swept] = {}
        self._fault = ""

    def take_up(self) -> int:
        """Takes over what the sweep found before it was broken off; returns of how many."""
        for one in self._record.judged():
            self._swept[one.target] = one
            self._waiting.remove(one.target)
        return len(self._swept)

    def judge(self) -> None:
        """Judges each adapter; one that can't be judged leaves the others judged.

        An interrupt leaves those that were judged; `result` tells of them.

        Raises:
            OtherWeightsError: The sweep was taken up, and other weights answer now than before.
            CapgateError: The base can't be asked.
        """
        self._record.begin(self._policy)
        if self._waiting:
            self._runs.first.ready_target(self._base)
        try:
            while self._waiting or self._live or self._loader.loading:
                self._begin_to_load()
                self._take_loaded()
                if self._live:
                    self._step(self._next())
        except _ServerGoneError as gone:
            self._fault = str(gone)
            return
        self._record.end(self._policy)

    def result(self) -> SweepResult:
        """What was found so far."""
        runs = self._runs
        rows, needed = rank(list(self._swept.values()), len(self._adapters), self._policy.sweep_fdr)
        of_base = [
            Usage.of_run(used, runs.first.id, len(used))
            for run in runs
            if (used := runs.first.store.used(run.id, self._base, benchmark=run.name))
        ]
        return SweepResult(
            run=runs.first.id,
            base=self._base,
            benchmarks=runs.names,
            adapters=len(self._adapters),
            level=self._policy.sweep_fdr,
            needed=needed,
            rows=rows,
            waiting=tuple(
                name for target, name in self._adapters.items() if target not in self._swept
            ),
            fault=self._fault,
            base_questions=sum(one.answered for one in of_base),
            base_tokens=sum(one.prompt_tokens + one.completion_tokens for one in of_base),
            on_inconclusive=self._policy.on_inconclusive,
        )

    def _begin_to_load(self) -> None:
        """Has adapters loaded as long as there is room for one."""
        while self._waiting and len(self._live) + self._loader.loading < self._most:
            self._loader.begin(self._waiting.popleft())

    def _take_loaded(self) -> None:
        """Takes the adapters that are loaded; waits for one where no other is asked."""
        while (target := self._loader.take(wait=not self._live)) is not None:
            try:
                ready = self._runs.first.ready_target(target)
            except NoSlotError as error:
                self._release(target)
                if not (self._live or self._loader.loading):
                    self._fail(target, error)
                    continue
                # Other runs may use the server as well.
                self._most = max(self._most - 1, 1)
                self._waiting.appendleft(target)
            except OtherWeightsError:
                # Of a sweep that was taken up: its answers until now are not this adapter's.
                raise
            except CapgateError as error:
                self._check_gone(error)
                self._fail(target, error)
            else:
                digest = str(ready.endpoint.identity.get("adapter_digest", ""))
                one = _Live(target, digest, deque(self._runs))
                self._live.append(one)
                self._go_on(one)

    def _next(self) -> _Live:
        """The adapter whose turn it is: the next one that waits for no look at its servers."""
        for _ in range(len(self._live)):
            self._live.rotate(-1)
            one = self._live[-1]
            if one.asked is None or not one.asked[1].waits:
                break
        return self._live[-1]

    def _go_on(self, one: _Live) -> None:
        """Begins an adapter's next benchmark on which it can be judged, or ends it."""
        while one.left:
            run = one.left.popleft()
            try:
                run.judge.preflight(one.target)
                one.asked = run, run.judge.quick_run(one.target, lambda line: None)  # noqa: ARG005
            except CapgateError as error:
                self._check_gone(error)
                self._take_part(one, run, self._not_judged(one, run, error))
            else:
                return
        one.asked = None
        self._ended(one)

    def _step(self, one: _Live) -> None:
        """Has an adapter asked its next batch."""
        assert one.asked is not None, "one that has ended is not live"
        run, quick = one.asked
        for other in self._runs:
            if other is not run:
                other.evaluator.ask_ahead(self._foreseen(other))
        try:
            judgement = quick.step(self._foreseen(run, besides=one))
        except CapgateError as error:
            self._check_gone(error)
            judgement = self._not_judged(one, run, error)
        if judgement is not None:
            self._take_part(one, run, judgement)
            self._go_on(one)

    def _foreseen(self, run: Run, besides: _Live | None = None) -> list[Foreseen]:
        """What adapters will be asked next of a benchmark, in their turns."""
        asked = [one.asked for one in self._live if one is not besides and one.asked is not None]
        ahead = [quick.foreseen for asked_of, quick in asked if asked_of is run]
        return [foreseen for foreseen in ahead if foreseen is not None]

    def _not_judged(self, one: _Live, run: Run, error: CapgateError) -> Judgement:
        verdict = Verdict.of_error(error, scope="quick")
        judgement = Judgement(one.target, Shard("quick", run.name), verdict, None)
        run.record(judgement)
        return judgement

    def _take_part(self, one: _Live, run: Run, judgement: Judgement) -> None:
        """Takes the verdict of one benchmark."""
        if fault := run.losses.fault(one.target):
            raise _ServerGoneError(fault)
        verdict, advisory = judgement.verdict, run.policies.is_advisory(one.target)
        measured = "" if verdict else "it is only measured"
        part = Part(run.name, verdict, advisory or bool(measured), missing=measured)
        one.parts.append(part)
        one.benchmarks.append(_benchmark(run, one.target, part, judgement))

    def _ended(self, one: _Live) -> None:
        self._live.remove(one)
        first = self._runs.first
        if self._runs.several:
            verdict = combine_quick(one.parts, first.policies.together(one.target))
            facts = {"verdict": verdict.to_dict(), "mode": "quick"}
            first.store.end_shard(first.id, one.target, OVER_ALL, facts)
        benchmarks = tuple(one.benchmarks)
        self._take(
            Swept(
                target=one.target,
                adapter=self._adapters[one.target],
                kind=_kind(one.parts),
                log10_e=evidence(one.parts, first.policies.together(one.target)),
                benchmarks=benchmarks,
                reasons=tuple(
                    f"{part.name}: {part.reasons[0]}"
                    for part in benchmarks
                    if part.kind == "ERROR" and part.reasons
                ),
                digest=one.digest,
            )
        )
        self._release(one.target)

    def _fail(self, target: str, error: CapgateError) -> None:
        """Takes that an adapter can't be judged."""
        self._take(Swept(target, self._adapters[target], "ERROR", reasons=(str(error),)))
        self._release(target)

    def _take(self, swept: Swept) -> None:
        self._swept[swept.target] = swept
        self._record.keep(swept)
        rows, _ = rank(list(self._swept.values()), len(self._adapters), self._policy.sweep_fdr)
        row = next(row for row in rows if row.swept is swept)
        done = f"[{len(self._swept)}/{len(self._adapters)}]"
        said = f"{row.kind} after {swept.questions:,} questions"
        if swept.loudest is not None and swept.loudest.drop is not None:
            said += f", drop {points(swept.loudest.drop)}"
        self._say(f"{done} {swept.adapter}: {said if swept.benchmarks else swept.reasons[0]}")

    def _check_gone(self, error: CapgateError) -> None:
        """Ends the sweep where the server itself is gone.

        Raises:
            _ServerGoneError: It is.
        """
        unreachable = isinstance(error, RequestFault) and error.kind in CONNECTION_KINDS
        if unreachable or isinstance(error, ServerEndedError):
            raise _ServerGoneError(str(error)) from error


def _kind(parts: Sequence[Part]) -> SweepKind:
    """What an adapter's own quick runs say."""
    kinds = [
        "ERROR" if part.judged is None else part.judged.kind for part in parts if not part.advisory
    ]
    for kind in ("REGRESSION", "ERROR", "INCONCLUSIVE"):
        if kind in kinds:
            return kind
    return "PASS" if kinds else "ERROR"


def _benchmark(run: Run, target: str, part: Part, judgement: Judgement) -> SweptBenchmark:
    verdict, usage = part.verdict, judgement.usage
    counts = verdict.counts if verdict is not None else None
    kinds: dict[str, SweepKind] = {
        "PASS": "PASS",
        "REGRESSION": "REGRESSION",
        "INCONCLUSIVE": "INCONCLUSIVE",
    }
    return SweptBenchmark(
        name=run.name,
        kind=kinds.get(verdict.kind, "ERROR") if verdict is not None else "ERROR",
        advisory=part.advisory,
        n=counts.n if counts is not None else 0,
        losses=getattr(counts, "losses", None),
        gains=getattr(counts, "gains", None),
        drop=verdict.drop if verdict is not None else None,
        interval=verdict.interval._asdict() if verdict is not None and verdict.interval else None,
        log10_e=part_evidence(part, run.policies.together(target)),
        tokens=usage.prompt_tokens + usage.completion_tokens if usage is not None else 0,
        worst=worst_group(run, target) if counts is not None else None,
        reasons=verdict.reasons if verdict is not None else (part.missing,),
    )
