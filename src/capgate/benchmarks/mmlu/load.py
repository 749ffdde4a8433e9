"""MMLU's questions: from the hub, a folder, or the set that capgate ships.

From every source a question becomes an Inspect `Sample` through inspect_evals' own
record functions, so prompts and targets are upstream's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from capgate.benchmarks.hub import quiet
from capgate.benchmarks.mmlu import hub
from capgate.benchmarks.mmlu.folder import read_split, split_files
from capgate.benchmarks.mmlu.kept_questions import kept_questions
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.upstream import upstream_version
from capgate.benchmarks.questions import Question, QuestionSet, content_of, question_hash
from capgate.common.errors import DatasetError
from capgate.common.grouping import grouped

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage

HUB_SHUFFLE_SEED = 42
"""The seed with which upstream's task shuffles; a folder's rows take the same order."""


def load_questions(source: str, *, shots: int, name: str = MMLU) -> QuestionSet:
    """Loads a benchmark's questions, once per process for each source.

    Args:
        source: `hub`, `bundled` or a folder.
        shots: 0 or 5.
        name: The benchmark's name, by which a folder has its exported questions.

    Raises:
        DatasetError: The questions are missing or damaged; the message tells the remedies.
    """
    known = source in {"hub", "bundled"}
    return _load(source if known else str(Path(source).resolve()), shots, name)


def may_be_away(source: str) -> bool:
    """Whether a source seems not to be on this machine; told without loading anything."""
    if source == "hub":
        return not hub.has_cache()
    return source != "bundled" and not Path(source).is_dir()


@lru_cache(maxsize=4)
def _load(source: str, shots: int, name: str) -> QuestionSet:
    if source == "hub":
        return _from_hub(shots) if shots else _from_cached_hub()
    if source == "bundled":
        folder = Path(str(files("capgate.benchmarks.mmlu") / "bundled"))
        return QuestionSet("bundled", "", shots, _from_folder(folder, shots))
    from capgate.benchmarks.exported.folder import has_export

    if has_export(Path(source), name):
        return _from_export(Path(source), shots, name)
    return QuestionSet(source, "", shots, _from_folder(Path(source), shots))


def _from_cached_hub() -> QuestionSet:
    """The hub's questions without examples, kept where their revision lies in `datasets`' cache."""
    revision = upstream_version().revision
    state = hub.cache_state(revision)
    if state is None:
        return _from_hub(0)
    questions = kept_questions("mmlu-questions", state, lambda: _from_hub(0).questions)
    return QuestionSet("hub", revision, 0, questions)


def _from_hub(shots: int) -> QuestionSet:
    from inspect_evals.mmlu import mmlu as upstream

    try:
        with hub.ready(upstream.MMLU_REVISION), quiet():
            sampler = (
                _few_shot_sampler(upstream.get_mmlu_dataset("dev"))
                if shots
                else upstream.record_to_sample_mmlu
            )
            dataset = upstream.get_mmlu_dataset("test", shuffle=True, sampling_function=sampler)
    except DatasetError:
        raise
    except Exception as error:
        raise hub.unreachable(f"{type(error).__name__}: {error}") from error
    return QuestionSet("hub", upstream.MMLU_REVISION, shots, tuple(_questions(dataset)))


def _from_export(folder: Path, shots: int, name: str) -> QuestionSet:
    from capgate.benchmarks.exported.folder import read_export

    about, samples = read_export(folder, name)
    if about.shots != shots:
        raise DatasetError(
            f"{folder} has the questions of {about.task}, with {about.shots} examples each",
            remedy=f"ask that task (--tasks {about.task}), or export the other one",
        )
    return QuestionSet(str(folder), about.revision, shots, tuple(_questions(samples)))


def _from_folder(folder: Path, shots: int) -> tuple[Question, ...]:
    if shots:
        return _read_folder(folder, shots)
    return kept_questions("mmlu-questions", _content(folder), lambda: _read_folder(folder, 0))


def _content(folder: Path) -> str:
    """Hash of what a folder's questions are read from; another each time where that fails."""
    found = hashlib.sha256()
    try:
        for path in split_files(folder, "test"):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            found.update(os.fsencode(path.name) + b"\0" + digest)
    except OSError:
        return uuid4().hex
    return found.hexdigest()


def _read_folder(folder: Path, shots: int) -> tuple[Question, ...]:
    from inspect_evals.mmlu.mmlu import record_to_sample_mmlu
    from numpy.random import default_rng

    records = read_split(folder, "test")
    order = default_rng(HUB_SHUFFLE_SEED).permutation(len(records))
    sampler: Callable[[dict[str, Any]], Sample] = record_to_sample_mmlu
    if shots:
        # Upstream drops repeats from the examples too (one of MMLU's stands under two subjects).
        rows = (record_to_sample_mmlu(dict(record)) for record in read_split(folder, "dev"))
        dev = [question.sample for question in _distinct(rows, folder)]
        bare = sorted({r["subject"] for r in records} - {_subject(sample) for sample in dev})
        if bare:
            raise DatasetError(
                f"{folder} has no few-shot examples (split dev) for {', '.join(bare)}",
                remedy="add dev.jsonl, dev*.parquet or dev/<subject>_dev.csv, or ask without "
                "examples (--tasks inspect_evals/mmlu_0_shot)",
            )
        sampler = _few_shot_sampler(dev)
    return tuple(_distinct((sampler(dict(records[i])) for i in order), folder))


def _few_shot_sampler(dev: Iterable[Sample]) -> Callable[[dict[str, Any]], Sample]:
    """Upstream's 5-shot record function, its examples' messages made once for each subject.

    Upstream makes them anew for every question, which is nine tenths of its cost and memory.
    """
    from inspect_ai.dataset import MemoryDataset
    from inspect_evals.mmlu.mmlu import record_to_sample_mmlu_5_shot

    examples = grouped(dev, _subject)
    nothing = MemoryDataset([])
    heads: dict[str, list[ChatMessage]] = {}

    def record_to_sample(record: dict[str, Any]) -> Sample:
        subject = record["subject"]
        if subject not in heads:
            whole = record_to_sample_mmlu_5_shot(record, MemoryDataset(examples[subject]))
            heads[subject] = cast("list[ChatMessage]", whole.input)[:-1]
        sample = record_to_sample_mmlu_5_shot(record, nothing)
        sample.input = [*heads[subject], cast("list[ChatMessage]", sample.input)[-1]]
        return sample

    return record_to_sample


def _subject(sample: Sample) -> str:
    return str((sample.metadata or {})["subject"])


def _distinct(samples: Iterable[Sample], folder: Path) -> Iterator[Question]:
    """Drops repeated questions as upstream does, and tells apart ids that merely collide."""
    keys: dict[tuple[object, ...], str] = {}
    ids: set[str] = set()
    for question in _questions(samples):
        sample = question.sample
        *content, key = content_of(sample)
        known = keys.setdefault((*content[:2], tuple(sample.choices or ())), str(key))
        if question.hash in ids:
            continue
        if known != key:
            raise DatasetError(
                f"{folder} has the question {str(content[1])[:80]!r} twice, with the answers "
                f"{known} and {key}",
                remedy="remove the wrong one",
            )
        # Upstream's ids have 8 hex digits; two questions of a large set can share one.
        if str(sample.id) in ids:
            sample.id = f"{sample.id}_{question.hash[:8]}"
        ids |= {str(sample.id), question.hash}
        yield question


def _questions(samples: Iterable[Sample]) -> Iterator[Question]:
    for sample in samples:
        yield Question(question_hash(sample), _subject(sample), sample)
