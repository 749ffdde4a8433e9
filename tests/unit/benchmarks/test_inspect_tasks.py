"""Any Inspect task as a benchmark: tasks of the user's own files, made and read for real."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.benchmarks.benchmark import Reading
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.inspect_task.benchmark import InspectTaskBenchmark
from capgate.benchmarks.inspect_task.dry_run import scored_answers
from capgate.benchmarks.inspect_task.load import group_name
from capgate.benchmarks.inspect_task.scores import ScoreRules
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.questions import Question
from capgate.common.answers import AnswerState
from capgate.common.errors import CapgateError, ConfigError

CHOICE = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import choice
from inspect_ai.solver import multiple_choice, system_message

TOPICS = ("billing", "shipping costs")

@task
def tickets(count: int = 4, extra: str = "", hint: str = "Answer tickets."):
    samples = [
        Sample(
            input=f"Ticket {at}: what comes next?",
            choices=["first", "second", "third"],
            target="ABC"[at % 3],
            metadata={"topic": TOPICS[at % 2]},
        )
        for at in range(count)
    ]
    if extra:
        samples.append(samples[0])
    return Task(
        dataset=samples,
        solver=[system_message(hint), multiple_choice()],
        scorer=choice(),
        version=3,
    )
"""

FREE = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import {scorers}, Score, accuracy, scorer
from inspect_ai.solver import generate, prompt_template

{more}

@task
def sums():
    samples = [
        Sample(id=at, input=f"What is {{at}} + 7?", target=str(at + 7), metadata=dict(at=at))
        for at in range(1, 6)
    ]
    return Task(
        dataset=samples,
        solver=[prompt_template("Think. {{prompt}}"), generate()],
        scorer={used},
        config=GenerateConfig(max_tokens=77, max_connections=3, top_p=0.9),
        {settings}
    )
"""


def written(root: Path, text: str, name: str = "evals/support.py") -> Path:
    """Writes a task's file into a project."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def free(
    used: str = "match(numeric=True)",
    more: str = "",
    *,
    scorers: str = "match",
    settings: str = "",
) -> str:
    """The text of a file with a task in free text."""
    return FREE.format(used=used, more=textwrap.dedent(more), scorers=scorers, settings=settings)


def made(
    root: Path, task: str = "evals/support.py@tickets", **keys: object
) -> InspectTaskBenchmark:
    """Makes the benchmark of an entry."""
    entry = BenchmarkEntry.model_validate({"task": task, **keys})
    assert list(entry.faults()) == []
    found = make_benchmark(
        "desk", entry, task="inspect_evals/mmlu_0_shot", max_tokens=512, root=root
    )
    assert isinstance(found, InspectTaskBenchmark)
    return found


def sums(root: Path, text: str, **keys: object) -> InspectTaskBenchmark:
    """Makes the benchmark of a file whose task is `sums`."""
    written(root, text)
    return made(root, "evals/support.py@sums", **keys)


def read(benchmark: InspectTaskBenchmark, text: str, question: Question | None = None) -> Reading:
    """How the benchmark reads an answer to its first question, or to another one."""
    from inspect_ai.model import ModelOutput

    asked = question or benchmark.load("hub").questions[0]
    task = benchmark.task([asked], shard="one")
    (scored,) = scored_answers(task, [(asked.sample, text)])
    return benchmark.read(scored.scores, ModelOutput.from_content("none/none", text))


def told(benchmark: InspectTaskBenchmark) -> str:
    """What loading a benchmark fails with: one short paragraph."""
    with pytest.raises(CapgateError) as caught:
        benchmark.load("hub")
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def test_a_choice_task_has_groups_letters_and_a_form(tmp_path: Path) -> None:
    """Questions go into the groups that a key of their metadata names."""
    written(tmp_path, CHOICE)
    desk = made(tmp_path, group="topic", catch=0.05)
    found = desk.load("hub")
    assert desk.groups == ["billing", "shipping_costs"]
    assert {name: len(ones) for name, ones in found.by_subject.items()} == {
        "billing": 2,
        "shipping_costs": 2,
    }
    assert (desk.letters, desk.form, desk.catch) == ("ABC", "ANSWER: and a letter", 0.05)
    assert desk.constraint("vllm") == {"structured_outputs": {"regex": "ANSWER: [A-C]"}}
    assert desk.constraint("other") is None
    assert desk.versions["task"] == "evals/support.py@tickets@3"


def test_without_a_group_all_questions_are_in_one(tmp_path: Path) -> None:
    """A task without groups is one group of the benchmark's own name."""
    written(tmp_path, CHOICE)
    desk = made(tmp_path)
    assert desk.groups == ()
    assert list(desk.load("hub").by_subject) == ["desk"]


def test_groups_of_the_entry_need_no_questions(tmp_path: Path) -> None:
    """Where the entry names the groups, they are told though there is no file."""
    desk = made(tmp_path, group="topic", groups=["billing"], parents={"money": ["billing"]})
    assert desk.groups == ("billing",)
    assert desk.parents == {"billing": "money"}


def test_a_group_that_the_entry_does_not_name_is_told(tmp_path: Path) -> None:
    """Questions of another group than those named are a fault, with the nearest name."""
    written(tmp_path, CHOICE)
    said = told(made(tmp_path, group="topic", groups=["billing", "shipping_cost"]))
    assert "shipping_costs" in said
    assert "nearest to shipping_costs: shipping_cost" in said


def test_questions_without_a_group_are_told(tmp_path: Path) -> None:
    """A key that the samples' metadata lack is told with the keys that they have."""
    written(tmp_path, CHOICE)
    said = told(made(tmp_path, group="subject"))
    assert "4 of 4 questions of desk have no 'subject'" in said
    assert "topic" in said


def test_questions_keep_their_hash_and_get_an_id(tmp_path: Path) -> None:
    """A question's hash follows from its content; without an id of the task's it is the id."""
    written(tmp_path, CHOICE)
    few = made(tmp_path, args={"count": 2}).load("hub").questions
    more = made(tmp_path, args={"count": 5}).load("hub").questions
    assert [one.hash for one in few] == [one.hash for one in more[:2]]
    assert all(one.sample.id == one.hash for one in more)


def test_a_repeated_question_is_asked_once(tmp_path: Path) -> None:
    """Of two equal questions one is asked, and the benchmark's note says so."""
    written(tmp_path, CHOICE)
    desk = made(tmp_path, args={"extra": "yes"})
    assert len(desk.load("hub").questions) == 4
    assert desk.notes == "1 repeated question is asked once"


def test_its_task_asks_a_part_of_the_questions(tmp_path: Path) -> None:
    """The task of a part has the user's solver and scorer; the next part changes nothing of it."""
    text = free()
    bench = sums(tmp_path, text)
    questions = bench.load("hub").questions
    first = bench.task(questions[:2], shard="one")
    second = bench.task(questions[2:], shard="two")
    assert [str(sample.id) for sample in first.dataset] == ["1", "2"]
    assert [sample.target for sample in second.dataset] == ["10", "11", "12"]
    assert (first.name, first.dataset.name) == ("desk_one", "one")
    assert first.config.top_p == 0.9
    # How many requests are in flight is capgate's own matter.
    assert first.config.max_connections is None


@pytest.mark.parametrize(
    ("entry", "limit"), [({}, 77), ({"max_tokens": 900}, 900)], ids=["task", "entry"]
)
def test_the_token_limit_is_the_entrys_or_the_tasks(
    tmp_path: Path, entry: dict[str, Any], limit: int
) -> None:
    """The entry's limit goes before the task's own."""
    bench = sums(tmp_path, free(), **entry)
    assert bench.max_tokens == limit
    assert bench.task(bench.load("hub").questions, shard="all").config.max_tokens == limit


def test_the_token_limit_is_the_runs_where_nobody_says_it(tmp_path: Path) -> None:
    """Without a limit of entry and task it is that of `--max-tokens`."""
    written(tmp_path, CHOICE)
    assert made(tmp_path).max_tokens == 512


def test_a_limit_that_the_solver_overrides_is_told(tmp_path: Path) -> None:
    """An entry can't allow more tokens than the task's solver asks for by itself."""
    written(tmp_path, CHOICE.replace("multiple_choice()", "multiple_choice(max_tokens=9)"))
    assert made(tmp_path).max_tokens == 9
    assert "at most 9 by itself" in told(made(tmp_path, max_tokens=100))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANSWER: A", ("correct", "A")),
        ("ANSWER: B", ("wrong", "B")),
        ("It is the first.", ("unparsed", "")),
        ("", ("unparsed", "")),
    ],
)
def test_choices_are_read_by_their_letter(
    tmp_path: Path, text: str, expected: tuple[str, str]
) -> None:
    """A choice task's answer counts by its letter; without one it is unparsed."""
    written(tmp_path, CHOICE)
    assert read(made(tmp_path), text) == expected


@pytest.mark.parametrize(
    ("used", "text", "expected"),
    [
        ("match(numeric=True)", "1 + 7 is 8", ("correct", "8")),
        ("match(numeric=True)", "It is 9.", ("wrong", "9")),
        ("match(numeric=True)", "I do not know.", ("unparsed", "")),
        ("match(numeric=True)", " \n", ("unparsed", "")),
        ('pattern(r"= (\\d+)")', "= 8", ("correct", "8")),
        ('pattern(r"= (\\d+)")', "= 9", ("wrong", "9")),
        ('pattern(r"= (\\d+)")', "It is 8", ("unparsed", "")),
        ('answer("line")', "ANSWER: 8", ("correct", "8")),
        ('answer("line")', "8", ("unparsed", "")),
        ("includes()", "surely 8", ("correct", "surely 8")),
        ("includes()", "surely 9", ("wrong", "surely 9")),
        ("exact()", "", ("unparsed", "")),
    ],
)
def test_free_text_is_read_as_its_scorer_reads_it(
    tmp_path: Path, used: str, text: str, expected: tuple[str, str]
) -> None:
    """Right and wrong are the scorer's; an answer without what it looks for is unparsed."""
    name = used.partition("(")[0]
    assert read(sums(tmp_path, free(used, scorers=name)), text) == expected


STRICT = """
@scorer(metrics=[accuracy()])
def checks():
    async def score(state, target):
        text = state.output.completion
        return Score(value={"strict": text == target.text, "count": len(text)}, answer=text)
    return score
"""


def test_a_dict_counts_by_the_key_that_the_entry_names(tmp_path: Path) -> None:
    """`correct` names the value that decides; an empty text is no answer, whatever it scores."""
    bench = sums(tmp_path, free("checks()", STRICT), correct="strict")
    assert read(bench, "8").state is AnswerState.CORRECT
    assert read(bench, "9").state is AnswerState.WRONG
    assert read(bench, "").state is AnswerState.UNPARSED


def test_a_dict_without_a_key_is_told(tmp_path: Path) -> None:
    """Before anything is asked, the message names the keys and the line to add."""
    said = told(sums(tmp_path, free("checks()", STRICT)))
    assert "several values (strict, count)" in said
    assert "correct: strict" in said
    other = told(sums(tmp_path / "other", free("checks()", STRICT), correct="strikt"))
    assert "no key 'strikt'" in other


SIMILAR = """
@scorer(metrics=[accuracy()])
def similar():
    async def score(state, target):
        return Score(value=state.output.completion.count(target.text) / 4)
    return score
"""


def test_a_number_counts_from_where_the_entry_says(tmp_path: Path) -> None:
    """`correct_at` is the smallest score of a right answer."""
    bench = sums(tmp_path, free("similar()", SIMILAR), correct_at=0.5)
    assert read(bench, "8 8").state is AnswerState.CORRECT
    # A scorer that never tells what it read says of no answer that there was none.
    assert read(bench, "8").state is AnswerState.WRONG
    assert read(bench, "").state is AnswerState.UNPARSED


def test_a_number_without_a_bound_is_told(tmp_path: Path) -> None:
    """The message names the key to add."""
    assert "correct_at: NUMBER" in told(sums(tmp_path, free("similar()", SIMILAR)))


def test_of_several_scorers_the_entry_names_one(tmp_path: Path) -> None:
    """Several scorers need `scorer`; it must be one of them."""
    used = "[includes(), match(numeric=True)]"
    text = free(used, scorers="includes, match")
    assert "Add `scorer: includes`" in told(sums(tmp_path / "a", text))
    assert "no scorer 'exact'" in told(sums(tmp_path / "b", text, scorer="exact"))
    bench = sums(tmp_path / "c", text, scorer="match")
    assert read(bench, "8 or 9") == ("wrong", "9")


def test_the_hash_of_a_scorer_follows_what_it_reads(tmp_path: Path) -> None:
    """Another scorer, or another key, has another hash; another comment has the same."""
    hashes = {
        name: sums(tmp_path / name, text, **keys).versions["scorer"]
        for name, text, keys in (
            ("plain", free("checks()", STRICT), {"correct": "strict"}),
            ("comment", free("checks()", f"# Better.\n{STRICT}"), {"correct": "strict"}),
            (
                "lenient",
                free("checks()", STRICT.replace("text == target", "target in text and target")),
                {"correct": "strict"},
            ),
            ("counts", free("checks()", STRICT), {"correct": "count", "correct_at": 1}),
        )
    }
    assert hashes["plain"] == hashes["comment"]
    assert len({hashes["plain"], hashes["lenient"], hashes["counts"]}) == 3


def test_a_scorer_that_takes_no_other_questions_is_known_by_its_file(tmp_path: Path) -> None:
    """Where no fixed text can be scored, the hash is of the file that has the scorer."""
    picky = """
    @scorer(metrics=[accuracy()])
    def picky():
        async def score(state, target):
            assert state.input_text.startswith("What is")
            return Score(value="C")
        return score
    """
    first = sums(tmp_path / "a", free("picky()", picky)).versions["scorer"]
    again = sums(tmp_path / "b", free("picky()", picky)).versions["scorer"]
    other = sums(tmp_path / "c", free("picky()", picky + "\n    # Changed.")).versions["scorer"]
    assert first == again != other


def test_the_prompts_hash_follows_what_is_sent(tmp_path: Path) -> None:
    """It is the same for other questions, and another for another prompt."""
    written(tmp_path, CHOICE)
    plain = made(tmp_path, args={"hint": "Be brief."})
    other = made(tmp_path, args={"hint": "Be kind."})
    assert plain.prompt_hash != other.prompt_hash
    changed = tmp_path / "changed"
    written(changed, CHOICE.replace("Ticket {at}", "Case {at}"))
    same = made(changed, args={"hint": "Be brief."})
    assert same.prompt_hash == plain.prompt_hash
    assert same.load("hub").digest != plain.load("hub").digest


def test_the_probe_has_the_tasks_form(tmp_path: Path) -> None:
    """With choices it is an easy question; in free text one of the task's own."""
    written(tmp_path, CHOICE)
    desk = made(tmp_path, group="topic")
    probe = desk.probe
    assert probe.sample.choices == ["3", "8", "5"]
    assert probe.subject in desk.groups
    assert read(desk, "ANSWER: B", probe) == ("correct", "B")
    bench = sums(tmp_path / "free", free())
    assert bench.probe in bench.load("hub").questions


def test_epochs_are_refused_or_told(tmp_path: Path) -> None:
    """A task that asks a question several times needs `epochs: 1`, and a note tells of it."""
    text = free(settings="epochs=4,")
    assert "Add `epochs: 1`" in told(sums(tmp_path / "a", text))
    bench = sums(tmp_path / "b", text, epochs=1)
    questions = bench.load("hub").questions
    assert bench.task(questions, shard="all").epochs is None
    assert "4 times, capgate once" in bench.notes


def test_a_scorer_that_asks_a_model_is_refused(tmp_path: Path) -> None:
    """Inspect's graded scorers and the user's own that ask a model are told before any question."""
    said = told(sums(tmp_path / "a", free("model_graded_qa()", scorers="model_graded_qa")))
    assert "scorer model_graded_qa of desk asks a model" in said
    own = """
    from inspect_ai.model import get_model

    @scorer(metrics=[accuracy()])
    def judge():
        async def score(state, target):
            said = await get_model().generate(state.output.completion)
            return Score(value="C" if "yes" in said.completion else "I")
        return score
    """
    assert "the scorer of desk asks a model" in told(sums(tmp_path / "b", free("judge()", own)))


def test_questions_that_differ_each_time_are_refused(tmp_path: Path) -> None:
    """A task whose choices are shuffled without a seed has other questions in each process."""
    shuffled = CHOICE.replace(
        "for at in range(count)\n    ]",
        "for at in range(count)\n    ]\n    import random\n"
        "    for one in samples:\n        one.choices = [str(random.random()), 'b', 'c']",
    )
    written(tmp_path, shuffled)
    assert "other questions each time" in told(made(tmp_path))


def test_prompts_that_differ_each_time_are_refused(tmp_path: Path) -> None:
    """A task that draws its examples without a seed asks something else in each process."""
    drawn = CHOICE.replace("system_message(hint)", "system_message(uuid4().hex)")
    written(tmp_path, f"from uuid import uuid4\n{drawn}")
    assert "sends other prompts each time" in told(made(tmp_path))


PASSAGES = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match

@task
def reading():
    return Task(
        dataset=[
            Sample(input=f"Passage: text {at // 3}\\nQuestion {at}?", target=str(at),
                   metadata={"passage": at // 3})
            for at in range(9)
        ],
        scorer=match(),
    )
"""


@pytest.mark.parametrize(
    "keys", [{"cluster": "passage"}, {"cluster_pattern": "Passage: (.+)"}], ids=["key", "pattern"]
)
def test_one_question_about_each_text_is_asked(tmp_path: Path, keys: dict[str, Any]) -> None:
    """Questions that share a text are not independent, so one of each is asked and a note tells."""
    written(tmp_path, PASSAGES)
    desk = made(tmp_path, "evals/support.py@reading", **keys)
    questions = desk.load("hub").questions
    assert len({one.sample.metadata["passage"] for one in questions}) == len(questions) == 3
    assert "6 of 9 questions are left out" in desk.notes


def test_a_text_that_no_question_has_is_told(tmp_path: Path) -> None:
    """A key or pattern that finds nothing is a fault of the entry."""
    written(tmp_path, PASSAGES)
    assert "`cluster`" in told(made(tmp_path, "evals/support.py@reading", cluster="text"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import inspect_ai\nimport not_there\n", ("line 2", "No module named 'not_there'")),
        ("def broken(:\n    pass\n", ("line 1", "SyntaxError")),
        ("x = 1\nraise ValueError('no key')\n", ("line 2", "ValueError: no key")),
        ("x = 1\n", ("none of that name", "@task")),
        (CHOICE.replace("def tickets", "def ticket"), ("did you mean ticket",)),
        (
            CHOICE.replace("samples = [", "samples = open('away.jsonl')\n    samples = ["),
            ("line 11", "away.jsonl"),
        ),
        (CHOICE.replace("return Task(", "return dict("), ("makes no Task", "return Task")),
    ],
    ids=["import", "syntax", "raises", "no task", "other name", "data", "no Task"],
)
def test_a_file_that_can_not_be_used_is_told_with_its_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    """The user's own mistake is one paragraph that names file and line."""
    written(tmp_path, text)
    said = told(made(tmp_path)).casefold()
    assert "evals/support.py" in said
    assert str(tmp_path) not in said
    for word in words:
        assert word.casefold() in said, said


def test_arguments_that_the_task_does_not_take_are_told(tmp_path: Path) -> None:
    """A wrong argument is told with those that the task takes."""
    written(tmp_path, CHOICE)
    said = told(made(tmp_path, args={"cuont": 3}))
    assert "it takes count, extra, hint" in said


def test_tasks_that_are_not_there_are_told(tmp_path: Path) -> None:
    """A file, a package or a registered name that does not exist is told."""
    assert "does not exist" in told(made(tmp_path))
    assert "package not_there is not installed" in told(made(tmp_path, "not_there/some"))
    assert "does not know" in told(made(tmp_path, "inspect_evals/no_such_task"))


def test_a_package_that_a_task_needs_is_told_before_it_is_made(tmp_path: Path) -> None:
    """`requires` names the package, and how to get it."""
    said = told(made(tmp_path, requires={"not_there": "pip install somewhere"}))
    assert "pip install somewhere" in said


def test_a_file_finds_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and modules beside the task's file are found, as they are under `inspect eval`."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "HINT = 'Be brief.'\n", "evals/neighbour_of_tickets.py")
    written(tmp_path, '{"input": "1 + 7?", "target": "8"}\n', "evals/rows.jsonl")
    written(
        tmp_path,
        """
        from inspect_ai import Task, task
        from inspect_ai.dataset import json_dataset
        from inspect_ai.scorer import match
        from neighbour_of_tickets import HINT

        @task
        def rows():
            print("loading", HINT)
            return Task(dataset=json_dataset("rows.jsonl"), scorer=match())
        """,
    )
    desk = made(tmp_path, "evals/support.py")
    assert [one.sample.target for one in desk.load("hub").questions] == ["8"]
    assert Path.cwd() == tmp_path
    assert desk.notes == ""


def test_a_file_with_several_tasks_needs_a_name(tmp_path: Path) -> None:
    """Without `@NAME` a file's only task is meant."""
    written(
        tmp_path,
        CHOICE + CHOICE.partition("@task")[2].join(("\n@task", "")).replace("tickets", "more"),
    )
    assert "evals/support.py@more" in told(made(tmp_path, "evals/support.py"))


def test_a_task_without_questions_is_told(tmp_path: Path) -> None:
    """An empty data set is a fault."""
    written(tmp_path, CHOICE)
    assert "dataset is empty" in told(made(tmp_path, args={"count": 0}))


def test_a_score_of_another_form_is_told_when_it_comes(tmp_path: Path) -> None:
    """What only a real answer brings about names the benchmark and the way out."""
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    bench = sums(tmp_path, free())
    output = ModelOutput.from_content("none/none", "8")
    with pytest.raises(ConfigError, match="correct_at"):
        bench.read({"match": Score(value="P")}, output)
    unscored = Score(value=float("nan"))
    assert bench.read({"match": unscored}, output).state is AnswerState.ERROR
    assert bench.read({"match": Score(value="N")}, output).state is AnswerState.UNPARSED


@given(st.text())
def test_a_groups_name_is_safe_and_stays(text: str) -> None:
    """A group's name has no space, slash or bracket, and naming it again changes nothing."""
    name = group_name(text)
    assert group_name(name) == name
    assert not set(name) & set(" /\\[]()<>:;,'\"\n\t")


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10))
def test_a_higher_score_never_reads_worse(low: float, high: float, bound: float) -> None:
    """With `correct_at`, an answer that scores at least as high counts at least as well."""
    from inspect_ai.scorer import Score

    low, high = sorted((low, high))
    rules = ScoreRules("desk", correct_at=bound)
    states = [rules.read(Score(value=value), "text", extracts=False).state for value in (low, high)]
    assert states != [AnswerState.CORRECT, AnswerState.WRONG]
    assert set(states) <= {AnswerState.CORRECT, AnswerState.WRONG}
