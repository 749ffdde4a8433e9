"""`capgate parity`: do an adapter on its base and its merged weights answer alike?

Both get the same questions, and the adapter gets them once more to measure how much it differs
from itself (servers are not deterministic under load). They are DIFFERENT if the merged weights
differ from the adapter on more questions than the adapter differs from itself.

Exit codes: SAME 0, DIFFERENT 1, INCONCLUSIVE 10 (too few questions to tell, or too many without an
answer), 11 if a server can't be asked, wrong usage 4.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from capgate.asking.ask_again import ask_again
from capgate.asking.progress import Count
from capgate.asking.ready_target import ReadyTarget
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.options import (
    add_json,
    add_options,
    one_benchmark,
    output_of,
    settings_of,
)
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.output import Output
from capgate.common.text import one_line
from capgate.gate.conclude import nothing_scored, too_many_errors, too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, Single, count_pairs, count_singles
from capgate.gate.stats import Interval, clopper_pearson, mcnemar_exact
from capgate.gate.verdict import EXIT_CODES
from capgate.run.run import Run
from capgate.run.standalone import local_run

FALSE_ALARM: Final = 0.05
"""Chance that equal models are called different."""

_SHOWN: Final = 20

Kind = Literal["SAME", "DIFFERENT", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Parity:
    """How two ways to serve one model compare.

    Attributes:
        kind: What is concluded.
        reason: Why it is INCONCLUSIVE; empty otherwise.
        n: Questions answered by all three.
        errors: Questions left out because one of the three has no answer.
        fault: The first such answer's fault.
        flips: Questions on which adapter and merged weights differ.
        noise: Questions on which the adapter differs from itself.
        interval: Confidence interval of the flips' share; None without a question.
        p: Exact one-sided p-value of "no more flips than noise" (McNemar).
    """

    kind: Kind
    reason: str
    n: int
    errors: int
    fault: str
    flips: int
    noise: int
    interval: Interval | None
    p: float


@dataclass(frozen=True)
class Flip:
    """A question that the two answer differently."""

    question: str
    subject: str
    adapter: str
    merged: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_options(parser, without={"--stored"})
    parser.add_argument(
        "--merged", required=True, metavar="TARGET", help="target that serves the merged weights"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Compares and prints; returns the exit code.

    Raises:
        ConfigError: The options do not name one adapter and one merged model.
    """
    try:
        kind = _run(options)
    except ConfigError:
        raise
    except CapgateError as error:
        output_of(options).error(f"ERROR: {error}")
        return EXIT_CODES["ERROR"]
    return {"SAME": 0, "DIFFERENT": 1, "INCONCLUSIVE": EXIT_CODES["INCONCLUSIVE"]}[kind]


def _run(options: argparse.Namespace) -> Kind:
    names = options.capgate_adapter_name or []
    bases = options.capgate_model_id or []
    if len(names) != 1 or len(bases) != 1:
        raise ConfigError(
            "parity compares one adapter with one merged model",
            remedy="capgate parity --model-id BASE --adapter-name NAME --merged TARGET",
        )
    settings = settings_of(options)
    benchmark = one_benchmark(settings, "parity")
    with local_run(settings, further=(options.merged,)) as run:
        (target,) = run.targets
        if options.merged == target:
            raise ConfigError(
                "it is the adapter itself, which has nothing to be compared with",
                target=options.merged,
                remedy="name the target that serves the merged weights with --merged",
            )
        adapter = run.ready_target(target)
        merged = run.ready_target(options.merged)
        answers = _ask(run, adapter, merged)
        parity = compare(*answers, run.policy(target))
        flips = _flips(*answers)
    out = output_of(options)
    if options.json:
        of = {} if benchmark == MMLU else {"benchmark": benchmark}
        out.json(of | _plain(parity, flips), indent=2)
    else:
        on = "" if benchmark == MMLU else f" on {benchmark}"
        _show(out, adapter.id, f"{options.merged}{on}", parity, flips)
    return parity.kind


def compare(
    adapter: Sequence[Answer], merged: Sequence[Answer], again: Sequence[Answer], policy: Policy
) -> Parity:
    """Compares answers to the same questions in the same order.

    Args:
        adapter: The adapter's.
        merged: The merged weights'.
        again: The adapter's once more.
        policy: Says how many questions may lack an answer.
    """
    rows = list(zip(adapter, merged, again, strict=True))
    # Texts in which nothing could be read are no agreement.
    scored = [row for row in rows if _scored(*row) and any(answer.state.readable for answer in row)]
    missing = [a for row in rows for a in row if not a.state.scored]
    counts = count_singles(
        Single(
            row[0].question,
            row[0].subject,
            row[0].state if _scored(*row) else AnswerState.ERROR,
        )
        for row in rows
    )
    both = count_pairs(
        Pair(a.question, a.subject, a.state, b.state, a.cut_off, b.cut_off) for a, b, _ in rows
    )
    differ = [_said(a) != _said(b) for a, b, _ in scored]
    waver = [_said(a) != _said(c) for a, _, c in scored]
    only_flips = sum(d and not w for d, w in zip(differ, waver, strict=True))
    only_noise = sum(w and not d for d, w in zip(differ, waver, strict=True))
    p = mcnemar_exact(only_flips, only_noise)
    reason = ""
    if not counts.n:
        reason = nothing_scored(counts)
    elif too_many := too_many_errors(counts, policy):
        reason = too_many
    elif unread := too_many_unread(both, policy, names=("the adapter", "the merged weights")):
        reason = unread
    elif mcnemar_exact(len(scored) - sum(waver), 0) > FALSE_ALARM:
        reason = (
            f"{len(scored)} questions are too few: had all been answered otherwise, that could "
            "still be chance."
        )
    kind: Kind = "SAME" if p > FALSE_ALARM else "DIFFERENT"
    return Parity(
        kind="INCONCLUSIVE" if reason else kind,
        reason=reason,
        n=len(scored),
        errors=counts.errors,
        fault=missing[0].text if missing else "",
        flips=sum(differ),
        noise=sum(waver),
        interval=clopper_pearson(sum(differ), len(scored)) if scored else None,
        p=p,
    )


def _ask(
    run: Run, adapter: ReadyTarget, merged: ReadyTarget
) -> tuple[list[Answer], list[Answer], list[Answer]]:
    count = Count(
        f"{adapter.id} twice, and {merged.id}",
        3 * len(run.selection(adapter.id)),
        "answers",
        run.say,
    )
    first: list[Answer] = []
    other: list[Answer] = []
    again: list[Answer] = []
    for shard, results in run.evaluator.answer_each(
        run.batches(adapter.id), [adapter, merged], count.answer
    ):
        first += results[adapter.id].answers
        other += results[merged.id].answers
        looks = ask_again(
            run.evaluator,
            shard.questions,
            [adapter],
            look="repeat",
            name=shard.name,
            progress=count.answer,
        )
        again += looks[adapter.id].answers
    run.evaluator.finish([adapter, merged])
    return first, other, again


def _scored(*answers: Answer) -> bool:
    return all(answer.state.scored for answer in answers)


def _said(answer: Answer) -> tuple[str, str]:
    return answer.state, answer.choice


def _flips(
    adapter: Sequence[Answer], merged: Sequence[Answer], again: Sequence[Answer]
) -> list[Flip]:
    return [
        Flip(a.question, a.subject, _shown(a), _shown(b))
        for a, b, c in zip(adapter, merged, again, strict=True)
        if _scored(a, b, c) and _said(a) != _said(b)
    ]


def _shown(answer: Answer) -> str:
    return f"{answer.state} {answer.choice or one_line(answer.text, limit=60)}".rstrip()


def _plain(parity: Parity, flips: Sequence[Flip]) -> dict[str, Any]:
    return {
        **asdict(parity),
        "interval": parity.interval._asdict() if parity.interval else None,
        "flipped": [asdict(flip) for flip in flips],
    }


def _show(out: Output, adapter: str, merged: str, parity: Parity, flips: Sequence[Flip]) -> None:
    out.line(f"{parity.kind}: {adapter} and {merged}")
    if parity.reason:
        out.line(f"  {parity.reason}")
    if parity.interval:
        low, high, level = parity.interval
        out.line(
            f"  {parity.flips} of {parity.n:,} questions are answered otherwise "
            f"({parity.flips / parity.n:.2%}, {100 * level:.3g} % interval {low:.2%} to {high:.2%})"
        )
        out.line(
            f"  {adapter} differs from itself on {parity.noise} ({parity.noise / parity.n:.2%}); "
            f"no more flips than that: p = {parity.p:.2g}"
        )
    if parity.errors:
        out.line(f"  {parity.errors} questions have no answer of all three and are left out; one:")
        out.line(f"  {one_line(parity.fault, limit=400)}")
    for flip in flips[:_SHOWN]:
        out.line(f"  {flip.subject}  {flip.question[:12]}  {flip.adapter}  →  {flip.merged}")
    if len(flips) > _SHOWN:
        out.line(f"  … and {len(flips) - _SHOWN} more (--json lists all)")
