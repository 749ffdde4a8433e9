"""Commands that a report shows: they find the run's own files."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from tests.unit.report.examples import red_report

from capgate.config.run_options import OPTIONS
from capgate.config.settings import Settings
from capgate.report.data.result import Report
from capgate.report.page.html import render_html
from capgate.report.text.shown_commands import logs_command, look_command, repeat_command

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
    words = shlex.split(command)
    again = asked(*words[words.index("-m") + 2 :])
    assert again.settings == asked(*given).settings
    assert "--output-dir out/x" in command
    assert str(ROOT) not in command


def test_a_file_elsewhere_is_named_in_full() -> None:
    """A command that is shown can be run as it stands."""
    report = asked("--published", "/data/pub.csv", "--store", "/srv/the team/answers.sqlite")
    assert "--published /data/pub.csv" in repeat_command(report)
    for command in (repeat_command(report), look_command(report, "triage", report.run)):
        assert "--store '/srv/the team/answers.sqlite'" in command


def test_names_from_a_file_are_quoted() -> None:
    """A report may be another's; its run and target are words of a command and no more."""
    report = asked("--model-id", "mine").model_copy(update={"run": "$(touch x); r"})
    assert shlex.split(look_command(report, "show", report.run))[2] == report.run


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
