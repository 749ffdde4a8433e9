"""Sending a report to the trackers that a user named; nothing is sent to any other."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capgate.common.dependencies import is_missing
from capgate.common.errors import CapgateError
from capgate.common.redact import Redactor
from capgate.common.scratch import Scratch
from capgate.report.data.result import Report
from capgate.report.trackers.mlflow_run import send_to_mlflow
from capgate.report.trackers.tracked import Tracked, tracked
from capgate.report.trackers.wandb_run import send_to_wandb
from capgate.report.write import write_data


class TrackerError(CapgateError):
    """A tracker did not take a run's report; the report itself is as it was."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """An experiment tracker.

    Attributes:
        name: Its name, for people.
        package: The package that sends, and capgate's extra with it.
        send: Sends what is told and files; returns a line to show.
        prefix: What its variables of the environment begin with.
        defaults: Variables that are set unless the user has set them.
        remedy: What to do where it takes nothing.
    """

    name: str
    package: str
    send: Callable[[Tracked, list[Path]], str]
    prefix: str
    defaults: Mapping[str, str]
    remedy: str


TRACKERS: Final[Mapping[str, Tracker]] = {
    "wandb": Tracker(
        name="W&B",
        package="wandb",
        send=send_to_wandb,
        prefix="WANDB_",
        # Its own faults would be reported to its makers.
        defaults={"WANDB_ERROR_REPORTING": "false", "WANDB_FINISH_TIMEOUT": "300"},
        remedy="check WANDB_API_KEY (or wandb login) and WANDB_BASE_URL, or write to a folder "
        "with WANDB_MODE=offline, and run the command again; the report is as it was",
    ),
    "mlflow": Tracker(
        name="MLflow",
        package="mlflow",
        send=send_to_mlflow,
        prefix="MLFLOW_",
        # Unless told so, it tells its makers of its use, and waits minutes for a server.
        defaults={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        },
        remedy="check MLFLOW_TRACKING_URI and the variables of its login, and run the command "
        "again; the report is as it was",
    ),
}
"""Option of `capgate report` to its tracker."""


def send(
    tracker: Tracker,
    report: Report,
    page: Path,
    redactor: Redactor,
    environment: Mapping[str, str],
) -> str:
    """Sends a report to a tracker.

    Args:
        tracker: Where to.
        report: The report, without anything secret in it.
        page: Its page, which is sent as well.
        redactor: Knows what is secret in the tracker's own words.
        environment: The project's variables, those of `.env` among them. The tracker's own are
            taken from it.

    Returns:
        Where it is now, as a line to show.

    Raises:
        TrackerError: The tracker's package is not installed, or the tracker does not take it.
    """
    theirs = {n: v for n, v in environment.items() if n.startswith(tracker.prefix)}
    with Scratch() as scratch, _variables({**tracker.defaults, **theirs}), _quiet():
        files = [page, write_data(report, scratch.path)]
        try:
            return tracker.send(tracked(report), files)
        # Neither package has one base of all that it raises.
        except Exception as error:
            raise _told(tracker, error, redactor) from None


def _told(tracker: Tracker, error: Exception, redactor: Redactor) -> TrackerError:
    said = redactor.text(f"{type(error).__name__}: {error}")
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if is_missing(error) and name == tracker.package:
        return TrackerError(
            f"{tracker.name} needs the package {tracker.package}, which is not installed",
            said=said,
            remedy=f"install it with: pip install 'capgate[{tracker.package}]'",
        )
    if is_missing(error):
        return TrackerError(
            f"{tracker.name} lacks a package for what its variables ask for",
            said=said,
            remedy=f"install it with: pip install {name or tracker.package}",
        )
    return TrackerError(f"{tracker.name} did not take the report", said=said, remedy=tracker.remedy)


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process's environment that are not set, for a while."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what other packages print and log: it has not passed the redactor.

    Nor can they ask for a key then, which in CI would wait for ever.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
