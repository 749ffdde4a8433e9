"""By which rules a run judges its targets."""

from __future__ import annotations

from collections.abc import Callable

from capgate.benchmarks.benchmark import Benchmark
from capgate.config.settings import Settings
from capgate.config.thresholds import policy_for
from capgate.gate.policy import Policy


class Policies:
    """The policies of one benchmark of a run, each read once.

    Args:
        settings: The run's settings.
        benchmark: Returns the benchmark.
        beside: Those of another benchmark of the run, which have read the same files.
    """

    def __init__(
        self,
        settings: Settings,
        benchmark: Callable[[], Benchmark],
        beside: Policies | None = None,
    ) -> None:
        self._settings = settings
        self._benchmark = benchmark
        self._together: dict[str, Policy] = {} if beside is None else beside._together
        self._own: dict[str, Policy] = {}

    def together(self, target: str) -> Policy:
        """The policy in force for a target on all benchmarks of the run together.

        In a sweep its `false_alarm` is an adapter's share of `sweep_fdr`.

        Raises:
            ConfigError: A file has faults.
        """
        if target not in self._together:
            folder, file = self._settings.thresholds_dir, self._settings.policy
            policy = policy_for(folder, target, file, root=self._settings.root)
            if self._settings.sweep:
                policy = policy.for_sweep(len(self._settings.adapter_names))
            self._together[target] = policy
        return self._together[target]

    def of(self, target: str) -> Policy:
        """The policy in force for a target on this benchmark.

        Raises:
            ConfigError: A file has faults.
        """
        if target not in self._own:
            benchmark = self._benchmark()
            self._own[target] = self.together(target).for_benchmark(
                benchmark.name, benchmark.catch, parents=benchmark.parents
            )
        return self._own[target]

    def is_advisory(self, target: str) -> bool:
        """Whether the benchmark is reported and never decides on a target.

        Raises:
            ConfigError: A file has faults.
        """
        benchmark = self._benchmark()
        return self.together(target).is_advisory(benchmark.name, benchmark.advisory)
