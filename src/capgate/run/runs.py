"""A run of several benchmarks: a `Run` for each of them, and what is said of all together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import CapgateError
from capgate.config.benchmarks_file import asked_before, load_benchmarks
from capgate.gate.suite import combine_quick, decide_suite
from capgate.gate.suite_verdict import Part, SuiteVerdict
from capgate.gate.verdict import Verdict
from capgate.run.judgement import Judgement, Mode
from capgate.run.run import Run
from capgate.store.shard import OVER_ALL, Shard

MakeRun = Callable[[str, Run | None], Run]
"""Makes the part of a benchmark; takes its name and the part whose store and targets it shares."""

ALONE: Final = (MMLU,)
"""The benchmarks of a run that is named and reported as capgate did before there were others."""


class Runs:
    """One process's part in a run of several benchmarks.

    Args:
        benchmarks: Their names, in the order in which they are asked; at least one.
        make: Makes the part of each.
    """

    def __init__(self, benchmarks: Sequence[str], make: MakeRun) -> None:
        first = make(benchmarks[0], None)
        others = {name: make(name, first) for name in benchmarks[1:]}
        self._runs = {first.name: first, **others}
        for run in self:
            run.deciding = partial(self._deciding, run)
        self._judged: dict[tuple[str, str, Mode], Judgement] = {}

    def __iter__(self) -> Iterator[Run]:
        yield from self._runs.values()

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks, in order."""
        return tuple(self._runs)

    @property
    def first(self) -> Run:
        """The first benchmark's part; its settings, id, targets and store are those of all."""
        return next(iter(self._runs.values()))

    @property
    def several(self) -> bool:
        """Whether its tests and verdicts name their benchmarks: always, but for MMLU alone."""
        return self.names != ALONE

    def of(self, benchmark: str) -> Run:
        """The part of a benchmark; `""` is the only one of a run that has one."""
        return self._runs[benchmark] if benchmark else self.first

    def judge(self, target: str, benchmark: str, mode: Mode) -> Judgement:
        """Judges a target on a whole benchmark, or by a quick run of it; once in this process.

        Raises:
            CapgateError: The target can't be judged.
        """
        key = (target, benchmark, mode)
        if key not in self._judged:
            judge = self.of(benchmark).judge
            self._judged[key] = (judge.quick if mode == "quick" else judge.suite)(target)
        return self._judged[key]

    def over_all(
        self, target: str, mode: Mode, faults: Mapping[str, CapgateError]
    ) -> SuiteVerdict | None:
        """Judges a target over all benchmarks, and keeps the verdict; None where it is measured.

        What is not judged yet is judged now, one benchmark after the other. A benchmark that can't
        be judged leaves the others judged.

        Args:
            target: The target.
            mode: Whether whole benchmarks or quick runs are meant.
            faults: Benchmarks on which it can't be judged, and why.
        """
        parts = [self._part(run, target, mode, faults.get(run.name)) for run in self]
        verdict: SuiteVerdict | None = None
        if any(part.verdict or part.name in faults for part in parts):
            decide = combine_quick if mode == "quick" else decide_suite
            verdict = decide(parts, self.first.policies.together(target))
        facts = {"verdict": verdict and verdict.to_dict(), "mode": mode}
        self.first.store.end_shard(self.first.id, target, OVER_ALL, facts)
        return verdict

    def _part(self, run: Run, target: str, mode: Mode, fault: CapgateError | None) -> Part:
        """One benchmark's part of the verdict over all."""
        advisory = run.policies.is_advisory(target)
        if fault is not None:
            return Part(run.name, None, advisory=advisory, missing=str(fault))
        try:
            verdict = self.judge(target, run.name, mode).verdict
            # What has nothing to be compared with is only measured where `--measure-missing` says.
            measured = "" if verdict else "it is only measured"
            advisory = advisory or bool(measured)
            apart = self._asks_again(run, target)
            return Part(run.name, verdict, advisory, apart, missing=measured)
        except CapgateError as error:
            scope: Literal["quick", "suite"] = "quick" if mode == "quick" else "suite"
            verdict = Verdict.of_error(error, scope=scope)
            run.record(Judgement(target, Shard(scope, run.name), verdict, None))
            return Part(run.name, verdict, advisory=advisory)

    def _asks_again(self, run: Run, target: str) -> bool:
        """Whether one before it, which decides, asks the same questions in another form."""
        names = [one.name for one in self if not one.policies.is_advisory(target)]
        before = itertools.takewhile(lambda name: name != run.name, names)
        return asked_before(run.name, before, load_benchmarks(run.settings.root).entries)

    def faults_together(self, target: str, faults: Mapping[str, CapgateError | None]) -> list[str]:
        """What keeps a target from being judged, each fault told once; empty where nothing does.

        A fault of a benchmark that only advises is shown as a line.

        Args:
            target: The target.
            faults: Benchmark to what keeps it from being judged on that.
        """
        told: dict[str, list[Run]] = {}
        for name, fault in faults.items():
            if fault is not None:
                told.setdefault(str(fault), []).append(self.of(name))
        lines: list[str] = []
        for text, runs in told.items():
            names = "" if len(runs) == len(self._runs) else ", ".join(run.name for run in runs)
            line = f"{names}: {text}" if names else text
            if all(run.policies.is_advisory(target) for run in runs):
                self.first.say(f"{target}: {line} (advisory)")
            else:
                lines.append(line)
        return lines

    def _deciding(self, run: Run, target: str) -> int:
        """How many benchmarks share the error budget of one; an advisory one spends none of it."""
        if run.policies.is_advisory(target):
            return 1
        return sum(not one.policies.is_advisory(target) for one in self)

    def stop_asking(self) -> None:
        """Cancels what is asked though no test waits for it."""
        for run in self:
            run.stop_asking()

    def close(self) -> None:
        """Ends the asking and closes the store, where they were begun."""
        for run in reversed(self._runs.values()):
            run.close()
