"""Runs on one candidate, one after the other: what each may spend, and that it says so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import TWO_SUBJECTS, Outcome, Project


def verdict_of(project: Project) -> dict[str, Any]:
    """The newest run's verdict, with the attempt it was."""
    report = project.reports()[-1]
    one = report["targets"]["double"]
    return {**one["verdict"], "attempt": one["attempt"], "seed": one["seed"]}


def run(project: Project, mode: str, *options: str) -> Outcome:
    """Judges eight questions, too few for most verdicts."""
    return project.pytest("benchmarks", "-m", mode, *TWO_SUBJECTS, *options)


@pytest.mark.slow
def test_runs_on_one_candidate_share_its_budget(project: Project, server: Server) -> None:
    """An undecided quick run leaves a fifth to the full run; another seed or --fresh halves it."""
    project.serve(server)
    project.floors(double=0.7)
    # By itself a full run passes: 8 of 8 right are unlikely enough at 68 %.
    assert run(project, "full", "--store", "other.sqlite").code == 0
    assert verdict_of(project)["attempt"]["share"] == 1.0

    quick = run(project, "quick")
    assert quick.code == 10, quick.text
    assert "reserved 0.01; miss 0.04 of 0.05" in quick.text
    first = verdict_of(project)
    assert first["attempt"] == {"number": 1, "share": 1.0, "after": "", "said": None}
    fingerprint = project.result()["fingerprint"]
    assert first["seed"] == int(fingerprint[:8], 16)
    before = project.reports()[-1]["run"]

    full = run(project, "full")
    assert full.code == 10, full.text
    assert f"follows the quick run of the same candidate, the run {before}" in full.text
    assert "spent before 0.04; miss 0.01 of 0.05" in full.text
    attempt = verdict_of(project)["attempt"]
    assert (attempt["number"], attempt["share"]) == (1, pytest.approx(0.2))

    other = run(project, "quick", "--seed", "5")
    assert "2nd try on this candidate, after the run" in other.text
    second = verdict_of(project)
    assert (second["seed"], second["attempt"]["number"], second["attempt"]["share"]) == (5, 2, 0.5)

    # Two workers judge subjects and suite: they agree on what the run may spend.
    again = run(project, "full", "--fresh", "-n", "2")
    assert again.code == 10, again.text
    attempt = verdict_of(project)["attempt"]
    assert (attempt["number"], attempt["share"]) == (2, pytest.approx(0.1))
