"""What a tracker is told of a run: numbers, words and one table of groups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from capgate.common.text import harmless
from capgate.report.data.comparison import Comparison
from capgate.report.data.result import Report, Result
from capgate.report.data.standings import Standing, has_several, standings, targets_of

PREFIX: Final = "capgate"
"""What all names begin with, so that they stay apart in the tracked run of a training."""

COLUMNS: Final = (
    *("target", "benchmark", "parent", "group", "verdict"),
    *("accuracy", "reference_accuracy", "drop"),
    *("questions", "lost", "gained", "unparsed", "errors"),
)
"""The columns of the table of groups."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")
"""MLflow refuses other characters in a metric's name, and W&B some of them in a run's id."""

_LONGEST: Final = 80
"""Characters of one part of a name; MLflow takes names of 250."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a tracker is told of a run.

    Attributes:
        run: The run's id, as far as a tracker takes it in an id.
        started: When the run began, ISO 8601, UTC.
        finished: When it ended.
        numbers: Metric's name to its value. Accuracies and drops are fractions, costs US dollars.
        words: The same of verdicts, targets and what they are compared with.
        rows: The table of groups: a value for each of `COLUMNS`; None where there is none.
    """

    run: str
    started: str
    finished: str
    numbers: dict[str, float]
    words: dict[str, str]
    rows: list[tuple[str | float | None, ...]]


def tracked(report: Report) -> Tracked:
    """What a tracker is told of a report, from which secrets have been cut out.

    A name has the target in it where the run judged several.
    """
    targets = targets_of(report)
    parts = _distinct(targets) if len(targets) > 1 else dict.fromkeys(targets, "")
    benchmarks = {one.benchmark: None for target in targets for one in standings(report, target)}
    of_benchmark = _distinct(list(benchmarks))
    numbers: dict[str, Any] = {f"{PREFIX}/cost": report.cost}
    words: dict[str, Any] = {
        f"{PREFIX}/run": report.run,
        f"{PREFIX}/mode": report.mode,
        f"{PREFIX}/verdict": report.verdict["kind"] if report.verdict else None,
    }
    rows: list[tuple[str | float | None, ...]] = []
    for target in targets:
        head = "/".join(filter(None, (PREFIX, parts[target])))
        words[f"{head}/target"] = target
        if has_several(report) and target in report.suites:
            words[f"{head}/verdict"] = report.suites[target]["kind"]
        for standing in standings(report, target):
            section = report.sections.get(standing.benchmark)
            result = section.targets.get(target) if section else None
            comparison = section.comparisons.get(target) if section else None
            name = f"{head}/{of_benchmark[standing.benchmark]}"
            words[f"{name}/verdict"] = standing.word
            if result:
                reference = result.reference or {}
                words[f"{name}/reference"] = reference.get("target") or reference.get("kind")
                found = _numbers(standing, result, comparison)
                numbers |= {f"{name}/{key}": value for key, value in found.items()}
                rows += _rows(target, result, comparison)
    return Tracked(
        run=_part(report.run),
        started=report.started,
        finished=report.finished,
        numbers={key: float(value) for key, value in numbers.items() if value is not None},
        words={key: harmless(str(value)) for key, value in words.items() if value is not None},
        rows=rows,
    )


def _numbers(
    standing: Standing, result: Result, comparison: Comparison | None
) -> dict[str, float | None]:
    """A target's numbers on one benchmark, by the last part of their names."""
    overall, pair = result.overall, comparison.overall if comparison else None
    interval, of_drop = overall.interval, standing.interval or {}
    return {
        "accuracy": standing.accuracy,
        "accuracy_low": interval.low if interval else None,
        "accuracy_high": interval.high if interval else None,
        "reference_accuracy": standing.reference,
        "drop": standing.drop,
        "drop_low": of_drop.get("low"),
        "drop_high": of_drop.get("high"),
        "lost": pair.losses if pair else None,
        "gained": pair.gains if pair else None,
        "questions": overall.questions,
        "asked": overall.asked,
        "unparsed": overall.unparsed,
        "errors": overall.errors,
        "cost": overall.cost,
    }


def _rows(
    target: str, result: Result, comparison: Comparison | None
) -> list[tuple[str | float | None, ...]]:
    """The groups of one target on one benchmark; the benchmark itself where it has none."""
    pairs, parents = comparison.subjects if comparison else {}, result.parent_of
    rows: list[tuple[str | float | None, ...]] = []
    for group, one in result.subject_details.items():
        pair = pairs.get(group)
        names = (target, result.benchmark, parents.get(group, ""), group, one.word or "")
        rows.append(
            (
                *map(harmless, names),
                one.accuracy,
                pair.reference_accuracy if pair else None,
                pair.drop if pair else None,
                one.questions,
                pair.losses if pair else None,
                pair.gains if pair else None,
                one.unparsed,
                one.errors,
            )
        )
    return rows


def _distinct(names: list[str]) -> dict[str, str]:
    """Each name as a part of a metric's name; no two are the same."""
    parts: dict[str, str] = {}
    for name in names:
        part, number = _part(name), 1
        while part in parts.values():
            number += 1
            part = f"{_part(name)}-{number}"
        parts[name] = part
    return parts


def _part(name: str) -> str:
    """A name without characters that a tracker refuses, and without dots at its ends."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST].strip(".") or "_"
