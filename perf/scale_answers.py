"""A run of many adapters: what each answer takes in the store, the judge and the reports."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perf.measuring import Command, Cost, cost_of, stand_in
from perf.scale_project import SUITE, TARGET, make_adapters, make_project

GROUPS: Final = 20
_JUDGED: Final = (0, 1, 10)


@dataclass(frozen=True)
class Figure:
    """What runs of one size took.

    Attributes:
        adapters: How many adapters were judged.
        asked: The run that asks.
        stored: The same run once more: all its answers are in the store.
        report: `capgate report` of it.
        triage: `capgate triage` of one of its adapters.
    """

    adapters: int
    asked: Cost
    stored: Cost
    report: Cost
    triage: Cost

    @property
    def answers(self) -> int:
        """Answers in the store."""
        return self.asked.questions

    def rows(self) -> Iterator[str]:
        """Lines of the table."""
        for name, cost in (
            ("asked, stored, judged, reported", self.asked),
            ("found in the store, judged, reported", self.stored),
            ("`capgate report`", self.report),
            ("`capgate triage` of one adapter", self.triage),
        ):
            yield (
                f"| {self.answers:,} | {self.adapters} | {name} | {cost.wall:.1f} | {cost.cpu:.1f} "
                f"| {1000 * cost.cpu / self.answers:.3f} | {cost.memory:.0f} |"
            )


HEAD: Final = (
    "| answers | adapters | what | wall, s | CPU, s | CPU ms an answer | peak MiB |\n"
    "|---|---|---|---|---|---|---|"
)


def measured(folder: Path, answers: int, questions: int) -> Figure:
    """Has a base and adapters answer questions.

    Args:
        folder: For the project.
        answers: Answers of all of them together.
        questions: Questions that the base and each adapter answer.

    Raises:
        SystemExit: A command failed, or an answer is missing or doubled.
    """
    adapters = answers // questions - 1
    with stand_in(0.0, "--adapters") as url:
        root = make_project(folder, {"base_url": url}, {"made-up": questions}, GROUPS)
        named = [f"--adapter-name={one}" for one in make_adapters(root / "adapters", adapters)]
        suite = ["-m", "full", "-q", "-n", "0", "--suite", SUITE, "--model-id", TARGET]
        arguments = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:hypothesispytest"]
        command = Command("a run", [*arguments, *suite, *named], root, answers, ends=_JUDGED)
        asked = _told(command)
        _checked(root, answers)
        stored = _told(command)
        _checked(root, answers)
    program = str(Path(sys.executable).with_name("capgate"))
    one = f"{TARGET}+kept-000"
    report = _told(Command("report", [program, "report", "latest"], root, answers))
    triage = [program, "triage", "latest", "--target", one]
    return Figure(adapters, asked, stored, report, _told(Command("triage", triage, root, answers)))


def _told(command: Command) -> Cost:
    cost = cost_of(command)
    print(
        f"{command.questions:,} answers, {command.name}: {cost.wall:.1f} s, {cost.cpu:.1f} s of "
        f"CPU, {cost.memory:.0f} MiB",
        file=sys.stderr,
    )
    return cost


def _checked(root: Path, answers: int) -> None:
    with closing(sqlite3.connect(root / "reports" / "answers.sqlite")) as db:
        query = "SELECT COUNT(*), COUNT(DISTINCT context || question) FROM answers"
        found = tuple(db.execute(query).fetchone())
    if found != (answers, answers):
        raise SystemExit(f"{found[0]:,} answers of {found[1]:,} questions, not {answers:,}")
