"""A run of one benchmark: what its tests ask for, in each of its processes.

Each process of a run has one `Run` for each benchmark (`run.runs`). It asks the controller for
live endpoints, has questions answered through the store, and lets the gate judge; nothing is
decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path

from capgate.asking.cost_forecast import forecast
from capgate.asking.cost_limit import CostLimit, RunCostLimit
from capgate.asking.endpoint_clients import Readmit
from capgate.asking.evaluator import Evaluator
from capgate.asking.fingerprint import seed_of
from capgate.asking.progress import Feed
from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.asking.shared import SharedAsking
from capgate.asking.stored_answers import StoredAnswers
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import QuestionSet, Selection
from capgate.common.dependencies import check_found
from capgate.common.errors import CapgateError
from capgate.common.files import FileError
from capgate.common.private_files import own_folder
from capgate.common.scratch import remove_abandoned
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.chosen_targets import run_targets
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.gate.policy import Policy
from capgate.run.asker import Asker, RunAsker
from capgate.run.judge import Judge
from capgate.run.judgement import Judgement, Mode
from capgate.run.plans import Plans
from capgate.run.policies import Policies
from capgate.run.ready_targets import ReadyTargets
from capgate.run.reference import NoReference, Reference
from capgate.run.references import References
from capgate.run.run_questions import RunQuestions
from capgate.run.run_record import RunRecord
from capgate.run.session_tests import SessionTests
from capgate.run.stored_asker import StoredAsker
from capgate.run.target_plan import TargetPlan, batches_of
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import Losses, LostTargets
from capgate.store.answer_store import Store
from capgate.store.open_store import open_store

Tell = Callable[[str, str], None]
GetEndpoint = Callable[[str], Endpoint]


class Run:
    """One process's part in a run of one benchmark.

    Args:
        settings: The run's settings.
        run: Its id.
        benchmark: The benchmark, or its name; the first that the settings name where None.
        beside: Another benchmark's part in this process, whose targets and store are this one's.
        endpoint: Target to its live endpoint.
        readmit: Proves an endpoint again that stopped answering.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
        share: Into how many processes a target's connections are divided.
        say: Shows a line of progress.
        tell: Shows a line once in the run: takes its topic and the line.
        cost_limit: What the run may spend, where another process of it keeps that.
        further: Targets that take part without being judged.
        losses: Which targets were lost, where another process of the run keeps that.
        in_turns: Whether benchmarks are asked in turns; see `SharedAsking`.

    Attributes:
        settings: The run's settings.
        id: Its id.
        name: The benchmark's name.
        losses: Which targets were lost in the middle of the run.
        post_mortem: Tells why a target's server has ended.
        feed: Told of each answer, where progress is shown.
        policies: The policies in force.
        references: What its targets are compared with.
        asked: Its questions: where they come from, and which of them are asked.
        session: What the tests of the pytest session will ask.
        deciding: Target to how many benchmarks share the error budget of this one.
    """

    def __init__(
        self,
        settings: Settings,
        run: str,
        *,
        benchmark: Benchmark | str | None = None,
        beside: Run | None = None,
        endpoint: GetEndpoint,
        readmit: Readmit | None = None,
        post_mortem: Callable[[str], str] = lambda target: "",  # noqa: ARG005
        share: int = 1,
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
        tell: Tell | None = None,
        cost_limit: CostLimit | None = None,
        further: Sequence[str] = (),
        losses: Losses | None = None,
        in_turns: bool = False,
    ) -> None:
        self.settings = settings
        self.id = run
        asked = settings.benchmarks[0] if benchmark is None else benchmark
        self.name = asked if isinstance(asked, str) else asked.name
        self._benchmark = None if isinstance(asked, str) else asked
        self._beside = beside
        self._shared: SharedAsking = (
            SharedAsking(readmit, in_turns=in_turns) if beside is None else beside._shared
        )
        self._endpoint = endpoint
        self.post_mortem = post_mortem
        self._share = share
        self.say = say
        self._tell = tell or (lambda _, line: self.say(line))
        if cost_limit is None and settings.max_cost is not None:
            cost_limit = RunCostLimit(settings.max_cost)
        self._cost_limit = cost_limit
        self._further = tuple(further)
        self.losses = losses or LostTargets()
        self.feed: Feed | None = None
        self.session = SessionTests()
        self.deciding: Callable[[str], int] = lambda target: 1  # noqa: ARG005
        self.policies: Policies = Policies(
            settings, lambda: self.benchmark, None if beside is None else beside.policies
        )
        self.asked = RunQuestions(settings, lambda: self.participants, lambda: self.benchmark)
        self.references = References(
            settings,
            lambda: self.participants,
            policy=self.policy,
            ready_target=self.ready_target,
            questions=self.questions,
            benchmark=lambda: self.benchmark,
        )
        self._plans = Plans(
            settings,
            run,
            self.asked,
            targets=lambda: self.targets,
            named=self.named,
            policy=self.policy,
            deciding=lambda target: self.deciding(target),
            reference=self.reference,
            ready_target=self.ready_target,
            benchmark=lambda: self.benchmark,
            session=lambda: self.session,
            store=lambda: self.store,
        )

    # What takes part.

    @cached_property
    def _asked_for(self) -> tuple[dict[str, Target], dict[str, Target]]:
        if self._beside is not None:
            return self._beside._asked_for
        return run_targets(self.settings, self._further)

    @property
    def targets(self) -> dict[str, Target]:
        """The targets to be judged, by id, in the order asked for."""
        return self._asked_for[0]

    @property
    def participants(self) -> dict[str, Target]:
        """The targets to be judged and all others that are asked, by id."""
        return {**self._asked_for[1], **self.targets}

    def ready_target(self, target: str) -> ReadyTarget:
        """A target, ready to be asked; its server is found or started by the first call.

        Raises:
            CapgateError: It can't be asked.
        """
        return self._ready_targets.of(target)

    def ready_targets_for(self, target: str) -> list[ReadyTarget]:
        """The target and, where that is its reference, its base."""
        reference = self.reference(target)
        base = [self.ready_target(reference.target)] if reference.kind == "base" else []
        return [*base, self.ready_target(target)]

    @cached_property
    def _ready_targets(self) -> ReadyTargets:
        self._make_folder()
        check_found()
        return ReadyTargets(
            self.evaluator,
            self.participants,
            self.asked,
            self.kept,
            endpoint=self._endpoint,
            mode=self._mode_of,
            made=self._tell_what_is_asked,
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

    # What it is asked.

    @cached_property
    def benchmark(self) -> Benchmark:
        """What is asked.

        Raises:
            ConfigError: Its entry, or an option that it has, is wrong.
        """
        if self._benchmark is not None:
            return self._benchmark
        sources = (target.dataset for target in self.targets.values())
        folder = next((source for source in sources if source not in {"hub", "bundled"}), None)
        return chosen_benchmark(self.settings, self.name, folder)

    def questions(self, target: str) -> QuestionSet:
        """All questions of a target's benchmark.

        Raises:
            CapgateError: They can't be loaded.
        """
        return self.asked.of(target)

    def selection(self, target: str) -> Selection:
        """The questions of a whole run on a target."""
        return self.asked.selection(target)

    def batches(self, target: str) -> list[QuestionBatch]:
        """The subjects of a whole run on a target that have a question."""
        return batches_of(self.selection(target))

    def named(self, line: str) -> str:
        """A target, or a line on one, with the benchmark's name where the run has several."""
        return line if self.settings.benchmarks == (MMLU,) else f"{line} [{self.name}]"

    def _tell_what_is_asked(self, ready_target: ReadyTarget) -> None:
        """Tells what people should know of the questions, and what they will cost a target."""
        if notes := self.benchmark.notes:
            self._tell(f"notes of {self.name}", f"{self.name}: {notes}")
        if ready_target.endpoint.offer is None:
            return
        target = ready_target.id
        line = forecast(
            ready_target,
            self.benchmark,
            self.asked.may_be_asked(
                target,
                self.session.planned(target),
                seed=seed_of(ready_target.fingerprint, self.settings.seed),
                judged=not isinstance(self.references.known(target), NoReference),
            ),
            self.store,
            self.id,
            self.settings,
            preflight=self.feed is not None,  # Commands other than a run have none.
        )
        if line is not None:
            self._tell(f"cost of {target}: {self.name}", self.named(line))

    # By which rules it is judged.

    def policy(self, target: str) -> Policy:
        """The policy in force for a target on this benchmark."""
        return self.policies.of(target)

    def reference(self, target: str) -> Reference:
        """What a target is compared with.

        Raises:
            ReferenceMissingError: There is nothing, or nothing comparable.
        """
        return self.references.of(self.targets[target])

    def plan(self, target: str) -> TargetPlan:
        """All that is settled about judging a target before its questions are asked.

        Raises:
            CapgateError: The target does not answer, or it has no valid reference.
        """
        return self._plans.of(target)

    # What asks, judges and keeps.

    @cached_property
    def store(self) -> Store:
        """This process's connection to the store."""
        if self._beside is not None:
            return self._beside.store
        store = open_store(self.settings.store, project_redactor(self.settings))
        store.start_run(self.id, self.settings.describe())
        return store

    @cached_property
    def evaluator(self) -> Evaluator:
        """Asks questions for this process."""
        return Evaluator(
            self.store,
            self.settings,
            self.benchmark,
            run=self.id,
            logs=self.folder / "logs",
            share=self._share,
            cost_limit=self._cost_limit,
            post_mortem=self.post_mortem,
            say=self.say,
            tell=self._tell,
            shared=self._shared,
        )

    @cached_property
    def judge(self) -> Judge:
        """Judges for this process."""
        return Judge(
            self.plan,
            self._asker,
            self.kept,
            losses=self.losses,
            loading=self._loading,
            session=self.session,
            feed=self.feed,
            say=self.say,
        )

    @contextmanager
    def _loading(self, target: str) -> Iterator[None]:
        with ExitStack() as loading:
            # What fails here fails again in the preflight, which tells it.
            with suppress(CapgateError):
                loading.enter_context(self._ready_targets.loading(target))
            yield

    def _asker(self, target: str) -> Asker:
        if self.settings.stored:
            return StoredAsker(
                self.ready_targets_for(target),
                StoredAnswers(self.store, self.id, self.name, alone=True),
                self.settings,
                planned=self.session.planned,
                selection=self.selection,
            )
        return RunAsker(
            target,
            self.ready_targets_for(target),
            self.evaluator,
            post_mortem=self.post_mortem,
        )

    @cached_property
    def kept(self) -> RunRecord:
        """What the run keeps of its targets."""
        return RunRecord(
            lambda: self.store,
            self.id,
            self.name,
            mode=self._mode_of,
            reference=self.references.known,
            attempt=self._plans.settled,
        )

    def _mode_of(self, target: str) -> Mode | None:
        """What was asked of a target; of a base, what was asked of its adapters."""
        tuned = (one.id for one in self.targets.values() if one.adapter_of == target)
        return next(filter(None, map(self.session.mode, (target, *tuned))), None)

    def record(self, judgement: Judgement) -> None:
        """Keeps how a shard ended, for the reports."""
        self.kept.keep(judgement)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.settings.output_dir / self.id

    def stop_asking(self) -> None:
        """Cancels what is asked though no test waits for it."""
        if "evaluator" in self.__dict__:
            self.evaluator.stop()

    def close(self) -> None:
        """Ends the asking and closes the store, where they were begun."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
        if self._beside is not None:
            return
        self._shared.close()
        if "store" in self.__dict__:
            self.store.close()
