"""`capgate decide`: the gate on answers made anywhere.

ROWS is jsonl or CSV with `question`, `subject`, `reference` and `candidate`; the latter two are
`correct`, `wrong`, `unparsed`, `error`, or 1/0. The exit code is the verdict's: PASS 0,
REGRESSION 1, INCONCLUSIVE 10, ERROR 11.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
from capgate.commands.answer_rows import read_pairs
from capgate.commands.no_verdict import tell_no_verdict
from capgate.commands.options import add_json, output_of
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.option_values import positive
from capgate.config.policy_file import load_policy, parse_policy
from capgate.gate import Budget, Pair, Policy, SequentialGate, Verdict, decide_fixed, seeded_order
from capgate.gate.orders import BATCH, Orders, run_orders
from capgate.gate.readings import code_row
from capgate.gate.scale import Scale
from capgate.gate.verdict import Scope


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("rows", metavar="ROWS", help="jsonl or CSV file, - for standard input")
    parser.add_argument("--policy", metavar="FILE", type=Path, help="policy.yaml (else defaults)")
    parser.add_argument("--target", metavar="ID", help="apply this target's policy overrides")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument("--fixed", action="store_true", help="decide on all rows (the default)")
    rule.add_argument(
        "--sequential", action="store_true", help="stop as early as the answers allow"
    )
    parser.add_argument(
        "--orders",
        metavar="K",
        type=positive,
        help="repeat the sequential rule over K random orders and report how it fared",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random orders (default 0)")
    add_json(parser, ": one object")


def run(args: argparse.Namespace) -> int:
    """Judges the rows and prints the verdict; returns its exit code."""
    try:
        return _run(args)
    except CapgateError as error:
        form = dict if args.json else None
        scope: Scope = "quick" if _sequential(args) else "suite"
        return tell_no_verdict(output_of(args), error, scope, form)


def _run(args: argparse.Namespace) -> int:
    if args.fixed and args.orders:
        raise ConfigError(
            "--orders repeats the sequential rule and can't be used with --fixed",
            remedy="leave one of them out",
        )
    policy = load_policy(args.policy, root=Path.cwd()) if args.policy else parse_policy(None)
    if args.target:
        if args.target not in policy.targets:
            known = ", ".join(policy.targets) or "none"
            raise ConfigError(
                f"the policy overrides nothing for a target {args.target!r}; it names {known}",
                remedy="name one of these with --target, or leave --target out",
            )
        policy = policy.for_target(args.target)
    pairs, repeated = read_pairs(args.rows)
    out = output_of(args)
    if repeated:
        out.error(f"{repeated} rows repeat a question and its answers; counted once")
    orders: Orders | None = None
    if _sequential(args):
        verdict, orders = _sequential_verdict(pairs, policy, seed=args.seed, orders=args.orders)
    else:
        verdict = decide_fixed(pairs, policy, reference="baseline", domains=DOMAIN_OF)
    if args.json:
        out.json(_as_json(verdict, orders, args))
    else:
        out.lines(_lines(verdict, orders))
    return verdict.exit_code


def _sequential_verdict(
    pairs: list[Pair], policy: Policy, *, seed: int, orders: int | None
) -> tuple[Verdict, Orders | None]:
    position = {pair.question: index for index, pair in enumerate(pairs)}
    order = [position[question] for question in seeded_order(position, seed=seed)]
    gate = SequentialGate(
        policy,
        population=len(pairs),
        seed=seed,
        reference="baseline",
        fixed_rule="use `--fixed`",
    )
    for start in range(0, len(order), BATCH):
        if gate.update([pairs[index] for index in order[start : start + BATCH]]) is not None:
            break
    verdict = gate.finish("all rows were used")
    if not orders:
        return verdict, None
    coded = np.array([code_row(pair) for pair in pairs], dtype=np.int8).T
    budget = Budget.quick(policy)
    return verdict, run_orders(
        Scale.paired(), policy, budget, coded, orders=orders, seed=seed, first=order
    )


def _as_json(verdict: Verdict, orders: Orders | None, args: argparse.Namespace) -> dict[str, Any]:
    data = verdict.to_dict() | {"rule": "sequential" if _sequential(args) else "fixed"}
    if _sequential(args):
        data |= {"seed": args.seed}
    if orders is not None:
        data |= {
            "orders": {
                "count": orders.orders,
                "verdicts": orders.verdicts,
                "mean_questions": orders.mean_questions,
                "q90_questions": orders.q90_questions,
            }
        }
    return data


def _lines(verdict: Verdict, orders: Orders | None) -> Iterator[str]:
    yield f"{verdict.kind}: {verdict.reasons[0]}"
    for reason in verdict.reasons[1:]:
        yield f"  {reason}"
    if verdict.smallest_visible_drop is not None:
        yield f"  Smallest drop usually visible: {100 * verdict.smallest_visible_drop:.1f} points."
    if (found := verdict.unparsed) is not None and found.reference_rate is not None:
        yield f"  Unparsed: {found.candidate_rate:.2%}, reference {found.reference_rate:.2%}."
    if verdict.counts is not None and verdict.counts.errors:
        yield f"  Without an answer: {verdict.counts.errors}, {verdict.counts.error_rate:.2%}."
    if verdict.budget is not None and verdict.policy is not None:
        yield f"  Budget: {verdict.budget.describe(verdict.policy.miss)}."
    if orders is not None:
        shares = ", ".join(f"{kind} {share:.1%}" for kind, share in orders.verdicts.items())
        yield f"Over {orders.orders} random orders: {shares};"
        yield (
            f"  {orders.mean_questions:,.0f} questions on average, "
            f"at most {orders.q90_questions:,.0f} in nine of ten."
        )


def _sequential(args: argparse.Namespace) -> bool:
    return bool(args.sequential or args.orders)
