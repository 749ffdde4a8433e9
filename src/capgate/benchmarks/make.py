"""Makes a `Benchmark` of an entry of `config/benchmarks.yaml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.group_names import group_name
from capgate.benchmarks.inspect_task.benchmark import InspectTaskBenchmark
from capgate.benchmarks.inspect_task.load import TaskQuestions, folder_with
from capgate.benchmarks.inspect_task.scores import ScoreRules
from capgate.benchmarks.inspect_task.source import TaskSource, arguments_text
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions_file.benchmark import GROUP, QuestionsFileBenchmark


def make_benchmark(
    name: str,
    entry: BenchmarkEntry,
    *,
    task: str,
    max_tokens: int,
    root: Path,
    dataset: str | None = None,
) -> Benchmark:
    """Returns the benchmark that an entry describes; nothing is loaded yet.

    Args:
        name: The entry's name.
        entry: The entry.
        task: MMLU's task that `--tasks` names; it counts for `mmlu` alone.
        max_tokens: The most tokens of an answer, where neither entry nor task says it.
        root: The project's folder, which the entry's files are relative to.
        dataset: What a run takes questions from. A folder that has the benchmark's exported ones
            tells what its task is, which takes the hub else.

    Raises:
        ConfigError: Its task is unknown, or the token limit is one that it would override.
    """
    if entry.is_mmlu:
        own = task if name == MMLU else str(entry.task)
        made = mmlu_task(own, entry.max_tokens or max_tokens)
        return replace(made, name=name, catch=entry.catch, advisory=entry.advisory)
    folder = folder_with(dataset or "hub", name)
    if entry.questions is not None:
        path = root / entry.questions
        return QuestionsFileBenchmark(
            name=name,
            path=path,
            folder=None if path.is_file() else folder,
            task_name=entry.questions,
            max_tokens=entry.max_tokens or max_tokens,
            group_key=entry.group or GROUP,
            known_groups=tuple(map(group_name, entry.known_groups)),
            parents={group_name(group): parent for group, parent in entry.parent_of.items()},
            scorer_name=entry.scorer,
            cluster=entry.cluster,
            cluster_pattern=entry.cluster_pattern,
            catch=entry.catch,
            advisory=entry.advisory,
        )
    return _of_task(name, entry, max_tokens, root, folder)


def _of_task(
    name: str, entry: BenchmarkEntry, max_tokens: int, root: Path, folder: Path | None
) -> InspectTaskBenchmark:
    source = TaskSource(
        benchmark=name,
        spec=str(entry.task),
        arguments=arguments_text(entry.args),
        root=root,
        requires=tuple(entry.requires.items()),
    )
    shots = entry.args.get("fewshot")
    return InspectTaskBenchmark(
        name=name,
        wanted=TaskQuestions(
            source=source,
            group=entry.group,
            groups=tuple(map(group_name, entry.known_groups)),
            cluster=entry.cluster,
            cluster_pattern=entry.cluster_pattern,
            once=entry.epochs == 1,
            folder=folder,
        ),
        rules=ScoreRules(name, entry.scorer, entry.correct, entry.correct_at),
        default_max_tokens=max_tokens,
        entry_max_tokens=entry.max_tokens,
        parents={group_name(group): parent for group, parent in entry.parent_of.items()},
        catch=entry.catch,
        advisory=entry.advisory,
        shots=shots if isinstance(shots, int) and not isinstance(shots, bool) else 0,
    )
