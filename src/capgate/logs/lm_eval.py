"""Samples of lm-evaluation-harness: `samples_TASK_DATE.jsonl`, as `--log_samples` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, FileFault
from capgate.common.json_file import parse_json
from capgate.common.text import one_line
from capgate.logs.json_lines import json_objects
from capgate.logs.lm_eval_run import LmEvalRun, mapping
from capgate.logs.logged import (
    Graded,
    LoggedSample,
    LogLine,
    TaskLog,
    Wanted,
    canonical,
    digest,
    is_right,
    passage_of,
)

MAIN: Final = (
    "acc",
    "exact_match",
    "pass@1",
    "pass_at_1",
    "prompt_level_strict_acc",
    "em",
)
"""Metrics that say right or wrong, the first of which counts."""

_NO_FILTER: Final = "none"
_KNOWN: Final = frozenset(
    {
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
    }
)
_TEXT: Final = 2_000
"""Characters of a question that are kept to be shown."""


class LmEvalTask(TaskLog):
    """One task of a run of lm-evaluation-harness.

    Args:
        path: The file of its samples.
        task: Its name.
        run: The results beside it.
        wanted: What a person wants of it.

    Raises:
        ConfigError: No metric of it says right or wrong, or the named one is not there.
    """

    tool = "lm-evaluation-harness"

    def __init__(self, path: Path, task: str, run: LmEvalRun, wanted: Wanted) -> None:
        self.path = path
        self.task = task
        self._run = run
        self._wanted = wanted
        self.model = run.model
        self.conditions = run.conditions(task)
        self.facts = run.facts
        self.expected = run.expected(task)
        self._fallbacks = run.fallbacks(task)
        if run.path is None:
            self.notes = (
                f"{task}: no results_DATE.json stands beside {path.name}, so the task's version "
                "and settings can't be compared; the questions and prompts are",
            )
        self._name, self._filter = self._chosen()
        named = "" if self._filter == _NO_FILTER else f" (filter {self._filter})"
        at = wanted.at_least(task)
        self.metric = f"{self._name}{named}" + ("" if at is None else f" of at least {at:g}")

    def lines(self) -> Iterator[LogLine]:
        """Yields the samples in the file's order."""
        for place, found in json_objects(self.path):
            if isinstance(found, FileFault):
                yield found
            elif str(found.get("filter", _NO_FILTER)) == self._filter:
                yield self._read(found, place)

    def _chosen(self) -> tuple[str, str]:
        """The metric and the filter that count."""
        # All samples of the first filter stand before those of the next.
        rows = (row for _, row in json_objects(self.path) if not isinstance(row, FileFault))
        first = next(rows, None)
        if first is None:
            # The file is empty or faulty, which is told where it is read.
            return MAIN[0], _NO_FILTER
        given = first.get("metrics")
        metrics = given if isinstance(given, list) else [one for one in first if one not in _KNOWN]
        metrics = [str(one) for one in metrics]
        begins = str(first.get("filter", _NO_FILTER))
        filters = list(dict.fromkeys([begins, *self._run.filter_names(self.task)]))
        named = self._wanted.metric(self.task)
        if named is not None:
            asked, _, chosen = (part.strip() for part in named.partition(","))
            chosen = chosen or begins
            if asked in metrics and chosen in filters:
                return asked, chosen
            raise ConfigError(
                f"{self.path.name} has no metric {one_line(named, limit=60)}",
                remedy=f"it has {_listed(metrics, filters)}",
            )
        ordered = [one for one in self._run.metric_names(self.task) if one in metrics] or metrics
        name = next((one for one in MAIN if one in ordered), None)
        if name is None and len(ordered) == 1:
            name = ordered[0]
        if name is None:
            example = ordered[0] if ordered else "METRIC"
            raise ConfigError(
                f"{self.path.name} has the metrics {_listed(metrics, filters)}, and none of them "
                "is known to say right or wrong",
                remedy=f"name the one to judge with --metric {self.task}={example}",
            )
        return name, begins

    def _read(self, row: Mapping[str, Any], place: str) -> LogLine:
        if "doc" not in row and "doc_hash" not in row:
            return FileFault(place, "it has neither doc nor doc_hash, so no question can be known")
        doc, arguments = row.get("doc"), row.get("arguments")
        target = row.get("target")
        contexts, continuations, settings = _requests(arguments)
        question = digest(doc) if doc is not None else digest("hash", row.get("doc_hash"))
        key = digest(str(target)) if "target" in row else digest("hash", row.get("target_hash"))
        if contexts:
            prompt = digest(contexts, continuations)
        else:
            prompt = digest("hash", row["prompt_hash"]) if row.get("prompt_hash") else ""
        outcome = self._state(row, continuations)
        if isinstance(outcome, str):
            return Graded(place, self._name, outcome)
        state, choice, answer = outcome
        fields = mapping(doc)
        return LoggedSample(
            place=place,
            question=question,
            key=key,
            state=state,
            prompt=prompt,
            settings=canonical(settings).decode() if settings else "",
            cluster=passage_of(fields, self._wanted.cluster),
            text=_question(fields, contexts),
            choices=tuple(str(one) for one in continuations)[:26],
            keys=() if target is None else (str(target),),
            answer=answer,
            choice=one_line(choice, limit=60),
        )

    def _state(
        self, row: Mapping[str, Any], continuations: list[Any]
    ) -> tuple[AnswerState, str, str] | str:
        """How an answer ended, what was read of it, and its text; a text shows a graded score."""
        error = AnswerState.ERROR
        answers = _flat(row.get("resps"))
        if not answers:
            return error, "", "the log holds no answer"
        read = _flat(row.get("filtered_resps"))
        if continuations:
            given = row.get("filtered_resps")
            odds = [_log_probability(one) for one in given] if isinstance(given, list) else []
            if len(odds) != len(continuations) or any(math.isnan(one) for one in odds):
                return error, "", "log-probabilities are missing"
            text = choice = str(continuations[odds.index(max(odds))]).strip()
        else:
            text, choice = answers[0], read[0] if read else ""
            if not any(one.strip() for one in answers) or set(answers) == {"None"}:
                # The harness writes an empty text where a request failed as where a model is mute.
                return error, "", "the log holds an empty answer"
        if self._name not in row:
            return error, "", f"the log holds no {self._name} of it"
        right = is_right(row[self._name], self._wanted.at_least(self.task))
        if isinstance(right, str):
            return right
        if right is None:
            return error, "", f"its {self._name} is no number"
        if not continuations and read and set(read) <= self._fallbacks:
            return AnswerState.UNPARSED, "", text
        return AnswerState.CORRECT if right else AnswerState.WRONG, choice, text


def _requests(arguments: object) -> tuple[list[Any], list[Any], list[Any]]:
    """The prompts, the continuations whose odds were asked for, and generation settings."""
    contexts: list[Any] = []
    continuations: list[Any] = []
    settings: list[Any] = []
    requests = list(arguments.values()) if isinstance(arguments, dict) else arguments
    for one in requests if isinstance(requests, list) else ():
        parts = list(one.values()) if isinstance(one, dict) else one
        if not isinstance(parts, list) or not parts:
            continue
        if parts[0] not in contexts[-1:]:
            contexts.append(parts[0])
        for part in parts[1:]:
            if isinstance(part, dict):
                if part not in settings:
                    settings.append(part)
            else:
                continuations.append(part)
    return contexts, continuations, settings


def _flat(value: object) -> list[str]:
    """All texts of nested lists."""
    if isinstance(value, list):
        return [text for one in value for text in _flat(one)]
    return [] if value is None else [str(value)]


def _log_probability(answer: object) -> float:
    while isinstance(answer, list) and answer:
        answer = answer[0]
    try:
        return float(str(answer))
    except ValueError:
        return math.nan


def _question(doc: Mapping[str, Any], contexts: list[Any]) -> str:
    """The question for people: the document's own words, or the end of the prompt."""
    for name in ("question", "query", "problem", "prompt", "input"):
        found = doc.get(name)
        if isinstance(found, str) and found.strip():
            return found[:_TEXT]
    text = contexts[0] if contexts else ""
    if isinstance(text, list):
        text = text[0] if text else ""
    text = str(text)
    if text.startswith("[{"):
        try:
            messages = parse_json(text)
            text = str(messages[-1]["content"])
        except (ValueError, LookupError, TypeError):
            return text[-_TEXT:]
    return text[-_TEXT:]


def _listed(metrics: list[str], filters: list[str]) -> str:
    of = "" if filters == [_NO_FILTER] else f", by the filters {', '.join(filters)}"
    return one_line(f"{', '.join(metrics)}{of}", limit=300)
