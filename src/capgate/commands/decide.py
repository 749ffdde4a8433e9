"""`capgate decide`: the gate on answers made anywhere.

ROWS is jsonl or CSV with `question`, `subject`, `reference` and `candidate`; the latter two are
`correct`, `wrong`, `unparsed`, `error`, or 1/0. The exit code is the verdict's: PASS 0,
REGRESSION 1, INCONCLUSIVE 10, ERROR 11.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from capgate.commands.options import output_of
from capgate.common.answers import AnswerState
from capgate.common.errors import CapgateError, ConfigError, FileFault
from capgate.common.text import one_line

if TYPE_CHECKING:
    from capgate.gate import Pair, Policy, Verdict
    from capgate.gate.race import Orders

_COLUMNS: Final = ("question", "subject", "reference", "candidate")
_STATES: Final = {state.value: state for state in AnswerState} | {
    "1": AnswerState.CORRECT,
    "0": AnswerState.WRONG,
}
_SHOWN_FAULTS: Final = 20
_REMEDY: Final = (
    "each row needs question, subject, reference and candidate, the latter two as "
    "correct, wrong, unparsed, error, or 1/0"
)


_KEPT: Final = "surrogateescape"
"""How bytes that are no UTF-8 are read on, so that their line can be named."""

_NOT_TEXT: Final = "not UTF-8 text; save the file as UTF-8"


class _TwiceError(Exception):
    """A key that stands twice in one JSON object."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's options; `run` carries it out."""
    parser = subparsers.add_parser(
        "decide",
        help="judge per-question answers made anywhere",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        type=_positive,
        help="repeat the sequential rule over K random orders and report how it fared",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random orders (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judges the rows and prints the verdict; returns its exit code."""
    from capgate.gate import Verdict

    try:
        return _run(args)
    except CapgateError as error:
        out = output_of(args)
        verdict = Verdict.of_error(error, scope="quick" if _sequential(args) else "suite")
        if args.json:
            out.json(verdict.to_dict())
        out.error(f"ERROR: {error}")
        return verdict.exit_code


def _run(args: argparse.Namespace) -> int:
    from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
    from capgate.config.policy_file import load_policy, parse_policy
    from capgate.gate import decide_fixed

    if args.fixed and args.orders:
        raise ConfigError(
            "--orders repeats the sequential rule and can't be used with --fixed",
            remedy="leave one of them out",
        )
    policy = load_policy(args.policy) if args.policy else parse_policy(None)
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


def read_pairs(source: str) -> tuple[list[Pair], int]:
    """Reads a file of rows line by line.

    Args:
        source: Path of a jsonl or CSV file; `-` for standard input.

    Returns:
        The pairs in the file's order, and how many rows only repeated an earlier one.

    Raises:
        ConfigError: If the file can't be read or holds no rows; else with its faults, each
            named by its line.
    """
    from capgate.gate import Pair

    name = "standard input" if source == "-" else source
    pairs: dict[str, tuple[Pair, int]] = {}
    faults: list[FileFault] = []
    found = repeated = 0
    try:
        with (
            nullcontext(_standard_input())
            if source == "-"
            else Path(source).open(encoding="utf-8-sig", errors=_KEPT, newline="") as stream
        ):
            for line, row in _rows(stream):
                pair = _pair(row) if isinstance(row, Mapping) else row
                if isinstance(pair, Pair):
                    earlier = pairs.setdefault(pair.question, (pair, line))
                    if earlier[1] == line:
                        continue
                    if earlier[0][1:] == pair[1:]:
                        repeated += 1
                        continue
                    pair = (
                        f"this question stands in line {earlier[1]} {_otherwise(earlier[0], pair)}"
                    )
                found += 1
                if len(faults) < _SHOWN_FAULTS:
                    faults.append(FileFault(f"line {line}", pair))
    except OSError as error:
        raise ConfigError(
            f"{name} can't be read", said=error.strerror or str(error), remedy="check the path"
        ) from error
    if faults:
        more = f", the first {_SHOWN_FAULTS} are shown" if found > _SHOWN_FAULTS else ""
        lines = "1 faulty line" if found == 1 else f"{found} faulty lines"
        raise ConfigError(f"{name} can't be judged: {lines}{more}", faults=faults, remedy=_REMEDY)
    if not pairs:
        raise ConfigError(f"{name} holds no rows", remedy=_REMEDY)
    if len(pairs) == 1:
        line = next(iter(pairs.values()))[1]
        raise ConfigError(
            f"{name} holds one row",
            faults=[FileFault(f"line {line}", "a single question can't be judged")],
            remedy="give at least two; a few hundred before anything can be seen",
        )
    return [pair for pair, _ in pairs.values()], repeated


def _rows(stream: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yields each row with its line number; a string is what is wrong with the line."""
    lines = enumerate(stream, start=1)
    for number, line in lines:
        if line.strip():
            first = (number, line)
            break
    else:
        return
    rest = chain([first], lines)
    if first[1].lstrip().startswith(("{", "[")):
        for number, line in rest:
            if line.strip():
                yield number, _object(line) if _is_text(line) else _NOT_TEXT
        return
    yield from _csv_rows(rest)


def _csv_rows(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    header: list[str] = []
    for at, cells in _records(lines):
        if isinstance(cells, str):
            yield at, cells
            return
        if not header:
            header = [column.strip() for column in cells]
            if fault := _header_fault(header):
                yield at, fault
                return
        elif len(cells) != len(header):
            yield at, f"{len(cells)} cells under a header of {len(header)}"
        elif not all(map(_is_text, cells)):
            yield at, _NOT_TEXT
        else:
            yield at, dict(zip(header, cells, strict=True))


def _records(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str] | str]]:
    """Yields the cells of each record with the line it begins in; a fault is the last."""
    begins: int | None = None

    def text() -> Iterator[str]:
        nonlocal begins
        for number, line in lines:
            begins = begins or number
            yield line

    reader = csv.reader(text(), strict=True)
    while True:
        begins = None
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield (
                begins or 1,
                f"no valid CSV from here on: {error}; is a quote left open or astray?",
            )
            return
        if cells is None:
            return
        if cells:
            yield begins or 1, cells


def _header_fault(header: list[str]) -> str | None:
    if not all(map(_is_text, header)):
        return _NOT_TEXT
    if missing := [column for column in _COLUMNS if column not in header]:
        shown = one_line(", ".join(header), limit=120)
        return f"the header lacks {', '.join(missing)}; it has {shown}"
    if twice := [column for column in _COLUMNS if header.count(column) > 1]:
        return f"the header has {', '.join(twice)} more than once"
    return None


def _standard_input() -> TextIO:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors=_KEPT, newline="")
    return sys.stdin


def _is_text(read: str) -> bool:
    """Whether what was read is text, with no byte kept that was not UTF-8."""
    return read.isascii() or not any("\ud800" <= character <= "\udfff" for character in read)


def _object(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except _TwiceError as error:
        return f"the key {one_line(str(error), limit=40)!r} stands twice"
    except (ValueError, RecursionError) as error:
        return f"not a JSON object ({one_line(str(error), limit=80)})"
    return row if isinstance(row, dict) else "not a JSON object"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return row


def _otherwise(earlier: Pair, pair: Pair) -> str:
    if earlier.subject == pair.subject:
        return "with other answers"
    return f"under another subject, {one_line(earlier.subject, limit=40)}"


def _pair(row: Mapping[str, Any]) -> Pair | str:
    """Returns a row's pair, or what is wrong with it."""
    from capgate.gate import Pair

    names: list[str] = []
    for column in ("question", "subject"):
        given = row.get(column)
        if given is not None and (not isinstance(given, str | int) or isinstance(given, bool)):
            shown = one_line(str(given), limit=40)
            return f"the {column} is {shown}, neither a text nor a whole number"
        names.append("" if given is None else str(given).strip())
        if not names[-1]:
            return f"the {column} is empty"
        if not _is_text(names[-1]):
            return f"the {column} is {_NOT_TEXT}"
    sides: list[AnswerState] = []
    for column in ("reference", "candidate"):
        given = row.get(column)
        if given is None or given == "":
            return f"the {column} has no answer; both sides must answer the same questions"
        state = _STATES.get(str(int(given)) if isinstance(given, bool) else str(given).strip())
        if state is None:
            shown = one_line(str(given), limit=40)
            return f"{column} is {shown!r}, not correct, wrong, unparsed, error, 1 or 0"
        sides.append(state)
    return Pair(names[0], names[1], sides[0], sides[1])


def _sequential_verdict(
    pairs: list[Pair], policy: Policy, *, seed: int, orders: int | None
) -> tuple[Verdict, Orders | None]:
    import numpy as np

    from capgate.gate import Budget, SequentialGate, seeded_order
    from capgate.gate.race import BATCH, Scale, run_orders
    from capgate.gate.rows import code_row

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


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def main(argv: list[str] | None = None) -> int:
    """Runs the command by itself: `python -m capgate.commands.decide decide ROWS`."""
    parser = argparse.ArgumentParser(prog="capgate")
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(argv)
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
