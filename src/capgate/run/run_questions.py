"""The questions of a run: where they come from, and which of them are asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import Question, QuestionSet, Selection
from capgate.common.errors import CapgateError
from capgate.config.settings import Settings
from capgate.config.target import Target
from capgate.gate.rows import seeded_order
from capgate.run.judgement import QUICK_LOOK


class RunQuestions:
    """Loads and selects the questions of a run, each source once.

    Args:
        settings: The run's settings.
        targets: The targets that take part, by id.
        benchmark: What is asked; made by the first call.
    """

    def __init__(
        self,
        settings: Settings,
        targets: Callable[[], Mapping[str, Target]],
        benchmark: Callable[[], Benchmark],
    ) -> None:
        self._settings = settings
        self._targets = targets
        self._benchmark = benchmark
        self._selections: dict[str, Selection] = {}
        self._faults: dict[str, CapgateError] = {}
        self._loading = threading.Lock()

    def source(self, target: str) -> str:
        """Where a target's questions come from."""
        return self._settings.dataset or self._targets()[target].dataset

    def of(self, target: str) -> QuestionSet:
        """All questions of a target's benchmark.

        Raises:
            CapgateError: They can't be loaded. The first such fault stands for the whole run,
                which would otherwise wait for the hub again and again.
        """
        source = self.source(target)
        with self._loading:
            if source in self._faults:
                raise self._faults[source]
            try:
                return self._benchmark().load(source)
            except CapgateError as error:
                self._faults[source] = error
                raise

    def groups(self, target: str) -> tuple[str, ...]:
        """The groups of a run on a target, in order: MMLU's subjects, as `--subjects` chose them.

        A benchmark without groups is one group of its own name.

        Raises:
            CapgateError: Only the questions tell them, and they can't be loaded.
        """
        if self._benchmark().name == MMLU:
            return self._settings.subjects
        return tuple(self.of(target).by_subject)

    def has_groups(self, target: str) -> bool:
        """Whether the benchmark has groups."""
        return self.groups(target) != (self._benchmark().name,)

    def selection(self, target: str) -> Selection:
        """The questions of a whole run on a target."""
        source = self.source(target)
        if source not in self._selections:
            chosen = self.of(target).select(self.groups(target), self._settings.limit)
            self._selections[source] = chosen
        return self._selections[source]

    def may_be_asked(
        self, target: str, planned: Collection[str] | None, *, seed: int, judged: bool
    ) -> Sequence[Question]:
        """All questions that a session's tests of a target may come to ask.

        Args:
            target: The target's id.
            planned: The subjects that the tests ask, none for a quick run's; None where that is
                not known.
            seed: Of a quick run's order.
            judged: Whether the target is compared with something, and not only measured.
        """
        chosen = self.selection(target)
        if planned is None:
            return list(chosen)
        if planned:
            return [q for s in planned for q in chosen.by_subject.get(s, ())]
        # A quick run draws from all questions.
        pool = {q.hash: q for q in self.of(target).select(self.groups(target))}
        most = self._settings.limit or (len(pool) if judged else QUICK_LOOK)
        return [pool[name] for name in seeded_order(pool, seed=seed)[:most]]
