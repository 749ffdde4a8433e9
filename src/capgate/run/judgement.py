"""A judgement: the gate's verdict on a part of a target's run, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from capgate.asking.ready_target import ShardResult
from capgate.gate.verdict import Verdict
from capgate.store.answer_rows import Stored
from capgate.store.shard import Shard

Mode = Literal["full", "quick"]
"""What a run is asked for: the whole benchmark subject by subject, or a growing sample of it."""


QUICK_LOOK: Final = 10
"""Questions of a quick run without a limit that only measures."""


@dataclass(frozen=True)
class Usage:
    """What answers cost.

    Attributes:
        questions: Answers that count.
        asked: Of them, asked for in this run.
        answered: Of them, answered; the others ended without an answer or were not put.
        prompt_tokens: Tokens of the prompts asked.
        completion_tokens: Tokens of the answers.
        seconds: Wall time of asking.
        cost: US dollars, where the server said.
    """

    questions: int
    asked: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None
    answered: int

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
            answered=sum(answer.state.scored for answer in answers),
        )

    @classmethod
    def of_run(cls, used: Sequence[Stored], run: str, chosen: int) -> Usage:
        """Adds up what a target used of the store in a run, over all processes that asked.

        Args:
            used: The answers that the run used.
            run: The run's id.
            chosen: How many questions it was to put.
        """
        answers = [one.answer for one in used]
        costs = [answer.cost for answer in answers if answer.cost is not None]
        return cls(
            questions=chosen,
            asked=sum(one.run == run and one.answer.state.scored for one in used),
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
            seconds=0.0,
            cost=sum(costs) if costs else None,
            answered=sum(answer.state.scored for answer in answers),
        )


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it took.

    Attributes:
        target: The target's id.
        shard: What was judged.
        verdict: The gate's verdict; None where it was measured and not judged.
        usage: What it took; None where nothing was asked or found.
        path: Where a quick run stood after each batch (`gate.progress.Progress`, as plain values).
        begin_in_thought: Of a preflight, the targets whose prompts begin a thought.
    """

    target: str
    shard: Shard
    verdict: Verdict | None
    usage: Usage | None
    path: tuple[dict[str, Any], ...] = ()
    begin_in_thought: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Plain values for the store and reports."""
        usage = self.usage
        return {
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "usage": None if usage is None else asdict(usage),
            **({"path": list(self.path)} if self.path else {}),
            **({"begin_in_thought": list(named)} if (named := self.begin_in_thought) else {}),
        }
