"""What a run's questions will cost on OpenRouter, told before they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from capgate.asking.inspect_calls import instructions_of
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.token_guesses import (
    INSTRUCTION_CHARACTERS,
    USUAL_CHOICE,
    likely_tokens_of_question,
    most_tokens_of_question,
)
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import Question, whole_text
from capgate.common.text import format_dollars
from capgate.config.settings import Settings
from capgate.serving.openrouter import Offer
from capgate.store.answer_lengths import lengths_in
from capgate.store.answer_store import Store


@dataclass(frozen=True, slots=True)
class Estimate:
    """What questions will cost, in US dollars.

    Attributes:
        likely: What is to be expected.
        most: The most it can be; None where a provider that may answer lists no price.
    """

    likely: float
    most: float | None

    def __add__(self, other: Estimate) -> Estimate:
        """What both together will cost."""
        bounds = (self.most, other.most)
        most = None if None in bounds else sum(one for one in bounds if one is not None)
        return Estimate(self.likely + other.likely, most)

    def __str__(self) -> str:
        most = (
            "no upper bound is known"
            if self.most is None
            else f"at most {format_dollars(self.most)}"
        )
        return f"about {format_dollars(self.likely)} ({most})"


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the prompts and answers of a benchmark are.

    Attributes:
        most: The most tokens of an answer.
        likely: Tokens that an answer is likely to have.
        instructions: Bytes that the task's instructions and examples add to a question at most;
            None where that is not known.
    """

    most: int
    likely: float
    instructions: int | None = INSTRUCTION_CHARACTERS


def estimate(
    texts: Sequence[str], offer: Offer, lengths: Lengths, *, mean_cost: float | None
) -> Estimate | None:
    """Estimates what questions will cost; None where their price is unknown.

    Args:
        texts: What is to be asked, with its choices and without the task's instructions.
        offer: What OpenRouter lists for the model.
        lengths: How long prompts and answers are.
        mean_cost: What this target's earlier answers cost on average, if there are any.
    """
    price, dearest = offer.price, offer.dearest
    if price is None and mean_cost is None:
        return None
    added = INSTRUCTION_CHARACTERS if lengths.instructions is None else lengths.instructions
    likely = most = 0.0
    for text in texts:
        if price is not None:
            likely += price.of(*likely_tokens_of_question(text, lengths.likely, instructions=added))
        if dearest is not None:
            most += dearest.of(*most_tokens_of_question(text, lengths.most, instructions=added))
    if mean_cost is not None:
        likely = len(texts) * mean_cost
    bounded = dearest is not None and lengths.instructions is not None
    return Estimate(likely, max(most, likely) if bounded else None)


def expected_cost(
    target: ReadyTarget, benchmark: Benchmark, questions: Sequence[Question], store: Store
) -> Estimate | None:
    """Estimates what a target's answers to questions will cost; None where that is not known.

    Args:
        target: The target.
        benchmark: What it is asked.
        questions: What it is asked, the preflight's question included; at least one.
        store: Whose answers tell what answers cost, and how long they are.
    """
    offer = target.endpoint.offer
    if offer is None:
        return None
    return estimate(
        [whole_text(one.sample) for one in questions],
        offer,
        _lengths(benchmark, questions, store),
        mean_cost=store.mean_cost(target.context),
    )


def forecast(
    target: ReadyTarget,
    benchmark: Benchmark,
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
        benchmark: What it is asked.
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
    found = store.find(
        target.context, hashes, run=run, fresh=settings.fresh, benchmark=benchmark.name
    )
    asked = [question for question in chosen if question.hash not in found]
    if not asked and not preflight:
        return None
    expected = expected_cost(
        target, benchmark, [*asked, *([benchmark.probe] if preflight else [])], store
    )
    what = f"up to {len(asked):,} questions to ask{' and the preflight' if preflight else ''}"
    bound = (
        ""
        if settings.max_cost is None
        else f"; the run stops at {format_dollars(settings.max_cost)}"
    )
    return f"{target.id}: {what}, {expected or 'price unknown'}{bound}"


def _lengths(benchmark: Benchmark, questions: Sequence[Question], store: Store) -> Lengths:
    """How long prompts and answers are, by what the store knows of the benchmark."""
    most = benchmark.max_tokens
    if benchmark.name == MMLU:
        return Lengths(most, min(USUAL_CHOICE, most))
    usual = USUAL_CHOICE if benchmark.letters else most
    likely = lengths_in(store, {benchmark.name}).get(benchmark.name, usual)
    return Lengths(most, min(likely, most), instructions_of(benchmark, questions))
