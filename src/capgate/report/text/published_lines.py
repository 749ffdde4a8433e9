"""A run beside published scores, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from capgate.common.text import one_line
from capgate.config.published_scores import Published
from capgate.report.data.published_beside import CAUTION, Beside
from capgate.report.data.result import Section
from capgate.report.text.advice import points


def lines(one: Beside, published: Published) -> Iterator[str]:
    """What is shown of a target beside its published score."""
    ours = "nothing was scored"
    if one.accuracy is not None and one.interval is not None:
        low, high, level = one.interval
        ours = (
            f"{one.accuracy:.1%}  ({100 * level:.3g} % interval {low:.1%} to {high:.1%}, "
            f"{one.questions:,} questions, {one.task})"
        )
    yield f"{one.target}  {one_line(one.model, limit=80)}"
    yield f"  this run   {ours}"
    match = one.match
    if match is None:
        like = f"; nearest: {', '.join(one.nearest)}" if one.nearest else ""
        yield f"  published  none of this name in {published.path.name}{like}"
        return
    score = match.score
    yield f"  published  {score.percent:.1f}%  ({score.source}; setup: {score.setup})"
    if one.difference is not None:
        yield f"  difference {100 * one.difference:+.1f} points"
    yield f"  names      {match.note}"


def published_lines(section: Section, target: str) -> list[str]:
    """What a report says of a target's and its base's accuracy beside published ones.

    Args:
        section: What was found on one benchmark.
        target: A target of it.

    Returns:
        A sentence for each score that is known, and what that is worth; nothing without one.
    """
    comparison = section.comparisons.get(target)
    base = str(comparison.reference.get("target", "")) if comparison else ""
    lines: list[str] = []
    for name in (base, target):
        result = section.targets.get(name)
        found = result.published if result else None
        if result and found and found["published"] and found["accuracy"] is not None:
            score = found["published"]
            percent = score.get("mmlu", score.get("percent"))
            if percent is None or found["difference"] is None:
                continue
            part = len(result.subject_details)
            whole = len(result.parent_of)
            only = f" on {part} of {whole} subjects" if part < whole else ""
            lines.append(
                f"Published: {score['model']} {percent:.1f} % ({score['source']}; setup: "
                f"{score['setup']}). {name} has {100 * found['accuracy']:.1f} % here{only}, "
                f"{points(found['difference'], sign=True)}; {score['matched']}."
            )
    return [*lines, CAUTION] if lines else []
