"""A verdict in one sentence, and what to do next: the same words in every form of report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from capgate.benchmarks.recorded import nouns_of
from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate.stats import Interval
from capgate.gate.verdict import interval_text
from capgate.report.data.comparison import Comparison, Split
from capgate.report.data.nouns import name_words
from capgate.report.data.result import Report, Result

_MANY: Final = 0.5
"""Share of the losses at which a label is what to look at first."""

_NEARLY_ALL: Final = 0.8
"""Share of the losses at which a domain is where they are, if it has far fewer questions."""

_FEWEST: Final = 5
"""Losses under which nothing is said of where they are."""

_KEPT: Final = (
    "what was answered is kept",
    "only they are asked",
    "what was answered is not asked again",
)
"""What is not so for an adapter that is judged by its name on the server."""

_NAME_THE_FOLDER: Final = "name the adapter's folder to keep its answers"


def points(fraction: float, *, sign: bool = False) -> str:
    """A difference of accuracies in points, as `3.1 points`."""
    return f"{100 * fraction:{'+' if sign else ''}.1f} points"


def reference_name(reference: Mapping[str, Any] | None) -> str:
    """What a target was compared with, as a noun."""
    match (reference or {}).get("kind"):
        case "base":
            return f"its base {(reference or {}).get('target', '')}".rstrip()
        case "baseline":
            run = (reference or {}).get("run")
            return f"its recorded baseline ({run})" if run else "its recorded baseline"
        case "floor" | "published" as kind:
            accuracy = (reference or {}).get("accuracy")
            what = "its floor" if kind == "floor" else "a published score, less its tolerance,"
            source = (reference or {}).get("source") if kind == "published" else None
            named = f"{what} of {accuracy:.1%}" if accuracy is not None else what
            return f"{named} ({source})" if source else named
    return "nothing"


def headline(target: str, verdict: Mapping[str, Any] | None, *, nouns: Nouns = SUBJECTS) -> str:
    """A target's outcome on a benchmark in one sentence.

    Args:
        target: Its id, with the benchmark's name where that is not MMLU alone (`nouns.part_name`).
        verdict: The verdict.
        nouns: What the benchmark's groups are called.
    """
    if not verdict:
        return f"{target} was measured and not judged"
    kind, drop = verdict["kind"], verdict["drop"]
    if kind == "ERROR":
        return f"{target} could not be judged"
    if drop is None:
        return f"{target}: {kind}, nothing was scored"
    sure = ""
    if verdict["interval"]:
        sure = f" ({interval_text(Interval(**verdict['interval']), gain=drop < 0)})"
    against = {"floor": "under its floor", "published": "under a published score"}
    where = against.get(str(verdict["reference"]))
    if where is not None:
        moved = f"is {points(drop)} {where}" if drop > 0 else f"is {points(-drop)} over its floor"
    elif drop > 0:
        moved = f"lost {points(drop)}"
    else:
        moved = f"gained {points(-drop)}" if drop < 0 else "lost nothing"
    if kind == "too few to tell":
        return f"{target} {moved}{sure}; too few questions to tell"
    lost = failed_groups(verdict, nouns) if kind == "REGRESSION" else ""
    return f"{target} {moved}{sure}" + (f"; lost: {lost}" if lost else "")


def failed_subjects(verdict: Mapping[str, Any]) -> list[str]:
    """The subjects that a verdict names, the largest drop first."""
    return _failed(verdict["subjects"], "subject")


def failed_domains(verdict: Mapping[str, Any]) -> list[str]:
    """The domains that a verdict names, the largest drop first."""
    return _failed(verdict["domains"], "domain")


def subjects_to_read(verdict: Mapping[str, Any], parents: Mapping[str, str]) -> frozenset[str]:
    """The subjects that a verdict names, and all those of the domains that it names.

    Args:
        verdict: The verdict.
        parents: Subject to its domain.
    """
    domains = failed_domains(verdict)
    within = (subject for subject, domain in parents.items() if domain in domains)
    return frozenset((*failed_subjects(verdict), *within))


def failed_groups(verdict: Mapping[str, Any], nouns: Nouns) -> str:
    """The domains and subjects that a verdict names, as a phrase; `""` where it names none."""
    return " and ".join(
        f"the {noun}{'' if len(names) == 1 else 's'} {_names(names)}"
        for noun, names in (
            (nouns.parent, failed_domains(verdict)),
            (nouns.group, failed_subjects(verdict)),
        )
        if names
    )


def _failed(found: Iterable[Mapping[str, Any]], what: str) -> list[str]:
    failed = [one for one in found if one["failed"]]
    failed.sort(key=lambda one: (-one["drop"], one[what]))
    return [one[what] for one in failed]


def split_sentence(split: Split | None) -> str:
    """How much of the drop is format, how much knowledge; `""` where there is no drop to divide."""
    if split is None or split.drop is None:
        return ""
    if split.status == "not needed":
        if split.drop <= 0:
            return ""
        return "Every answer could be read: all of the drop is in the answers themselves."
    if split.status == "asked":
        assert split.format is not None
        assert split.knowledge is not None
        rest = split.questions - split.asked
        left = f"; {rest:,} could not be told" if rest else ""
        were = "answer was" if split.asked == 1 else "answers were"
        return (
            f"Of the drop of {points(split.drop)}, {points(split.format)} are format and "
            f"{points(split.knowledge)} knowledge: {split.asked:,} {were} asked for once more in a "
            f"constrained form{left}."
        )
    most = points(split.format_at_most or 0.0)
    return (
        f"How much of the drop of {points(split.drop)} is format could not be told, at most "
        f"{most}: {split.questions:,} answers have no readable form, and {split.reason}."
    )


def asked_anew(result: Result | None) -> bool:
    """Whether a target's answers count in no other run, as its name may mean another adapter."""
    identity = {} if result is None else result.identity.get("identity")
    return isinstance(identity, dict) and "adapter_nonce" in identity


def rest_sentence(report: Report) -> str:
    """What the next run asks after one that did not finish."""
    anew = list(
        dict.fromkeys(
            target
            for section in report.sections.values()
            for target, result in section.targets.items()
            if asked_anew(result)
        )
    )
    rest = "The run did not finish; the next one asks only the rest"
    if not anew:
        return f"{rest}."
    return f"{rest}, and {' and '.join(anew)} anew: {_NAME_THE_FOLDER}."


def next_steps(
    verdict: Mapping[str, Any] | None,
    comparison: Comparison | None,
    result: Result | None = None,
) -> list[str]:
    """What to do next, the likeliest help first.

    Args:
        verdict: The verdict.
        comparison: The comparison that it rests on.
        result: The target's result.
    """
    if asked_anew(result):
        kept = re.compile("|".join(map(re.escape, _KEPT)))
        anew = f"each run asks all its questions again; {_NAME_THE_FOLDER}"
        return [kept.sub(anew, step) for step in _steps(verdict, comparison, result)]
    return _steps(verdict, comparison, result)


def _steps(
    verdict: Mapping[str, Any] | None, comparison: Comparison | None, result: Result | None
) -> list[str]:
    if not verdict:
        return ["Record it as a baseline, so that later runs have something to be compared with."]
    kind = verdict["kind"]
    if kind == "PASS":
        return ["Nothing: a loss of the size that must be caught is ruled out."]
    if kind == "ERROR":
        return [f"Mend the fault named above and run again: {_KEPT[0]}."]
    if kind == "INCONCLUSIVE":
        error_rate = verdict["error_rate"]
        policy = verdict["policy"] or {}
        if error_rate is not None and error_rate > policy.get("max_error_rate", 1.0):
            return [f"Mend what each fault of a missing answer names, and run again: {_KEPT[1]}."]
        if unread := _unread_steps(verdict, comparison):
            return unread
        return ["Ask more questions: raise --limit, or run the whole benchmark (-m full)."]
    return _after_regression(verdict, comparison, result)


def _unread_steps(verdict: Mapping[str, Any], comparison: Comparison | None) -> list[str]:
    """What to do where too many answers can't be read; empty where they can."""
    counts, limit = verdict["counts"] or {}, (verdict["policy"] or {}).get("max_unparsed")
    if limit is None or not counts.get("n"):
        return []
    sides = [
        (counts.get(f"{side}unparsed", 0), counts.get(f"{side}cut_off", 0))
        for side in ("", "reference_", "candidate_")
    ]
    over = [(unread, cut) for unread, cut in sides if unread > limit * counts["n"]]
    if not over:
        return []
    steps = []
    if any(2 * cut >= unread for unread, cut in over):
        steps.append(
            "Most unreadable answers were cut off: raise --max-tokens, or switch the model's "
            "thinking off (extra_body: {chat_template_kwargs: {enable_thinking: false}})."
        )
    remedy = "set answer_format: constrained for the target"
    if comparison and comparison.free_text:
        remedy = "say in the task's prompt which form its scorer reads"
    steps.append(
        "Read a few of the unreadable answers. If they say the answer in another form, "
        f"{remedy}; if not, check its chat template and its stop tokens."
    )
    if comparison and (said := split_sentence(comparison.split)):
        steps.append(said)
    return steps


def _after_regression(
    verdict: Mapping[str, Any], comparison: Comparison | None, result: Result | None
) -> list[str]:
    steps: list[str] = []
    nouns = nouns_of(result.benchmark) if result else SUBJECTS
    has_groups = result is None or result.has_groups
    labels = comparison.labels if comparison else {}
    lost = sum(labels.values())
    split = comparison.split if comparison else None
    unparsed = verdict["unparsed"]
    unread = any(_leads(labels, label, lost) for label in ("unparsed", "format"))
    if (unparsed and unparsed["failed"]) or unread:
        steps.append(
            "Answers became unreadable: read a few of them, then check chat template, stop tokens "
            "and --max-tokens before the training data."
        )
    if any(_leads(labels, label, lost) for label in ("does not stop", "cut off")):
        steps.append(
            "The model does not stop: its answers go on until the token limit. Check that the "
            "training data ends each answer with the end-of-text token, and that the chat template "
            "and the server's stop tokens name the same one."
        )
    steps += _length_steps(verdict.get("length"))
    if comparison and comparison.shifts and labels.get("letter shift"):
        shift = max(comparison.shifts, key=lambda one: one.candidate_share - one.reference_share)
        where = f" in {name_words(shift.subject)}" if shift.subject else ""
        steps.append(
            f"It answers {shift.letter} on {shift.candidate_share:.0%} of questions{where}, where "
            f"the reference does on {shift.reference_share:.0%}: look for examples with one "
            "answer letter, or a broken prompt form, in the training data."
        )
    failed = failed_groups(verdict, nouns)
    if failed:
        steps.append(
            f"The loss is concentrated in {failed}: read those flips first, and look "
            "for training data on those topics."
        )
    domain = None if failed or comparison is None else _domain(comparison, nouns)
    if domain:
        steps.append(domain)
    if _leads(labels, "near tie", lost):
        steps.append(
            "Most lost questions were near ties: run again with more questions, and see how much "
            "the server differs from itself, before you act on single flips."
        )
    if labels.get("known bad label"):
        steps.append(
            f"{labels['known bad label']} of {lost} lost questions are known to be faulty; they "
            "count in the verdict, but say little of the model."
        )
    if verdict["scope"] == "quick" and has_groups:
        steps.append(
            f"Learn where it was lost: a quick run asks too few questions of each {nouns.group} to "
            f"say. Run the whole benchmark (-m full); {_KEPT[2]}."
        )
    elif not steps or (
        split and split.knowledge and split.knowledge > 0 and not failed and not domain
    ):
        where = f"over the {nouns.group}s" if has_groups else "over the questions"
        steps.append(
            f"The loss is spread {where}: try a lower learning rate, fewer epochs, a "
            "smaller rank, or general data mixed into the training set."
        )
    return steps


def _length_steps(length: Mapping[str, Any] | None) -> list[str]:
    """What to do where answers became several times longer, or are cut off more often."""
    if not length or not length["failed"]:
        return []
    if length["cut_off"]:
        told = (
            f"The token limit cuts {length['candidate_cut_off']:.0%} of the answers off, "
            f"{length['reference_cut_off']:.0%} of the reference's"
        )
    else:
        told = (
            f"Answers have {length['candidate_tokens']:,.0f} tokens, the reference's "
            f"{length['reference_tokens']:,.0f}"
        )
    return [
        f"{told}: read a few, and check that the training data ends each answer with the "
        "end-of-text token, and how long its answers are."
    ]


def _domain(comparison: Comparison, nouns: Nouns) -> str | None:
    """Where nearly all was lost, if that is one domain of several."""
    n = sum(one.n for one in comparison.domains.values())
    losses = sum(one.losses for one in comparison.domains.values())
    for name, one in comparison.domains.items():
        share = one.losses / losses if losses >= _FEWEST else 0.0
        if share >= _NEARLY_ALL and one.n / n <= share / 2:
            return (
                f"{one.losses} of {losses} lost questions are of one {nouns.parent}, "
                f"{name_words(name)}, though neither it nor a "
                f"{nouns.group} failed by itself: read those flips first, and look for training "
                "data on those topics."
            )
    return None


def _leads(labels: Mapping[str, int], label: str, lost: int) -> bool:
    return lost > 0 and labels.get(label, 0) >= _MANY * lost


def _names(names: list[str]) -> str:
    shown = ", ".join(name_words(name) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
