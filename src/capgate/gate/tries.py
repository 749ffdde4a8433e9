"""What a run may spend of the error shares when its candidate was judged before.

A *try* is one quick run, one run of the whole benchmark, or a quick run and the full run that
follows it. It may spend the policy's shares: a quick run four fifths of them, the full run after
it one fifth, a full run by itself all. A further try on the same candidate, made because the last
verdict was not PASS, is a new random sample. So each may spend half of what the one before it
could, and all of them together less than twice the policy's shares, for any number of tries.

A run that finds the same answers in the same order is no further try: it repeats the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from capgate.gate.budget import QUICK_SHARE
from capgate.gate.verdict import VerdictKind

Kind = Literal["quick", "full"]

FULL_AFTER_QUICK: Final = 1.0 - QUICK_SHARE
"""Part of its shares that a full run spends where a quick run went before it."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run that judged the same candidate by the same reference and questions.

    Attributes:
        run: The run's id.
        kind: Quick or full.
        variant: What else decides which answers it used: a quick run's seed, a full one's limit.
        number: Which try on the candidate it was, from 1.
        share: Part of the shares of its kind that it could spend.
        after: The run that it followed; `""` for none.
        verdict: What it said.
    """

    run: str
    kind: Kind
    variant: str
    number: int
    share: float
    after: str
    verdict: VerdictKind


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run may spend.

    Attributes:
        number: Which try on the candidate it is, from 1.
        share: Part of the shares of its kind (`Budget.quick`, `Budget.whole`) that it may spend.
        after: The run that it follows; `""` for none.
        said: The verdict of that run.
    """

    number: int = 1
    share: float = 1.0
    after: str = ""
    said: VerdictKind | None = None

    @property
    def reason(self) -> str:
        """What a verdict says of it; `""` for a first run."""
        if not self.after:
            return ""
        what = f"the run {self.after} ({self.said or 'no verdict'})"
        part = f"It may spend {100 * self.share:.4g} % of the error shares"
        if self.number == 1:
            return f"It follows the quick run of the same candidate, {what}, on one budget. {part}."
        return (
            f"{_ordinal(self.number)} try on this candidate, after {what}. {part}: each try half "
            "of what the one before could."
        )


def allow(
    kind: Kind, variant: str, earlier: Sequence[Earlier], *, fresh: bool, beside_quick: bool = False
) -> Allowance:
    """Returns what a run may spend.

    Args:
        kind: Quick or full.
        variant: As of `Earlier`.
        earlier: Runs with a verdict on the same candidate, reference and questions, oldest first.
        fresh: Whether stored answers are left aside.
        beside_quick: Whether a quick run of the same session is being made beside it.
    """
    same = [one for one in earlier if (one.kind, one.variant) == (kind, variant)]
    if same and not fresh:
        last = same[-1]
        said = next((one.verdict for one in earlier if one.run == last.after), None)
        return Allowance(last.number, last.share, last.after, said)
    passed = [at for at, one in enumerate(earlier) if one.verdict == "PASS"]
    since = earlier[passed[-1] + 1 :] if passed else earlier
    before = since[-1] if since else None
    number = max((one.number for one in since), default=0)
    halves = [one.kind for one in since if one.number == number]
    if kind == "full" and halves and "full" not in halves:
        share = FULL_AFTER_QUICK
    else:
        number += 1
        share = FULL_AFTER_QUICK if beside_quick else 1.0
    share *= 0.5 ** (number - 1)
    if before is None:
        return Allowance(number, share)
    return Allowance(number, share, before.run, before.verdict)


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 <= 20 else ending}"
