"""Bundles of NeMo Evaluator 0.3: `eval-DATE-NAME.json` with `results.jsonl` beside it.

The form is documented under "Evaluation Result Format" in NeMo Evaluator's documentation. A record
holds its prompt, so records are paired by that; `problem_idx` is a position and tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line
from capgate.logs.json_lines import json_objects, json_report
from capgate.logs.lm_eval_run import mapping
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

RECORDS: Final = "results.jsonl"

_REWARD: Final = "reward"
_COMPARED: Final = ("temperature", "max_tokens", "top_p", "system_prompt", "scorers")
_GENERATION: Final = ("temperature", "max_tokens", "top_p")
_TEXT: Final = 2_000


class NemoTask(TaskLog):
    """One benchmark of a run of NeMo Evaluator.

    Args:
        path: The file of its records.
        bundle: What the bundle beside it holds; empty where there is none.
        wanted: What a person wants of it.

    Raises:
        ConfigError: A metric is named that bundles do not have.
    """

    tool = "NeMo Evaluator"

    def __init__(self, path: Path, bundle: Mapping[str, Any], wanted: Wanted) -> None:
        benchmark, config = mapping(bundle.get("benchmark")), mapping(bundle.get("config"))
        self.path = path
        self.task = str(benchmark.get("name") or config.get("benchmark") or path.parent.name)
        self.model = str(config.get("model") or config.get("model_id") or "")
        self._wanted = wanted
        named = wanted.metric(self.task)
        if named not in (None, _REWARD):
            raise ConfigError(
                f"{path} has no metric {one_line(named or '', limit=60)}",
                remedy=f"its records have one, {_REWARD}",
            )
        at = wanted.at_least(self.task)
        self.metric = _REWARD if at is None else f"{_REWARD} of at least {at:g}"
        self.conditions = {name.replace("_", " "): config.get(name) for name in _COMPARED if bundle}
        version = bundle.get("sdk_version")
        self.facts = {"sdk_version": str(version)} if version else {}
        self.expected = _expected(benchmark, config)
        repeats = benchmark.get("repeats")
        notes = []
        if not bundle:
            notes.append(
                f"{self.task}: no eval-*.json stands beside {path.name}, so settings can't be "
                "compared; the prompts are"
            )
        elif all(config.get(name) is None for name in _GENERATION):
            notes.append(
                f"{self.task}: the bundle tells no generation settings, so these can't be "
                "compared; the prompts are"
            )
        if isinstance(repeats, int) and repeats > 1:
            notes.append(
                f"{self.task}: each question was asked {repeats} times; the first answer counts, "
                "since answers to one question depend on each other"
            )
        self.notes = tuple(notes)

    def lines(self) -> Iterator[LogLine]:
        """Yields the first record of each question, in the file's order."""
        for place, found in json_objects(self.path):
            if isinstance(found, FileFault):
                yield found
            elif found.get("repeat") in (None, 0):
                yield self._read(found, place)

    def _read(self, row: Mapping[str, Any], place: str) -> LogLine:
        prompt, expected = row.get("prompt"), row.get("expected_answer")
        if prompt in (None, "", []):
            return FileFault(
                place, "it has no prompt, and a problem_idx alone does not tell what was asked"
            )
        metadata, details = mapping(row.get("metadata")), mapping(row.get("scoring_details"))
        outcome = self._state(row, details)
        if isinstance(outcome, str):
            return Graded(place, _REWARD, outcome)
        state, answer = outcome
        group = metadata.get("category") or details.get("category")
        text = prompt if isinstance(prompt, str) else str(prompt)
        return LoggedSample(
            place=place,
            question=digest(prompt),
            key=digest(expected),
            state=state,
            prompt=digest(prompt),
            group=group if isinstance(group, str) else "",
            cluster=passage_of(metadata, self._wanted.cluster),
            text=text[-_TEXT:],
            keys=() if expected is None else (str(expected),),
            answer=answer,
            choice=one_line(str(row.get("extracted_answer") or ""), limit=60),
        )

    def _state(
        self, row: Mapping[str, Any], details: Mapping[str, Any]
    ) -> tuple[AnswerState, str] | str:
        """How an answer ended, and its text; a text shows a graded score."""
        answer = row.get("model_response")
        text = answer if isinstance(answer, str) else ""
        # A request that failed is written with a reward of 0.
        if details.get("error_category") or details.get("error"):
            return AnswerState.ERROR, str(details.get("error") or details["error_category"])
        if answer is not None and not text.strip():
            return AnswerState.ERROR, "the log holds an empty answer"
        right = is_right(row.get(_REWARD), self._wanted.at_least(self.task))
        if isinstance(right, str):
            return right
        if right is None:
            return AnswerState.ERROR, "its reward is no number"
        if right:
            return AnswerState.CORRECT, text
        unread = row.get("extracted_answer") == ""
        return AnswerState.UNPARSED if unread else AnswerState.WRONG, text


def _expected(benchmark: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """How many questions were to be asked, as far as a bundle tells."""
    counts = [benchmark.get("samples")]
    if "shard" not in config and "n_shards" not in config:
        # Its count of samples is that of the records alone.
        counts.insert(0, mapping(config.get("shuffle")).get("ds_effective_size"))
    return next((one for one in counts if isinstance(one, int)), None)


def read_bundle(path: Path) -> Mapping[str, Any]:
    """Reads a bundle.

    Raises:
        ConfigError: It can't be read, or holds something else.
    """
    return json_report(
        path,
        key="benchmark",
        what="a bundle of NeMo Evaluator",
        by="NeMo Evaluator",
        otherwise="is no bundle of NeMo Evaluator",
        remedy="give the eval-*.json that stands beside results.jsonl",
    )
