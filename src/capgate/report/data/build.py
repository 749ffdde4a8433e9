"""From the store to a report: a pure reading of what a run recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from capgate.benchmarks.mmlu.known_errors import Redux
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.dependencies import package_versions
from capgate.config.published_scores import Published
from capgate.gate.verdict import EXIT_CODES
from capgate.report.data.counting import domain_groups, group, subject_groups, total_cost
from capgate.report.data.flips import FindBaseline, compare
from capgate.report.data.groups import upgraded, with_words, words_of
from capgate.report.data.missing import faults_of
from capgate.report.data.published_beside import beside
from capgate.report.data.result import (
    Accuracy,
    Metrics,
    Report,
    Result,
    Unread,
    iso,
    without_scores,
)
from capgate.run.judgement import Mode
from capgate.store.answer_store import Store, Stored
from capgate.store.shard import WHOLE, Shard

_UNREAD_SHOWN: Final = 20
_UNREAD_CHARACTERS: Final = 2_000

Shards = dict[Shard, dict[str, Any]]
"""A target's shards in one run, and how each ended."""

_ENTRY: Final = Shard("entry", MMLU)
_PREFLIGHT: Final = Shard("preflight", MMLU)
_QUICK: Final = Shard("quick", MMLU)
_REASK: Final = Shard("reask", MMLU)
_SUITE: Final = Shard("suite", MMLU)

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
    baseline: FindBaseline | None = None,
    redux: Redux | None = None,
    published: Published | None = None,
) -> Report:
    """Reads a run's report from the store.

    Args:
        store: The store.
        run: The run's id.
        complete: Whether the run came to its end.
        baseline: Finds a target's recorded baseline, for those that were compared with it.
        redux: MMLU-Redux's annotations, for the labels of what flipped.
        published: Published scores to put beside the run's.
    """
    started, settings = next((s, v) for r, s, v in store.runs() if r == run)
    finished = time.time()
    shards: dict[str, Shards] = {}
    for (target, shard), facts in store.shards(run).items():
        if "verdict" in facts:
            facts = {**facts, "verdict": upgraded(facts["verdict"])}
        shards.setdefault(target, {})[shard] = facts
    # A base is asked in its adapter's batches, which are no shards of its own.
    quick = {
        name
        for target, mine in shards.items()
        if _QUICK in mine
        for name in (target, (mine[_QUICK].get("reference") or {}).get("target"))
        if name and _SUITE not in shards.get(name, {})
    }
    modes = {target: _mode(mine, target in quick) for target, mine in shards.items()}
    # A target and what it is compared with: what both a result and a comparison are made of.
    used = lru_cache(maxsize=2)(lambda target: store.used(run, target))
    results = {
        target: _result(
            used(target),
            run,
            target,
            mine,
            settings,
            # A sample is complete where it was judged: it may end at any question.
            complete and (modes[target] == "full" or target in quick),
            finished,
            published,
            modes[target],
        )
        for target, mine in sorted(shards.items())
        if _ENTRY in mine
    }
    # Skip a base that no test has asked.
    results = {t: one for t, one in results.items() if one.overall.questions or one.verdict}
    for target, one in list(results.items()):
        if one.verdict is not None and one.verdict["kind"] == "ERROR":
            # What was answered until the fault, by its base as well, is no sample.
            base = (one.reference or {}).get("target")
            sides = [target, base] if base and base in results else [target]
            for side in sides:
                if side == target or results[side].verdict is None:
                    results[side] = without_scores(results[side], one.chosen)
    failed = {
        target: mine[_PREFLIGHT]["verdict"]
        for target, mine in sorted(shards.items())
        if mine.get(_PREFLIGHT, {}).get("verdict") and target not in results
    }
    worst_of, worst = _weightiest(results, failed)
    return Report(
        run=run,
        started=iso(started),
        finished=iso(finished),
        complete=complete,
        mode="quick" if set(modes.values()) == {"quick"} else "full" if modes else None,
        settings=settings,
        verdict=worst,
        verdict_of=worst_of,
        cost=total_cost(one.overall.cost_now for one in results.values()),
        targets=results,
        comparisons={
            target: compare(
                store,
                run,
                target,
                result.reference,
                used=used,
                baseline=baseline,
                redux=redux,
                reask_reason=shards[target].get(_REASK, {}).get("reason", ""),
            )
            for target, result in results.items()
            if result.reference
        },
        not_judged=failed,
    )


def _weightiest(
    results: Mapping[str, Result], failed: Mapping[str, dict[str, Any]]
) -> tuple[str | None, dict[str, Any] | None]:
    """The target and verdict that a run ends by; of equals, one on a whole target."""
    found: list[tuple[str, dict[str, Any]]] = [*failed.items()]
    found += [(target, one.verdict) for target, one in results.items() if one.verdict]
    for target, result in results.items():
        found += [(target, s.verdict) for s in result.subject_details.values() if s.verdict]
    return max(found, key=lambda one: _WEIGHT[one[1]["kind"]], default=(None, None))


def exit_code(report: Report) -> int:
    """The exit code of a run by its verdict; 0 where nothing was judged."""
    return EXIT_CODES[report.verdict["kind"]] if report.verdict else 0


def _result(
    used: Sequence[Stored],
    run: str,
    target: str,
    shards: Shards,
    settings: dict[str, Any],
    complete: bool,
    finished: float,
    published: Published | None,
    mode: Mode,
) -> Result:
    about = shards[_ENTRY]
    answers = [stored.answer for stored in used]
    now = [stored.answer for stored in used if stored.run == run]
    earlier = [stored.created for stored in used if stored.run != run]
    of_kind = {shard.kind: facts for shard, facts in shards.items()}
    whole = next((of_kind[kind] for kind in WHOLE if kind in of_kind), None)
    if whole is None and shards.get(_PREFLIGHT, {}).get("verdict"):
        whole = shards[_PREFLIGHT]
    wall = (shards.get(_QUICK, {}).get("usage") or {}).get("seconds", 0.0)
    ended = {shard.name: facts for shard, facts in shards.items() if shard.kind == "group"}
    subjects = subject_groups(answers, now, ended, wall=wall)
    overall = group(
        answers,
        now,
        seconds=sum(one.seconds for one in subjects.values()),
        verdict=whole["verdict"] if whole else None,
    )
    domains = domain_groups(answers, now, subjects)
    own = {name: one.verdict for name, one in subjects.items()}
    words = words_of(own, domains, whole["verdict"] if whole else None)
    subjects, domains = with_words(subjects, words), with_words(domains, words)
    chosen = sum(about["selected"].values())
    errors = sum(answer.state is AnswerState.ERROR for answer in answers)
    return Result(
        run=run,
        model_id=about.get("model_id", target),
        adapter_name=about.get("adapter_name"),
        timestamp=iso(finished),
        limit=settings["limit"],
        chosen=chosen if mode == "full" and (_SUITE in shards or not complete) else None,
        mode=mode,
        complete=complete and (mode == "quick" or len(answers) - errors >= chosen),
        overall_score=overall.accuracy,
        metrics=Metrics(accuracy=Accuracy(value=overall.accuracy)),
        subjects={subject: one.accuracy for subject, one in subjects.items()},
        overall=overall,
        domains=domains,
        subject_details=subjects,
        verdict=whole["verdict"] if whole else None,
        task=settings["task"],
        prompt_hash=about["prompt_hash"],
        dataset=about["dataset"],
        fingerprint=about["fingerprint"],
        identity=about["facts"],
        versions=package_versions(),
        reference=_reference(shards, whole),
        path=tuple(shards.get(_QUICK, {}).get("path", ())),
        seed=about.get("seed") if mode == "quick" else None,
        attempt=(whole or {}).get("attempt"),
        faults=faults_of(answers),
        unread=_unread(answers),
        notes=tuple(about.get("notes", ())),
        published=_beside(target, about, settings["task"], answers, published),
        earlier=len(earlier),
        newest_earlier=iso(max(earlier)) if earlier else None,
    )


def _mode(shards: Shards, judged_quick: bool) -> Mode:
    """What was asked of a target; by what was judged where an older run did not record it."""
    asked = (facts["mode"] for facts in shards.values() if facts.get("mode"))
    return "quick" if next(asked, "quick" if judged_quick else "full") == "quick" else "full"


def _beside(
    target: str,
    about: Mapping[str, Any],
    task: str,
    answers: Sequence[Answer],
    published: Published | None,
) -> dict[str, Any] | None:
    """The target beside its model's published score; None where that is not known."""
    if published is None or "model" not in about["facts"]:
        return None
    found = beside(target, about["facts"]["model"], task, answers, published)
    return found.to_dict() if found.match else None


def _reference(shards: Shards, whole: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the target was compared with; by kind alone where an older run did not say more."""
    described = (facts["reference"] for facts in shards.values() if facts.get("reference"))
    found = next(described, None)
    if found is None and whole and whole["verdict"] and whole["verdict"]["reference"]:
        found = {"kind": whole["verdict"]["reference"]}
    # A base is known only by its name, which older runs did not record.
    return found if found is None or found["kind"] != "base" or "target" in found else None


def _unread(answers: Sequence[Answer]) -> tuple[Unread, ...]:
    unread = [answer for answer in answers if answer.state is AnswerState.UNPARSED]
    unread.sort(key=lambda answer: answer.question)
    return tuple(
        Unread(
            question=answer.question,
            subject=answer.subject,
            text=answer.text
            if len(answer.text) <= _UNREAD_CHARACTERS
            else f"{answer.text[:_UNREAD_CHARACTERS]}… ({len(answer.text):,} characters)",
        )
        for answer in unread[:_UNREAD_SHOWN]
    )
