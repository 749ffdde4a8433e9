"""A benchmark's questions in a folder: written and read back without a difference."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState
from inspect_ai.util import registry_info
from inspect_evals.bbh.bbh import DatasetType

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.exported.folder import (
    About,
    files_of,
    has_export,
    package_of,
    read_export,
    write_export,
)
from capgate.benchmarks.exported.task_plan import Registered, TaskPlan, plan_of
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question, QuestionSet, question_hash
from capgate.benchmarks.without_model import sent_by
from capgate.common.errors import DatasetError

TASK = "inspect_evals/bbh"
BUNDLED = Path(str(files("capgate.benchmarks.mmlu") / "bundled"))


def question_set(samples: list[Sample]) -> QuestionSet:
    """A set of these samples."""
    made = (Question(question_hash(sample), "group", sample) for sample in samples)
    return QuestionSet("hub", "c0ffee", 0, tuple(made))


def export(folder: Path, samples: list[Sample], **keys: Any) -> About:  # noqa: ANN401
    """Writes samples as the benchmark `house`."""
    given = {"name": "house", "task": TASK, "args": {}, "versions": {}, "plan": None} | keys
    return write_export(folder, question_set(samples), **given)


def sample(number: int, **keys: Any) -> Sample:  # noqa: ANN401
    """A question with two choices."""
    given = {"id": number, "input": f"{number}?", "choices": ["yes", "no"], "target": "A"} | keys
    return Sample(**given)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXTS,
        st.sampled_from(DatasetType),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXTS, inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
    ),
    max_leaves=8,
)

KINDS: list[Callable[[str], ChatMessage]] = [
    lambda text: ChatMessageSystem(content=text),
    lambda text: ChatMessageUser(content=text),
    lambda text: ChatMessageAssistant(content=text),
]


@st.composite
def messages(draw: st.DrawFn) -> list[ChatMessage]:
    """Draws a conversation that ends with the user's message."""
    head = draw(st.lists(st.tuples(st.sampled_from(KINDS), TEXTS), max_size=3))
    return [*(make(text) for make, text in head), ChatMessageUser(content=draw(TEXTS))]


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Draws samples as tasks have them: choices or free text, ids of both kinds, any metadata."""
    return [
        Sample(
            id=draw(st.one_of(st.just(number), st.just(f"q{number}"))),
            input=draw(st.one_of(TEXTS, messages())),
            choices=draw(st.one_of(st.none(), st.lists(TEXTS, min_size=2, max_size=12))),
            target=draw(st.one_of(TEXTS, st.lists(TEXTS, max_size=3))),
            metadata=draw(st.one_of(st.none(), st.dictionaries(TEXTS, VALUES, max_size=3))),
        )
        for number in range(draw(st.integers(1, 4)))
    ]


def seen(one: Sample) -> tuple[object, ...]:
    """All that a solver and a scorer can see of a sample."""
    shown = one.input
    return (
        one.id,
        shown if isinstance(shown, str) else [(message.role, message.text) for message in shown],
        one.choices,
        one.target,
        repr(one.metadata or None),
    )


@given(written=samples())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_samples_come_back_as_they_were(written: list[Sample], tmp_path: Path) -> None:
    """Ids, messages, choices, targets, metadata with enums and numbered keys, order and digest."""
    about = export(tmp_path, written)
    read = read_export(tmp_path, "house")

    assert list(map(seen, read.samples)) == list(map(seen, written))
    assert read.about == about
    assert about.digest == question_set(list(read.samples)).digest
    assert (about.revision, about.questions) == ("c0ffee", len(written))


def test_the_lines_are_inspects_own(tmp_path: Path) -> None:
    """Inspect's `json_dataset` reads the exported file as it is."""
    from inspect_ai.dataset import json_dataset

    export(tmp_path, [sample(1, metadata={"topic": "doors"}), sample(2)])
    read = json_dataset(str(files_of(tmp_path, "house")[0]))

    assert [(one.id, one.input, one.choices, one.target) for one in read] == [
        (1, "1?", ["yes", "no"], "A"),
        (2, "2?", ["yes", "no"], "A"),
    ]
    assert read[0].metadata is not None
    assert read[0].metadata["topic"] == "doors"


@pytest.mark.parametrize("shots", [0, 5])
def test_mmlu_comes_back_from_a_folder(shots: int, tmp_path: Path) -> None:
    """An exported MMLU is the set that it was made from; a folder's other forms go on working."""
    source = load_questions("bundled", shots=shots)
    name = f"mmlu_{shots}"
    task = f"inspect_evals/mmlu_{shots}_shot"
    write_export(tmp_path, source, name=name, task=task, args={}, versions={}, plan=None)

    read = load_questions(str(tmp_path), shots=shots, name=name)

    assert [one.hash for one in read.questions] == [one.hash for one in source.questions]
    assert [one.subject for one in read.questions] == [one.subject for one in source.questions]
    assert read.digest == source.digest
    assert read.describe() == source.describe() | {"source": str(tmp_path)}
    assert load_questions(str(BUNDLED), shots=shots).digest == source.digest
    with pytest.raises(DatasetError, match=f"the questions of {task}, with {shots} examples"):
        load_questions(str(tmp_path), shots=5 - shots, name=name)


def change(path: Path, old: str, new: str) -> None:
    """Changes the first of some words in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


ROWS, ABOUT = 0, 1


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (ROWS, '"2?"', '"3?"', "line 2: question 2 was changed after the export"),
        (ROWS, '"target": "A"', '"target": "B"', "line 1: question 1 was changed"),
        (ROWS, '"doors"', '"keys"', "is not what was exported"),
        (ROWS, '"id": 1', '"id": 7', "is not what was exported"),
        (ROWS, '"id": 1', '"id": true', "line 1: id"),
        (ROWS, '"input"', '"inptu"', "line 1: input: Field required"),
        (ROWS, "{", "[", "line 1: not JSON"),
        (ABOUT, '"questions": 2', '"questions": 3', "says 3 with"),
        (ABOUT, '"digest": "', '"digest": "0', "is not what was exported"),
        (ABOUT, '"format": 1', '"format": 2', "in a form that this capgate knows"),
        (ABOUT, '"benchmark": "house"', '"benchmark": "shed"', "describes the benchmark shed"),
        (ABOUT, "{", "[", "can't be read"),
    ],
)
def test_what_was_changed_is_told(file: int, old: str, new: str, said: str, tmp_path: Path) -> None:
    """A change of a question, of what is said of it, or of the order of files does not pass."""
    export(tmp_path, [sample(1, metadata={"topic": "doors"}), sample(2)])
    change(files_of(tmp_path, "house")[file], old, new)

    with pytest.raises(DatasetError) as caught:
        read_export(tmp_path, "house")

    assert said in str(caught.value)


def test_a_missing_line_is_told(tmp_path: Path) -> None:
    """Fewer questions than were exported do not pass, though each of them is unchanged."""
    export(tmp_path, [sample(1), sample(2)])
    rows = files_of(tmp_path, "house")[0]
    rows.write_text(rows.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")

    with pytest.raises(DatasetError, match=r"has 1 questions .* says 2"):
        read_export(tmp_path, "house")


def test_a_folder_without_an_export_is_told(tmp_path: Path) -> None:
    """The message says how to get the questions."""
    assert not has_export(tmp_path, "house")
    with pytest.raises(DatasetError, match="capgate questions export house DIR"):
        read_export(tmp_path, "house")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metadata": {"a": {"b": {1, 2}}}}, "metadata.a/b is set"),
        ({"metadata": {"a": float("nan")}}, "metadata.a is float"),
        ({"metadata": {"a": {1: 2, "b": 3}}}, "metadata.a is dict"),
        ({"metadata": {"a": "\ud83d"}}, "half a character"),
        ({"sandbox": "docker"}, "it has sandbox"),
        ({"input": [ChatMessageTool(content="?")]}, "it shows more than texts"),
    ],
)
def test_what_no_line_can_hold_is_told(keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Nothing is written that would come back as something else."""
    with pytest.raises(DatasetError) as caught:
        export(tmp_path, [sample(1, **keys)])
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["os:environ", "os.path:join", "inspect_evals.bbh.bbh:bbh", "x"])
def test_a_file_makes_nothing_but_the_tasks_own_enums(kind: str, tmp_path: Path) -> None:
    """A kind of another package, or one that is no enum, is refused and not imported."""
    export(tmp_path, [sample(1, metadata={"type": DatasetType.DYCK})])
    change(files_of(tmp_path, "house")[ROWS], "inspect_evals.bbh.bbh:DatasetType", kind)

    with pytest.raises(DatasetError, match="unknown kind"):
        read_export(tmp_path, "house")


SYSTEM = Registered(name="system_message", arguments={"template": "Be {mood}."})
CHOICE = Registered(name="multiple_choice")


def test_a_plan_makes_the_same_task_again() -> None:
    """Solvers, scorers and settings of a plan give the prompts of the task that it describes."""
    bench = mmlu_task("inspect_evals/mmlu_0_shot", 64)
    task = bench.task([bench.probe], shard="x")
    solver = Registered(
        name="inspect_evals/mmlu_multiple_choice", arguments={"max_non_cot_tokens": 64}
    )
    plan = plan_of(task, [solver], [Registered(name="choice")], "inspect_evals")

    made = TaskPlan.model_validate_json(plan.model_dump_json()).make(
        [bench.probe.sample], "inspect_evals"
    )

    assert made.config == task.config
    assert (made.version, made.metadata) == (task.version, task.metadata)


def test_a_plan_of_other_prompts_is_refused() -> None:
    """A solver that is not the same when it is made again is told before anything is written."""
    bench = mmlu_task("inspect_evals/mmlu_0_shot", 64)
    task = bench.task([bench.probe], shard="x")
    with pytest.raises(DatasetError, match="makes another prompt of question"):
        plan_of(task, [SYSTEM, CHOICE], [Registered(name="choice")], "inspect_evals")


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        (Registered(name="elsewhere/solver"), "is neither Inspect's nor the task's"),
        (Registered(name="no_such_solver"), "can't be made"),
        (Registered(name="system_message", arguments={"tmplate": "x"}), "can't be made"),
    ],
)
def test_a_plan_that_can_not_be_made_is_told(solver: Registered, said: str) -> None:
    """Solvers of other packages are not made; wrong arguments are told."""
    plan = TaskPlan(solvers=(solver,), scorers=(Registered(name="choice"),))
    with pytest.raises(DatasetError, match=said):
        plan.make([sample(1)], "inspect_evals")


@pytest.mark.parametrize(
    ("task", "package"),
    [
        ("inspect_evals/gsm8k", "inspect_evals"),
        ("evals/support.py@tickets", ""),
        ("evals/support.py", ""),
        ("tickets", ""),
    ],
)
def test_which_package_a_task_is_of(task: str, package: str) -> None:
    """A registered task's name begins with its package; a file has none."""
    assert package_of(task) == package


def test_a_folder_tells_a_task_before_it_is_loaded(tmp_path: Path) -> None:
    """Where the questions are exported, nothing of a benchmark needs the hub, in any order."""
    sums = [Sample(id=n, input=f"{n} + 7?", target=str(n + 7)) for n in range(8)]
    plan = TaskPlan(
        solvers=(
            Registered(name="system_message", arguments={"template": "Add."}),
            Registered(name="generate"),
        ),
        scorers=(Registered(name="match", arguments={"numeric": True}),),
        config={"max_tokens": 77},
        version=2,
    )
    entry = BenchmarkEntry(task="inspect_evals/gsm8k", args={"fewshot": 10})
    export(tmp_path, sums, name="sums", task=entry.task, args=entry.args, plan=plan)
    made = make_benchmark(
        "sums", entry, task="", max_tokens=16, root=tmp_path, dataset=str(tmp_path)
    )

    assert made.max_tokens == 77
    assert made.form == "a number"
    assert made.versions["task"] == "inspect_evals/gsm8k@2"
    questions = made.load(str(tmp_path))
    assert [one.sample.id for one in questions.questions] == list(range(8))
    task = made.task(questions.questions, shard="all")
    sent, _ = sent_by(task.solver, questions.questions[0].sample)
    assert sent == [["system", "Add."], ["user", "0 + 7?"]]


def test_an_export_of_other_arguments_is_told(tmp_path: Path) -> None:
    """Questions that were exported for another form of the task are not asked for this one."""
    entry = BenchmarkEntry(task="inspect_evals/gsm8k", args={"fewshot": 0})
    plan = TaskPlan(solvers=(CHOICE,), scorers=(Registered(name="choice"),))
    export(tmp_path, [sample(1)], name="sums", task=entry.task, args={"fewshot": 10}, plan=plan)
    made = make_benchmark("sums", entry, task="", max_tokens=16, root=tmp_path)

    with pytest.raises(DatasetError, match="export them again with today's entry"):
        made.load(str(tmp_path))


def test_an_exported_file_is_a_file_of_questions(tmp_path: Path) -> None:
    """Named under `questions`, it holds the same questions in the same groups."""
    source = load_questions("bundled", shots=0)
    task = "inspect_evals/mmlu_0_shot"
    write_export(tmp_path, source, name="mmlu", task=task, args={}, versions={}, plan=None)
    entry = BenchmarkEntry(questions="mmlu.jsonl", group="subject")
    read = make_benchmark("mine", entry, task="", max_tokens=16, root=tmp_path).load("hub")

    assert [one.hash for one in read.questions] == [one.hash for one in source.questions]
    assert list(read.by_subject) == list(source.by_subject)


def test_a_teams_own_file_comes_back_from_a_folder(tmp_path: Path) -> None:
    """Where its file is away, its exported questions are asked, unless they were changed."""
    own = tmp_path / "own.csv"
    rows = [f"What is {n} + 7?,{n + 7},{'odd' if n % 2 else 'even'}" for n in range(6)]
    own.write_text("\n".join(["question,answer,group", *rows]), encoding="utf-8")
    entry = BenchmarkEntry(questions="own.csv")

    def made() -> Benchmark:
        folder = str(tmp_path / "exported")
        return make_benchmark("own", entry, task="", max_tokens=9, root=tmp_path, dataset=folder)

    before = made()
    source = before.load("hub")
    write_export(
        tmp_path / "exported", source, name="own", task="own.csv", args={}, versions={}, plan=None
    )
    asked = before.versions, before.prompt_hash
    own.unlink()
    away = made()

    read = away.load("hub")
    assert [(one.hash, one.subject) for one in read.questions] == [
        (one.hash, one.subject) for one in source.questions
    ]
    assert (away.groups, away.form) == (("even", "odd"), "a number")
    assert (away.versions, away.prompt_hash) == asked
    assert not away.may_be_away("hub")
    change(files_of(tmp_path / "exported", "own")[ROWS], "What is 2", "What is 9")
    with pytest.raises(DatasetError, match="was changed after the export"):
        made().load("hub")


def test_a_users_scorer_does_not_take_the_place_of_inspects() -> None:
    """A folder's task is scored by Inspect's own scorer, though a user's has the same name."""

    @scorer(metrics=[accuracy()], name="includes")
    def own() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            raise AssertionError(f"{state.sample_id} {target.text}")

        return score

    own()
    plan = TaskPlan(solvers=(Registered(name="generate"),), scorers=(Registered(name="includes"),))
    task = plan.make([sample(1)], "inspect_evals")
    (made,) = task.scorer or []
    assert registry_info(made).name == "inspect_ai/includes"
