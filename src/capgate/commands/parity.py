"""`capgate parity`: do an adapter on its base and its merged weights answer alike?

Both get the same questions, and the adapter gets them once more to measure how much it
differs from itself (servers are not deterministic under load). It fails where the merged
weights differ from the adapter on more questions than the adapter from itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from capgate.errors import ConfigError
from capgate.local import add_options, local_run, settings_of
from capgate.text import one_line

if TYPE_CHECKING:
    from capgate.answers import Answer
    from capgate.evaluation import Contestant
    from capgate.gate.stats import Interval
    from capgate.session import Run

FALSE_ALARM: Final = 0.05
"""Chance that equal models are called different."""

_SHOWN: Final = 20


@dataclass(frozen=True)
class Parity:
    """How two ways to serve one model compare.

    Attributes:
        n: Questions answered by all three.
        errors: Questions left out, as one of them has no answer.
        flips: Questions on which adapter and merged weights differ.
        noise: Questions on which the adapter differs from itself.
        interval: Confidence interval of the flips' share.
        p: Exact one-sided p-value of "no more flips than noise" (McNemar).
        same: Whether that stands.
    """

    n: int
    errors: int
    flips: int
    noise: int
    interval: Interval
    p: float
    same: bool


@dataclass(frozen=True)
class Flip:
    """A question that the two answer otherwise."""

    question: str
    subject: str
    adapter: str
    merged: str


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's options; `run` carries it out."""
    parser = subparsers.add_parser(
        "parity",
        help="compare an adapter on its base with its merged weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument(
        "--merged", required=True, metavar="TARGET", help="target that serves the merged weights"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Compares and prints; returns 0 where both answer alike, 1 where not.

    Raises:
        CapgateError: A target can't be asked.
    """
    names = options.capgate_adapter_name or []
    bases = options.capgate_model_id or []
    if len(names) != 1 or len(bases) != 1:
        raise ConfigError(
            "parity compares one adapter with one merged model",
            remedy="capgate parity --model-id BASE --adapter-name NAME --merged TARGET",
        )
    options.capgate_model_id = [*bases]
    settings = settings_of(options)
    with local_run(settings, further=(options.merged,)) as run:
        adapter = run.contestant(next(iter(run.targets)))
        merged = run.contestant(options.merged)
        first, second, again = _ask(run, adapter, merged)
        parity = compare(first, second, again)
        flips = _flips(first, second)
    if options.json:
        print(json.dumps(_plain(parity, flips), indent=2))
    else:
        _show(adapter.id, options.merged, parity, flips)
    return 0 if parity.same else 1


def compare(adapter: Sequence[Answer], merged: Sequence[Answer], again: Sequence[Answer]) -> Parity:
    """Compares answers to the same questions in the same order.

    Args:
        adapter: The adapter's.
        merged: The merged weights'.
        again: The adapter's once more.

    Raises:
        ConfigError: No question has an answer of all three.
    """
    from capgate.gate.stats import clopper_pearson, mcnemar_exact

    rows = list(zip(adapter, merged, again, strict=True))
    scored = [row for row in rows if all(answer.state.scored for answer in row)]
    if not scored:
        raise ConfigError(
            "no question was answered by both", remedy="see the faults in the run's logs"
        )
    differ = [_said(a) != _said(b) for a, b, _ in scored]
    waver = [_said(a) != _said(c) for a, _, c in scored]
    only_flips = sum(d and not w for d, w in zip(differ, waver, strict=True))
    only_noise = sum(w and not d for d, w in zip(differ, waver, strict=True))
    p = mcnemar_exact(only_flips, only_noise)
    return Parity(
        n=len(scored),
        errors=len(rows) - len(scored),
        flips=sum(differ),
        noise=sum(waver),
        interval=clopper_pearson(sum(differ), len(scored)),
        p=p,
        same=p > FALSE_ALARM,
    )


def _ask(
    run: Run, adapter: Contestant, merged: Contestant
) -> tuple[list[Answer], list[Answer], list[Answer]]:
    from capgate.secondlook import ask_again

    first: list[Answer] = []
    other: list[Answer] = []
    again: list[Answer] = []
    for subject, questions in run.selection(adapter.id).by_subject.items():
        if not questions:
            continue
        results = run.evaluator.answer(questions, [adapter, merged], shard=subject)
        first += results[adapter.id].answers
        other += results[merged.id].answers
        looks = ask_again(run.evaluator, questions, [adapter], name="again", shard=subject)
        again += looks[adapter.id].answers
    return first, other, again


def _said(answer: Answer) -> tuple[str, str]:
    return answer.state, answer.choice


def _flips(adapter: Sequence[Answer], merged: Sequence[Answer]) -> list[Flip]:
    return [
        Flip(a.question, a.subject, _shown(a), _shown(b))
        for a, b in zip(adapter, merged, strict=True)
        if _said(a) != _said(b)
    ]


def _shown(answer: Answer) -> str:
    return f"{answer.state} {answer.choice or one_line(answer.text, limit=60)}".rstrip()


def _plain(parity: Parity, flips: Sequence[Flip]) -> dict[str, Any]:
    return {
        **asdict(parity),
        "interval": parity.interval._asdict(),
        "flipped": [asdict(flip) for flip in flips],
    }


def _show(adapter: str, merged: str, parity: Parity, flips: Sequence[Flip]) -> None:
    share = parity.flips / parity.n
    low, high, level = parity.interval
    print(
        f"{'SAME' if parity.same else 'DIFFERENT'}: {adapter} and {merged} answer "
        f"{parity.flips} of {parity.n:,} questions otherwise ({share:.2%}, {100 * level:.3g} % "
        f"interval {low:.2%} to {high:.2%})"
    )
    print(
        f"  {adapter} differs from itself on {parity.noise} ({parity.noise / parity.n:.2%}); "
        f"no more flips than that: p = {parity.p:.2g}"
    )
    if parity.errors:
        print(f"  {parity.errors} questions have no answer of all three and are left out")
    for flip in flips[:_SHOWN]:
        print(f"  {flip.subject}  {flip.question[:12]}  {flip.adapter}  →  {flip.merged}")
    if len(flips) > _SHOWN:
        print(f"  … and {len(flips) - _SHOWN} more (--json lists all)")
