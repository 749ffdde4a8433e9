"""The plans of a run's targets, and what the run may spend of the error shares on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from capgate.asking.fingerprint import digest_of, seed_of
from capgate.asking.ready_target import ReadyTarget
from capgate.benchmarks.benchmark import Benchmark
from capgate.config.settings import Settings
from capgate.config.targets import Target, connections_of
from capgate.gate.policy import Policy
from capgate.gate.tries import Allowance, Kind
from capgate.run.reference import Reference, identify
from capgate.run.run_questions import RunQuestions
from capgate.run.session_tests import SessionTests
from capgate.run.target_plan import TargetPlan
from capgate.store.answer_store import Store
from capgate.store.tries import Attempt, begin


class Plans:
    """Makes the plan of each target, once.

    Args:
        settings: The run's settings.
        run: The run's id.
        questions: The run's questions.
        targets: Returns the targets to be judged, by id.
        named: Target to what lines of progress call it.
        policy: Target to the policy in force for it.
        deciding: Target to how many benchmarks share the error budget of this one.
        reference: Target to what it is compared with.
        ready_target: Target to itself, ready to be asked.
        benchmark: Returns what is asked.
        session: Returns what the session's tests will ask.
        store: Returns the store of answers, which counts the tries on each candidate.
    """

    def __init__(
        self,
        settings: Settings,
        run: str,
        questions: RunQuestions,
        *,
        targets: Callable[[], Mapping[str, Target]],
        named: Callable[[str], str],
        policy: Callable[[str], Policy],
        deciding: Callable[[str], int],
        reference: Callable[[str], Reference],
        ready_target: Callable[[str], ReadyTarget],
        benchmark: Callable[[], Benchmark],
        session: Callable[[], SessionTests],
        store: Callable[[], Store],
    ) -> None:
        self._settings = settings
        self._run = run
        self._questions = questions
        self._targets = targets
        self._named = named
        self._policy = policy
        self._deciding = deciding
        self._reference = reference
        self._ready_target = ready_target
        self._benchmark = benchmark
        self._session = session
        self._store = store
        self._plans: dict[str, TargetPlan] = {}
        self._allowances: dict[tuple[str, Kind], Allowance] = {}

    def of(self, target: str) -> TargetPlan:
        """The plan of a target.

        Raises:
            CapgateError: The target does not answer, or it has no valid reference.
        """
        if target not in self._plans:
            settings = self._settings
            self._plans[target] = TargetPlan(
                target=target,
                label=self._named(target),
                reference=self._reference(target),
                policy=self._policy(target),
                benchmarks=self._deciding(target),
                grouped=self._questions.has_groups(target),
                subjects=self._questions.groups(target),
                parents=self._benchmark().parents,
                questions=self._questions.of(target),
                selection=self._questions.selection(target),
                seed=self._seed(target),
                connections=connections_of(self._targets()[target], self._targets()),
                limit=settings.limit,
                confirm=settings.confirm,
                allow_routes=settings.allow_routes,
                allowance=lambda kind: self._allowance(target, kind),
            )
        return self._plans[target]

    def settled(self, target: str, kind: Kind) -> Allowance | None:
        """What a run of a kind may spend on a target; None while that is not settled."""
        return self._allowances.get((target, kind))

    def _seed(self, target: str) -> int:
        """Seed of a quick run's order: `--seed`, else one that follows from who answers.

        So each candidate meets its own questions first, and the same one meets the same again.
        """
        return seed_of(self._ready_target(target).fingerprint, self._settings.seed)

    def _allowance(self, target: str, kind: Kind) -> Allowance:
        """What a run of a kind may spend on a target; the first call settles it for the run."""
        if (target, kind) not in self._allowances:
            attempt = self._attempt(target, kind)
            self._allowances[target, kind] = begin(self._store(), attempt)
        return self._allowances[target, kind]

    def _attempt(self, target: str, kind: Kind) -> Attempt:
        settings, reference = self._settings, self._reference(target)
        base = reference.target if reference.kind == "base" else target
        return Attempt(
            run=self._run,
            target=target,
            benchmark=self._benchmark().name,
            kind=kind,
            variant=str(self._seed(target) if kind == "quick" else settings.limit or "all"),
            candidate=self._ready_target(target).fingerprint.hash,
            reference=identify(reference, self._ready_target(base).fingerprint.hash),
            questions=digest_of(
                self._questions.of(target).describe()["digest"],
                self._benchmark().prompt_hash,
                *self._questions.groups(target),
            ),
            fresh=settings.fresh,
            beside_quick=kind == "full" and self._session().beside_quick(target),
        )
