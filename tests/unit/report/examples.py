"""Reports made by hand, for tests of the forms that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
from capgate.common.answers import Answer, AnswerState
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.gate.verdict import Verdict
from capgate.report.data.comparison import Comparison, Flip, Side
from capgate.report.data.counting import group, parent_groups, subject_groups
from capgate.report.data.flips import paired
from capgate.report.data.groups import with_words, words_of
from capgate.report.data.labels import AskedPair, label_counts, split_drop
from capgate.report.data.result import Accuracy, Metrics, Report, Result

C, W = AnswerState.CORRECT, AnswerState.WRONG


def flip(number: int, *, text: str = "ANSWER: B", subject: str = "anatomy", **changes: Any) -> Flip:  # noqa: ANN401
    """A question lost, with what the candidate wrote."""
    facts: dict[str, Any] = {
        "question": f"{number:032x}",
        "subject": subject,
        "change": "loss",
        "label": "knowledge",
        "text": f"How many sides has figure {number}?",
        "choices": ("4", "3", "5", "6"),
        "key": "A",
        "reference": Side(state=C, choice="A", text="ANSWER: A", margin=1.0),
        "candidate": Side(state=W, choice="B", text=text, margin=2.0),
    }
    return Flip(**(facts | changes))


def red_report(
    flips: Sequence[Flip] | None = None, *, target: str = "mine", run: str = "20260101T000000Z-0001"
) -> Report:
    """A report of a target that lost one subject altogether."""
    lost = [flip(at) for at in range(40)] if flips is None else list(flips)
    kept = [
        AskedPair(
            f"{1000 + at:032x}", "virology", Side(state=C, choice="A"), Side(state=C, choice="A")
        )
        for at in range(60)
    ]
    pairs = [AskedPair(f.question, f.subject, f.reference, f.candidate) for f in lost] + kept
    verdict = decide_fixed(
        [Pair(p.question, p.subject, p.reference.state, p.candidate.state) for p in pairs],
        Policy(),
    )
    answers = [
        Answer(p.question, p.subject, p.candidate.state, p.candidate.choice, p.candidate.text or "")
        for p in pairs
    ]
    return report_of(target, run, answers, verdict, pairs, lost)


def report_of(
    target: str,
    run: str,
    answers: Sequence[Answer],
    verdict: Verdict,
    pairs: Sequence[AskedPair] = (),
    flips: Sequence[Flip] = (),
) -> Report:
    """A report of one target."""
    subjects = subject_groups(answers, answers, {}, wall=1.0)
    domains = parent_groups(answers, answers, subjects, DOMAIN_OF)
    words = words_of(dict.fromkeys(subjects), domains, verdict.to_dict(), DOMAIN_OF)
    overall = group(answers, answers, seconds=1.0, verdict=verdict.to_dict())
    reference = {"kind": "base", "target": "base"}
    result = Result(
        run=run,
        model_id=target,
        adapter_name=None,
        timestamp="2026-01-01T00:00:00Z",
        limit=None,
        mode="full",
        complete=True,
        overall_score=overall.accuracy,
        metrics=Metrics(accuracy=Accuracy(value=overall.accuracy)),
        subjects={name: one.accuracy for name, one in subjects.items()},
        overall=overall,
        domains=with_words(domains, words),
        subject_details=with_words(subjects, words),
        verdict=verdict.to_dict(),
        task="inspect_evals/mmlu_0_shot",
        prompt_hash="p" * 16,
        dataset={"source": "bundled", "digest": "d" * 16, "questions": 100, "subjects": 57},
        fingerprint="f" * 16,
        identity={"versions": {"inspect_evals": "1"}, "generation": {"temperature": 0.0}},
        versions={"capgate": "0"},
        reference=reference,
    )
    by_subject = {s: paired([p for p in pairs if p.subject == s]) for s in subjects}
    return Report(
        run=run,
        started="2026-01-01T00:00:00Z",
        finished="2026-01-01T00:00:00Z",
        complete=True,
        settings={"model_ids": [target], "seed": None, "subjects": []},
        verdict=verdict.to_dict(),
        targets={target: result},
        comparisons={
            target: Comparison(
                reference=reference,
                overall=paired(pairs),
                subjects=by_subject,
                domains={"other": paired(pairs)},
                labels=label_counts(flips),
                split=split_drop(pairs, {}),
                flips=tuple(flips),
            )
        }
        if pairs
        else {},
    )
