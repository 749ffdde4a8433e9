"""Commands that a report shows: they find the run's own files."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from tests.unit.report.examples import red_report

from capgate.report.html import render_html
from capgate.report.repeat import logs_command, look_command, repeat_command
from capgate.report.result import Report
from capgate.settings import OPTIONS, Settings

ROOT = Path("/home/someone/project")


def asked(*arguments: str) -> Report:
    """A report of a run that was started with these options."""
    parser = argparse.ArgumentParser()
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.dest, **option.keywords)
    settings = Settings.from_options(parser.parse_args(arguments), ROOT)
    return red_report().model_copy(update={"settings": settings.describe()})


def test_the_run_is_repeated_with_its_files() -> None:
    """Every file and folder that was named is named again, relative to the project."""
    given = (
        *("--model-id", "mine", "--published", "pub.csv", "--policy", "ci/policy.yaml"),
        *("--subjects", "anatomy", "--output-dir", f"{ROOT}/out/x", "--store", "out/a b.sqlite"),
        *("--models-file", "m.yaml", "--thresholds-dir", "t"),
    )
    command = repeat_command(asked(*given))
    again = asked(*shlex.split(command)[4:])
    assert again.settings == asked(*given).settings
    assert "--output-dir out/x" in command
    assert str(ROOT) not in command


def test_a_file_elsewhere_is_shown_by_its_name_alone() -> None:
    """No report tells where on a machine a file outside the project lies."""
    report = asked("--published", "/home/other/pub.csv", "--store", "/srv/team/answers.sqlite")
    assert "--published '…/pub.csv'" in repeat_command(report)
    assert "other" not in json.dumps(report.settings)
    assert "team" not in json.dumps(report.settings)


def test_a_home_folder_is_left_to_the_shell() -> None:
    """A `~` in quotes would be no home folder."""
    report = asked("--dataset", "~/my data")
    assert "--dataset ~/'my data'" in repeat_command(report)


def test_the_run_is_looked_into_where_it_lies() -> None:
    """Commands for a run outside `reports/` name its folder; others stay short."""
    report = asked("--output-dir", "out/x")
    assert look_command(report, "triage", "latest") == "capgate triage latest --output-dir out/x"
    assert logs_command(report) == f"inspect view --log-dir out/x/{report.run}/logs"
    page = render_html(report)
    assert f"capgate triage {report.run} --output-dir out/x" in page
    assert f"inspect view --log-dir out/x/{report.run}/logs" in page
    assert look_command(red_report(), "triage", "latest") == "capgate triage latest"
