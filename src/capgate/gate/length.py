"""Whether a candidate's answers became several times longer, or are cut off more often.

Paired, question by question. Of a model that did not change an answer is as likely to be several
times longer than the reference's as it is to be as many times shorter; so the questions that are
either are coin tosses, and a sign test on them bounds false alarms. The same holds for answers
that the token limit ended on one side only. A test alone does not fail: the mean length must have
grown as often as `max_length_increase` says, or the share of answers cut off by
`max_unparsed_increase`.

Where tokens are not known on both sides, such as beside a baseline of MMLU, only answers that are
cut off and unreadable count as cut off.

A missing answer counts as one that became shorter and is not cut off any more, so no failure
rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from capgate.gate import stats
from capgate.gate.policy import LENGTH_INCREASE, Policy
from capgate.gate.rows import Pair
from capgate.gate.scale import Scale
from capgate.gate.stats import Floats
from capgate.gate.verdict import Evidence, LengthFinding, is_longer

NO_LONGER: Final = "answers are no longer"
NOT_CUT_OFF: Final = "no more answers are cut off"

_KNOWN: Final = 0.5
"""Share of the answers whose tokens must be known."""
_DIFFERING: Final = 0.05
"""Share of questions with a difference on one side alone, until the answers say."""
_GAP: Final = 0.1
"""Net share of answers that became longer, which a quick run's bets look for."""


class _Moves(NamedTuple):
    """What became of each question's answer: 1 where it is worse, −1 where it is better, else 0.

    Attributes:
        length: Several times longer, or shorter; shape `(questions,)`.
        cut_off: Newly cut off, or no more.
        known: Of the questions with an answer on both sides, whether both lengths are known.
        tokens: Tokens of both sides where they are known, shape `(known questions, 2)`.
        cut: Shares of the answers that were cut off: the reference's and the candidate's.
    """

    length: Floats
    cut_off: Floats
    known: float
    tokens: Floats
    cut: tuple[float, float]


def judge_length(pairs: Sequence[Pair], policy: Policy, share: float) -> LengthFinding | None:
    """Judges all answers at once, by exact sign tests; None where nothing is scored.

    Args:
        pairs: Both sides' answers.
        policy: Holds the limits.
        share: Of both tests together; each has half. 0 tests nothing.
    """
    moves = _moves(pairs, _limit(policy))
    if moves is None or not share:
        return None
    length, cut_off = (
        Evidence.from_p(
            hypothesis,
            "exact sign test",
            stats.mcnemar_exact(int((found > 0).sum()), int((found < 0).sum())),
            share / 2.0,
        )
        for hypothesis, found in ((NO_LONGER, moves.length), (NOT_CUT_OFF, moves.cut_off))
    )
    return _finding(moves, policy, length, cut_off)


def judge_length_in_play(
    pairs: Sequence[Pair], policy: Policy, share: float
) -> LengthFinding | None:
    """Judges the answers of a quick run when it stops, by e-processes: valid whenever it does.

    Args:
        pairs: Both sides' answers in the order drawn.
        policy: Holds the limits.
        share: Of both tests together; each has half. 0 tests nothing.
    """
    moves = _moves(pairs, _limit(policy))
    if moves is None or not share:
        return None
    length, cut_off = (
        _in_play(hypothesis, found, gap, share / 2.0)
        for hypothesis, found, gap in (
            (NO_LONGER, moves.length, _GAP),
            (NOT_CUT_OFF, moves.cut_off, policy.max_unparsed_increase),
        )
    )
    return _finding(moves, policy, length, cut_off)


def _in_play(hypothesis: str, moves: Floats, gap: float, share: float) -> Evidence:
    process = Scale(-1.0, 1.0, 0.0, _DIFFERING).against_at_most(0.0, gap=gap, share=share)
    process.update(moves[None, :])
    return Evidence.from_log_e(hypothesis, "betting e-process", float(process.log_peak[0]), share)


def _limit(policy: Policy) -> float:
    return policy.max_length_increase or LENGTH_INCREASE


def _moves(pairs: Sequence[Pair], limit: float) -> _Moves | None:
    length, cut_off, tokens = np.zeros(len(pairs)), np.zeros(len(pairs)), []
    scored = cut_reference = cut_candidate = 0
    for at, row in enumerate(pairs):
        if not (row.reference.scored and row.candidate.scored):
            length[at] = cut_off[at] = -1.0
            continue
        scored += 1
        theirs, ours = row.reference_tokens, row.candidate_tokens
        known = bool(theirs and ours)
        # A baseline of MMLU tells no tokens, and of unreadable answers alone whether they were
        # cut off.
        before = row.reference_cut_off and (known or not row.reference.readable)
        now = row.candidate_cut_off and (known or not row.candidate.readable)
        cut_reference += before
        cut_candidate += now
        cut_off[at] = int(now) - int(before)
        if known:
            tokens.append((theirs, ours))
            length[at] = is_longer(ours, theirs, limit) - is_longer(theirs, ours, limit)
    if not scored:
        return None
    cut = (cut_reference / scored, cut_candidate / scored)
    return _Moves(length, cut_off, len(tokens) / scored, np.array(tokens, dtype=float), cut)


def _finding(moves: _Moves, policy: Policy, length: Evidence, cut_off: Evidence) -> LengthFinding:
    known = moves.known >= _KNOWN
    means = moves.tokens.mean(axis=0) if known else (None, None)
    found = LengthFinding(
        n=len(moves.tokens),
        reference_tokens=None if means[0] is None else float(means[0]),
        candidate_tokens=None if means[1] is None else float(means[1]),
        limit=_limit(policy),
        longer=int((moves.length > 0).sum()),
        shorter=int((moves.length < 0).sum()),
        evidence=length if known else None,
        reference_cut_off=moves.cut[0],
        candidate_cut_off=moves.cut[1],
        cut_off_limit=policy.max_unparsed_increase,
        cut_off_evidence=cut_off,
        grew=False,
        cut_off=False,
    )
    return replace(
        found,
        grew=known and length.rejected and found.large,
        cut_off=cut_off.rejected and found.many_cut_off,
    )


def length_reason(finding: LengthFinding) -> str:
    """Returns why answers that became longer, or are cut off, fail the gate."""
    said: list[str] = []
    if finding.grew:
        said.append(
            f"Answers became longer: {finding.candidate_tokens:,.0f} tokens on average, the "
            f"reference's {finding.reference_tokens:,.0f}; {finding.limit:g} times as many fail "
            f"(max_length_increase); {finding.evidence}."
        )
    if finding.cut_off:
        said.append(
            f"Answers are cut off at the token limit: {finding.candidate_cut_off:.1%} (the "
            f"reference's {finding.reference_cut_off:.1%}); {finding.cut_off_evidence}."
        )
    return " ".join(said)
