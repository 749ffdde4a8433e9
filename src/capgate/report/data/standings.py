"""How a target stands on each benchmark of a run: one row for each, in every form of report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capgate.report.data.result import Report, Section


@dataclass(frozen=True)
class Standing:
    """How a target stands on one benchmark.

    Attributes:
        benchmark: The benchmark's name.
        word: The verdict's kind; REGRESSION also where the verdict over all fails by it;
            `measured` where it was not judged, `not asked` where it has no answers.
        advisory: Whether the benchmark never decides.
        questions: Questions put.
        accuracy: The target's, as a fraction; None where it has none.
        reference: That of what it is compared with, or the floor.
        drop: Accuracy lost, as a fraction.
        interval: Its confidence interval: `low`, `high` and `level`.
        catch: The drop that must be caught, as a fraction.
    """

    benchmark: str
    word: str
    advisory: bool = False
    questions: int = 0
    accuracy: float | None = None
    reference: float | None = None
    drop: float | None = None
    interval: Mapping[str, float] | None = None
    catch: float | None = None


def has_several(report: Report) -> bool:
    """Whether a run asked several benchmarks, so that there is something to say over all."""
    named = (len(suite["benchmarks"]) for suite in report.suites.values())
    return max(len(report.sections), *named, 0) > 1


def targets_of(report: Report) -> list[str]:
    """The targets of a run, without bases that are only compared with."""
    sections = report.sections.values()
    judged = [target for section in sections for target in section.judged]
    failed = [target for section in sections for target in section.not_judged]
    return list(dict.fromkeys([*judged, *failed]))


def standings(report: Report, target: str) -> list[Standing]:
    """How a target stands on each benchmark that it was or should have been asked.

    Args:
        report: The report.
        target: The target's id.
    """
    suite = report.suites.get(target) or {"benchmarks": ()}
    found = {one["name"]: one for one in suite["benchmarks"]}
    names = [*report.sections, *(name for name in found if name not in report.sections)]
    return [
        _standing(report.sections.get(name, Section()), name, target, found.get(name, {}))
        for name in names
        if name in found or target in report.sections[name].known
    ]


def _standing(
    section: Section, benchmark: str, target: str, finding: Mapping[str, Any]
) -> Standing:
    result, advisory = section.targets.get(target), bool(finding.get("advisory"))
    if result is None:
        word = "ERROR" if target in section.not_judged else str(finding.get("kind", "not asked"))
        return Standing(benchmark, word, advisory)
    verdict, comparison = result.verdict or {}, section.comparisons.get(target)
    pair = comparison.overall if comparison else None
    failed = finding.get("failed", False)
    return Standing(
        benchmark=benchmark,
        word="REGRESSION" if failed else verdict.get("kind", "measured"),
        advisory=advisory or result.advisory,
        questions=result.overall.questions,
        accuracy=result.overall.accuracy,
        reference=pair.reference_accuracy if pair else verdict.get("floor"),
        drop=verdict.get("drop"),
        interval=verdict.get("interval"),
        catch=(verdict.get("policy") or {}).get("catch"),
    )
