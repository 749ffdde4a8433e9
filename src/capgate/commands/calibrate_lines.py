"""What `capgate calibrate` prints, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.config.shown_command import of_benchmark
from capgate.gate.calibration import Calibration, Rate
from capgate.gate.noise import Remedied
from capgate.run.noise import NoiseCost


@dataclass(frozen=True)
class Noise:
    """What is said of a target that contradicts itself.

    Attributes:
        cost: What its flips cost; None where no answer flipped between right and wrong.
        remedies: What may remedy it.
        one_at_a_time: How it answers when it is asked one question at a time; None if not tried.
        command: What measures it again.
        can_restart: Whether capgate can start its server anew in vLLM's batch-invariant mode.
        batch_invariant: How it answers in that mode; None if not tried.
        batch_invariant_fault: Why that could not be tried; `""` if it could, or was not.
    """

    cost: NoiseCost | None
    remedies: tuple[str, ...]
    one_at_a_time: Remedied | None
    command: str
    can_restart: bool = False
    batch_invariant: Remedied | None = None
    batch_invariant_fault: str = ""


def as_json(target: str, benchmark: str, found: Calibration, noise: Noise | None) -> dict[str, Any]:
    """All that was found, as plain values."""
    data = asdict(found) | {"holds": found.holds}
    for name in ("changed", "flips", "whole", "quick"):
        data[name]["interval"] = getattr(found, name).interval._asdict()
    of = {} if benchmark == MMLU else {"benchmark": benchmark}
    return {"target": target, **of, **data, "noise": None if noise is None else _noise(noise)}


def _noise(noise: Noise) -> dict[str, Any]:
    data = asdict(noise)
    del data["can_restart"]
    for key in ("one_at_a_time", "batch_invariant"):
        tried: Remedied | None = getattr(noise, key)
        if tried is not None:
            shown = data[key]
            shown |= {"removed": tried.removed, "outcome": tried.outcome}
            for name in ("before", "after"):
                shown[name]["interval"] = getattr(tried, name).interval._asdict()
    return data


def lines_of(target: str, benchmark: str, found: Calibration, noise: Noise | None) -> Iterator[str]:
    """All that was found, for people."""
    of = "" if benchmark == MMLU else f", {benchmark}"
    yield f"{target}{of}: {found.n:,} questions, each asked twice"
    if found.errors:
        yield f"  {found.errors:,} more have no answer in one look and are left out"
    yield f"  answered otherwise: {_rate(found.changed)}"
    yield f"  correct only once:  {_rate(found.flips)}: {found.losses} lost, " + (
        f"{found.flips.count - found.losses} gained"
    )
    yield f"  accuracy {found.accuracy_first:.2%}, then {found.accuracy_second:.2%}"
    yield f"false alarms of the gate on these flips ({found.allowed:.1%} are allowed):"
    yield f"  whole benchmark:    {_rate(found.whole)}"
    yield (
        f"  quick:              {_rate(found.quick)}; {found.quick_questions:,.0f} questions on "
        f"average, {found.quick_undecided:.1%} undecided"
    )
    if noise is not None:
        yield from _cost_lines(noise.cost) if noise.cost else ()
        yield from _remedy_lines(noise)
    if found.flips.count:
        yield (
            "its answers vary, so one look at it is luck that every later run would share: "
            f"`capgate baseline record {quote(target)}{of_benchmark(benchmark)} --twice` keeps two"
        )
    if found.holds:
        yield "within what is allowed"
        return
    yield "MORE FALSE ALARMS THAN ALLOWED"


def _cost_lines(cost: NoiseCost) -> Iterator[str]:
    source = f"ASSUMED: {cost.source}" if cost.assumed else cost.source
    yield (
        f"what the flips cost a comparison, at a discordance of {cost.without:.1%} without them "
        f"and {cost.with_flips:.1%} with them ({source}):"
    )
    yield (
        f"  to see a loss of {_drop(cost.catch)}: {cost.needed_without:,} questions without them, "
        f"{cost.needed_with_flips:,} with them "
        f"({cost.needed_with_flips - cost.needed_without:+,})"
    )
    for case in cost.quick:
        yield (
            f"  quick, if {case.case}: on average {case.without:,.0f} questions "
            f"({case.undecided_without:.0%} undecided) without them, {case.with_flips:,.0f} "
            f"({case.undecided_with_flips:.0%} undecided) with them"
        )
    yield (
        f"  smallest drop that the whole benchmark usually shows: {_drop(cost.visible_without)} "
        f"without them, {_drop(cost.visible_with_flips)} with them"
    )


def _remedy_lines(noise: Noise) -> Iterator[str]:
    tried = noise.one_at_a_time
    if tried is not None:
        yield f"one question at a time, {tried.n:,} questions:"
        yield f"  answered otherwise at once:          {_rate(tried.before)}"
        yield f"  answered otherwise one at a time:    {_rate(tried.after)}"
        yield f"  {_finding(tried)}"
    if noise.batch_invariant is not None:
        mode = noise.batch_invariant
        yield f"the server started anew with VLLM_BATCH_INVARIANT=1, {mode.n:,} questions:"
        yield f"  answered otherwise before:           {_rate(mode.before)}"
        yield f"  answered otherwise in that mode:     {_rate(mode.after)}"
        yield f"  {_finding(mode)}"
    if noise.batch_invariant_fault:
        yield f"VLLM_BATCH_INVARIANT=1 could not be tried: {noise.batch_invariant_fault}"
    yield "what may keep it from contradicting itself:"
    yield from (f"  - {one}" for one in noise.remedies)
    if tried is None:
        yield f"  whether batches are the reason: {noise.command} --try-remedy"
    yield f"  after a change of the server, measure again: {noise.command}"


def _finding(tried: Remedied) -> str:
    removed = tried.removed or 0.0
    if tried.outcome == "helps":
        return (
            f"it helps (p = {tried.p:.2g}): {removed:.0%} of the contradictions come from what "
            "else the server works on at the same time"
        )
    if tried.outcome == "does not help":
        return (
            "it does not help: the contradictions do not come from batches. Look at the sampling, "
            "at caches of prompts, and whether one kind of server answers"
        )
    return (
        f"too few contradictions to tell whether it helps (p = {tried.p:.2g}): ask more questions"
    )


def _drop(drop: float | None) -> str:
    return "none" if drop is None else f"{100 * drop:.1f} points"


def _rate(rate: Rate) -> str:
    low, high, level = rate.interval
    return (
        f"{rate.count:,} of {rate.of:,} ({rate.share:.2%}, {100 * level:.3g} % interval "
        f"{low:.2%} to {high:.2%})"
    )
