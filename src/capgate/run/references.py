"""Which reference each target of a run is compared with, on one benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from shlex import quote

from capgate.asking.fingerprint import generation
from capgate.asking.ready_target import ReadyTarget
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import QuestionSet
from capgate.common.errors import ReferenceMissingError
from capgate.config.settings import Settings
from capgate.config.shown_command import of_benchmark
from capgate.config.targets import Target
from capgate.config.thresholds import baseline_file, floor_of, reference_choice
from capgate.gate.overrides import ReferenceChoice
from capgate.gate.policy import Policy
from capgate.run.reference import (
    BaselineReference,
    BaseReference,
    FloorReference,
    NoReference,
    Reference,
)
from capgate.store.baselines import READ_FROM_THOUGHTS, load_baseline
from capgate.store.comparable import comparable, describe_change, mismatch, requested


class References:
    """Finds the reference of each target, once.

    Args:
        settings: The run's settings.
        participants: All targets that take part, by id.
        policy: Target to the policy in force for it.
        ready_target: Target to itself, ready to be asked.
        questions: Target to all questions of its benchmark.
        benchmark: Returns what is asked.
    """

    def __init__(
        self,
        settings: Settings,
        participants: Callable[[], Mapping[str, Target]],
        *,
        policy: Callable[[str], Policy],
        ready_target: Callable[[str], ReadyTarget],
        questions: Callable[[str], QuestionSet],
        benchmark: Callable[[], Benchmark],
    ) -> None:
        self._settings = settings
        self._participants = participants
        self._policy = policy
        self._ready_target = ready_target
        self._questions = questions
        self._benchmark = benchmark
        self._found: dict[str, Reference] = {}

    def known(self, target: str) -> Reference | None:
        """What a target is compared with; None while that has not been asked."""
        return self._found.get(target)

    def of(self, target: Target) -> Reference:
        """What a target is compared with.

        An adapter is compared with its base; another target with its recorded baseline,
        or else with its floor; the policy's `reference:` and `--baseline` win over that.

        Raises:
            ReferenceMissingError: There is nothing, or nothing comparable.
        """
        if target.id not in self._found:
            self._found[target.id] = self._find(target)
        return self._found[target.id]

    def is_base(self, target: Target) -> bool:
        """Whether a target is compared with its base; no server is asked.

        Raises:
            ConfigError: The policy has faults.
        """
        return not self._settings.measure and self._wanted(target) == "base"

    def _wanted(self, target: Target) -> ReferenceChoice | None:
        return reference_choice(
            self._policy(target.id),
            target,
            self._settings.thresholds_dir,
            benchmark=self._benchmark().name,
            forced=self._settings.reference,
        )

    def _find(self, target: Target) -> Reference:
        policy, folder = self._policy(target.id), self._settings.thresholds_dir
        if self._settings.measure:
            return NoReference()
        wanted = self._wanted(target)
        if wanted == "base":
            return self._base_of(target)
        if wanted is None and self._settings.measure_missing:
            return NoReference()
        if wanted != "baseline":
            return FloorReference(
                floor_of(
                    policy,
                    target,
                    folder,
                    self._settings.published,
                    benchmark=self._benchmark().name,
                    root=self._settings.root,
                )
            )
        return self._baseline_of(target)

    def _base_of(self, target: Target) -> BaseReference:
        if target.adapter_of is None:
            raise ReferenceMissingError(
                "its reference is to be its base, but it is no adapter",
                target=target.id,
                remedy="name its base in adapter_of, or another reference in policy.yaml",
            )
        base = self._participants()[target.adapter_of]
        if clash := self._asked_otherwise(target, base):
            raise ReferenceMissingError(
                f"it is not asked as its base {base.id} is: {clash}",
                target=target.id,
                remedy="give both entries the same settings, or leave them out of the "
                "adapter's, which then has its base's",
            )
        return BaseReference(target.adapter_of)

    def _asked_otherwise(self, target: Target, base: Target) -> str:
        """How an adapter's requests differ from its base's, as a clause; `""` where they don't."""
        theirs, ours = (
            requested(generation(one, self._settings, self._benchmark()), one.extra_body)
            for one in (base, target)
        )
        return describe_change(theirs, ours)

    def _baseline_of(self, target: Target) -> BaselineReference:
        folder, benchmark = self._settings.thresholds_dir, self._benchmark()
        recorded, named = (
            baseline_file(folder, target, benchmark.name),
            of_benchmark(benchmark.name),
        )
        if not recorded.exists():
            raise ReferenceMissingError(
                f"there is no recorded baseline {folder.name}/baselines/{recorded.name}",
                target=target.id,
                remedy=f"record one from a good run: capgate baseline record {quote(target.id)}"
                f"{named}",
            )
        baseline = load_baseline(recorded, benchmark=benchmark.name)
        one = self._ready_target(target.id)
        ours = comparable(
            one.fingerprint.facts,
            benchmark.prompt_hash,
            self._questions(target.id).describe(),
        )
        if (why := mismatch(ours, baseline.comparable_by)) is not None:
            raise ReferenceMissingError(
                "its recorded baseline can't be compared with this run: it was made with "
                f"{why.clause}",
                target=target.id,
                remedy=f"{why.remedy}, or record it anew: a run with --measure, then capgate "
                f"baseline update {target.id}{named}",
            )
        if baseline.may_rest_on_thoughts:
            raise ReferenceMissingError(
                f"its recorded baseline can't be used: {READ_FROM_THOUGHTS}",
                target=target.id,
                remedy="run the whole benchmark with --measure and record it anew: capgate "
                f"baseline update {target.id}{named}; answers without a thought are not asked "
                "again",
            )
        return BaselineReference(baseline)
