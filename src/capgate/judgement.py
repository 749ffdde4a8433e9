"""A judgement: the gate's verdict on a part of a target's run, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from capgate.evaluation import ShardResult
from capgate.gate.verdict import Verdict

PREFLIGHT: Final = "preflight"
SUITE: Final = "suite"
QUICK: Final = "quick"


@dataclass(frozen=True)
class Usage:
    """What answers cost.

    Attributes:
        questions: Answers that count.
        asked: Of them, asked for in this run.
        prompt_tokens: Tokens of the prompts asked.
        completion_tokens: Tokens of the answers had.
        seconds: Wall time of asking.
        cost: US dollars, where the server said.
    """

    questions: int
    asked: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None

    @classmethod
    def of(cls, results: Sequence[ShardResult]) -> Usage:
        """Adds up the usage of some shards' results."""
        answers = [answer for result in results for answer in result.answers]
        costs = [answer.cost for answer in answers if answer.cost is not None]
        return cls(
            questions=len(answers),
            asked=sum(result.asked for result in results),
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
            seconds=sum(result.seconds for result in results),
            cost=sum(costs) if costs else None,
        )


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it took.

    Attributes:
        target: The target's id.
        shard: A subject, `suite` or `quick`.
        verdict: The gate's verdict; None where it was measured and not judged.
        usage: What it took; None where nothing was asked or found.
        path: Where a quick run stood after each batch (`gate.live.Progress`, as plain values).
    """

    target: str
    shard: str
    verdict: Verdict | None
    usage: Usage | None
    path: tuple[dict[str, Any], ...] = ()

    def facts(self) -> dict[str, Any]:
        """Plain values for the store and reports."""
        usage = self.usage
        return {
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "usage": None if usage is None else asdict(usage),
            **({"path": list(self.path)} if self.path else {}),
        }
