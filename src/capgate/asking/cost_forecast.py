"""What a run's questions will cost on OpenRouter, told before they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from capgate.asking.ready_target import ReadyTarget
from capgate.asking.token_guesses import likely_tokens_of_question, most_tokens_of_question
from capgate.benchmarks.questions import Question
from capgate.common.text import format_dollars
from capgate.config.settings import Settings
from capgate.serving.openrouter import Offer
from capgate.store.answer_store import Store

_PREFLIGHT: Final = "Which of these numbers is even?" + "\n3" * 4
"""As long as the preflight's question and its choices."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What questions will cost, in US dollars.

    Attributes:
        likely: What is to be expected.
        most: The most it can be; None where a provider that may answer lists no price.
    """

    likely: float
    most: float | None

    def __str__(self) -> str:
        most = (
            "no upper bound is known"
            if self.most is None
            else f"at most {format_dollars(self.most)}"
        )
        return f"about {format_dollars(self.likely)} ({most})"


def estimate(
    texts: Sequence[str], offer: Offer, *, max_tokens: int, mean_cost: float | None
) -> Estimate | None:
    """Estimates what questions will cost; None where their price is unknown.

    Args:
        texts: What is to be asked, with its choices and without the task's instructions.
        offer: What OpenRouter lists for the model.
        max_tokens: Most tokens of an answer.
        mean_cost: What this target's earlier answers cost on average, if there are any.
    """
    price, dearest = offer.price, offer.dearest
    if price is None and mean_cost is None:
        return None
    likely = most = 0.0
    for text in texts:
        if price is not None:
            likely += price.of(*likely_tokens_of_question(text, max_tokens))
        if dearest is not None:
            most += dearest.of(*most_tokens_of_question(text, max_tokens))
    if mean_cost is not None:
        likely = len(texts) * mean_cost
    return Estimate(likely, None if dearest is None else max(most, likely))


def forecast(
    target: ReadyTarget,
    chosen: Sequence[Question],
    store: Store,
    run: str,
    settings: Settings,
    *,
    preflight: bool,
) -> str | None:
    """The line that tells what a target's questions will cost; None where they cost nothing.

    Args:
        target: The target.
        chosen: All that the run may come to ask.
        store: Where answers that need not be asked for are found.
        run: The run's id.
        settings: The run's settings.
        preflight: Whether its preflight asks one more.
    """
    offer = target.endpoint.offer
    if offer is None:
        return None
    hashes = [question.hash for question in chosen]
    found = store.find(target.context, hashes, run=run, fresh=settings.fresh)
    texts = [_text(question) for question in chosen if question.hash not in found]
    if not texts and not preflight:
        return None
    expected = estimate(
        [*texts, *([_PREFLIGHT] if preflight else [])],
        offer,
        max_tokens=settings.max_tokens,
        mean_cost=store.mean_cost(target.context),
    )
    asked = f"up to {len(texts):,} questions to ask{' and the preflight' if preflight else ''}"
    bound = (
        ""
        if settings.max_cost is None
        else f"; the run stops at {format_dollars(settings.max_cost)}"
    )
    return f"{target.id}: {asked}, {expected or 'price unknown'}{bound}"


def _text(question: Question) -> str:
    sample = question.sample
    asked = (
        sample.input
        if isinstance(sample.input, str)
        else "\n".join(message.text for message in sample.input)
    )
    return "\n".join([asked, *(sample.choices or ())])
