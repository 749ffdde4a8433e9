"""`capgate decide`: the gate on answers made anywhere.

ROWS is jsonl or CSV with `question`, `subject`, `reference` and `candidate`; the latter two are
`correct`, `wrong`, `unparsed`, `error`, or 1/0. With a column `benchmark` the rows of several
benchmarks get one verdict; `subject` is a benchmark's group then, and may be empty. Of rows with
one `cluster`, such as the questions on one passage, one is judged. `reference_tokens` and
`candidate_tokens` tell how long answers are.

With CANDIDATE, both are logs that another harness wrote: ROWS is the reference's, CANDIDATE the
candidate's. Each is a folder or file of Inspect (.eval, .json), of lm-evaluation-harness
(--log_samples), or of NeMo Evaluator. They are compared question by question, and several tasks
get one verdict. No model is asked.

The exit code is the verdict's: PASS 0, REGRESSION 1, INCONCLUSIVE 10, ERROR 11.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.answer_rows import Rows, read_rows
from capgate.commands.judge_logs import add_log_options, judge_logs, refuse_log_options
from capgate.commands.no_verdict import tell_no_verdict
from capgate.commands.options import add_json, output_of
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.output import Output
from capgate.common.text import one_line
from capgate.config.benchmarks_file import load_benchmarks, shipped_benchmarks
from capgate.config.option_values import positive
from capgate.config.policy_file import load_policy, parse_policy
from capgate.gate import Pair, Verdict, seeded_order
from capgate.gate.orders import Orders, run_orders
from capgate.gate.policy import Policy
from capgate.gate.readings import code_row
from capgate.gate.rows import one_of_each
from capgate.gate.scale import Scale
from capgate.gate.suite import combine_quick, decide_suite
from capgate.gate.suite_verdict import Part
from capgate.gate.verdict import Scope
from capgate.report.text.suite_lines import suite_lines
from capgate.run.judge_rows import Rules, judge_fixed, judge_in_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "reference", metavar="ROWS", help="jsonl or CSV file, - for standard input; or a log"
    )
    parser.add_argument(
        "candidate", metavar="CANDIDATE", nargs="?", help="the candidate's log; ROWS is one too"
    )
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
    parser.add_argument(
        "--benchmark",
        dest="capgate_benchmark",
        action="append",
        metavar="NAME",
        help="of two logs, judge only this task or group of tasks (repeatable; default: all)",
    )
    add_log_options(parser)
    add_json(parser, ": one object")


def run(args: argparse.Namespace) -> int:
    """Judges the rows and prints the verdict; returns its exit code."""
    try:
        return _run(args)
    except CapgateError as error:
        form: Callable[[dict[str, Any]], Any] | None = dict if args.json else None
        if args.json and args.candidate is not None:
            form = lambda verdict: {"verdict": verdict}  # noqa: E731
        scope: Scope = "quick" if _sequential(args) else "suite"
        return tell_no_verdict(output_of(args), error, scope, form)


def _run(args: argparse.Namespace) -> int:
    if args.fixed and args.orders:
        raise ConfigError(
            "--orders repeats the sequential rule and can't be used with --fixed",
            remedy="leave one of them out",
        )
    logs = args.candidate is not None
    policy = parse_policy(None)
    if args.policy:
        policy = load_policy(args.policy, root=Path.cwd(), others=logs)
    if args.target:
        if args.target not in policy.targets:
            known = ", ".join(policy.targets) or "none"
            raise ConfigError(
                f"the policy overrides nothing for a target {args.target!r}; it names {known}",
                remedy="name one of these with --target, or leave --target out",
            )
        policy = policy.for_target(args.target)
    out = output_of(args)
    if logs:
        return _logs(args, out, policy)
    if _is_log(args.reference):
        what = "a directory" if Path(args.reference).is_dir() else "a log"
        raise ConfigError(
            f"{args.reference} is {what}, and the log of one run can't be judged by itself",
            remedy="name two: capgate decide REFERENCE CANDIDATE",
        )
    if args.capgate_benchmark:
        raise ConfigError(
            "--benchmark chooses among the tasks of two logs, and rows were given",
            remedy="leave it out, or give the rows of that benchmark",
        )
    refuse_log_options(args)
    rows = read_rows(args.reference)
    if rows.repeated:
        out.error(f"{rows.repeated} rows repeat a question and its answers; counted once")
    rows = _one_of_each_cluster(rows, args.seed, out)
    names = [name or MMLU for name in rows.pairs]
    named = any(rows.pairs)
    # Rows that name no benchmark are MMLU's, judged by the policy alone.
    entries = (load_benchmarks(Path.cwd()) if named else shipped_benchmarks()).entries
    rules = Rules(policy, entries, names)
    if len(names) > 1:
        return _several(args, out, rows, rules)
    (benchmark,), (pairs,) = names, rows.pairs.values()
    orders: Orders | None = None
    if _sequential(args):
        verdict = judge_in_order(pairs, rules, benchmark, seed=args.seed)
        if args.orders:
            orders = _orders(pairs, rules, benchmark, seed=args.seed, orders=args.orders)
    else:
        verdict = judge_fixed(pairs, rules, benchmark)
    if args.json:
        of = {"benchmark": benchmark} if named else {}
        out.json(of | _as_json(verdict.to_dict(), orders, args))
    else:
        out.lines(_lines(verdict, orders))
    return verdict.exit_code


def _logs(args: argparse.Namespace, out: Output, policy: Policy) -> int:
    """Judges one log by another; prints the verdict and returns its exit code."""
    if args.orders:
        raise ConfigError(
            "--orders repeats the sequential rule on rows, not on logs", remedy="leave it out"
        )
    entries = load_benchmarks(Path.cwd()).entries
    sequential = _sequential(args)
    return judge_logs(args, out, policy, entries, seed=args.seed, sequential=sequential)


def _is_log(name: str) -> bool:
    return name != "-" and (Path(name).is_dir() or name.endswith(".eval"))


def _one_of_each_cluster(rows: Rows, seed: int, out: Output) -> Rows:
    """Returns the rows with one question of each cluster, which the gate's tests need."""
    kept: dict[str, list[Pair]] = {}
    for name, pairs in rows.pairs.items():
        chosen = set(one_of_each({pair.question: pair.cluster for pair in pairs}, seed=seed))
        kept[name] = [pair for pair in pairs if pair.question in chosen]
        if left := len(pairs) - len(chosen):
            of = f" of {one_line(name, limit=40)}" if name else ""
            out.error(
                f"{left:,} rows{of} share a cluster with another; one question of each cluster is "
                "judged, since answers on one text depend on each other"
            )
    return replace(rows, pairs=kept)


def _several(args: argparse.Namespace, out: Output, rows: Rows, rules: Rules) -> int:
    """Judges the rows of several benchmarks; prints one verdict and returns its exit code."""
    if args.orders:
        raise ConfigError(
            f"--orders repeats the sequential rule on one benchmark, and the rows are of "
            f"{len(rows.pairs)}",
            remedy="give it the rows of one",
        )
    verdicts = {
        name: judge_in_order(pairs, rules, name, seed=args.seed)
        if _sequential(args)
        else judge_fixed(pairs, rules, name)
        for name, pairs in rows.pairs.items()
    }
    parts = [
        Part(name, verdict, advisory=rules.is_advisory(name), apart=rules.asks_again(name))
        for name, verdict in verdicts.items()
    ]
    suite = (combine_quick if _sequential(args) else decide_suite)(parts, rules.policy)
    if args.json:
        own = {name: verdict.to_dict() for name, verdict in verdicts.items()}
        out.json(_as_json(suite.to_dict(), None, args) | {"verdicts": own})
    else:
        out.lines(suite_lines(suite))
    return suite.exit_code


def _orders(
    pairs: Sequence[Pair], rules: Rules, benchmark: str, *, seed: int, orders: int
) -> Orders:
    """How the sequential rule fares over random orders of the rows."""
    position = {pair.question: index for index, pair in enumerate(pairs)}
    order = [position[question] for question in seeded_order(position, seed=seed)]
    coded = np.array([code_row(pair) for pair in pairs], dtype=np.int8).T
    parents = rules.parents(benchmark)
    budget = rules.budget(benchmark, [], parents, quick=True)
    policy = rules.of(benchmark, parents)
    return run_orders(Scale.paired(), policy, budget, coded, orders=orders, seed=seed, first=order)


def _as_json(
    verdict: dict[str, Any], orders: Orders | None, args: argparse.Namespace
) -> dict[str, Any]:
    data = verdict | {"rule": "sequential" if _sequential(args) else "fixed"}
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
