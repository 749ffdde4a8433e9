"""Two real servers with LoRA answer for one base and its adapter."""

from __future__ import annotations

import contextlib
import sqlite3

import yaml
from tests.integration.conftest import no_traceback
from tests.integration.vllm.conftest import SECONDS, TARGET, Checkout, Taught, adapter_id
from tests.integration.vllm.test_faults import engine_of


def test_a_killed_replica_loses_nothing(alone: Checkout, taught: Taught) -> None:
    """Each loads and proves the adapter; SIGKILL ends one, and the verdict is as with one.

    This build mixes up base and adapter, so that each server is asked for one at a time.
    """
    file = alone.root / "config" / "models.yaml"
    entries = yaml.safe_load(file.read_text())
    entries[TARGET]["serve"]["replicas"] = 2
    alone.targets(**entries)
    process = alone.begin(taught.adapter("harmless"))
    alone.in_the_middle(process, 150)
    supervisors = alone.supervisors()
    assert len(supervisors) == 2
    engine_of(supervisors[0]).kill()
    outcome = process.finish(SECONDS)
    assert outcome.code == 0, outcome.text
    assert no_traceback(outcome.text)
    assert outcome.verdict(adapter_id("harmless")) == "PASS"
    assert "its endpoint replica" in outcome.text
    assert not alone.processes()
    assert alone.answered() == 2 * taught.questions
    with contextlib.closing(sqlite3.connect(alone.root / "reports" / "answers.sqlite")) as db:
        rows = db.execute("SELECT context, question, endpoint FROM answers").fetchall()
    assert len({row[:2] for row in rows}) == len(rows)
    assert {endpoint for _, _, endpoint in rows} == {"replica 1", "replica 2"}
    targets = alone.reports()[-1]["targets"]
    for target in (TARGET, adapter_id("harmless")):
        assert sum(targets[target]["endpoints"].values()) == taught.questions
        assert targets[target]["overall"]["errors"] == 0
