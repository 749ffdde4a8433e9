"""Has questions answered from the store alone (`--stored`): what is missing there is an ERROR."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from capgate.asking.batches import PendingBatch
from capgate.asking.claims import claim_of
from capgate.asking.ready_target import Foreseen, Progress, QuestionBatch, ReadyTarget
from capgate.asking.stored_answers import StoredAnswers
from capgate.benchmarks.questions import Question, Selection
from capgate.common.errors import AdapterError, MissingAnswersError
from capgate.config.settings import Settings
from capgate.config.shown_command import worker_command
from capgate.run.answered import Results
from capgate.run.asker import Probe
from capgate.store.shard import Shard

_GROUPS: Final = 3
"""Groups that a message names."""


class StoredAsker:
    """An `Asker` (`run.asker`) that asks nobody.

    Args:
        ready_targets: The base, where it is the reference, and the target.
        answers: What the store has of the benchmark.
        settings: The run's settings.
        planned: Target to the groups that the session's tests need, none where a quick run draws
            its questions; None where that is not known.
        selection: Target to the questions of a whole run.
    """

    def __init__(
        self,
        ready_targets: Sequence[ReadyTarget],
        answers: StoredAnswers,
        settings: Settings,
        *,
        planned: Callable[[str], Collection[str] | None],
        selection: Callable[[str], Selection],
    ) -> None:
        self._ready_targets = ready_targets
        self._target = ready_targets[-1].id
        self._answers = answers
        self._settings = settings
        self._planned = planned
        self._selection = selection

    def answer(
        self,
        batch: QuestionBatch,
        *,
        ahead: Iterable[QuestionBatch] = (),  # noqa: ARG002
        others: Iterable[Foreseen] = (),  # noqa: ARG002
        progress: Progress | None = None,
    ) -> Results:
        """The stored answers to a batch; see `Asker`.

        Raises:
            MissingAnswersError: The store lacks one.
        """
        targets = self._ready_targets
        pending = PendingBatch(batch, targets, claim_of(batch, targets), "first")
        found = self._answers.find(pending)
        if pending.lacking:
            raise self._fault(pending.missing, len(batch.questions), f" of {batch.name}")
        if progress is not None:
            for target, stored in (found or {}).items():
                for one in stored.values():
                    progress(target, one.answer, False)
        return self._answers.results(pending, found)

    def foreseen(self, batch: QuestionBatch) -> Foreseen:
        """A batch that will be looked up soon; see `Asker`."""
        return Foreseen(batch, self._ready_targets)

    def answer_again(self, batch: QuestionBatch) -> Results:
        """Never called, for `--stored` and `--confirm` exclude each other; see `Asker`.

        Raises:
            MissingAnswersError: In any case.
        """
        missing = {one.id: batch.questions for one in self._ready_targets}
        raise self._fault(missing, len(batch.questions), "")

    def check_reachable(self, results: Results) -> None:
        """Nothing is to be reached; see `Asker`."""

    def begin_finish(self) -> None:
        """Nothing was asked; see `Asker`."""

    @property
    def finishing(self) -> bool:
        """Nothing was asked; see `Asker`."""
        return False

    def finish(self) -> None:
        """Nothing was asked; see `Asker`."""

    def check_live(self) -> None:
        """Makes sure that a worker has proven an adapter live; see `Asker`.

        Raises:
            AdapterError: None has, and all its answers are its base's.
        """
        store, benchmark = self._answers.store, self._answers.benchmark
        shard = Shard("worker", benchmark)
        for run in store.runs_with(self._target, "worker", benchmark):
            facts = store.shard(run, self._target, shard)
            if facts is not None and facts.get("live"):
                return
        raise AdapterError(
            "all its answers are its base's, word for word, and no worker that asked it came to "
            "its end and so proved that it is live",
            target=self._target,
            remedy=f"ask its server: {worker_command(self._settings.describe())}",
        )

    def probe(self) -> Iterator[Probe]:
        """Makes sure that what the session's tests need is there; see `Asker`.

        Raises:
            MissingAnswersError: It is not.
        """
        chosen, planned = self._selection(self._target), self._planned(self._target)
        groups = chosen.by_subject
        questions = [
            q for name in (groups if planned is None else planned) for q in groups.get(name, ())
        ]
        missing = {
            one.id: [q for q in questions if q.hash not in found]
            for one, found in (
                (one, self._answers.find_kept(one, questions)) for one in self._ready_targets
            )
        }
        if any(missing.values()):
            raise self._fault(missing, len(questions), "")
        yield from ()

    def note_thoughts(self, targets: Collection[str]) -> None:
        """Nothing is asked; see `Asker`."""

    def with_cause(self, fault: str) -> str:
        """The fault alone; see `Asker`."""
        return fault

    def _fault(
        self, missing: Mapping[str, Sequence[Question]], of: int, where: str
    ) -> MissingAnswersError:
        benchmark = self._answers.benchmark
        parts = []
        for target, questions in missing.items():
            if questions:
                groups = _groups(questions) if not where else ""
                parts.append(f"{len(questions):,} of {of:,} answers of {target}{groups}")
        notes = [note for one in self._ready_targets for note in one.endpoint.notes]
        return MissingAnswersError(
            f"the store {self._answers.store.where} lacks {' and '.join(parts)} to "
            f"{benchmark}{where}, and --stored asks nothing"
            + "".join(f"; {note}" for note in notes),
            target=self._target,
            remedy=f"ask them: {worker_command(self._settings.describe())}",
        )


def _groups(questions: Sequence[Question]) -> str:
    """The groups that most of the questions are in, as a clause."""
    counts: dict[str, int] = {}
    for question in questions:
        counts[question.subject] = counts.get(question.subject, 0) + 1
    named = sorted(counts, key=lambda name: -counts[name])
    if len(named) == 1:
        return ""
    shown = ", ".join(f"{name} {counts[name]:,}" for name in named[:_GROUPS])
    more = f" and {len(named) - _GROUPS} more groups" if len(named) > _GROUPS else ""
    return f" ({shown}{more})"
