"""`capgate report`: a run's HTML report, made anew, and its forms for GitHub.

Makes RUN's report.html anew from its report.json. With --github also: comment.md beside it (one
comment, updated in place), the job's step summary where GITHUB_STEP_SUMMARY is set, and
annotations for the failed subjects. A run within GitHub Actions writes the latter two by itself;
--comment leaves them out. --pull-request writes the comment to GitHub, in place of an earlier one.
--wandb and --mlflow send the run's numbers, its groups and both files to a tracker; sent again,
the tracked run is brought up to date.
"""

from __future__ import annotations

import argparse
import os

from capgate.commands.finished_run import add_redux_options, add_run_argument, open_report
from capgate.commands.triage import with_redux
from capgate.common import exit_codes
from capgate.common.files import FileError, write_atomically
from capgate.common.output import Output
from capgate.config.secrets import project_redactor
from capgate.config.targets import environment
from capgate.report.data.history import FILE
from capgate.report.pull_request import post_comment
from capgate.report.text import github
from capgate.report.trackers.send import TRACKERS, TrackerError, send
from capgate.report.write import redacted, write_data, write_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_run_argument(parser)
    parser.add_argument("--github", action="store_true", help="write GitHub's forms as well")
    parser.add_argument("--comment", action="store_true", help="write comment.md alone of these")
    parser.add_argument(
        "--pull-request",
        metavar="N",
        type=_number,
        help="write the comment on this pull request, in place of an earlier run's (needs "
        "GH_TOKEN and GITHUB_REPOSITORY)",
    )
    for name, tracker in TRACKERS.items():
        parser.add_argument(
            f"--{name}",
            action="store_true",
            help=f"send the report to {tracker.name}, as its own variables ({tracker.prefix}…) say",
        )
    add_redux_options(parser)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no pull request's number")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Writes and tells what; returns 0, or ERROR's code where a tracker does not take it.

    Raises:
        CapgateError: There is no such run, the files can't be written, or GitHub does not take
            the comment.
    """
    report, folder, settings = open_report(options)
    redactor = project_redactor(settings)
    out = Output(lambda: redactor)
    if options.redux is not None:
        report = with_redux(report, options.redux, options.dataset_dir)
    report = redacted(report, redactor)
    try:
        if options.redux is not None:
            out.line(f"written: {write_data(report, folder)}")
        page = write_page(report, folder, settings.output_dir / FILE)
        out.line(f"written: {page}")
        text = redactor.text(github.comment(report))
        if options.github or options.comment or options.pull_request:
            comment = folder / "comment.md"
            write_atomically(comment, text)
            out.line(f"written: {comment}")
        if options.github:
            if summary := github.write_summary(report):
                out.line(f"added to: {summary.name}")
            for command in github.workflow_commands(report):
                out.workflow_command(command)
    except OSError as error:
        raise FileError(
            f"the report can't be written to {folder}", said=str(error), remedy="make it writable"
        ) from None
    if number := options.pull_request:
        replaced = post_comment(text, number, redactor, os.environ)
        out.line(f"{'replaced' if replaced else 'written'}: the comment on pull request {number}")
    code = exit_codes.PASS
    for name, tracker in TRACKERS.items():
        if getattr(options, name):
            try:
                variables = environment(settings.root)
                out.line(send(tracker, report, page, redactor, variables))
            except TrackerError as error:
                out.error(f"capgate: {error}")
                code = exit_codes.ERROR
    return code
