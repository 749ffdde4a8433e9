"""A server that contradicts itself: what that costs, what remedies it, and whether it helps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from capgate.asking.ask_again import ask_again
from capgate.asking.progress import Count
from capgate.asking.ready_target import ReadyTarget
from capgate.common.answers import Answer
from capgate.config.target import VllmServe
from capgate.config.targets import Target
from capgate.gate.budget import Budget
from capgate.gate.noise import with_flips, without_flips
from capgate.gate.policy import Policy
from capgate.gate.power import visible_drop
from capgate.run.planning import Known, quick_orders
from capgate.run.run import Run

BATCH_INVARIANT: Final = "VLLM_BATCH_INVARIANT"
"""The variable that makes vLLM's answers independent of what else is in the batch."""

Looks = tuple[list[Answer], list[Answer]]


@dataclass(frozen=True)
class Case:
    """Questions that a quick run takes on average in one case.

    Attributes:
        case: What is true of the candidate.
        without: Questions on a server that does not contradict itself.
        with_flips: Questions on this server.
        undecided_without: Share of the runs without a verdict, on the former.
        undecided_with_flips: The same on the latter.
    """

    case: str
    without: float
    with_flips: float
    undecided_without: float
    undecided_with_flips: float


@dataclass(frozen=True)
class NoiseCost:
    """What a server's contradictions cost a comparison.

    Attributes:
        without: Share of questions on which candidate and reference differ by themselves.
        with_flips: Share on which they are seen to differ.
        source: Where that is known from.
        assumed: Whether `source` is an assumption.
        quick: Quick runs, by case.
        catch: The drop that the policy wants to catch, as a fraction.
        needed_without: Questions of which the whole-benchmark test usually shows that drop, on a
            server that does not contradict itself.
        needed_with_flips: The same on this server.
        visible_without: Smallest drop that the whole benchmark usually shows on a server that
            does not contradict itself, as a fraction; None if none.
        visible_with_flips: The same on this server.
    """

    without: float
    with_flips: float
    source: str
    assumed: bool
    quick: tuple[Case, ...]
    catch: float
    needed_without: int
    needed_with_flips: int
    visible_without: float | None
    visible_with_flips: float | None


def cost_of_flips(
    flips: float,
    figure: Known,
    policy: Policy,
    *,
    whole: Budget,
    quick: Budget,
    population: int,
    seed: int,
) -> NoiseCost:
    """Reckons a verdict as `capgate plan` does, with a server's flips and without them.

    Args:
        flips: Share of questions that two looks at one target answer correctly only once.
        figure: The discordance of candidate and reference. An assumed one is taken to be
            without flips; one that was measured contains them.
        policy: The target's.
        whole: How a whole run's false alarms are divided.
        quick: How a quick run's are.
        population: Questions of the benchmark.
        seed: Of the simulated orders.
    """
    if figure.assumed:
        without, seen = figure.value, with_flips(figure.value, flips)
    else:
        without, seen = without_flips(figure.value, flips), figure.value
    points = f"{100 * policy.catch:g} points were lost"

    def case(named: str, drop: float) -> Case:
        found = [
            quick_orders(policy, quick, one, drop, floor=None, population=population, seed=seed)
            for one in (without, seen)
        ]
        return Case(
            named,
            *(one.mean_questions for one in found),
            *(one.verdicts["INCONCLUSIVE"] for one in found),
        )

    def visible(discordance: float, questions: int = population) -> float | None:
        return visible_drop(
            questions,
            discordance=discordance,
            alpha=whole.pooled,
            power=1.0 - policy.miss,
            tolerate=policy.tolerate,
        )

    def needed(discordance: float) -> int:
        def enough(questions: int) -> bool:
            seen = visible(discordance, questions)
            return seen is not None and seen <= policy.catch

        top = 1
        while not enough(top):
            top *= 2
        return bisect_left(range(top), True, lo=top // 2, key=enough)

    return NoiseCost(
        without=without,
        with_flips=seen,
        source=figure.source,
        assumed=figure.assumed,
        quick=(case("nothing was lost", 0.0), case(points, policy.catch)),
        catch=policy.catch,
        needed_without=needed(without),
        needed_with_flips=needed(seen),
        visible_without=visible(without),
        visible_with_flips=visible(seen),
    )


def remedies(one: ReadyTarget, server: Target, *, temperature: float) -> Iterator[str]:
    """What may keep a target from contradicting itself, the first thing to try first.

    Args:
        one: The target that does.
        server: The target whose entry says how its server is reached: its base, or itself.
        temperature: At which it was asked.
    """
    engine, started = one.endpoint.engine, server.serve is not None
    if temperature > 0.0:
        yield f"its answers are drawn at temperature {temperature:g}: ask it at --temperature 0"
    if engine in {"vllm", ""}:
        how = (
            "in its entry, serve: {env: {VLLM_BATCH_INVARIANT: '1'}}"
            if started
            else "start it with VLLM_BATCH_INVARIANT=1 in its environment"
        )
        yield (
            f"vLLM: {how}. An answer then does not depend on what else is in the batch. It needs "
            "an NVIDIA GPU of compute capability 8.0 or higher (9.0 in older versions), and "
            "costs speed"
        )
        if not batch_invariant(server):
            flags = "--max-num-seqs 1 --no-enable-prefix-caching"
            args = f"in its entry, serve: {{args: [{', '.join(flags.split())}]}}"
            yield f"vLLM where that is not possible: {args if started else flags}"
    if engine in {"llamacpp", ""}:
        how = "in its entry, serve: {parallel: 1}" if started else "--parallel 1"
        cache = "" if engine else " and --no-cache-prompt"
        yield f"llama.cpp: {how}{cache}, so that it works on one request at a time"
    if engine == "openrouter":
        yield "OpenRouter: one provider and one precision in the entry's `route`"
    else:
        yield "any server: max_connections: 1 in its entry, so that capgate asks one at a time"
    yield (
        "the same type of GPU, engine version and flags for reference, adapter and all servers "
        "of a target"
    )


def batch_invariant(server: Target) -> bool:
    """Whether a target's entry starts vLLM in its batch-invariant mode."""
    spec = server.serve
    return isinstance(spec, VllmServe) and spec.env.get(BATCH_INVARIANT) == "1"


def ask_one_at_a_time(run: Run, target: str) -> tuple[Sequence[Answer], Sequence[Answer]]:
    """Has a target answer its questions twice more, with one request in flight at a time.

    At each of its servers, where it has several.

    Returns:
        Both looks.

    Raises:
        CapgateError: The target can't be asked.
    """
    ready = run.ready_target(target)
    alone = ready.target.model_copy(update={"max_connections": 1})
    one = run.evaluator.ready_target(alone, ready.endpoint)
    return ask_under_remedy(run, one, "one at a time")


def ask_under_remedy(
    run: Run, one: ReadyTarget, remedy: str
) -> tuple[Sequence[Answer], Sequence[Answer]]:
    """Has a target answer its questions twice, apart from all looks without the remedy.

    Args:
        run: The run.
        one: The target, under the remedy.
        remedy: The remedy, for people.

    Returns:
        Both looks.

    Raises:
        CapgateError: The target can't be asked.
    """
    target = one.id
    everything = list(run.selection(target))
    named = f"{target}, {remedy}, asked twice"
    count = Count(named, 2 * len(everything), "answers", run.say)
    looks = (
        run.evaluator.for_look("remedy")
        .answer(everything, [one], shard="all_remedy", progress=count.answer, fresh=True)[target]
        .answers,
        ask_again(
            run.evaluator,
            everything,
            [one],
            look="remedy_repeat",
            name="all",
            progress=count.answer,
        )[target].answers,
    )
    run.evaluator.finish([one])
    return looks


def in_order(looks: tuple[Sequence[Answer], Sequence[Answer]], order: Sequence[Answer]) -> Looks:
    """Two looks in the order of another look's questions."""
    first, second = ({answer.question: answer for answer in look} for look in looks)
    return (
        [first[answer.question] for answer in order],
        [second[answer.question] for answer in order],
    )
