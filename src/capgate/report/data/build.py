"""From the store to a report: a pure reading of what a run recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from capgate.benchmarks.mmlu.known_errors import Redux
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.grouping import grouped
from capgate.config.published_scores import Published
from capgate.gate.verdict import EXIT_CODES
from capgate.report.data.counting import total_cost
from capgate.report.data.groups import upgraded
from capgate.report.data.result import Report, Result, Section, iso
from capgate.report.data.section import Facts, Recorded, RunFacts, modes_of, section_of
from capgate.store.answer_store import Store
from capgate.store.baselines import Baseline
from capgate.store.shard import OVER_ALL, Shard

_WEIGHT: Final[dict[str, int]] = {
    "kept": 0,
    "too few to tell": 1,
    "PASS": 1,
    "INCONCLUSIVE": 2,
    "ERROR": 3,
    "lost": 4,
    "REGRESSION": 4,
}


def build_report(
    store: Store,
    run: str,
    *,
    complete: bool,
    baseline: Callable[[str, str], Baseline | None] | None = None,
    redux: Redux | None = None,
    published: Published | None = None,
) -> Report:
    """Reads a run's report from the store.

    Args:
        store: The store.
        run: The run's id.
        complete: Whether the run came to its end.
        baseline: Finds the recorded baseline of a target on a benchmark, for those that were
            compared with it.
        redux: MMLU-Redux's annotations, for the labels of what flipped.
        published: Published scores to put beside the run's.
    """
    started, settings = store.begun(run)
    finished = time.time()
    facts = RunFacts(store, run, settings, complete, finished, baseline, redux, published)
    suites: dict[str, Facts] = {}
    shards: dict[tuple[str, str], dict[Shard, Facts]] = {}
    for (target, shard), ended in store.shards(run).items():
        if shard == OVER_ALL and ended.get("verdict"):
            suites[target] = ended["verdict"]
        if not shard.benchmark:
            continue
        if "verdict" in ended:
            ended = {**ended, "verdict": upgraded(ended["verdict"])}
        shards.setdefault((shard.benchmark, target), {})[shard] = ended
    recorded = {
        benchmark: {t: Recorded.of(benchmark, shards[benchmark, t]) for _, t in names}
        for benchmark, names in grouped(shards, lambda one: one[0]).items()
    }
    sections = {
        name: section_of(facts, name, recorded.get(name, {})) for name in _order(recorded, settings)
    }
    modes = {mode for mine in recorded.values() for mode in modes_of(mine)[0].values()}
    first = next(iter(sections))
    worst_of, worst = _weightiest(sections, dict(sorted(suites.items())))
    return Report(
        run=run,
        started=iso(started),
        finished=iso(finished),
        complete=complete,
        mode="quick" if modes == {"quick"} else "full" if modes else None,
        settings=settings,
        verdict=worst,
        verdict_of=worst_of,
        cost=total_cost(
            one.overall.cost_now for part in sections.values() for one in part.targets.values()
        ),
        targets=sections[first].targets,
        comparisons=sections[first].comparisons,
        not_judged=sections[first].not_judged,
        benchmark=first,
        benchmarks={name: section for name, section in sections.items() if name != first},
        suites=dict(sorted(suites.items())),
    )


def _order(recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """A run's benchmarks: MMLU first, then as the run was asked for them, then by name."""
    asked = [str(name) for name in settings.get("benchmarks") or () if name in recorded]
    known = dict.fromkeys([*asked, *sorted(recorded)])
    return sorted(known, key=lambda name: name != MMLU) or [MMLU]


def _deciding(section: Section) -> Iterator[tuple[str, Result]]:
    return ((t, one) for t, one in section.targets.items() if not one.advisory)


def _weightiest(
    sections: Mapping[str, Section], suites: Mapping[str, dict[str, Any]]
) -> tuple[str | None, dict[str, Any] | None]:
    """The target and verdict that a run ends by.

    Of equals, one over all benchmarks counts first, then one on a whole target. An advisory
    benchmark decides nothing.
    """
    found = [*suites.items()]
    for section in sections.values():
        found += section.not_judged.items()
        found += [(t, one.verdict) for t, one in _deciding(section) if one.verdict]
    for section in sections.values():
        for target, result in _deciding(section):
            found += [(target, s.verdict) for s in result.subject_details.values() if s.verdict]
    return max(found, key=lambda one: _WEIGHT[one[1]["kind"]], default=(None, None))


def exit_code(report: Report) -> int:
    """The exit code of a run by its verdict; 0 where nothing was judged."""
    return EXIT_CODES[report.verdict["kind"]] if report.verdict else 0
