"""One side of a comparison: each question of a benchmark's log once, in a few bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from capgate.common.answers import AnswerState
from capgate.common.distinct_faults import fault_gist
from capgate.common.errors import ConfigError, FileFault
from capgate.logs.logged import Graded, LoggedBenchmark, LoggedSample, TaskLog, digest

_SHOWN_FAULTS: Final = 20
_SHOWN_SETTINGS: Final = 3
_DISTINCT_FAULTS: Final = 50
_LONGEST_FAULT: Final = 1_000


class Row(NamedTuple):
    """A question and how its answer ended; its texts stay in the file."""

    key: str
    prompt: str
    state: AnswerState
    group: str
    cluster: str
    tokens: int
    cut_off: bool


@dataclass(frozen=True)
class Side:
    """One run's part in a benchmark.

    Attributes:
        benchmark: What was logged of it.
        rows: Question to its row.
        settings: Task to the first generation settings that its samples tell.
        missing: How many samples the run should have and the log lacks.
        why_missing: Why, as clauses.
        faults: Why samples have no answer, the commonest first, and how many each.
        clustered: Whether any sample shares a text with others.
        grouped: Whether any sample is of a group.
    """

    benchmark: LoggedBenchmark
    rows: dict[str, Row]
    settings: dict[str, tuple[str, ...]]
    missing: int
    why_missing: tuple[str, ...]
    faults: tuple[tuple[str, int], ...]
    clustered: bool
    grouped: bool

    @property
    def unfinished(self) -> bool:
        """Whether a run ended before all samples were answered, as its log says."""
        return any(log.unfinished for log in self.benchmark.logs)


class Identified(NamedTuple):
    """A sample with the id of its question in a benchmark."""

    question: str
    content: str
    group: str
    sample: LoggedSample


def identified(
    benchmark: LoggedBenchmark,
) -> Iterator[tuple[TaskLog, Identified | Graded | FileFault]]:
    """Yields each sample of a benchmark with the id of its question.

    A question that stands several times in a task has an id for each time.
    """
    for group, log in benchmark.groups.items():
        times: Counter[str] = Counter()
        for line in log.lines():
            if not isinstance(line, LoggedSample):
                yield log, line
                continue
            named = group or line.group or benchmark.name
            content = digest(line.question)
            times[content] += 1
            own = digest(log.task if group else "", line.question, times[content])
            yield log, Identified(own, content, named, line)


def read_side(benchmark: LoggedBenchmark) -> Side:
    """Reads a benchmark's logs, one sample in memory at a time.

    Raises:
        ConfigError: With every fault of the files (the first 20 are shown), or the scores that
            lie between right and wrong.
    """
    rows: dict[str, Row] = {}
    seen: Counter[str] = Counter()
    contents: dict[str, str] = {}
    faults: list[FileFault] = []
    graded: dict[str, tuple[TaskLog, Graded, int]] = {}
    counts: Counter[str] = Counter()
    settings: dict[str, dict[str, None]] = {}
    unanswered: dict[str, tuple[str, int]] = {}
    found = 0
    for log, line in identified(benchmark):
        counts[log.task] += 1
        if isinstance(line, FileFault):
            found += 1
            if len(faults) < _SHOWN_FAULTS:
                faults.append(line)
            continue
        if isinstance(line, Graded):
            _, first, so_far = graded.get(log.task, (log, line, 0))
            graded[log.task] = log, first, so_far + 1
            continue
        own, content, group, sample = line
        if sample.settings and len(known := settings.setdefault(log.task, {})) < _SHOWN_SETTINGS:
            known[sample.settings] = None
        if sample.state is AnswerState.ERROR:
            gist = fault_gist(sample.answer[:_LONGEST_FAULT])
            if gist in unanswered or len(unanswered) < _DISTINCT_FAULTS:
                first_said, often = unanswered.get(gist, (sample.answer[:_LONGEST_FAULT], 0))
                unanswered[gist] = first_said, often + 1
        seen[content] += 1
        contents[own] = content
        rows[own] = Row(
            sample.key,
            sample.prompt,
            sample.state,
            group,
            sample.cluster,
            sample.tokens,
            sample.cut_off,
        )
    _raise_if(benchmark, faults, found, graded)
    clustered = any(row.cluster for row in rows.values())
    grouped = any(row.group != benchmark.name for row in rows.values())
    for own, content in contents.items():
        # The answers to one question that stands twice depend on each other.
        if seen[content] > 1 and not rows[own].cluster:
            rows[own] = rows[own]._replace(cluster=content)
    missing, why = _missing(benchmark, counts)
    plain = {task: tuple(known) for task, known in settings.items()}
    told = sorted(unanswered.values(), key=lambda one: -one[1])
    return Side(benchmark, rows, plain, missing, why, tuple(told), clustered, grouped)


def read_samples(benchmark: LoggedBenchmark, wanted: Collection[str]) -> dict[str, LoggedSample]:
    """Reads some samples of a benchmark again, with their texts.

    Args:
        benchmark: What was logged.
        wanted: Ids of their questions.
    """
    found: dict[str, LoggedSample] = {}
    for _, line in identified(benchmark) if wanted else ():
        if isinstance(line, Identified) and line.question in wanted:
            found[line.question] = line.sample
            if len(found) == len(wanted):
                break
    return found


def _raise_if(
    benchmark: LoggedBenchmark,
    faults: list[FileFault],
    found: int,
    graded: dict[str, tuple[TaskLog, Graded, int]],
) -> None:
    if faults:
        more = f", the first {_SHOWN_FAULTS} are shown" if found > _SHOWN_FAULTS else ""
        lines = "1 faulty sample" if found == 1 else f"{found} faulty samples"
        raise ConfigError(
            f"the logs of {benchmark.name} can't be judged: {lines}{more}",
            faults=faults,
            remedy="give the logs as the harness wrote them; a cut one has to be run again",
        )
    if graded:
        raise ConfigError(
            f"the scores of {benchmark.name} lie between right and wrong, which no test of right "
            "and wrong can judge",
            faults=[
                FileFault(
                    task,
                    f"{first.metric} is neither right nor wrong in {many:,} samples "
                    f"({first.value} in {first.place})",
                )
                for task, (_, first, many) in graded.items()
            ],
            remedy="name another metric with --metric [TASK=]METRIC, or say from which score on "
            "an answer is right, --correct-at [TASK=]NUMBER",
        )


def _missing(benchmark: LoggedBenchmark, counts: Counter[str]) -> tuple[int, tuple[str, ...]]:
    """How many samples the logs lack, and why.

    Raises:
        ConfigError: A log that tells of no broken run lacks samples, or holds none.
    """
    faults: list[FileFault] = []
    missing = 0
    why: list[str] = []
    for log in benchmark.logs:
        if log.unfinished and log.expected is None:
            what = f"{log.unfinished}, and it does not tell how many samples there were to be"
            faults.append(FileFault(log.path.name, what))
        lacking = (log.expected or 0) - counts[log.task]
        if lacking > 0 and log.unfinished:
            missing += lacking
            why.append(
                f"{log.path.name} lacks {lacking:,} of {log.expected:,} samples: {log.unfinished}"
            )
        elif lacking > 0:
            what = (
                f"holds {counts[log.task]:,} of {log.expected:,} samples; it was cut, or samples "
                "were not logged"
            )
            faults.append(FileFault(log.path.name, what))
        elif not counts[log.task]:
            faults.append(FileFault(log.path.name, "holds no sample"))
    if faults:
        raise ConfigError(
            f"the logs of {benchmark.name} can't be judged",
            faults=faults,
            remedy="copy the whole file, or run it again",
        )
    return missing, tuple(why)
