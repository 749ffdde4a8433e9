"""Questions of one benchmark, cut into subjects, each known by the hash of its content."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from capgate.common.errors import DatasetError
from capgate.datasets import hub
from capgate.datasets.folder import read_split
from capgate.subjects import SUBJECTS

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage

HUB_SHUFFLE_SEED = 42
"""The seed with which upstream's task shuffles; a folder's rows take the same order."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it is asked.

    Attributes:
        hash: SHA-256 of its content (messages, choices, key), 32 hex digits.
        subject: Its subject.
        sample: Inspect's form of it.
    """

    hash: str
    subject: str
    sample: Sample


@dataclass(frozen=True)
class QuestionSet:
    """All questions of one benchmark, from one source.

    Attributes:
        source: `hub`, `bundled` or the folder's path.
        revision: The hub's pinned commit, or `""`.
        shots: Few-shot examples before each question: 0 or 5.
        questions: In the order in which upstream's task asks them.
    """

    source: str
    revision: str
    shots: int
    questions: tuple[Question, ...]

    @cached_property
    def by_subject(self) -> dict[str, tuple[Question, ...]]:
        """Subject to its questions, in order; subjects alphabetically."""
        shards: dict[str, list[Question]] = {}
        for question in self.questions:
            shards.setdefault(question.subject, []).append(question)
        return {subject: tuple(shards[subject]) for subject in sorted(shards)}

    @cached_property
    def digest(self) -> str:
        """Hash of the set's content whatever its order and source: 16 hex digits."""
        joined = "\n".join(sorted(question.hash for question in self.questions))
        return hashlib.sha256(joined.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """The set's identity as results record it."""
        return {
            "source": self.source,
            "revision": self.revision,
            "digest": self.digest,
            "questions": len(self.questions),
            "subjects": len(self.by_subject),
            "shots": self.shots,
        }

    def select(self, subjects: Sequence[str] = SUBJECTS, limit: int | None = None) -> Selection:
        """The questions of a run: of `subjects`, at most `limit` of them in all.

        A limit is spread over the subjects in proportion to their size, each subject
        that has room for one getting at least one; within a subject the questions
        with the smallest hashes are taken, so that a larger limit contains a smaller one.
        """
        pools = {s: self.by_subject[s] for s in subjects if s in self.by_subject}
        total = sum(map(len, pools.values()))
        if limit is None or limit >= total:
            return Selection({s: tuple(pool) for s, pool in pools.items()})
        quotas = _quotas({s: len(pool) for s, pool in pools.items()}, limit)
        chosen: dict[str, tuple[Question, ...]] = {}
        for subject, pool in pools.items():
            kept = {q.hash for q in sorted(pool, key=lambda q: q.hash)[: quotas[subject]]}
            chosen[subject] = tuple(q for q in pool if q.hash in kept)
        return Selection(chosen)


@dataclass(frozen=True)
class Selection:
    """What a run asks: subject to its chosen questions (empty where a limit left none)."""

    by_subject: dict[str, tuple[Question, ...]]

    def __len__(self) -> int:
        return sum(map(len, self.by_subject.values()))

    def __iter__(self) -> Iterator[Question]:
        for questions in self.by_subject.values():
            yield from questions


def load_questions(source: str, *, shots: int) -> QuestionSet:
    """Loads a benchmark's questions, once per process for each source.

    Args:
        source: `hub`, `bundled` or a folder.
        shots: 0 or 5.

    Raises:
        DatasetError: They can't be had; the message tells the ways out.
    """
    return _load(source if source in {"hub", "bundled"} else str(Path(source).resolve()), shots)


def may_be_away(source: str) -> bool:
    """Whether a source seems not to be on this machine; told without loading anything."""
    if source == "hub":
        return not hub.has_cache()
    return source != "bundled" and not Path(source).is_dir()


@lru_cache(maxsize=4)
def _load(source: str, shots: int) -> QuestionSet:
    if source == "hub":
        return _from_hub(shots)
    if source == "bundled":
        folder = Path(str(files("capgate") / "datasets" / "bundled"))
        return QuestionSet("bundled", "", shots, _from_folder(folder, shots))
    return QuestionSet(source, "", shots, _from_folder(Path(source), shots))


def _from_hub(shots: int) -> QuestionSet:
    from inspect_evals.mmlu import mmlu as upstream

    hub.prepare(upstream.MMLU_REVISION)
    try:
        with _quiet():
            sampler = (
                _few_shot_sampler(upstream.get_mmlu_dataset("dev"))
                if shots
                else upstream.record_to_sample_mmlu
            )
            dataset = upstream.get_mmlu_dataset("test", shuffle=True, sampling_function=sampler)
    except Exception as error:
        raise hub.unreachable(f"{type(error).__name__}: {error}") from error
    return QuestionSet("hub", upstream.MMLU_REVISION, shots, tuple(_questions(dataset)))


def _from_folder(folder: Path, shots: int) -> tuple[Question, ...]:
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

    examples: dict[str, list[Sample]] = {}
    for sample in dev:
        examples.setdefault(_subject(sample), []).append(sample)
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the loaders' progress bars and chatter off the terminal."""
    import datasets

    datasets.disable_progress_bars()
    loggers = [logging.getLogger(name) for name in ("datasets", "inspect_evals")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        datasets.enable_progress_bars()


def _distinct(samples: Iterable[Sample], folder: Path) -> Iterator[Question]:
    """Drops repeated questions as upstream does, and tells apart ids that merely collide."""
    keys: dict[tuple[object, ...], str] = {}
    ids: set[str] = set()
    for question in _questions(samples):
        sample = question.sample
        *content, key = _content(sample)
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


def question_hash(sample: Sample) -> str:
    """Hash of a question's content: messages (with few-shot examples), choices and key."""
    content = json.dumps(_content(sample), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _content(sample: Sample) -> tuple[str, str, list[str] | None, str | list[str]]:
    """What makes a question: digest of the messages before it, its text, choices and key."""
    if isinstance(sample.input, str):
        return "", sample.input, sample.choices, sample.target
    head = "\x1e".join(f"{message.role}\x1f{message.text}" for message in sample.input[:-1])
    return _digest(head), sample.input[-1].text, sample.choices, sample.target


@lru_cache(maxsize=256)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _quotas(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """Shares `limit` over subjects in proportion, at least one each where it reaches.

    By Webster's divisor method: unlike one by remainders, it never takes a place from a
    subject because the limit grew. Ties and, where the limit is below the number of
    subjects, the subjects that get one are settled by hash, so that no alphabet's end is
    favoured.
    """
    places = sorted(
        ((place - 0.5) / size if place > 1 else 0.0, hashlib.sha256(s.encode()).digest(), s)
        for s, size in sizes.items()
        for place in range(1, size + 1)
    )
    given = Counter(subject for _, _, subject in places[:limit])
    return {subject: given[subject] for subject in sizes}
