"""What a run found on one benchmark: a pure reading of what it recorded of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

from capgate.benchmarks.mmlu.known_errors import Redux
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.recorded import known_parents
from capgate.common.answers import Answer, AnswerState
from capgate.common.dependencies import package_versions
from capgate.config.published_scores import Published
from capgate.report.data.counting import group, parent_groups, subject_groups
from capgate.report.data.flips import Asked, Look, compare
from capgate.report.data.groups import with_words, words_of
from capgate.report.data.kept_texts import KeptTexts
from capgate.report.data.missing import faults_of
from capgate.report.data.published_beside import beside
from capgate.report.data.result import (
    Accuracy,
    Metrics,
    Result,
    Section,
    Unread,
    iso,
    without_scores,
)
from capgate.run.judgement import Mode
from capgate.store.answer_rows import Stored
from capgate.store.answer_store import Store
from capgate.store.baselines import Baseline
from capgate.store.shard import WHOLE, Shard, ShardKind

_UNREAD_SHOWN: Final = 20
_UNREAD_CHARACTERS: Final = 2_000
_LETTERS: Final = "ABCD"

Facts = dict[str, Any]


@dataclass(frozen=True)
class RunFacts:
    """What a report needs of a run.

    Attributes:
        store: Where its answers are.
        run: Its id.
        settings: What it was asked to do.
        complete: Whether it came to its end.
        finished: When it ended, Unix seconds.
        baseline: Finds the recorded baseline of a target on a benchmark.
        redux: MMLU-Redux's annotations.
        published: Published scores.
    """

    store: Store
    run: str
    settings: Facts
    complete: bool
    finished: float
    baseline: Callable[[str, str], Baseline | None] | None = None
    redux: Redux | None = None
    published: Published | None = None


@dataclass(frozen=True)
class Recorded:
    """What a run recorded of one target on one benchmark.

    Attributes:
        benchmark: The benchmark's name.
        kinds: Kind of shard to how it ended, but for groups.
        groups: Group to how its own test ended.
    """

    benchmark: str
    kinds: Mapping[ShardKind, Facts]
    groups: Mapping[str, Facts]

    @classmethod
    def of(cls, benchmark: str, shards: Mapping[Shard, Facts]) -> Recorded:
        """Returns what shards of a target hold, each by its kind or its group."""
        return cls(
            benchmark,
            {shard.kind: facts for shard, facts in shards.items() if shard.kind != "group"},
            {shard.name: facts for shard, facts in shards.items() if shard.kind == "group"},
        )

    @property
    def about(self) -> Facts | None:
        """What was known of the target before it was asked; None where it was not reached."""
        return self.kinds.get("entry")

    @property
    def task(self) -> Facts:
        """What the run recorded of a benchmark other than MMLU; empty for MMLU."""
        found: Facts = (self.about or {}).get("benchmark", {})
        return found

    @property
    def parents(self) -> Mapping[str, str]:
        """Group to the parent that it belongs to."""
        found: Mapping[str, str] = self.task.get("parents") or known_parents(self.benchmark)
        return found

    @property
    def letters(self) -> str:
        """The letters of the choices; `""` where answers are free text."""
        return str(self.task.get("letters", _LETTERS))

    @property
    def fault(self) -> Facts | None:
        """The verdict of a preflight that failed."""
        return self.kinds.get("preflight", {}).get("verdict")

    @property
    def whole(self) -> Facts | None:
        """How the test of the whole benchmark ended; None where none did."""
        whole = next((self.kinds[kind] for kind in WHOLE if kind in self.kinds), None)
        return self.kinds["preflight"] if whole is None and self.fault else whole

    def mode(self, *, judged_quick: bool) -> Mode:
        """What was asked for; by what was judged where an older run did not record it."""
        asked = (facts["mode"] for facts in self._ended() if facts.get("mode"))
        found = next(asked, "quick" if judged_quick else "full")
        return "quick" if found == "quick" else "full"

    @property
    def reference(self) -> Facts | None:
        """What it was compared with; by kind alone where an older run did not say more."""
        described = (facts["reference"] for facts in self._ended() if facts.get("reference"))
        found: Facts | None = next(described, None)
        whole = self.whole
        if found is None and whole and whole["verdict"] and whole["verdict"]["reference"]:
            found = {"kind": whole["verdict"]["reference"]}
        # A base is known only by its name, which older runs did not record.
        return found if found is None or found["kind"] != "base" or "target" in found else None

    def _ended(self) -> Iterator[Facts]:
        yield from self.kinds.values()
        yield from self.groups.values()


def modes_of(recorded: Mapping[str, Recorded]) -> tuple[dict[str, Mode], frozenset[str]]:
    """Target to what was asked of it on a benchmark; and the targets of a sample.

    Args:
        recorded: Target to what was recorded of it.
    """
    # A base is asked in its adapter's batches, which are no shards of its own.
    quick = frozenset(
        name
        for target, mine in recorded.items()
        if "quick" in mine.kinds
        for name in (target, (mine.kinds["quick"].get("reference") or {}).get("target"))
        if name and (name not in recorded or "suite" not in recorded[name].kinds)
    )
    return {t: mine.mode(judged_quick=t in quick) for t, mine in recorded.items()}, quick


def section_of(facts: RunFacts, benchmark: str, recorded: Mapping[str, Recorded]) -> Section:
    """What a run found on one benchmark.

    Args:
        facts: The run.
        benchmark: The benchmark's name.
        recorded: Target to what was recorded of it on this benchmark.
    """
    store, run = facts.store, facts.run
    texts = KeptTexts(store, benchmark)
    modes, quick = modes_of(recorded)

    # A target and what it is compared with: what both a result and a comparison are made of.
    @lru_cache(maxsize=2)
    def first(target: str) -> list[Stored]:
        return store.used(run, target, benchmark=benchmark)

    def used(target: str, look: Look) -> Sequence[Stored]:
        return (
            first(target) if look == "first" else store.used(run, target, look, benchmark=benchmark)
        )

    results = {
        target: _result(
            facts,
            target,
            mine,
            first(target),
            # A sample is complete where it was judged: it may end at any question.
            complete=facts.complete and (modes[target] == "full" or target in quick),
            mode=modes[target],
        )
        for target, mine in sorted(recorded.items())
        if mine.about is not None
    }
    # Skip a base that no test has asked.
    results = {t: one for t, one in results.items() if one.overall.questions or one.verdict}
    for target, one in list(results.items()):
        if one.verdict is not None and one.verdict["kind"] == "ERROR":
            # What was answered until the fault, by its base as well, is no sample.
            base = (one.reference or {}).get("target")
            sides = [target, base] if base and base in results else [target]
            for side in sides:
                if side == target or results[side].verdict is None:
                    results[side] = without_scores(results[side], one.chosen)
    return Section(
        targets=results,
        comparisons={
            target: compare(
                store,
                target,
                result.reference,
                used=used,
                benchmark=_asked(facts, texts, benchmark, recorded[target]),
                reask_reason=recorded[target].kinds.get("reask", {}).get("reason", ""),
            )
            for target, result in results.items()
            if result.reference
        },
        not_judged={
            target: mine.fault
            for target, mine in sorted(recorded.items())
            if mine.fault and target not in results
        },
    )


def _asked(facts: RunFacts, texts: KeptTexts, benchmark: str, mine: Recorded) -> Asked:
    find = facts.baseline
    return Asked(
        name=benchmark,
        parents=mine.parents,
        letters=mine.letters,
        texts=texts,
        baseline=None if find is None else partial(_found, find, benchmark),
        redux=facts.redux if benchmark == MMLU else None,
    )


def _found(
    find: Callable[[str, str], Baseline | None], benchmark: str, target: str
) -> Baseline | None:
    return find(target, benchmark)


def _result(
    facts: RunFacts,
    target: str,
    mine: Recorded,
    used: Sequence[Stored],
    *,
    complete: bool,
    mode: Mode,
) -> Result:
    about, whole, settings = mine.about or {}, mine.whole, facts.settings
    answers = [stored.answer for stored in used]
    now = [stored.answer for stored in used if stored.run == facts.run]
    earlier = [stored.created for stored in used if stored.run != facts.run]
    mixed = mine.kinds.get("quick") or mine.kinds.get("suite") or {}
    wall = (mixed.get("usage") or {}).get("seconds", 0.0)
    subjects = subject_groups(answers, now, mine.groups, wall=wall)
    verdict = whole["verdict"] if whole else None
    overall = group(
        answers, now, seconds=sum(one.seconds for one in subjects.values()), verdict=verdict
    )
    domains = parent_groups(answers, now, subjects, mine.parents)
    own = {name: one.verdict for name, one in subjects.items()}
    words = words_of(own, domains, verdict, mine.parents)
    subjects, domains = with_words(subjects, words), with_words(domains, words)
    chosen = sum(about["selected"].values())
    errors = sum(answer.state is AnswerState.ERROR for answer in answers)
    task = str(mine.task.get("task", settings["task"]))
    return Result(
        benchmark=mine.benchmark,
        parents=mine.task.get("parents", {}),
        free_text=not mine.letters,
        advisory=bool(mine.task.get("advisory")),
        run=facts.run,
        model_id=about.get("model_id", target),
        adapter_name=about.get("adapter_name"),
        timestamp=iso(facts.finished),
        limit=settings["limit"],
        chosen=chosen if mode == "full" and ("suite" in mine.kinds or not complete) else None,
        mode=mode,
        complete=complete and (mode == "quick" or len(answers) - errors >= chosen),
        overall_score=overall.accuracy,
        metrics=Metrics(accuracy=Accuracy(value=overall.accuracy)),
        subjects={subject: one.accuracy for subject, one in subjects.items()},
        overall=overall,
        domains=domains,
        subject_details=subjects,
        verdict=verdict,
        task=task,
        prompt_hash=about["prompt_hash"],
        dataset=about["dataset"],
        fingerprint=about["fingerprint"],
        identity=about["facts"],
        versions=package_versions(),
        reference=mine.reference,
        path=tuple(mine.kinds.get("quick", {}).get("path", ())),
        seed=about.get("seed") if mode == "quick" else None,
        attempt=(whole or {}).get("attempt"),
        faults=faults_of(answers),
        unread=_unread(answers),
        notes=tuple(about.get("notes", ())),
        published=_beside(facts, target, mine, task, answers),
        earlier=len(earlier),
        newest_earlier=iso(max(earlier)) if earlier else None,
        endpoints=dict(sorted(Counter(a.endpoint for a in answers if a.endpoint).items())),
    )


def _beside(
    facts: RunFacts, target: str, mine: Recorded, task: str, answers: Sequence[Answer]
) -> Facts | None:
    """The target beside its model's published score; None where that is not known."""
    known = (mine.about or {}).get("facts", {})
    if facts.published is None or "model" not in known:
        return None
    found = beside(target, known["model"], task, answers, facts.published, mine.benchmark)
    return found.to_dict() if found.match else None


def _unread(answers: Sequence[Answer]) -> tuple[Unread, ...]:
    unread = [answer for answer in answers if answer.state is AnswerState.UNPARSED]
    unread.sort(key=lambda answer: answer.question)
    return tuple(
        Unread(
            question=answer.question,
            subject=answer.subject,
            text=answer.text
            if len(answer.text) <= _UNREAD_CHARACTERS
            else f"{answer.text[:_UNREAD_CHARACTERS]}… ({len(answer.text):,} characters)",
        )
        for answer in unread[:_UNREAD_SHOWN]
    )
