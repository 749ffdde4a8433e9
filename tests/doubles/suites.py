"""Stored runs of several benchmarks without a server: the real gate judges, the real store keeps.

Their questions are invented: a benchmark of free text without groups, and one with choices, groups
and parents of groups. Beside them MMLU's bundled questions may be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.doubles import runs

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question
from capgate.benchmarks.recorded import nouns_of
from capgate.common.answers import Answer, AnswerState
from capgate.gate import Pair, Part, Policy, Verdict, benchmark_budget, decide_fixed, decide_suite
from capgate.report.data.build import build_report
from capgate.report.data.result import Report
from capgate.store.answer_store import Store
from capgate.store.shard import OVER_ALL, Shard

RUN = "20260101T000000Z-0001"
BASE, MINE = "base", "mine"


@dataclass(frozen=True)
class Asked:
    """A benchmark, and how a fine-tune answered it; its base answers all with the key.

    Attributes:
        name: The benchmark's name.
        n: Its questions.
        groups: Its groups, in turn those of its questions; none where it has none.
        parents: Group to the parent that it belongs to.
        letters: The letters of the choices; `""` where answers are free text.
        advisory: Whether it never decides.
        lost: Positions of the questions that the fine-tune answers wrongly.
        texts: Position to what it answered there instead, in no readable form.
        cut_off: Positions of its answers that the token limit ended.
        fault: Why it could not be judged at all; then nothing of it is kept but that.
    """

    name: str
    n: int = 120
    groups: tuple[str, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    letters: str = "ABCD"
    advisory: bool = False
    lost: Collection[int] = ()
    texts: Mapping[int, str] = field(default_factory=dict)
    cut_off: Collection[int] = ()
    fault: str = ""

    @property
    def questions(self) -> tuple[Question, ...]:
        """Its questions."""
        if self.name == MMLU:
            return runs.questions()
        from inspect_ai.dataset import Sample

        choices = ["4", "3", "5", "6"] if self.letters else None
        return tuple(
            Question(
                f"{self.name.encode().hex()[:8]:0<8}{at:024x}",
                self.groups[at % len(self.groups)] if self.groups else self.name,
                Sample(
                    input=f"Question {at} of {self.name}?",
                    choices=choices,
                    target="A" if self.letters else f"{at}",
                    id=f"{self.name} {at}",
                ),
            )
            for at in range(self.n)
        )

    def answers(self, *, base: bool) -> list[Answer]:
        """What the base or the fine-tune answered."""
        found = []
        for at, one in enumerate(self.questions):
            key = str(one.sample.target)
            right = Answer(one.hash, one.subject, AnswerState.CORRECT, key, f"ANSWER: {key}")
            answer = replace(right, prompt_tokens=100, completion_tokens=5, seconds=0.1)
            if not base and at in self.texts:
                text = self.texts[at]
                answer = replace(answer, state=AnswerState.UNPARSED, choice="", text=text)
            elif not base and at in self.lost:
                other = ("B" if key == "A" else "A") if self.letters else f"not {key}"
                changes = {"choice": other, "text": f"ANSWER: {other}"}
                answer = replace(answer, state=AnswerState.WRONG, **changes)
            found.append(replace(answer, cut_off=not base and at in self.cut_off))
        return found

    @property
    def pairs(self) -> list[Pair]:
        """Both sides' answers, as the gate takes them."""
        sides = zip(self.answers(base=True), self.answers(base=False), strict=True)
        return [
            Pair(
                b.question,
                b.subject,
                b.state,
                a.state,
                candidate_cut_off=a.cut_off,
                reference_tokens=b.completion_tokens,
                candidate_tokens=a.completion_tokens,
            )
            for b, a in sides
        ]

    @property
    def parent_of(self) -> Mapping[str, str]:
        """Group to its parent."""
        return DOMAIN_OF if self.name == MMLU else self.parents


SUMS = Asked("sums", letters="")
"""Free text without groups."""

HOUSE = Asked("house-rules", groups=("returns", "refunds", "opening_hours"), parents={})
DESK = Asked(
    "support-desk",
    groups=("login", "billing", "shipping", "late_parcels"),
    parents={"login": "account", "billing": "account", "shipping": "parcels"}
    | {"late_parcels": "parcels"},
)
"""Choices, with groups and their parents."""


def keep_suite_run(
    root: Path,
    asked: Sequence[Asked],
    *,
    run: str = RUN,
    settings: Mapping[str, Any] | None = None,
    over_all: bool = True,
) -> None:
    """Keeps a run in which a fine-tune was compared with its base on several benchmarks.

    Args:
        root: The project's folder.
        asked: The benchmarks.
        run: The run's id.
        settings: Further settings.
        over_all: Whether the verdict over all is kept.
    """
    use = mmlu_task(runs.TASK, runs.MAX_TOKENS)
    deciding = [one for one in asked if not one.advisory]
    policy = Policy()
    with Store(root / "reports" / "answers.sqlite") as store:
        names = [one.name for one in asked]
        store.start_run(
            run,
            {
                "task": runs.TASK,
                "max_tokens": runs.MAX_TOKENS,
                "limit": None,
                "model_ids": [MINE],
                "benchmarks": names,
                "seed": None,
                "subjects": [],
                **(settings or {}),
            },
        )
        parts = [
            Part(one.name, _kept(store, run, one, policy, len(deciding), use), one.advisory)
            for one in asked
        ]
        if over_all:
            verdict = decide_suite(parts, policy)
            facts = {"verdict": verdict.to_dict(), "mode": "full"}
            store.end_shard(run, MINE, OVER_ALL, facts)


def _kept(store: Store, run: str, one: Asked, policy: Policy, deciding: int, use: Any) -> Verdict:  # noqa: ANN401
    """Keeps one benchmark's part of a run; returns its verdict."""
    if one.fault:
        verdict = Verdict.of_error(one.fault, scope="suite")
        facts = {"verdict": verdict.to_dict(), "usage": None, "mode": "full"}
        store.end_shard(run, MINE, Shard("preflight", one.name), facts)
        return verdict
    selected: dict[str, int] = {}
    for question in one.questions:
        selected[question.subject] = selected.get(question.subject, 0) + 1
    mine = one.name == MMLU
    about: dict[str, Any] = {
        "adapter_name": None,
        "mode": "full",
        "facts": {
            "model": "m",
            "generation": {"temperature": 0.0, "max_tokens": runs.MAX_TOKENS},
            "versions": dict(use.versions),
        },
        "dataset": {
            "source": "bundled" if mine else f"data/{one.name}.jsonl",
            "revision": "",
            "digest": f"{one.name.encode().hex()[:16]:0<16}",
            "questions": len(one.questions),
            "subjects": len(selected),
            "shots": 0,
        },
        "prompt_hash": use.prompt_hash if mine else "q" * 16,
        "selected": selected,
    }
    if not mine:
        about["benchmark"] = {
            "task": f"data/{one.name}.jsonl",
            "parents": dict(one.parents),
            "letters": one.letters,
            "advisory": one.advisory,
        }
    store.keep_questions(one.questions, benchmark=one.name)
    for target in (BASE, MINE):
        fingerprint = ("b" if target == BASE else "f") * 16
        context = store.context(fingerprint, about["prompt_hash"], about["facts"])
        for answer in one.answers(base=target == BASE):
            store.add(context, answer, run=run, target=target, benchmark=one.name)
        entry = {**about, "model_id": target, "fingerprint": fingerprint}
        store.end_shard(run, target, Shard("entry", one.name), entry)
    catch = None if mine else 0.05
    own = policy.for_benchmark(one.name, catch)
    budget = benchmark_budget(
        policy,
        1 if one.advisory else deciding,
        groups=bool(one.groups) or mine,
        parents=bool(one.parent_of),
    )
    verdict = decide_fixed(
        one.pairs, own, domains=one.parent_of or None, budget=budget, nouns=nouns_of(one.name)
    )
    facts = {
        "verdict": verdict.to_dict(),
        "usage": {"asked": len(one.questions), "seconds": 11.4},
        "reference": {"kind": "base", "target": BASE},
        "mode": "full",
    }
    store.end_shard(run, MINE, Shard("suite", one.name), facts)
    return verdict


def red_suite() -> list[Asked]:
    """MMLU kept, a benchmark of free text lost, an advisory one lost as well."""
    lost = range(0, 120, 3)
    return [
        Asked(MMLU, lost=(5, 90)),
        replace(SUMS, lost=lost, texts={1: "I won't say", 2: "well, "}, cut_off={2, 4}),
        replace(DESK, lost=range(0, 120, 4), advisory=True),
    ]


def suite_report(root: Path, asked: Sequence[Asked], **how: Any) -> Report:  # noqa: ANN401
    """The report of such a run.

    Args:
        root: The project's folder.
        asked: The benchmarks.
        how: As `keep_suite_run` takes it.
    """
    keep_suite_run(root, asked, **how)
    with Store(root / "reports" / "answers.sqlite") as store:
        return build_report(store, how.get("run", RUN), complete=True)
