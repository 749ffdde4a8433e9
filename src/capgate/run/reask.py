"""Unparsed questions asked once more, so that format is told from knowledge.

The same question, the same prompt, but an answer that the engine can only give in the
demanded form. It happens at the end of a red run, while its servers are still there, or
later by `capgate triage RUN --reask`. It never changes the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from capgate.asking.fingerprint import has_form
from capgate.common.answers import FORMLESS, is_formless
from capgate.common.errors import CapgateError
from capgate.common.text import one_line
from capgate.store.shard import WHOLE, Shard

if TYPE_CHECKING:
    from capgate.run.run import Run


def reask_red(run: Run) -> None:
    """Asks the unparsed questions of a run's red targets again, where that is possible.

    Where that is not possible, the reason is recorded and shown in the report.
    """
    if run.settings.stored:
        return
    for (target, shard), facts in run.store.shards(run.id).items():
        verdict = facts.get("verdict")
        ours = shard.kind in WHOLE and shard.benchmark == run.benchmark.name
        if ours and verdict and _lost_something(verdict):
            try:
                reask(run, target)
            except Exception as error:
                # A fault here is ours; the verdict and its report must not be lost for it.
                reason = f"it failed ({type(error).__name__}: {one_line(str(error), limit=200)})"
                run.store.end_shard(run.id, target, _shard(run), {"reason": reason, "asked": 0})


def reask(run: Run, target: str) -> str:
    """Asks a target's unparsed questions again, and its base's.

    Args:
        run: The run, with a way to its servers.
        target: A target that it judged.

    Returns:
        Why it could not be done; `""` where it was, or there was nothing to ask again.
    """
    if not has_form(run.benchmark):
        return f"{run.name} has no form that answers could be constrained to"
    base = run.participants[target].adapter_of
    reasons: list[str] = []
    done = 0
    for name in (target, base):
        if name is None:
            continue
        formless = {
            stored.answer.question
            for stored in run.store.used(
                run.id, name, benchmark=run.benchmark.name, states=FORMLESS
            )
            if is_formless(stored.answer)
        }
        if not formless:
            continue
        try:
            done += _ask(run, name, formless)
        except CapgateError as error:
            reasons.append(f"{error.target}: {error.what}")
    if not reasons and not done:
        return ""
    reason = "; ".join(dict.fromkeys(reasons))
    run.store.end_shard(run.id, target, _shard(run), {"reason": reason, "asked": done})
    return reason


def _shard(run: Run) -> Shard:
    return Shard("reask", run.benchmark.name)


def _ask(run: Run, name: str, formless: set[str]) -> int:
    """Asks one target; returns how many of its answers could be read.

    Raises:
        CapgateError: The target can't be asked, or its engine can't constrain an answer.
    """
    free = run.ready_target(name)
    if free.target.answer_format == "constrained":
        raise CapgateError("its answers were constrained already", target=name)
    if free.target.prompt_format == "completion":
        raise CapgateError("its completions can't be constrained", target=name)
    constrained = free.target.model_copy(update={"answer_format": "constrained"})
    ready_target = run.evaluator.ready_target(constrained, free.endpoint)
    questions = [q for q in run.questions(name).questions if q.hash in formless]
    run.say(f"{name}: {len(questions):,} questions are asked again, in a constrained form")
    asker = run.evaluator.for_look("constrained")
    results = asker.answer(questions, [ready_target], shard="reask")
    result = results[ready_target.id]
    if not any(answer.state.scored for answer in result.answers):
        raise result.cause or CapgateError("no question was answered", target=name)
    return sum(answer.state.readable for answer in result.answers)


def _lost_something(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict found a loss; more unreadable answers are one."""
    unparsed = verdict["unparsed"]
    return verdict["kind"] == "REGRESSION" or bool(unparsed and unparsed["failed"])
