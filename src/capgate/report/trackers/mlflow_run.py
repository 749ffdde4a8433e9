"""A run's report as a run of MLflow."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.report.trackers.tracked import COLUMNS, PREFIX, Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG: Final = "capgate.run"
"""The tag by which a run is found again; its value is the id of capgate's run."""

_TABLE: Final = f"{PREFIX}/groups.json"
_AT_ONCE: Final = 1_000
"""Metrics that MLflow takes in one request, at most."""

_TAGS_AT_ONCE: Final = 100
"""The same of tags."""


def send_to_mlflow(run: Tracked, files: list[Path]) -> str:
    """Sends a run to the MLflow server, database or folder that MLFLOW_TRACKING_URI names.

    A run that was sent before is found by its tag and brought up to date. Where MLFLOW_RUN_ID is
    set, that run gets the report. The experiment is that of MLFLOW_EXPERIMENT_NAME or
    MLFLOW_EXPERIMENT_ID, and `capgate` by default.

    Args:
        run: What is told.
        files: What are its artifacts.

    Returns:
        Where it is, as a line to show.

    Raises:
        ImportError: MLflow can't be imported.
        Exception: MLflow does not take it; there is no one base of what it raises.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

    client = MlflowClient()
    theirs = os.environ.get("MLFLOW_RUN_ID")
    found = theirs or _own_run(client, run)
    ended = _milliseconds(run.finished)
    # MLflow keeps every value that a metric ever had, so what it has already is not sent again.
    known = client.get_run(found).data.metrics
    numbers = [(name, one) for name, one in run.numbers.items() if known.get(name) != one]
    metrics = [Metric(name, value, ended, 0) for name, value in numbers]
    for at in range(0, len(metrics), _AT_ONCE):
        client.log_batch(found, metrics=metrics[at : at + _AT_ONCE])
    tags = [RunTag(name, value) for name, value in run.words.items()]
    for at in range(0, len(tags), _TAGS_AT_ONCE):
        client.log_batch(found, tags=tags[at : at + _TAGS_AT_ONCE])
    for path in files:
        client.log_artifact(found, str(path), PREFIX)
    _send_table(client, found, run)
    if not theirs:
        client.set_terminated(found, end_time=ended)
    return f"sent to MLflow: the run {found}"


def _own_run(client: MlflowClient, run: Tracked) -> str:
    """The id of the run that tracks this one; it is made where there is none."""
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if not number:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PREFIX
        experiment = client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else client.create_experiment(name)
    known = client.search_runs([number], f"tags.`{_TAG}` = '{run.run}'", max_results=1)
    if known:
        return str(known[0].info.run_id)
    name = os.environ.get("MLFLOW_RUN_NAME") or run.run
    started = _milliseconds(run.started)
    made = client.create_run(number, start_time=started, tags={_TAG: run.run}, run_name=name)
    return str(made.info.run_id)


def _send_table(client: MlflowClient, found: str, run: Tracked) -> None:
    # `log_table` appends to a table that is there. What it writes is this plain form.
    if _TABLE in {one.path for one in client.list_artifacts(found, PREFIX)}:
        plain = {"columns": list(COLUMNS), "data": [list(row) for row in run.rows]}
        client.log_dict(found, plain, _TABLE)
        return
    columns = zip(*run.rows, strict=True) if run.rows else ((),) * len(COLUMNS)
    client.log_table(found, {n: list(c) for n, c in zip(COLUMNS, columns, strict=True)}, _TABLE)


def _milliseconds(iso: str) -> int:
    """A time in ISO 8601 as milliseconds since 1970."""
    return round(datetime.fromisoformat(iso).timestamp() * 1_000)
