"""Writing a run's results: by the controller alone, each file at once or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.baselines import Baseline, load_baseline
from capgate.config import Target, environment
from capgate.errors import CapgateError
from capgate.published import Published, load_published
from capgate.redact import Redactor
from capgate.report import alerts, github
from capgate.report.build import build_report
from capgate.report.history import FILE, Entry, add_run, read_history
from capgate.report.html import render_html
from capgate.report.result import Report, Result
from capgate.report.sweep import sweep
from capgate.report.terminal import logs_line, render_report

if TYPE_CHECKING:
    from capgate.report.redux import Redux
    from capgate.session import Run
    from capgate.settings import Settings

DATA: Final = "report.json"
PAGE: Final = "report.html"


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
    urls, problem = _alert_urls(settings)
    redactor = redactor_of(settings.root, _participants(run), urls)
    report = redacted(report_of(run, complete=complete), redactor)
    folder = settings.output_dir
    written: list[Path] = []
    try:
        for target, result in report.targets.items():
            written.append(_write_result(folder, target, result))
        written.append(write_data(report, run.folder))
        trend = _told("the trend", lambda: add_run(folder / FILE, report))
        written.append(write_page(report, run.folder, folder / FILE))
    except OSError as error:
        raise CapgateError(
            f"the results can't be written to {folder}",
            said=str(error),
            remedy="make it writable or name another with --output-dir; every answer is in the "
            "store, so that the next run asks none again",
        ) from None
    lines = render_report(report, written, root=settings.root)
    lines += [*trend, *problem]
    lines += _told("the logs without secrets", lambda: _sweep(run.folder, redactor))
    lines += alerts.send_alerts(report, urls, redactor)
    lines += logs_line(run.folder / "logs", settings.root)
    lines += _told("the step summary", lambda: _on_github(report))
    return [redactor.text(line) for line in lines]


def report_of(run: Run, *, complete: bool, redux: Redux | None = None) -> Report:
    """A run's report from its store and the baselines it was compared with."""
    return build_report(
        run.store,
        run.id,
        complete=complete,
        baseline=lambda target: find_baseline(run.settings.thresholds_dir, target),
        redux=redux,
        published=_published_scores(run.settings),
    )


def _published_scores(settings: Settings) -> Published | None:
    """The published scores that a report may show; a file with faults shows none."""
    path = settings.published or settings.thresholds_dir / "published.yaml"
    with contextlib.suppress(CapgateError):
        return load_published(path) if path.exists() else None
    return None


def find_baseline(thresholds: Path, target: str) -> Baseline | None:
    """A target's recorded baseline; None where there is none that can be read."""
    path = thresholds / "baselines" / f"{target}.json"
    with contextlib.suppress(CapgateError):
        return load_baseline(path) if path.exists() else None
    return None


def redacted(report: Report, redactor: Redactor) -> Report:
    """A report without anything secret in it."""
    return Report.model_validate(redactor.data(report.model_dump(mode="json")))


def redactor_of(root: Path, targets: Sequence[Target], urls: Sequence[str] = ()) -> Redactor:
    """What knows a project's secrets: its environment's, its targets' keys, its alert URLs."""
    found = environment(root)
    keys = [found.get(target.api_key_env or "", "") for target in targets]
    return Redactor.of_environment(found, [*keys, *urls])


def alert_urls(root: Path, named: Sequence[str]) -> tuple[str, ...]:
    """Where alerts go: the command line's URLs, `CAPGATE_ALERT_URL` and `config/alerts.yaml`.

    Raises:
        ConfigError: The file has faults, or names a variable that is not set.
    """
    from capgate.report.alert_file import urls_of_file

    found = environment(root)
    listed = found.get("CAPGATE_ALERT_URL", "").split()
    return tuple(dict.fromkeys([*named, *listed, *urls_of_file(root, found)]))


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


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: It can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")
        # mkstemp makes the file private; results are for everyone who may read the folder.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _participants(run: Run) -> list[Target]:
    # A run whose targets can't be read has asked nobody with a key.
    with contextlib.suppress(CapgateError):
        return list(run.participants.values())
    return []


def _sweep(folder: Path, redactor: Redactor) -> list[str]:
    changed = sweep(folder / "logs", redactor)
    logs = "log" if len(changed) == 1 else "logs"
    return [f"redacted: secrets or home folders in {len(changed)} {logs}"] if changed else []


def _on_github(report: Report) -> list[str]:
    """Adds to the job's summary; under GitHub Actions, the annotations are shown as well."""
    github.write_summary(report)
    return github.workflow_commands(report) if os.environ.get("GITHUB_ACTIONS") == "true" else []


def _told(what: str, write: Callable[[], list[str] | None]) -> list[str]:
    """What `write` returns, or a line that says why it could not be done."""
    try:
        return write() or []
    except (OSError, CapgateError) as error:
        return [f"NOT WRITTEN: {what}: {error}"]


def _alert_urls(settings: Settings) -> tuple[tuple[str, ...], list[str]]:
    """Where alerts go, and what is wrong with that; a verdict never waits for it."""
    try:
        return alert_urls(settings.root, settings.alerts), []
    except CapgateError as error:
        return settings.alerts, [f"alerts: {error}"]


def _write_result(folder: Path, target: str, result: Result) -> Path:
    stamp = result.timestamp.replace(":", "").replace("-", "")
    text = result.model_dump_json(indent=2)
    path = folder / target / f"mmlu_{target}_{stamp}.json"
    write_atomically(path, text)
    write_atomically(folder / target / f"mmlu_{target}_latest.json", text)
    return path


__all__ = ["Report", "write_atomically", "write_results"]
