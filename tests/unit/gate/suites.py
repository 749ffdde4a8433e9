"""Answers to several benchmarks, for tests of the verdict over all of them."""

from __future__ import annotations

from collections.abc import Mapping

from capgate.common.answers import AnswerState as State
from capgate.gate import Part, Policy, benchmark_budget, decide_fixed
from capgate.gate.rows import Pair

LOST, GAINED = (State.CORRECT, State.WRONG), (State.WRONG, State.CORRECT)
SAME, UNREAD = (State.CORRECT, State.CORRECT), (State.CORRECT, State.UNPARSED)
MISSING = (State.CORRECT, State.ERROR)


def answers(
    name: str,
    n: int,
    *,
    lost: int = 0,
    gained: int = 0,
    unread: int = 0,
    missing: int = 0,
    group: str = "",
    tokens: tuple[int, int] = (0, 0),
    cut_off: int = 0,
) -> list[Pair]:
    """`n` questions of a benchmark or a group of it, so many of them of each kind."""
    kinds = [LOST] * lost + [GAINED] * gained + [UNREAD] * unread + [MISSING] * missing
    kinds += [SAME] * (n - len(kinds))
    return [
        Pair(
            f"{name}-{group}-{i}",
            group or name,
            *both,
            reference_tokens=tokens[0],
            candidate_tokens=tokens[1],
            candidate_cut_off=i >= n - cut_off,
        )
        for i, both in enumerate(kinds)
    ]


def part(
    name: str,
    rows: list[Pair],
    *,
    of: int,
    catch: float = 0.05,
    parents: Mapping[str, str] | None = None,
    groups: bool = False,
    advisory: bool = False,
    policy: Policy | None = None,
    apart: bool = False,
) -> Part:
    """One benchmark's part, judged at its share among `of` that decide."""
    suite = policy or Policy()
    own = suite.for_benchmark(name, catch, parents=parents or {})
    budget = benchmark_budget(suite, 1 if advisory else of, groups=groups, parents=bool(parents))
    verdict = decide_fixed(rows, own, domains=parents, budget=budget)
    return Part(name, verdict, advisory=advisory, apart=apart)
