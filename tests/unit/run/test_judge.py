"""The judge: what it asks, in which order, and what it says of the answers.

Plans and policies are built here, answers are scripted; store, record and gate are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.dataset import Sample

from capgate.asking.ages import Age
from capgate.asking.progress import Feed, Tally
from capgate.asking.ready_target import Foreseen, Progress, QuestionBatch, ShardResult
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU
from capgate.benchmarks.questions import Question, QuestionSet
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError, ContradictionError, ServerEndedError
from capgate.gate.decide_floor import Floor
from capgate.gate.policy import Policy
from capgate.gate.tries import Allowance
from capgate.run.answered import Results
from capgate.run.asker import Asker, Probe
from capgate.run.judge import Judge
from capgate.run.judgement import Judgement
from capgate.run.reference import BaseReference, FloorReference, NoReference, Reference
from capgate.run.run_record import RunRecord
from capgate.run.session_tests import SessionTests
from capgate.run.target_plan import TargetPlan
from capgate.serving.lost import LostTargets
from capgate.store.answer_store import Store
from capgate.store.shard import Look, Shard

RUN = "r1"
SUBJECTS = ("abstract_algebra", "anatomy", "virology")
SIZE = 60
"""Questions of each subject."""

Says = Callable[[str, Question, Look], AnswerState]
"""What is answered: takes target, question and look."""


def number(question: Question) -> int:
    """A question's place in its subject."""
    return int(question.hash.rpartition("-")[2])


def right(target: str, question: Question, look: Look) -> AnswerState:  # noqa: ARG001
    """Answers everything with the key."""
    return AnswerState.CORRECT


def loses(
    lost: int, *, subjects: Collection[str] = SUBJECTS, looks: Collection[Look] = ("first",)
) -> Says:
    """Says what a candidate says that lost the first questions of subjects in some looks."""

    def says(target: str, question: Question, look: Look) -> AnswerState:
        wrong = target == "mine" and look in looks and question.subject in subjects
        return AnswerState.WRONG if wrong and number(question) < lost else AnswerState.CORRECT

    return says


@dataclass
class Script:
    """An asker that answers by a script, into a real store.

    Attributes:
        store: Where answers are kept.
        sides: The base, if there is one, and the candidate.
        says: What they answer.
        alike: Whether both sides answer with the same texts.
        ends_after: Batches after which the server has ended.
        contradictions: How many looks at the server find that it answers otherwise now.
        begins: Targets whose prompts begin a thought.
        batches: Names of what was asked, in order.
        told: What else the judge asked for, in order.
    """

    store: Store
    sides: tuple[str, ...] = ("mine",)
    says: Says = right
    alike: bool = False
    ends_after: int | None = None
    contradictions: int = 0
    begins: tuple[str, ...] = ()
    batches: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def answer(
        self,
        batch: QuestionBatch,
        *,
        ahead: Iterable[QuestionBatch] = (),  # noqa: ARG002
        others: Iterable[Foreseen] = (),  # noqa: ARG002
        progress: Progress | None = None,
    ) -> Results:
        """Answers a batch by the script."""
        if self.ends_after == len(self.batches):
            raise ServerEndedError("the server has ended", target="mine")
        self.batches.append(batch.name)
        return self._results(batch, "first", progress)

    def foreseen(self, batch: QuestionBatch) -> Foreseen:
        """A batch that is asked of nobody: no test has it asked ahead."""
        return Foreseen(batch, ())

    def answer_again(self, batch: QuestionBatch) -> Results:
        """Answers a batch by the script of the second look."""
        self.batches.append(f"{batch.name} again")
        return self._results(batch, "confirm", None)

    def check_reachable(self, results: Results) -> None:
        """Finds every server where it was."""

    def begin_finish(self) -> None:
        """Has nothing that could be done beside other work."""

    @property
    def finishing(self) -> bool:
        """Nothing was begun."""
        return False

    def finish(self) -> None:
        """Looks at the server; finds that it has changed as often as the script says."""
        self.told.append("finish")
        if self.contradictions:
            self.contradictions -= 1
            raise ContradictionError("the server answers otherwise", target="mine")

    def check_live(self) -> None:
        """Is asked whether the adapter changes anything."""
        self.told.append("check_live")

    def probe(self) -> Iterator[Probe]:
        """Answers one easy question for each side."""
        for side in self.sides:
            self.told.append(f"probe {side}")
            answer = Answer("p", "anatomy", AnswerState.CORRECT, "A", "ANSWER: A")
            yield Probe(side, answer, side in self.begins)

    def note_thoughts(self, targets: Collection[str]) -> None:
        """Is told whose prompts begin a thought."""
        self.told.append(f"thoughts of {', '.join(targets)}")

    def with_cause(self, fault: str) -> str:
        """Knows of no cause."""
        return fault

    def _results(self, batch: QuestionBatch, look: Look, progress: Progress | None) -> Results:
        results: Results = {}
        for side in self.sides:
            context = self.store.context(side, "prompt", {})
            answers = tuple(self._answer(side, question, look) for question in batch.questions)
            for one in answers:
                self.store.add(context, one, run=RUN, target=side, look=look)
                if progress is not None:
                    progress(side, one, True)
            fault = next((a.text for a in answers if a.state is AnswerState.ERROR), "")
            results[side] = ShardResult(
                answers, len(answers), 1.0, fault, age=Age(answers=len(answers))
            )
        return results

    def _answer(self, side: str, question: Question, look: Look) -> Answer:
        state = self.says(side, question, look)
        letter = {AnswerState.CORRECT: "A", AnswerState.WRONG: "B"}.get(state, "")
        text = "HTTP 500" if state is AnswerState.ERROR else f"ANSWER: {letter}"
        if not self.alike and state.scored:
            text += f", says {side}"
        return Answer(question.hash, question.subject, state, letter, text, 100, 5, 0.1)


@dataclass
class Court:
    """A judge of one target, `mine`, and all that it was handed.

    Attributes:
        judge: The judge.
        script: Answers.
        store: The real store.
        losses: Which targets were lost.
        lines: What was shown.
        counted: Subjects and answers that progress was told of.
    """

    judge: Judge
    script: Script
    store: Store
    losses: LostTargets
    lines: list[str]
    counted: list[Tally]

    def kept(self, shard: Shard) -> dict[str, Any]:
        """How a shard ended, as the store has it."""
        return self.store.shards(RUN)["mine", shard]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real store of answers, with the run begun."""
    with Store(tmp_path / "answers.sqlite") as opened:
        opened.start_run(RUN, {})
        yield opened


def questions() -> QuestionSet:
    """Three subjects, each of as many questions."""
    made = [
        Question(
            f"{subject}-{n}",
            subject,
            Sample(input=f"{subject} {n}?", choices=["a", "b", "c", "d"], target="A"),
        )
        for subject in SUBJECTS
        for n in range(SIZE)
    ]
    return QuestionSet("bundled", "", 0, tuple(made))


def court(
    store: Store,
    reference: Reference,
    says: Says = right,
    *,
    subjects: tuple[str, ...] = SUBJECTS,
    limit: int | None = None,
    confirm: bool = False,
    policy: Policy | None = None,
    allowance: Allowance | None = None,
    session: SessionTests | None = None,
    **script: Any,  # noqa: ANN401
) -> Court:
    """Builds a judge of `mine` with a script."""
    asked = questions()
    plan = TargetPlan(
        target="mine",
        label="mine",
        reference=reference,
        policy=policy or Policy(catch=0.2, reason="few questions"),
        benchmarks=1,
        grouped=True,
        subjects=subjects,
        parents=DOMAIN_OF,
        questions=asked,
        selection=asked.select(subjects, limit),
        seed=7,
        connections=16,
        limit=limit,
        confirm=confirm,
        allow_routes=(),
        allowance=lambda kind: allowance or Allowance(),  # noqa: ARG005
    )
    sides = (reference.target, "mine") if isinstance(reference, BaseReference) else ("mine",)
    asker = Script(store, sides, says, **script)
    typed: Asker = asker
    losses, lines, counted = LostTargets(), list[str](), list[Tally]()
    feed = Feed(lambda *news: counted.append(news[-1]), lambda _: (len(subjects), SIZE))
    judge = Judge(
        lambda _: plan,
        lambda _: typed,
        RunRecord(lambda: store, RUN, MMLU, reference=lambda _: reference),
        losses=losses,
        session=session,
        feed=feed,
        say=lines.append,
    )
    return Court(judge, asker, store, losses, lines, counted)


BASE = BaseReference("base")


def test_a_suite_that_keeps_up_with_its_base_passes(store: Store) -> None:
    """Equal answers to 180 questions rule out the loss to be caught; the store has the verdict."""
    made = court(store, BASE)
    verdict = made.judge.suite("mine").verdict
    assert verdict is not None
    assert (verdict.kind, verdict.scope) == ("PASS", "suite")
    kept = made.kept(Shard("suite", MMLU))
    assert kept["verdict"]["kind"] == "PASS"
    assert kept["reference"] == {"kind": "base", "target": "base"}
    assert made.script.batches == list(SUBJECTS)


def test_a_suite_that_lost_a_subject_is_red_by_its_name(store: Store) -> None:
    """Half of one subject lost is a regression, and the subject is named."""
    judgement = court(store, BASE, loses(30, subjects=["virology"])).judge.suite("mine")
    assert judgement.verdict is not None
    assert judgement.verdict.kind == "REGRESSION"
    assert [one.name for one in judgement.verdict.failed_subjects] == ["virology"]


def test_a_suite_is_held_to_a_floor(store: Store) -> None:
    """Where the reference is a floor, an accuracy clearly under it is a regression."""
    made = court(store, FloorReference(Floor(0.8)), loses(30))
    verdict = made.judge.suite("mine").verdict
    assert verdict is not None
    assert verdict.kind == "REGRESSION"


def test_too_many_errors_leave_it_open(store: Store) -> None:
    """A fifth of the questions without an answer is no verdict on the model."""

    def says(target: str, question: Question, look: Look) -> AnswerState:
        lacking = target == "mine" and number(question) % 5 == 0
        return AnswerState.ERROR if lacking else right(target, question, look)

    verdict = court(store, BASE, says).judge.suite("mine").verdict
    assert verdict is not None
    assert verdict.kind == "INCONCLUSIVE"


def test_nothing_answered_is_an_error(store: Store) -> None:
    """A target that answers no question of a subject is out of reach; its fault is told."""

    def says(target: str, question: Question, look: Look) -> AnswerState:
        return AnswerState.ERROR if target == "mine" else right(target, question, look)

    verdict = court(store, BASE, says).judge.suite("mine").verdict
    assert verdict is not None
    assert verdict.kind == "ERROR"
    assert "HTTP 500" in verdict.reasons[0]


def test_a_server_that_ends_is_an_error_and_is_noted(store: Store) -> None:
    """The suite tells of it, what was answered counts as used, and the next one asks nothing."""
    made = court(store, BASE, ends_after=1)
    judgement = made.judge.suite("mine")
    assert judgement.verdict is not None
    assert judgement.verdict.kind == "ERROR"
    assert judgement.usage is not None
    assert (judgement.usage.asked, judgement.usage.questions) == (SIZE, 3 * SIZE)
    assert "the server has ended" in made.losses.fault("mine").lower()
    made.script.ends_after = None
    again = made.judge.suite("mine").verdict
    assert again is not None
    assert again.kind == "ERROR"
    assert made.script.batches == [SUBJECTS[0]]


def test_a_server_that_contradicts_itself_is_asked_again_once(store: Store) -> None:
    """What it answered since the last look is asked again; a second time it is an error."""
    made = court(store, BASE, contradictions=1)
    verdict = made.judge.suite("mine").verdict
    assert verdict is not None
    assert verdict.kind == "PASS"
    assert made.script.batches == [*SUBJECTS, *SUBJECTS]
    assert any("is asked again" in line for line in made.lines)
    with pytest.raises(ContradictionError):
        court(store, BASE, contradictions=2).judge.suite("mine")


@pytest.mark.parametrize("alike", [True, False])
def test_an_adapter_that_says_what_its_base_says_is_looked_at(store: Store, alike: bool) -> None:
    """Only where every text is the base's, the server is asked whether the adapter is live."""
    made = court(store, BASE, alike=alike)
    made.judge.suite("mine")
    assert ("check_live" in made.script.told) is alike


def test_a_subject_has_a_verdict_of_its_own(store: Store) -> None:
    """A lost subject says so, one that kept up says `kept`; each is kept under its name."""
    made = court(store, BASE, loses(30, subjects=["virology"]))
    verdicts = {}
    for subject in ("virology", "anatomy"):
        judgement = made.judge.subject("mine", subject)
        assert judgement is not None
        assert judgement.verdict is not None
        verdicts[subject] = judgement.verdict.kind
        kept = made.kept(Shard("group", MMLU, subject))
        assert kept["verdict"]["kind"] == judgement.verdict.kind
    assert verdicts == {"virology": "lost", "anatomy": "kept"}
    assert sum((one.subjects for one in made.counted), 0) == 2


def test_a_test_counts_its_own_target_s_answers(store: Store) -> None:
    """Progress is told of the target alone: its base's answers are counted by the base's tests."""
    made = court(store, BASE)
    made.judge.subject("mine", "virology")
    assert sum(one.done for one in made.counted) == SIZE


def test_a_subject_that_a_limit_left_empty_has_no_verdict(store: Store) -> None:
    """Without a question there is nothing to ask and nothing to say."""
    made = court(store, BASE, limit=1)
    judged = [made.judge.subject("mine", subject) for subject in SUBJECTS]
    assert sum(one is None for one in judged) == 2
    assert len(made.script.batches) == 1


def test_the_last_subject_looks_at_the_server(store: Store) -> None:
    """Only a subject after which no test of the target comes looks whether the server changed."""
    after = {"anatomy": ("virology",), "virology": ()}
    made = court(store, BASE, session=SessionTests(following=lambda _, subject: after[subject]))
    made.judge.subject("mine", "anatomy")
    assert made.script.told == []
    made.judge.subject("mine", "virology")
    assert made.script.told == ["finish"]


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_second_look_decides_on_a_subject(store: Store, confirmed: bool) -> None:
    """With `--confirm` a subject fails only where it loses twice; the second look is asked anew."""
    looks: list[Look] = ["first", "confirm"] if confirmed else ["first"]
    says = loses(30, subjects=["virology"], looks=looks)
    made = court(store, BASE, says, confirm=True)
    judgement = made.judge.subject("mine", "virology")
    assert judgement is not None
    assert judgement.verdict is not None
    assert (judgement.verdict.kind == "lost") is confirmed
    said = any("Not confirmed when asked again" in one for one in judgement.verdict.reasons)
    assert said is not confirmed
    assert made.script.batches == ["virology", "virology again"]
    assert judgement.usage is not None
    assert judgement.usage.asked == 2 * SIZE
    assert len(store.used(RUN, "mine", "confirm")) == SIZE


def test_the_suite_asks_again_only_what_it_named(store: Store) -> None:
    """The second look is at the subject and the domain that lost; what it clears is told.

    The domain is that of virology and anatomy.
    """
    made = court(store, BASE, loses(30, subjects=["virology"]), confirm=True)
    verdict = made.judge.suite("mine").verdict
    assert verdict is not None
    assert made.script.batches == [*SUBJECTS, "virology again", "anatomy again"]
    assert any("Not confirmed when asked again" in reason for reason in verdict.reasons)


def test_a_quick_run_stops_when_the_loss_is_clear(store: Store) -> None:
    """A model that lost nearly everything is red after a part of the questions."""
    made = court(store, BASE, loses(50))
    judgement = made.judge.quick("mine")
    assert judgement.verdict is not None
    assert (judgement.verdict.kind, judgement.verdict.scope) == ("REGRESSION", "quick")
    assert judgement.usage is not None
    assert judgement.usage.questions < len(questions().questions) / 2
    assert len(judgement.path) == len(made.script.batches)
    assert made.script.batches[0] == "quick_001"
    assert made.kept(Shard("quick", MMLU))["path"] == list(judgement.path)


def test_a_quick_run_stops_when_no_loss_is_left(store: Store) -> None:
    """A model that keeps up passes as soon as the loss to be caught is ruled out."""
    made = court(store, BASE, policy=Policy(catch=0.3, reason="few questions"))
    judgement = made.judge.quick("mine")
    assert judgement.verdict is not None
    assert judgement.verdict.kind == "PASS"
    assert judgement.usage is not None
    assert judgement.usage.questions < len(questions().questions)


def test_a_quick_run_that_meets_its_limit_is_open(store: Store) -> None:
    """Where a limit ends it before the evidence does, the verdict says so."""
    made = court(store, BASE, limit=20)
    verdict = made.judge.quick("mine").verdict
    assert verdict is not None
    assert verdict.kind == "INCONCLUSIVE"
    assert verdict.reasons[0] == "The limit of 20 questions was reached."
    assert made.script.batches == ["quick_001", "quick_002"]


def test_a_quick_run_whose_server_ends_is_an_error(store: Store) -> None:
    """What was answered before is told as used; the server is not looked at any more."""
    made = court(store, BASE, ends_after=1)
    judgement = made.judge.quick("mine")
    assert judgement.verdict is not None
    assert judgement.verdict.kind == "ERROR"
    assert judgement.usage is not None
    assert judgement.usage.asked == 16
    assert made.script.told == []


def test_a_quick_run_that_only_measures_is_short(store: Store) -> None:
    """Without a reference ten questions are asked, and nothing is judged."""
    made = court(store, NoReference())
    judgement = made.judge.quick("mine")
    assert judgement.verdict is None
    assert judgement.usage is not None
    assert judgement.usage.questions == 10


def test_a_verdict_says_which_try_it_was(store: Store) -> None:
    """A run that may spend only part of the error shares says after which run."""
    after = Allowance(number=2, share=0.5, after="r0", said="REGRESSION")
    made = court(store, BASE, allowance=after)
    verdict = made.judge.suite("mine").verdict
    assert verdict is not None
    assert after.reason in verdict.reasons


def test_a_preflight_is_asked_once_in_a_run(store: Store) -> None:
    """A second process finds how it ended, and whose prompts begin a thought."""
    first, second = (court(store, BASE, begins=("base",)) for _ in range(2))
    first.judge.preflight("mine")
    second.judge.preflight("mine")
    assert first.script.told == ["probe base", "probe mine", "thoughts of base"]
    assert second.script.told == ["thoughts of base"]
    assert first.kept(Shard("preflight", MMLU))["verdict"] is None


def no_plan(target: str) -> TargetPlan:
    """Stands for a target that has nothing to be compared with."""
    raise CapgateError("there is no recorded baseline", target=target)


def test_a_target_without_a_plan_fails_its_preflight(store: Store) -> None:
    """Why there is no plan is what the preflight fails by, in each process of the run."""
    for _ in range(2):
        judge = Judge(
            no_plan,
            lambda _: Script(store),
            RunRecord(lambda: store, RUN, MMLU),
            losses=LostTargets(),
        )
        with pytest.raises(CapgateError, match="there is no recorded baseline"):
            judge.preflight("mine")
    assert store.shards(RUN)["mine", Shard("preflight", MMLU)]["verdict"]["kind"] == "ERROR"


def test_a_process_loads_its_questions_while_another_one_makes_the_preflight(store: Store) -> None:
    """It takes over what the other one found, and makes no preflight of its own."""
    found = Judgement("mine", Shard("preflight", MMLU), None, None)
    events: list[str] = []
    with Store(Path(store.where)) as other, ExitStack() as theirs:
        theirs.enter_context(other.claim(f"preflight-{RUN}-{MMLU}-mine", once=True))

        @contextmanager
        def loading(target: str) -> Iterator[None]:
            events.append(f"loads {target}")
            RunRecord(lambda: other, RUN, MMLU).keep(found)
            theirs.close()
            yield
            events.append("loaded")

        judge = Judge(
            no_plan,
            lambda _: Script(store),
            RunRecord(lambda: store, RUN, MMLU),
            losses=LostTargets(),
            loading=loading,
        )
        judge.preflight("mine")
    assert events == ["loads mine", "loaded"]
