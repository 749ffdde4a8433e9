"""The vectorised verdicts over several benchmarks beside the gate's own, on random answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gate_simulations import POLICY
from suite_simulations import (
    Bench,
    Draws,
    Floats,
    quick_runs,
    quick_suite,
    redrawn_moves,
    whole_runs,
)

from capgate.common.answers import AnswerState
from capgate.gate import Pair, Part, SequentialGate, combine_quick, decide_fixed, decide_suite
from capgate.gate.orders import BATCH

_SMALL = (
    Bench("a", (60,) * 6, 0.08, (0, 0, 0, 1, 1, 1)),
    Bench("b", (500,), 0.05),
    Bench("c", (150,) * 2, 0.1),
)


def check_suites(seed: int, *, times: int = 40) -> None:
    """Makes sure that the vectorised verdicts are the gate's own, on random answers.

    Raises:
        AssertionError: One is not.
    """
    rng = np.random.default_rng(seed)
    for _ in range(times):
        drops = [float(rng.choice([0.0, 0.0, bench.catch, 2 * bench.catch])) for bench in _SMALL]
        q = float(rng.uniform(0.02, 0.3))
        answers = [
            redrawn_moves([drop], [1], q, int(rng.integers(2**31)))(np.arange(1), 0, bench.n)[:, 0]
            for bench, drop in zip(_SMALL, drops, strict=True)
        ]
        for lost, unread, _, _ in answers:
            # A right answer is readable.
            unread[unread * lost < 0] = 0.0
        for quick in (False, True):
            ours, theirs = _vectorised(answers, quick=quick), _by_the_gate(answers, quick=quick)
            if ours != theirs:
                raise AssertionError(f"{drops} lost at {q:.2f}, {quick=}: {theirs}, not {ours}")


def _vectorised(answers: Sequence[Floats], *, quick: bool) -> str:
    if not quick:
        return str(
            whole_runs(_SMALL, [_counted(*one) for one in zip(_SMALL, answers, strict=True)])[0]
        )
    found = [
        quick_runs(
            bench,
            len(_SMALL),
            lambda going, start, end, mine=mine: mine[:, None, start:end],  # noqa: ARG005
            runs=1,
        )
        for bench, mine in zip(_SMALL, answers, strict=True)
    ]
    return str(quick_suite(_SMALL, found)[0])


def _counted(bench: Bench, answers: Floats) -> Draws:
    ends = np.cumsum(bench.sizes)[:-1]
    groups = np.split(answers[0], ends)
    both = [np.array([[(one == sign).sum() for one in groups]]) for sign in (1, -1)]
    turns = [np.array([[(one == 1).sum(), (one == -1).sum()]]) for one in answers[1:]]
    return Draws(*both, *turns)


def _by_the_gate(answers: Sequence[Floats], *, quick: bool) -> str:
    parts = []
    for bench, mine in zip(_SMALL, answers, strict=True):
        rows = _rows(bench, mine)
        policy = POLICY.for_benchmark(bench.name, bench.catch)
        budget = bench.budget(len(_SMALL), quick=quick)
        if quick:
            gate = SequentialGate(policy, population=bench.n, budget=budget)
            for start in range(0, bench.n, BATCH):
                if gate.update(rows[start : start + BATCH]):
                    break
            parts.append(Part(bench.name, gate.verdict))
        else:
            parents = {f"g{at}": f"p{parent}" for at, parent in enumerate(bench.parents)}
            verdict = decide_fixed(rows, policy, domains=parents, budget=budget)
            parts.append(Part(bench.name, verdict))
    return (combine_quick if quick else decide_suite)(parts, POLICY).kind


def _rows(bench: Bench, answers: Floats) -> list[Pair]:
    """Returns rows of these moves; losses and gains of unreadable answers are as drawn."""
    right, wrong, unread = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED
    groups = [f"g{at}" for at, size in enumerate(bench.sizes) for _ in range(size)]
    sides = {1: (right, wrong), -1: (wrong, right), 0: (wrong, wrong)}
    rows = []
    for at, (lost, became, longer, cut) in enumerate(answers.T.astype(int).tolist()):
        reference, candidate = sides[lost]
        if became > 0 and candidate is wrong:
            candidate = unread
        if became < 0 and reference is wrong:
            reference = unread
        rows.append(
            Pair(
                f"{bench.name}{at}",
                groups[at],
                reference,
                candidate,
                reference_cut_off=cut < 0,
                candidate_cut_off=cut > 0,
                reference_tokens=1000 if longer < 0 else 10,
                # So many that the mean grew wherever some answers did.
                candidate_tokens=100_000 if longer > 0 else 10,
            )
        )
    return rows
