"""A log's results: as Inspect's own recomputation makes them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from inspect_ai import recompute_metrics
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec
from inspect_ai.scorer import Score, choice

from capgate.asking.inspect_backend.results import add_results

VALUES = st.lists(st.sampled_from(["C", "I", "N", "P", None]), min_size=1, max_size=30)


def log_of(values: list[str | None]) -> EvalLog:
    """A log whose samples have these values; None where a sample has failed."""
    samples = [
        EvalSample(
            id=str(at),
            epoch=1,
            input="?",
            target="A",
            scores=None if value is None else {"choice": Score(value=value)},
            error=None
            if value is not None
            else {"message": "x", "traceback": "", "traceback_ansi": ""},  # type: ignore[arg-type]
        )
        for at, value in enumerate(values)
    ]
    metrics = [{"name": f"inspect_ai/{name}", "options": {}} for name in ("accuracy", "stderr")]
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task="t",
        dataset=EvalDataset(),
        model="none/none",
        config=EvalConfig(epochs=1),
        scorers=[{"name": "choice", "metrics": metrics}],  # type: ignore[list-item]
    )
    return EvalLog(eval=spec, samples=samples)


@settings(deadline=None)  # the first example imports what Inspect imports late
@given(VALUES)
def test_results_are_those_of_inspect(values: list[str | None]) -> None:
    """Accuracy, its standard error, the counts and the headline."""
    ours, theirs = log_of(values), log_of(values)
    add_results(ours, {"choice": choice()})
    recompute_metrics(theirs)
    assert ours.results is not None
    assert theirs.results is not None
    assert ours.results.model_dump_json() == theirs.results.model_dump_json()
