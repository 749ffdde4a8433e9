"""The results of a log: Inspect's own metrics over the scores of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inspect_ai import recompute_metrics
from inspect_ai.log import (
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    HeadlineMetric,
    headline_metric,
)
from inspect_ai.scorer import SampleScore, Scorer
from inspect_ai.util import registry_info

from capgate.asking.inspect_backend.task_record import RecordedScorer

_OF_ONE_NUMBER: Final = frozenset({"accuracy", "stderr", "mean"})
"""Inspect's metrics that return a number, and no mapping of numbers."""


def add_results(log: EvalLog, scorers: Mapping[str, Scorer]) -> None:
    """Adds the results of a log's samples.

    `recompute_metrics` reduces the scores of each sample's epochs first, which takes as long as
    the rest of the log. There is one epoch here, so scores of one letter need no reducing.

    Args:
        log: The log, with its samples; changed in place.
        scorers: Name to scorer, as the samples' scores name them.
    """
    samples, recorded = log.samples or [], log.eval.scorers or []
    values = [score.value for one in samples for score in (one.scores or {}).values()]
    plain = all(map(_is_plain, recorded, scorers.values())) and all(
        isinstance(one, str) for one in values
    )
    if not values or not plain:
        recompute_metrics(log)
        # With one epoch they repeat each sample's score.
        log.reductions = None
        return
    log.results = EvalResults(
        total_samples=len(samples),
        completed_samples=sum(one.error is None for one in samples),
        scores=[
            _score(name, scorer, about, samples)
            for (name, scorer), about in zip(scorers.items(), recorded, strict=True)
        ],
    )
    headline = headline_metric(log)
    if headline is not None:
        log.results.headline = HeadlineMetric(
            scorer=headline.score.scorer, score=headline.score.name, metric=headline.name
        )


def _is_plain(recorded: RecordedScorer, scorer: Scorer) -> bool:
    """Whether a scorer's metrics are some of Inspect's that return a number.

    A name tells the package only where Inspect is installed in the usual way.
    """
    metrics = recorded.metrics
    if not isinstance(metrics, list) or any(
        isinstance(one, dict) or one.name.rpartition("/")[2] not in _OF_ONE_NUMBER or one.options
        for one in metrics
    ):
        return False
    made = registry_info(scorer).metadata["metrics"]
    return all(getattr(one, "__module__", "").startswith("inspect_ai.") for one in made)


def _score(
    name: str, scorer: Scorer, recorded: RecordedScorer, samples: Sequence[EvalSample]
) -> EvalScore:
    scored = [
        SampleScore(
            score=one.scores[name], sample_id=one.id, sample_metadata=one.metadata, scorer=name
        )
        for one in samples
        if one.scores and name in one.scores
    ]
    metrics = {}
    for metric in registry_info(scorer).metadata["metrics"]:
        called = registry_info(metric).name.split("/")[-1]
        metrics[called] = EvalMetric(name=called, value=float(metric(scored)))
    return EvalScore(
        name=name,
        scorer=name,
        params=recorded.options or {},
        scored_samples=len(scored),
        unscored_samples=0,
        metrics=metrics,
    )
