"""A sweep's page: one file that opens offline and asks for nothing, with tables that sort."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from capgate.common.redact import Redactor
from capgate.gate.sweep import NO_EVIDENCE
from capgate.report.data.nouns import benchmark_name
from capgate.report.page.environment import csp_hash, page_environment, template_text
from capgate.report.page.view import SIGNS
from capgate.report.text.sweep_lines import (
    drop_text,
    headline,
    interval_text,
    training_line,
    worst_text,
)
from capgate.run.swept import Row, SweepResult, SweptBenchmark

_WORST: Final = ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS")


def render_sweep(result: SweepResult, command: str, redactor: Redactor) -> str:
    """A sweep's result as one HTML page.

    Args:
        result: The result.
        command: The command that repeats the sweep.
        redactor: Cuts out what is secret.
    """
    style = template_text("style.css") + template_text("sweep.css")
    script = template_text("sweep.js")
    kinds = [row.kind for row in result.rows] or ["ERROR"]
    kind = min(kinds, key=_WORST.index)
    if kind != "REGRESSION" and (result.fault or result.waiting):
        kind = "ERROR"
    several = len(result.benchmarks) > 1
    shown: dict[str, Any] = {
        "run": result.run,
        "base": result.base,
        "kind": kind,
        "title": headline(result),
        "fault": result.fault,
        "waiting": list(result.waiting),
        "adapters": result.adapters,
        "base_questions": result.base_questions,
        "base_tokens": result.base_tokens,
        "benchmarks": [benchmark_name(name) for name in result.benchmarks],
        "rows": [_row(row) for row in result.rows],
        "matrix": [_matrix_row(result, row) for row in result.rows] if several else [],
        "trainings": [
            {
                "name": one.name,
                "said": training_line(one).partition(" (")[0],
                "rows": [_row(row) for row in one.rows],
            }
            for one in result.trainings
        ],
        "level": f"{100 * result.level:.3g}",
        "needed": f"{result.needed:.2f}",
        "command": command,
    }
    return (
        page_environment()
        .get_template("sweep.html.j2")
        .render(
            **redactor.data(shown),
            sign=SIGNS[kind],
            signs=SIGNS,
            several=several,
            style=Markup(style),
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )
    )


def _row(row: Row) -> dict[str, Any]:
    """An adapter's row; numbers stand beside their texts, to sort by."""
    one = row.swept.loudest
    return {
        "kind": row.kind,
        "weight": _WORST.index(row.kind),
        "adapter": row.swept.adapter,
        "target": row.swept.target,
        "lost_on": [benchmark_name(name) for name in row.lost_on],
        "reasons": [] if row.kind == "PASS" else _reasons(row),
        "questions": row.swept.questions,
        "tokens": row.swept.tokens,
        "evidence": round(row.swept.log10_e, 2) if row.swept.log10_e > NO_EVIDENCE else None,
        **(_benchmark(one) if one else _NOTHING),
    }


_NOTHING: Final = {
    "benchmark": "–",
    "drop": "–",
    "drop_value": None,
    "interval": "–",
    "low": None,
    "losses": None,
    "gains": None,
    "n": 0,
    "worst": "–",
}


def _benchmark(one: SweptBenchmark) -> dict[str, Any]:
    return {
        "benchmark": benchmark_name(one.name),
        "drop": drop_text(one),
        "drop_value": one.drop,
        "interval": interval_text(one.interval),
        "low": one.interval["low"] if one.interval else None,
        "losses": one.losses,
        "gains": one.gains,
        "n": one.n,
        "worst": worst_text(one),
    }


def _reasons(row: Row) -> list[str]:
    several = len(row.swept.benchmarks) > 1
    of_benchmarks = [
        f"{benchmark_name(one.name)}: {reason}" if several else reason
        for one in row.swept.benchmarks
        if one.kind != "PASS"
        for reason in one.reasons
    ]
    return of_benchmarks or list(row.swept.reasons)


def _matrix_row(result: SweepResult, row: Row) -> dict[str, Any]:
    by_name = {one.name: one for one in row.swept.benchmarks}
    return {
        "adapter": row.swept.adapter,
        "kind": row.kind,
        "cells": [
            {
                **(_benchmark(one) if (one := by_name.get(name)) else _NOTHING),
                "lost": name in row.lost_on,
                "advisory": one is not None and one.advisory,
            }
            for name in result.benchmarks
        ],
    }
