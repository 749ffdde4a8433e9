"""Logs of Inspect, `.eval` and `.json`, of any task, read with Inspect's own reader.

Inspect says that its API is stable and its files' form is not, so nothing here knows that form
but where samples stand in a `.json` log, which is read as a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile, ZipFile

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.inspect_task.scores import ScoreRules
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line
from capgate.logs.inspect_settings import conditions_of, facts_of
from capgate.logs.logged import (
    Graded,
    LoggedSample,
    LogLine,
    TaskLog,
    Wanted,
    digest,
    is_right,
    passage_of,
)

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Score

ARCHIVE: Final = ".eval"
GROUPS: Final = ("subject", "category")
"""Keys of metadata under which tasks usually keep a sample's group."""

LARGEST_SAMPLE: Final = 256 << 20
"""Bytes of the largest sample that is unpacked."""

_UNREAD: Final = {"events", "store", "timelines", "events_data"}
_TOGETHER: Final = 1024
"""The most samples that are read with one look at the archive's list of contents."""

_IN_MEMORY: Final = 64 << 20
"""Bytes that the samples which are read together have on average, unpacked."""

_TEXT: Final = 2_000
_GRADES: Final = frozenset("CINP")


class InspectTask(TaskLog):
    """One log of Inspect.

    Args:
        path: The log.
        entry: The project's entry of the task, which says how its scores are read; None for none.
        wanted: What a person wants of it.

    Raises:
        ConfigError: The log can't be read, or a score is named that it does not have.
    """

    tool = "Inspect"

    def __init__(self, path: Path, entry: BenchmarkEntry | None, wanted: Wanted) -> None:
        self.path = path
        self._wanted = wanted
        self._header = header = _header(path)
        self.task = header.eval.task.rsplit("/", 1)[-1]
        self.model = header.eval.model
        self.conditions = conditions_of(header)
        self.facts = facts_of(header)
        self._entry = entry
        self._scorer, self._value = self._chosen()
        at = wanted.at_least(self.task)
        self._at_least = entry.correct_at if at is None and entry else at
        self.metric = "/".join(filter(None, (self._scorer, self._value)))
        if self._at_least is not None:
            self.metric += f" of at least {self._at_least:g}"
        epochs = header.eval.config.epochs or 1
        ids = header.eval.dataset.sample_ids
        self.expected = len(ids) if ids is not None else None
        if header.status != "success":
            self.unfinished = f"its run ended with the status {header.status}"
        if epochs > 1:
            self.notes = (
                f"{self.task}: each question was asked {epochs} times; the first answer counts, "
                "since answers to one question depend on each other",
            )

    def is_of(self, entry: BenchmarkEntry) -> bool:
        """Whether a benchmark of the project asks this task, with the arguments that it was given.

        Args:
            entry: The benchmark's.
        """
        spec = self._header.eval
        known = {spec.task, spec.task_registry_name, f"{spec.task_file}@{spec.task}"}
        given = spec.task_args
        return entry.task in known and all(
            given.get(name) == value for name, value in entry.args.items()
        )

    def lines(self) -> Iterator[LogLine]:
        """Yields the first epoch of each sample."""
        samples = _packed(self.path) if self.path.suffix == ARCHIVE else _plain(self.path)
        for found in samples:
            if isinstance(found, FileFault):
                yield found
            elif found.epoch == 1:
                yield self._read(found)

    def _chosen(self) -> tuple[str, str]:
        """The scorer that counts, and the key of its values; `""` where there is one value."""
        results = self._header.results
        listed = self._header.eval.scorers or []
        names = [one.scorer for one in (results.scores if results else [])]
        names += [one.name for one in listed]
        named = self._wanted.metric(self.task)
        if named is not None:
            scorer, _, value = named.partition("/")
            return scorer, value
        entry = self._entry
        scorer = (entry.scorer if entry else None) or (names[0] if names else "")
        return scorer, (entry.correct if entry else None) or ""

    def _read(self, sample: EvalSample) -> LogLine:
        place = f"{self.path.name}, sample {one_line(str(sample.id), limit=60)}"
        try:
            outcome = self._state(sample)
        except ConfigError as error:
            return FileFault(place, f"{error.what}; {error.remedy}")
        if isinstance(outcome, str):
            return Graded(place, self.metric, outcome)
        state, answer, choice = outcome
        keys = [sample.target] if isinstance(sample.target, str) else list(sample.target)
        metadata = sample.metadata or {}
        # A question without a key has it in its metadata, as IFEval's have.
        unkeyed = metadata if keys in ([], [""]) else None
        output = sample.output
        usage = output.usage
        return LoggedSample(
            place=place,
            question=digest(_shown(sample.input), sample.choices, unkeyed),
            key=digest(keys),
            state=state,
            prompt=_prompt(sample.messages),
            group=self._group(metadata),
            cluster=self._cluster(metadata, _last_text(sample.input)),
            tokens=usage.output_tokens if usage else 0,
            cut_off=bool(output.choices) and output.stop_reason in ("max_tokens", "model_length"),
            text=_last_text(sample.input)[:_TEXT],
            choices=tuple(sample.choices or ()),
            keys=tuple(keys),
            answer=answer,
            choice=choice,
        )

    def _cluster(self, metadata: Mapping[str, Any], text: str) -> str:
        """What several questions are about, as a person or the project's entry says."""
        entry, key = self._entry, self._wanted.cluster
        if key is None and entry is not None and entry.cluster_pattern is not None:
            found = re.search(entry.cluster_pattern, text)
            return digest("cluster", found[1]) if found else ""
        return passage_of(metadata, key or (entry.cluster if entry else None))

    def _group(self, metadata: Mapping[str, Any]) -> str:
        named = self._wanted.group or (self._entry.group if self._entry else None)
        for name in (named,) if named else GROUPS:
            found = metadata.get(name)
            if isinstance(found, str) and found.strip():
                return found.strip()
        return ""

    def _state(self, sample: EvalSample) -> tuple[AnswerState, str, str] | str:
        """How an answer ended, its text, and what was read; a text shows a graded score."""
        error = AnswerState.ERROR
        if sample.error is not None:
            return error, sample.error.message, ""
        if getattr(sample, "invalidation", None) is not None:
            return error, "the sample was invalidated", ""
        if sample.output.error:
            return error, sample.output.error, ""
        scores = sample.scores or {}
        if not scores:
            return error, "the sample has no score", ""
        scorer = self._scorer or next(iter(scores))
        if scorer not in scores:
            raise ConfigError(
                f"it has no score {one_line(scorer, limit=60)}",
                remedy=f"it has {one_line(', '.join(scores), limit=200)}",
            )
        return self._by_score(scores[scorer], sample.output.completion)

    def _by_score(self, score: Score, text: str) -> tuple[AnswerState, str, str] | str:
        value: Any = score.value
        if isinstance(value, Mapping):
            if self._value not in value:
                names = ", ".join(map(str, value))
                what = f"its score holds several values ({one_line(names, limit=200)})"
                first = next(iter(value), "VALUE")
                raise ConfigError(what, remedy=f"name one: --metric {self._scorer}/{first}")
            value = value[self._value]
        if isinstance(value, str) and value in _GRADES:
            if value == "P":
                right = is_right(0.5, self._at_least)
                if isinstance(right, str):
                    return "P, partly right"
                value = right
        elif not isinstance(value, str):
            right = is_right(value, self._at_least)
            if isinstance(right, str):
                return right
            value = right
        if value is None:
            return AnswerState.ERROR, "its score is no number", ""
        plain = score.model_copy(update={"value": value})
        reading = ScoreRules(self.task).read(plain, text, extracts=False)
        why = score.explanation if reading.state is AnswerState.ERROR else None
        return reading.state, why or text, reading.choice


def _header(path: Path) -> EvalLog:
    from inspect_ai.log import read_eval_log

    if path.suffix == ARCHIVE:
        _check_archive(path)
    try:
        return read_eval_log(path, header_only=True)
    # What a damaged file makes of Inspect's reader can be of any kind.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} can't be read as a log of Inspect",
        said=str(error) or type(error).__name__,
        remedy="give a .eval or .json log as Inspect wrote it",
    )


def _check_archive(path: Path) -> int:
    """Makes sure that an archive is whole, and that no part of it unpacks to any size.

    Returns:
        How many samples may be read together.

    Raises:
        ConfigError: It is not.
    """
    try:
        with ZipFile(path) as archive:
            parts = archive.infolist()
    except (BadZipFile, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    largest = max(parts, key=lambda part: part.file_size, default=None)
    if largest is not None and largest.file_size > LARGEST_SAMPLE:
        raise ConfigError(
            f"{path} holds {one_line(largest.filename, limit=80)}, which unpacks to "
            f"{largest.file_size >> 20:,} MiB",
            remedy=f"logs are read whose samples have at most {LARGEST_SAMPLE >> 20} MiB each",
        )
    mean = sum(part.file_size for part in parts) // max(1, len(parts))
    return max(1, min(_TOGETHER, _IN_MEMORY // max(1, mean)))


def _packed(path: Path) -> Iterator[EvalSample | FileFault]:
    """The samples of an archive, some together."""
    from inspect_ai.log import read_eval_log_sample_summaries, read_eval_log_samples_by_id

    together = _check_archive(path)
    try:
        summaries = read_eval_log_sample_summaries(path)
        wanted = iter(sorted(((one.id, one.epoch) for one in summaries if one.epoch == 1), key=str))
        del summaries
        while ids := list(islice(wanted, together)):
            yield from read_eval_log_samples_by_id(
                path, ids, resolve_attachments="core", exclude_fields=set(_UNREAD)
            )
    except Exception as error:
        raise _unreadable(path, error) from error


def _plain(path: Path) -> Iterator[EvalSample | FileFault]:
    """The samples of a `.json` log, one in memory at a time."""
    import ijson
    from inspect_ai.log import EvalSample, read_eval_log, resolve_sample_attachments
    from pydantic import ValidationError

    number = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(ijson.items(file, "samples.item", use_float=True), 1):
                plain = raw if isinstance(raw, dict) else {}
                try:
                    sample = EvalSample.model_validate(
                        {name: one for name, one in plain.items() if name not in _UNREAD}
                    )
                except ValidationError as error:
                    where = ".".join(map(str, error.errors()[0]["loc"]))
                    yield FileFault(f"{path.name}, sample {number}", f"{where} is missing or odd")
                    continue
                yield resolve_sample_attachments(sample, "core")
    except ijson.JSONError as error:
        # Inspect may write NaN, which JSON does not have; then its own reader takes the whole.
        if "NaN" not in str(error) and "invalid char" not in str(error):
            raise _unreadable(path, error) from error
        try:
            samples = read_eval_log(path, resolve_attachments="core").samples or []
            yield from islice(samples, number, None)
        except Exception as fault:
            raise _unreadable(path, fault) from fault


def _shown(asked: str | list[ChatMessage]) -> object:
    if isinstance(asked, str):
        return asked
    return [_message(one) for one in asked]


def _message(message: ChatMessage) -> list[object]:
    content = message.content
    if isinstance(content, str):
        return [message.role, content]
    parts: list[object] = [
        part.text if part.type == "text" else part.model_dump(mode="json", exclude_none=True)
        for part in content
    ]
    return [message.role, parts[0] if len(parts) == 1 else parts]


def _last_text(asked: str | list[ChatMessage]) -> str:
    return asked if isinstance(asked, str) else (asked[-1].text if asked else "")


def _prompt(messages: list[ChatMessage]) -> str:
    """Digest of the messages before the model's first; `""` where it wrote none."""
    sent: list[list[object]] = []
    for message in messages:
        if message.role == "assistant" and (message.source == "generate" or message.model):
            return digest(sent)
        sent.append(_message(message))
    return ""
