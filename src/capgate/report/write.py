"""Writing a run's results: by the controller alone, each file at once or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from capgate.benchmarks.mmlu.known_errors import Redux
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import CapgateError
from capgate.common.files import FileError, write_atomically
from capgate.common.redact import Redactor
from capgate.common.text import harmless
from capgate.config.alerts import alert_urls
from capgate.config.published_scores import Published, load_published, published_file
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.thresholds import baseline_path
from capgate.gate.stats import clopper_pearson
from capgate.report import alerts
from capgate.report.data.build import build_report
from capgate.report.data.history import FILE, Entry, add_run, read_history
from capgate.report.data.result import Report, Result
from capgate.report.page.html import render_html
from capgate.report.text import github
from capgate.report.text.terminal import logs_line, render_report
from capgate.run.log_sweep import sweep_lines
from capgate.run.run import Run
from capgate.store.baselines import Baseline, load_baseline

_M = TypeVar("_M", bound=BaseModel)

DATA: Final = "report.json"
PAGE: Final = "report.html"


def load_ahead() -> None:
    """Imports, in a thread of its own, what reports are reckoned with: a fifth of a second.

    To be called by a process that waits for others.
    """
    threading.Thread(target=_load, name="capgate-loading", daemon=True).start()


def _load() -> None:
    # What fails here fails again where it is needed, and is told there.
    with contextlib.suppress(Exception):
        clopper_pearson(1, 2)


def write_results(run: Run, *, complete: bool) -> list[str]:
    """Writes the results of a run and tells of them.

    Args:
        run: The controller's part in the run.
        complete: Whether the run came to its end.

    Returns:
        The lines to show.

    Raises:
        CapgateError: The folder can't be written; what was answered is in the store.
    """
    settings = run.settings
    redactor = project_redactor(settings)
    swept = sweep_lines(run.folder / "logs", redactor)
    report = redacted(report_of(run, complete=complete), redactor)
    folder = settings.output_dir
    written: list[Path] = []
    fault: CapgateError | None = None
    try:
        for section in report.sections.values():
            for target, result in section.targets.items():
                written.append(_write_result(folder, target, result))
        written.append(write_data(report, run.folder))
        trend = _told("the trend", lambda: add_run(folder / FILE, report))
        written.append(write_page(report, run.folder, folder / FILE))
        lines = [*render_report(report, written, root=settings.root), *trend]
    except OSError as error:
        fault = FileError(
            f"the results can't be written to {folder}",
            said=str(error),
            remedy="free space there and let this user write there, or name another folder with "
            "--output-dir; every answer is in the store, so that the next run asks none again",
        )
        lines = []
    lines += swept
    lines += _told("the alerts", lambda: _send_alerts(report, settings, redactor))
    if fault is not None:
        for line in lines:
            run.say(redactor.text(line))
        raise fault
    lines += logs_line(run.folder / "logs", settings.root)
    commands: list[str] = []
    lines += _told("the step summary", lambda: commands.extend(_on_github(report, run.folder)))
    # The commands are our own, and what stands in them is escaped.
    shown = [harmless(redactor.text(line)) for line in lines]
    return shown + [redactor.text(command) for command in commands]


def report_of(run: Run, *, complete: bool, redux: Redux | None = None) -> Report:
    """A run's report from its store and the baselines it was compared with."""
    return build_report(
        run.store,
        run.id,
        complete=complete,
        baseline=lambda target, benchmark: find_baseline(
            run.settings.thresholds_dir, target, benchmark
        ),
        redux=redux,
        published=_published_scores(run.settings),
    )


def _published_scores(settings: Settings) -> Published | None:
    """The published scores that a report may show; a file with faults shows none."""
    path = settings.published or published_file(settings.thresholds_dir)
    with contextlib.suppress(CapgateError):
        return load_published(path, root=settings.root) if path.exists() else None
    return None


def find_baseline(thresholds: Path, target: str, benchmark: str = MMLU) -> Baseline | None:
    """A target's recorded baseline; None where there is none that can be read."""
    path = baseline_path(thresholds, target, benchmark)
    with contextlib.suppress(CapgateError):
        return load_baseline(path, benchmark=benchmark) if path.exists() else None
    return None


def redacted(report: Report, redactor: Redactor) -> Report:
    """A report without anything secret in it."""
    # Nearly all of a report are its comparisons, and what is redacted is copied: one at a time.
    rest = {n: one.model_copy(update={"comparisons": {}}) for n, one in report.benchmarks.items()}
    bare = report.model_copy(update={"comparisons": {}, "benchmarks": rest})
    clean = _redacted(bare, redactor)
    for before, after in zip(report.sections.values(), clean.sections.values(), strict=False):
        for target, comparison in before.comparisons.items():
            (name,) = redactor.data({target: ""})
            after.comparisons[name] = _redacted(comparison, redactor)
    return clean


def _redacted(model: _M, redactor: Redactor) -> _M:
    plain = model.model_dump(mode="json")
    data = redactor.data(plain)
    if data == plain:
        return model
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Words of ours, such as a label, that are a key as well: nothing else has a fixed form.
        for fault in error.errors(include_url=False):
            _put_back(data, plain, fault["loc"])
    return model.model_validate(data)


def _put_back(data: Any, plain: Any, place: tuple[int | str, ...]) -> None:  # noqa: ANN401
    for step in place[:-1]:
        # A step may also name which of two forms a value has.
        if not isinstance(data, dict) or step in data:
            data, plain = data[step], plain[step]
    data[place[-1]] = plain[place[-1]]


def write_data(report: Report, folder: Path) -> Path:
    """Writes a run's `report.json`.

    Raises:
        OSError: The folder can't be written.
    """
    path = folder / DATA
    write_atomically(path, report.model_dump_json(indent=2))
    return path


def write_page(report: Report, folder: Path, history: Path) -> Path:
    """Writes a run's `report.html`; where the trend can't be read, without it.

    Raises:
        OSError: The folder can't be written.
    """
    path = folder / PAGE
    entries: list[Entry] = []
    with contextlib.suppress(CapgateError):
        entries = read_history(history)
    write_atomically(path, render_html(report, entries))
    return path


def _send_alerts(report: Report, settings: Settings, redactor: Redactor) -> list[str]:
    return alerts.send_alerts(report, alert_urls(settings.root, settings.alerts), redactor)


def _on_github(report: Report, folder: Path) -> list[str]:
    """Adds to the job's summary and the step's outputs; under Actions, annotations as well."""
    github.write_summary(report)
    github.write_outputs(report, folder)
    return github.workflow_commands(report) if os.environ.get("GITHUB_ACTIONS") == "true" else []


def _told(what: str, write: Callable[[], list[str] | None]) -> list[str]:
    """What `write` returns, or a line that says why it could not be done."""
    try:
        return write() or []
    except (OSError, CapgateError) as error:
        return [f"NOT WRITTEN: {what}: {error}"]


def _write_result(folder: Path, target: str, result: Result) -> Path:
    stamp = result.timestamp.replace(":", "").replace("-", "")
    text = result.model_dump_json(indent=2)
    name = f"{result.benchmark}_{target}"
    path = folder / target / f"{name}_{stamp}.json"
    write_atomically(path, text)
    write_atomically(folder / target / f"{name}_latest.json", text)
    return path


__all__ = ["Report", "write_results"]
