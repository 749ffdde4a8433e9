"""A run of the benchmark: what its tests ask for, in whichever process they run.

Each process of a run has one `Run`. It asks the controller for live endpoints, has
questions answered through the store, and lets the gate judge; nothing is decided here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Final

from capgate.asking.cost_forecast import forecast
from capgate.asking.cost_limit import CostLimit, RunCostLimit
from capgate.asking.evaluator import Evaluator
from capgate.asking.fingerprint import digest_of, generation, seed_of
from capgate.asking.progress import Feed
from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.asking.weights import other_weights
from capgate.benchmarks.mmlu.load import load_questions, may_be_away
from capgate.benchmarks.mmlu.task import MmluTask, mmlu_task
from capgate.benchmarks.questions import Question, QuestionSet, Selection
from capgate.common.dependencies import check_found, check_imports
from capgate.common.errors import CapgateError, ConfigError, ReferenceMissingError
from capgate.common.files import FileError
from capgate.common.garbage import collected_rarely
from capgate.common.private_files import own_folder
from capgate.common.scratch import remove_abandoned
from capgate.config.chosen_targets import run_targets
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.config.thresholds import baseline_file, floor_of, policy_for, reference_choice
from capgate.gate.policy import Policy
from capgate.gate.rows import seeded_order
from capgate.gate.tries import Allowance, Kind
from capgate.run.judgement import Judgement, Mode
from capgate.run.reference import (
    BaselineReference,
    BaseReference,
    FloorReference,
    NoReference,
    Reference,
    describe,
    identify,
)
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import Losses, LostTargets
from capgate.store.answer_store import Store
from capgate.store.baselines import READ_FROM_THOUGHTS, load_baseline
from capgate.store.comparable import comparable, describe_change, mismatch, requested
from capgate.store.shard import Shard
from capgate.store.tries import Attempt, begin

_ENTRY: Final = Shard("entry")

Say = Callable[[str], None]
Tell = Callable[[str, str], None]
GetEndpoint = Callable[[str], Endpoint]


def _ignore(line: str) -> None:
    """Shows nothing."""


def _no_news(target: str) -> str:  # noqa: ARG001
    """Knows of no server that has ended."""
    return ""


class Run:
    """One process's part in a run.

    Args:
        settings: The run's settings.
        run: Its id.
        endpoint: How a live endpoint is had.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
        share: Into how many processes a target's connections are divided.
        say: Shows a line of progress.
        tell: Shows a line once in the run: takes its topic and the line.
        cost_limit: What the run may spend, where another process of it keeps that.
        further: Targets that take part without being judged.
        losses: Which targets were lost, where another process of the run keeps that.

    Attributes:
        settings: The run's settings.
        id: Its id.
        losses: Which targets were lost in the middle of the run.
        feed: Told of each answer, where progress is shown.
        asked_mode: Target to what its tests were asked for, `quick` or `full`; None where that
            is not known.
        following: Target and subject to the subjects that its tests ask after that one.
        beside_quick: Whether the session's tests judge subjects of a target beside a quick run.
        planned: Target to the subjects that the session's tests ask, none for a quick run's;
            None where that is not known.
    """

    def __init__(
        self,
        settings: Settings,
        run: str,
        *,
        endpoint: GetEndpoint,
        post_mortem: Callable[[str], str] = _no_news,
        share: int = 1,
        say: Say = _ignore,
        tell: Tell | None = None,
        cost_limit: CostLimit | None = None,
        further: Sequence[str] = (),
        losses: Losses | None = None,
    ) -> None:
        self.settings = settings
        self.id = run
        self._endpoint = endpoint
        self.post_mortem = post_mortem
        self._share = share
        self.say = say
        self._tell = tell or (lambda _, line: say(line))
        if cost_limit is None and settings.max_cost is not None:
            cost_limit = RunCostLimit(settings.max_cost)
        self._cost_limit = cost_limit
        self._further = tuple(further)
        self.losses = losses or LostTargets()
        self.feed: Feed | None = None
        self.following: Callable[[str, str], Sequence[str]] = lambda target, subject: ()  # noqa: ARG005
        self.asked_mode: Callable[[str], Mode | None] = lambda target: None  # noqa: ARG005
        self.planned: Callable[[str], Collection[str] | None] = lambda target: None  # noqa: ARG005
        self._ready_targets: dict[str, ReadyTarget] = {}
        self._policies: dict[str, Policy] = {}
        self._references: dict[str, Reference] = {}
        self._selections: dict[str, Selection] = {}
        self.beside_quick: Callable[[str], bool] = lambda target: False  # noqa: ARG005
        self._allowances: dict[tuple[str, Kind], Allowance] = {}
        self._loading = threading.Lock()
        self._no_questions: dict[str, CapgateError] = {}

    @cached_property
    def _asked_for(self) -> tuple[dict[str, Target], dict[str, Target]]:
        return run_targets(self.settings, self._further)

    @property
    def targets(self) -> dict[str, Target]:
        """The targets to be judged, by id, in the order asked for."""
        return self._asked_for[0]

    @property
    def participants(self) -> dict[str, Target]:
        """The targets to be judged and all others that are asked, by id."""
        return {**self._asked_for[1], **self.targets}

    @cached_property
    def mmlu_task(self) -> MmluTask:
        """The benchmark's task."""
        return mmlu_task(self.settings.task, self.settings.max_tokens)

    @cached_property
    def store(self) -> Store:
        """This process's connection to the store."""
        store = Store(self.settings.store, project_redactor(self.settings))
        store.start_run(self.id, self.settings.describe())
        return store

    @cached_property
    def evaluator(self) -> Evaluator:
        """Asks questions for this process."""
        return Evaluator(
            self.store,
            self.settings,
            self.mmlu_task,
            run=self.id,
            logs=self.folder / "logs",
            share=self._share,
            cost_limit=self._cost_limit,
            post_mortem=self.post_mortem,
            say=self.say,
            tell=self._tell,
        )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.settings.output_dir / self.id

    def close(self) -> None:
        """Closes the store, where it was opened."""
        if "store" in self.__dict__:
            self.store.close()

    def questions(self, target: str) -> QuestionSet:
        """All questions of a target's benchmark.

        Raises:
            CapgateError: They can't be had; the first such fault stands for the whole run, which
                would otherwise wait for the hub again and again.
        """
        source = self.source(target)
        with self._loading:
            if source in self._no_questions:
                raise self._no_questions[source]
            try:
                return load_questions(source, shots=self.mmlu_task.shots)
            except CapgateError as error:
                self._no_questions[source] = error
                raise

    def source(self, target: str) -> str:
        """Where a target's questions come from."""
        return self.settings.dataset or self.participants[target].dataset

    def selection(self, target: str) -> Selection:
        """The questions of a whole-benchmark run on a target."""
        source = self.source(target)
        if source not in self._selections:
            questions = self.questions(target)
            chosen = questions.select(self.settings.subjects, self.settings.limit)
            self._selections[source] = chosen
        return self._selections[source]

    def shards(self, target: str, subjects: Sequence[str] | None = None) -> list[QuestionBatch]:
        """Subjects of a whole-benchmark run on a target that have a question.

        Args:
            target: The target.
            subjects: Which of them, in order; all where it is None.
        """
        chosen = self.selection(target).by_subject
        names = chosen if subjects is None else subjects
        return [QuestionBatch(name, chosen[name]) for name in names if chosen.get(name)]

    def policy(self, target: str) -> Policy:
        """The policy in force for a target."""
        if target not in self._policies:
            self._policies[target] = policy_for(
                self.settings.thresholds_dir, target, self.settings.policy
            )
        return self._policies[target]

    def ready_target(self, target: str) -> ReadyTarget:
        """A target, ready to be asked; its server is found or started by the first call.

        Raises:
            CapgateError: It can't be had.
        """
        if target not in self._ready_targets:
            self._make_folder()
            check_found()
            # Starting a server takes seconds, importing Inspect as many: both at once.
            ahead = threading.Thread(target=self._get_ready, args=(target,), daemon=True)
            ahead.start()
            if may_be_away(self.source(target)):
                # A server that takes minutes to start is of no use without questions.
                ahead.join()
                self.questions(target)
            try:
                endpoint = self._endpoint(target)
            finally:
                # After Ctrl-C too: pytest parses sources for its traceback, Inspect's imports parse
                # theirs, and CPython 3.11 fails where two threads parse at the same time.
                ahead.join()
            check_imports()
            one = self.evaluator.ready_target(self.participants[target], endpoint)
            questions, notes = self.questions(target), one.endpoint.notes
            self._check_same_weights(one)
            self.store.end_shard(
                self.id,
                target,
                _ENTRY,
                {
                    "model_id": self.participants[target].adapter_of or target,
                    "adapter_name": self.participants[target].served_name
                    if self.participants[target].adapter_of
                    else None,
                    **({"mode": mode} if (mode := self._mode_of(target)) else {}),
                    "notes": [*notes, *self._noted(target, besides=notes)],
                    "fingerprint": one.fingerprint.hash,
                    "seed": seed_of(one.fingerprint, self.settings.seed),
                    "facts": one.fingerprint.facts,
                    "dataset": questions.describe(),
                    "prompt_hash": self.mmlu_task.prompt_hash,
                    "selected": {s: len(q) for s, q in self.selection(target).by_subject.items()},
                },
            )
            self._ready_targets[target] = one
            self._tell_cost(one)
        return self._ready_targets[target]

    def _check_same_weights(self, one: ReadyTarget) -> None:
        """Makes sure that a run that is taken up again asks the weights that it asked before.

        Raises:
            ConfigError: Others answer now.
        """
        before = self.store.shards(self.id).get((one.id, _ENTRY))
        if before is None:
            return
        then, now = before["facts"]["identity"], one.fingerprint.facts["identity"]
        if other_weights(then, now):
            raise ConfigError(
                "other weights answer there now than in this run",
                target=one.id,
                remedy="start a new run",
            )

    def _tell_cost(self, ready_target: ReadyTarget) -> None:
        """Tells what a target's questions will cost, where they cost anything."""
        if ready_target.endpoint.offer is None:
            return
        line = forecast(
            ready_target,
            self._may_ask(ready_target.id),
            self.store,
            self.id,
            self.settings,
            # Commands other than a run have none.
            preflight=self.feed is not None,
        )
        if line is not None:
            self._tell(f"cost of {ready_target.id}", line)

    def _may_ask(self, target: str) -> Sequence[Question]:
        """All questions that the session's tests of a target may come to ask."""
        planned, chosen = self.planned(target), self.selection(target)
        if planned is None:
            return list(chosen)
        if planned:
            return [q for s in planned for q in chosen.by_subject.get(s, ())]
        # A quick run draws from all questions.
        from capgate.run.judgement import QUICK_LOOK

        pool = {q.hash: q for q in self.questions(target).select(self.settings.subjects)}
        judged = not isinstance(self._references.get(target), NoReference)
        most = self.settings.limit or (len(pool) if judged else QUICK_LOOK)
        return [pool[name] for name in seeded_order(pool, seed=self.seed(target))[:most]]

    def seed(self, target: str) -> int:
        """Seed of a quick run's order: `--seed`, else one that follows from who answers.

        So each candidate meets its own questions first, and the same one meets the same again.
        """
        return seed_of(self.ready_target(target).fingerprint, self.settings.seed)

    def allowance(self, target: str, kind: Kind) -> Allowance:
        """What the run may spend of the error shares on a target; the first call settles it.

        Raises:
            CapgateError: The target does not answer, or it has no valid reference.
        """
        if (target, kind) not in self._allowances:
            attempt = self._attempt(target, kind)
            self._allowances[target, kind] = begin(self.store.transaction, attempt)
        return self._allowances[target, kind]

    def _attempt(self, target: str, kind: Kind) -> Attempt:
        settings, reference = self.settings, self.reference(target)
        base = reference.target if reference.kind == "base" else target
        return Attempt(
            run=self.id,
            target=target,
            kind=kind,
            variant=str(self.seed(target) if kind == "quick" else settings.limit or "all"),
            candidate=self.ready_target(target).fingerprint.hash,
            reference=identify(reference, self.ready_target(base).fingerprint.hash),
            questions=digest_of(
                self.questions(target).describe()["digest"],
                self.mmlu_task.prompt_hash,
                *settings.subjects,
            ),
            fresh=settings.fresh,
            beside_quick=kind == "full" and self.beside_quick(target),
        )

    def _make_folder(self) -> None:
        """Makes the run's folder before anything is asked that could not be logged there."""
        try:
            own_folder(self.folder / "logs")
            remove_abandoned()
        except OSError as error:
            raise FileError(
                f"the reports folder {self.settings.output_dir} can't be written",
                said=str(error),
                remedy="make it writable, or name another with --output-dir",
            ) from None

    def _get_ready(self, target: str) -> None:
        # Whatever fails here fails again where it is needed, and is told there.
        with contextlib.suppress(Exception), collected_rarely():
            check_imports()
            _ = self.mmlu_task.prompt_hash
            self.questions(target)
            from capgate.asking.inspect_backend.shortcuts import warm_up

            warm_up()

    def reference(self, target: str) -> Reference:
        """What a target is compared with.

        An adapter is compared with its base; another target with its recorded baseline,
        or else with its floor; the policy's `reference:` and `--baseline` win over that.

        Raises:
            ReferenceMissingError: There is nothing, or nothing comparable.
        """
        if target not in self._references:
            self._references[target] = self._find_reference(self.targets[target])
        return self._references[target]

    def _find_reference(self, target: Target) -> Reference:
        policy, folder = self.policy(target.id), self.settings.thresholds_dir
        recorded = baseline_file(folder, target)
        if self.settings.measure:
            return NoReference()
        wanted = reference_choice(policy, target, folder, forced=self.settings.reference)
        if wanted == "base":
            if target.adapter_of is None:
                raise ReferenceMissingError(
                    "its reference is to be its base, but it is no adapter",
                    target=target.id,
                    remedy="name its base in adapter_of, or another reference in policy.yaml",
                )
            base = self.participants[target.adapter_of]
            if clash := self._asked_otherwise(target, base):
                raise ReferenceMissingError(
                    f"it is not asked as its base {base.id} is: {clash}",
                    target=target.id,
                    remedy="give both entries the same settings, or leave them out of the "
                    "adapter's, which then has its base's",
                )
            return BaseReference(target.adapter_of)
        if wanted is None and self.settings.measure_missing:
            return NoReference()
        if wanted != "baseline":
            return FloorReference(floor_of(policy, target, folder, self.settings.published))
        if not recorded.exists():
            raise ReferenceMissingError(
                f"there is no recorded baseline {folder.name}/baselines/{recorded.name}",
                target=target.id,
                remedy=f"record one from a good run: capgate baseline record {quote(target.id)}",
            )
        baseline = load_baseline(recorded)
        one = self.ready_target(target.id)
        ours = comparable(
            one.fingerprint.facts,
            self.mmlu_task.prompt_hash,
            self.questions(target.id).describe(),
        )
        if (why := mismatch(ours, baseline.comparable_by)) is not None:
            raise ReferenceMissingError(
                "its recorded baseline can't be compared with this run: it was made with "
                f"{why.clause}",
                target=target.id,
                remedy=f"{why.remedy}, or record it anew: a run with --measure, then capgate "
                f"baseline update {target.id}",
            )
        if baseline.may_rest_on_thoughts:
            raise ReferenceMissingError(
                f"its recorded baseline can't be used: {READ_FROM_THOUGHTS}",
                target=target.id,
                remedy="run the whole benchmark with --measure and record it anew: capgate "
                f"baseline update {target.id}; answers without a thought are not asked again",
            )
        return BaselineReference(baseline)

    def _mode_of(self, target: str) -> Mode | None:
        """What was asked of a target; of a base, what was asked of its adapters."""
        tuned = (one.id for one in self.targets.values() if one.adapter_of == target)
        return next(filter(None, map(self.asked_mode, (target, *tuned))), None)

    def note(self, target: str, note: str) -> None:
        """Keeps a sentence on a target that is ready, for the reports."""
        facts, notes = self.store.shards(self.id)[target, _ENTRY], self._noted(target)
        if note not in notes:
            self.store.end_shard(self.id, target, _ENTRY, {**facts, "notes": [*notes, note]})

    def _noted(self, target: str, *, besides: Collection[str] = ()) -> list[str]:
        """What was noted on a target so far, by any process of the run."""
        facts = self.store.shards(self.id).get((target, _ENTRY), {})
        return [note for note in facts.get("notes", ()) if note not in besides]

    def _asked_otherwise(self, target: Target, base: Target) -> str:
        """How an adapter's requests differ from its base's, as a clause; `""` where they don't."""
        theirs, ours = (
            requested(generation(one, self.settings), one.extra_body) for one in (base, target)
        )
        return describe_change(theirs, ours)

    def ready_targets_for(self, target: str) -> list[ReadyTarget]:
        """The target and, where that is its reference, its base."""
        reference = self.reference(target)
        base = [self.ready_target(reference.target)] if reference.kind == "base" else []
        return [*base, self.ready_target(target)]

    def record(self, judgement: Judgement) -> None:
        """Keeps how a shard ended, and what it was compared with, for the reports."""
        known = self._references.get(judgement.target)
        facts = judgement.facts() | ({"reference": describe(known)} if known else {})
        facts |= {"mode": self._mode_of(judgement.target)}
        kind: Kind = "quick" if judgement.shard.kind == "quick" else "full"
        allowed = self._allowances.get((judgement.target, kind))
        if allowed is not None:
            facts["attempt"] = asdict(allowed)
        self.store.end_shard(self.id, judgement.target, judgement.shard, facts)
