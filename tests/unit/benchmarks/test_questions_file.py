"""A team's own questions: what a file may hold, how it is read, and every fault at once."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.reading import read
from capgate.benchmarks.questions_file.benchmark import QuestionsFileBenchmark
from capgate.benchmarks.without_model import no_model
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, DatasetError
from capgate.common.event_loop import in_own_loop

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def house_rule(number: int, **keys: object) -> Row:
    """Returns one question with three choices, in the short form."""
    return {
        "question": f"How many keys has room {number}?",
        "choices": [f"{number} keys", f"{number + 1} keys", "none"],
        "answer": "B",
    } | keys


def sum_of(number: int, **keys: object) -> Row:
    """Returns one question without choices, in the short form."""
    return {"question": f"What is {number} + 7?", "answer": number + 7} | keys


FIVE = [house_rule(number) for number in range(5)]


def written(path: Path, rows: Sequence[object]) -> Path:
    """Writes rows as JSON lines; texts among them as they are."""
    lines = (one if isinstance(one, str) else json.dumps(one) for one in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_inspects(row: Mapping[str, Any]) -> Row:
    """A row of the short form, with an answer's letter or a text, in Inspect's own form."""
    made: Row = {"input": row["question"], "target": row["answer"]}
    if "choices" in row:
        made["choices"] = row["choices"]
    if "group" in row:
        made["metadata"] = {"group": row["group"]}
    return made


def benchmark(path: Path, **keys: object) -> QuestionsFileBenchmark:
    """Makes the benchmark that an entry with this file describes."""
    entry = BenchmarkEntry.model_validate({"questions": path.name, **keys})
    made = make_benchmark("house", entry, task="", max_tokens=64, root=path.parent)
    assert isinstance(made, QuestionsFileBenchmark)
    return made


def hashes(path: Path, **keys: object) -> list[str]:
    """The hashes of a file's questions, in order."""
    return [question.hash for question in benchmark(path, **keys).load("hub").questions]


def faults_of(path: Path) -> str:
    """What is said of a faulty file."""
    with pytest.raises(DatasetError) as caught:
        benchmark(path).load("hub")
    return str(caught.value)


# Texts as people write them: no controls, nothing that is only spaces, something to read. A choice
# that is a single letter may be taken for another choice's, which a test below holds.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12
).filter(lambda text: any(map(str.isalnum, text)) and text.upper() not in tuple(LETTERS))


@st.composite
def choice_rows(draw: st.DrawFn) -> list[Row]:
    """Draws questions with 2 to 26 choices, all of them with groups or none."""
    groups = draw(st.sampled_from([(), ("doors", "keys")]))
    rows = []
    for number in range(draw(st.integers(5, 8))):
        choices = draw(st.lists(TEXTS, min_size=2, max_size=26, unique=True))
        row: Row = {"question": f"{number} {draw(TEXTS)}", "choices": choices}
        row["answer"] = LETTERS[draw(st.integers(0, len(choices) - 1))]
        if groups:
            row["group"] = draw(st.sampled_from(groups))
        rows.append(row)
    return rows


@st.composite
def text_rows(draw: st.DrawFn) -> list[Row]:
    """Draws questions without choices, with one right text or several."""
    keys = st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    return [
        {"question": f"{number} {draw(TEXTS)}", "answer": draw(keys)}
        for number in range(draw(st.integers(5, 8)))
    ]


@given(rows=st.one_of(choice_rows(), text_rows()), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_both_forms_hold_the_same_questions(
    rows: list[Row], data: st.DataObject, tmp_path: Path
) -> None:
    """Inspect's form has the hashes of the short one, and no order changes the digest."""
    short = written(tmp_path / "short.jsonl", rows)
    inspects = written(tmp_path / "inspects.jsonl", list(map(as_inspects, rows)))
    mixed = written(
        tmp_path / "mixed.jsonl",
        [
            data.draw(st.sampled_from([row, as_inspects(row)]))
            for row in data.draw(st.permutations(rows))
        ],
    )

    assert hashes(short) == hashes(inspects)
    assert benchmark(short).load("hub").digest == benchmark(mixed).load("hub").digest
    assert benchmark(short).groups == benchmark(mixed).groups


@given(rows=choice_rows(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_answer_may_be_letter_index_or_text(
    rows: list[Row], data: st.DataObject, tmp_path: Path
) -> None:
    """However a row names its right choice, the question is the same."""
    told = []
    for row in rows:
        place = LETTERS.index(row["answer"])
        ways = [row["answer"], row["answer"].lower(), place, row["choices"][place]]
        told.append(row | {"answer": data.draw(st.sampled_from(ways))})
    lettered = written(tmp_path / "letters.jsonl", list(map(as_inspects, rows)))

    assert hashes(written(tmp_path / "ways.jsonl", told)) == hashes(lettered)


def test_json_and_csv_hold_the_same_questions(tmp_path: Path) -> None:
    """The same rows as JSON lines, as a JSON list and as two forms of CSV are one set."""
    rows = [house_rule(n, answer=f"{n + 1} keys", group="keys, “doors”\nand") for n in range(6)]
    rows = [row | {"group": "doors"} for row in rows]
    lines = written(tmp_path / "rules.jsonl", rows)
    (tmp_path / "rules.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    with (tmp_path / "columns.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["group", "question", "A", "B", "C", "D", "answer"])
        table.writerows(
            [one["group"], one["question"], *one["choices"], "", one["answer"]] for one in rows
        )
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["question", "choices", "answer", "group"])
        table.writerows(
            [one["question"], json.dumps(one["choices"]), 1, one["group"]] for one in rows
        )

    for name in ("rules.json", "columns.csv", "list.csv"):
        assert hashes(tmp_path / name) == hashes(lines), name
        assert benchmark(tmp_path / name).groups == ("doors",), name


def test_messages_are_asked_as_they_stand(tmp_path: Path) -> None:
    """A question may be a conversation; another beginning makes it another question."""
    user = {"role": "user", "content": "How many keys?"}

    def rows(system: str) -> list[Row]:
        first = {"role": "system", "content": system}
        talk = [{"input": [first, user], "target": "B", "choices": ["1", "2"]}]
        return [*talk, *map(as_inspects, FIVE)]

    short = benchmark(written(tmp_path / "short.jsonl", rows("Be short."))).load("hub")
    polite = benchmark(written(tmp_path / "polite.jsonl", rows("Be polite."))).load("hub")

    sample = short.questions[0].sample
    assert [(one.role, one.text) for one in sample.input] == [  # type: ignore[union-attr]
        ("system", "Be short."),
        ("user", "How many keys?"),
    ]
    assert short.questions[0].hash != polite.questions[0].hash
    assert short.questions[1:] == polite.questions[1:]


FAULTY: dict[str, tuple[object, str]] = {
    "not JSON": ('{"question": "a"', "line 6: not JSON"),
    "no object": ([1, 2], "line 6: expected an object, got list"),
    "no question": ({"choices": ["a", "b"], "answer": "A"}, "line 6: question should be a text"),
    "nothing known": ({"frage": "x"}, "line 6: expected `question` and `answer`, or Inspect's"),
    "empty question": (house_rule(9, question="  "), "line 6: question is empty"),
    "half a character": (
        house_rule(9, question="\ud83d?"),
        "line 6: question holds half a character",
    ),
    "a number for a question": (house_rule(9, question=7), "line 6: question should be a text"),
    "no answer": (
        {key: it for key, it in house_rule(9).items() if key != "answer"},
        "line 6: answer should be a letter from A to C",
    ),
    "a letter outside": (house_rule(9, answer="D"), "answer should be a letter from A to C"),
    "two letters": (house_rule(9, answer="AB"), "answer should be a letter from A to C"),
    "an index outside": (house_rule(9, answer=3), "an index from 0 to 2"),
    "an index below": (house_rule(9, answer=-1), "an index from 0 to 2"),
    "true": (house_rule(9, answer=True), "a choice's text, got True"),
    "either letter or text": (
        house_rule(9, choices=["B", "A"], answer="A"),
        "answer 'A' is the letter of choice A and the text of choice B",
    ),
    "one choice": (house_rule(9, choices=["a"]), "choices should be 2 to 26, got 1"),
    "27 choices": (house_rule(9, choices=list(map(str, range(27)))), "2 to 26, got 27"),
    "choices of numbers": (house_rule(9, choices=[1, 2, 3]), "choices should be a list of texts"),
    "an empty choice": (house_rule(9, choices=["a", "b", " "]), "choice C is empty"),
    "the same choice": (house_rule(9, choices=["a", "b", "a "]), "C is the same as choice A"),
    "another answer": (house_rule(2, answer="A"), "what line 3 asks, but the answer there is 'B'"),
    "another group": (house_rule(2, group="x"), "line 6: asks what line 3 asks, in another group"),
    "a group for one": (house_rule(9, group="x"), "line 1: has no group, but line 6 has one"),
    "a list for a group": (house_rule(9, group=["x"]), "group should be a text, got list"),
    "a group of two lines": (house_rule(9, group="x\ny"), "group should be a short name"),
    "no choices": (sum_of(9), "line 6: has no choices, but line 1 is of the other kind"),
    "a float for an id": (house_rule(9, id=1.5), "id should be a text or a whole number"),
    "several targets": (
        {"input": "?", "target": ["A", "B"], "choices": ["a", "b"]},
        "target names several right choices",
    ),
    "a text for a target": (
        {"input": "?", "target": "b", "choices": ["a", "b"]},
        "target should be a letter from A to B, got 'b'",
    ),
    "a sandbox": (
        {"input": "?", "target": "A", "choices": ["a", "b"], "sandbox": "docker"},
        "sandbox needs a sandbox",
    ),
    "metadata that is none": (
        {"input": "?", "target": "A", "choices": ["a", "b"], "metadata": "x"},
        "metadata should be an object",
    ),
    "an unknown role": (
        {"input": [{"role": "judge", "content": "?"}], "target": "A", "choices": ["a", "b"]},
        "message 1 of input: role should be one of system, user, assistant",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_row_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    """Each kind of fault names the file, the line and what was expected."""
    row, said = FAULTY[name]
    path = written(tmp_path / "rules.jsonl", [*FIVE, row])

    message = faults_of(path)

    assert f"{path}, line " in message
    assert said in message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "answer should be a text, got None"),
        ("", "answer is empty"),
        ([], "answer is empty"),
        ([1, ""], "answer is empty"),
        (float("nan"), "answer should be a text or a number, got nan"),
        (False, "answer should be a text, got False"),
        ("...", "answer '...' has no letter or digit"),
    ],
)
def test_a_key_of_free_text_that_can_not_be_met_is_told(
    answer: object, said: str, tmp_path: Path
) -> None:
    """What no answer could match, or every answer would, is a fault."""
    rows = [*map(sum_of, range(5)), sum_of(9, answer=answer)]
    assert f"line 6: {said}" in faults_of(written(tmp_path / "sums.jsonl", rows))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """One message has every faulty row of the file, bad UTF-8 included."""
    path = tmp_path / "rules.jsonl"
    good = json.dumps(house_rule(1)).encode()
    bad = [b'{"question": "\xff?"}', b"{", json.dumps(house_rule(2, answer="Z")).encode()]
    path.write_bytes(b"\n".join([good, *bad]))

    message = faults_of(path)

    assert "3 malformed rows" in message
    assert f"{path}, line 2: not UTF-8 (invalid start byte at byte 14)" in message
    assert f"{path}, line 3: not JSON" in message
    assert f"{path}, line 4: answer should be" in message


def test_two_questions_with_one_id_are_told(tmp_path: Path) -> None:
    """An id may stand for one question only; numbers and texts are one kind of id."""
    rows = [*FIVE, house_rule(7, id=12), house_rule(8, id="12")]
    said = "line 7: has the id '12' of the question in line 6"
    assert said in faults_of(written(tmp_path / "rules.jsonl", rows))


def test_a_csv_tells_the_line_on_which_a_row_begins(tmp_path: Path) -> None:
    """Fields with line breaks do not move the places; an ambiguous number is told."""
    path = tmp_path / "rules.csv"
    path.write_text(
        'question,A,B,C,answer\n"one\ntwo",1,2,3,A\nthree,1,2,3,1\nfour,1,2\nfive,1,2,,E\n',
        encoding="utf-8",
    )

    message = faults_of(path)

    assert "line 4: answer '1' is the text of choice A and the index of choice B" in message
    assert "line 5: expected 5 fields, got 3" in message
    assert "line 6: answer should be a letter from A to B" in message
    assert "line 2" not in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rules.txt", b"", "no file of questions"),
        ("rules.jsonl", b"", "holds 0 different questions"),
        ("rules.json", b"{}", "holds no list of questions but dict"),
        ("rules.json", b"[", "can't be read as JSON"),
        ("rules.json", b"\xff", "not UTF-8"),
        ("rules.csv", b"question,question\n", "the column 'question' stands there twice"),
    ],
)
def test_what_is_no_file_of_questions_is_told(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    """A file that can't be read at all has one clear message."""
    (tmp_path / name).write_bytes(content)
    assert said in faults_of(tmp_path / name)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The message names the file, and nothing is loaded to learn that it is away."""
    made = benchmark(tmp_path / "away.jsonl")
    assert made.may_be_away("hub")
    with pytest.raises(DatasetError, match=r"away\.jsonl does not exist"):
        made.load("hub")


def test_too_few_questions_are_told(tmp_path: Path) -> None:
    """Four questions can show no loss; repeats of one question do not count."""
    path = written(tmp_path / "rules.jsonl", [*FIVE[:4], *FIVE[:4]])
    message = faults_of(path)
    assert "holds 4 different questions" in message
    assert "at least 5" in message


def test_repeated_questions_are_asked_once_and_told(tmp_path: Path) -> None:
    """Identical rows are one question; a note says which were left out."""
    made = benchmark(written(tmp_path / "rules.jsonl", [*FIVE, FIVE[1], FIVE[1]]))
    assert len(made.load("hub").questions) == 5
    assert made.notes == "repeated questions are asked once: left out line 6 (as 2), line 7 (as 2)"
    assert benchmark(written(tmp_path / "once.jsonl", FIVE)).notes == ""


def test_groups_are_the_rows_or_the_entrys(tmp_path: Path) -> None:
    """Groups come from the key that the entry names; the entry's own order holds."""
    rows = [house_rule(n, topic="doors" if n % 2 else "keys") for n in range(6)]
    path = written(tmp_path / "rules.jsonl", rows)

    assert benchmark(path).groups == ()
    assert {question.subject for question in benchmark(path).load("hub").questions} == {"house"}
    grouped = benchmark(path, group="topic")
    assert grouped.groups == ("doors", "keys")
    assert list(grouped.load("hub").by_subject) == ["doors", "keys"]
    assert benchmark(path, group="topic", groups=("keys", "doors")).groups == ("keys", "doors")
    with pytest.raises(DatasetError, match="questions of doors, which `groups` of house"):
        benchmark(path, group="topic", groups=("keys",)).load("hub")
    with pytest.raises(DatasetError, match="have no subject, though house names its groups"):
        benchmark(path, group="subject", groups=("keys",)).load("hub")


@pytest.mark.parametrize("keys", [{"cluster": "page"}, {"cluster_pattern": r"room (\d)"}])
def test_one_question_of_each_text_is_asked(keys: dict[str, str], tmp_path: Path) -> None:
    """Questions that share a page or a text are one; the others are told and not asked."""
    rows = [house_rule(n % 6, page=str(n % 6), id=n) for n in range(6)]
    rows += [house_rule(n, question=f"Who has room {n}?", page=str(n)) for n in range(6)]
    made = benchmark(written(tmp_path / "rules.jsonl", rows), **keys)

    assert len(made.load("hub").questions) == 6
    assert "6 of 12 questions are left out" in made.notes
    assert made.load("hub") is made.load("hub")
    other = benchmark(tmp_path / "rules.jsonl", **dict.fromkeys(keys, "shelf"))
    with pytest.raises(DatasetError, match=f"`{next(iter(keys))}` of its entry finds"):
        other.load("hub")


def test_a_groups_name_fits_test_ids(tmp_path: Path) -> None:
    """Spaces become `_`, as in other benchmarks; the entry's groups and parents may have them."""
    rows = [house_rule(n, group="front doors") for n in range(5)]
    path = written(tmp_path / "rules.jsonl", rows)
    made = benchmark(path, groups=("front doors",), parents={"all doors": ("front doors",)})

    assert made.groups == ("front_doors",)
    assert list(made.load("hub").by_subject) == ["front_doors"]
    assert list(made.parents) == ["front_doors"]


def test_groups_are_read_without_importing_inspect(tmp_path: Path) -> None:
    """Tests are listed from the file alone: nothing heavy is imported for its groups."""
    rows = [house_rule(n, group="doors") for n in range(5)]
    path = written(tmp_path / "rules.jsonl", rows)
    program = (
        "import sys; from pathlib import Path;"
        "from capgate.benchmarks.entry import BenchmarkEntry;"
        "from capgate.benchmarks.make import make_benchmark;"
        f"entry = BenchmarkEntry(questions={path.name!r});"
        f"made = make_benchmark('h', entry, task='', max_tokens=9, root=Path({str(tmp_path)!r}));"
        "print(*made.groups, 'inspect_ai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["doors", "False"], done.stderr


def test_a_file_is_read_anew_when_it_is_written(tmp_path: Path) -> None:
    """A process that lives on sees what a person has corrected."""
    path = written(tmp_path / "rules.jsonl", FIVE)
    before = benchmark(path).load("hub")
    written(path, [*FIVE, house_rule(9)])
    assert len(benchmark(path).load("hub").questions) == len(before.questions) + 1


def reading_of(made: Benchmark, text: str) -> tuple[AnswerState, str]:
    """What the benchmark's own task reads in an answer to its probe."""
    probe = made.probe
    task = made.task([probe], shard="probe")
    assert task.scorer is not None
    scorer = task.scorer[0]
    found: list[tuple[AnswerState, str]] = []

    async def run() -> None:
        with no_model():
            found.append(
                await read(
                    task.solver,
                    scorer,
                    probe.sample,
                    text,
                    lambda score: made.read({"scorer": score}, None),  # type: ignore[arg-type]
                )
            )

    in_own_loop(run)
    return found[0]


RIGHT, WRONG, UNPARSED = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED

READ = [
    ([house_rule(n) for n in range(5)], {}, "ANSWER: C", RIGHT, "C"),
    ([house_rule(n) for n in range(5)], {}, "ANSWER: A", WRONG, "A"),
    ([house_rule(n) for n in range(5)], {}, "It is eight.", UNPARSED, ""),
    ([sum_of(n) for n in range(5)], {}, "3 and 5 are 8", RIGHT, "8.0"),
    ([sum_of(n) for n in range(5)], {}, "That is 9.", WRONG, "9.0"),
    ([sum_of(n) for n in range(5)], {}, "I can't say.", UNPARSED, ""),
    ([sum_of(n) for n in range(5)], {}, "", UNPARSED, ""),
    ([sum_of(n) for n in range(5)], {"scorer": "exact"}, "Apple!", RIGHT, "Apple!"),
    ([sum_of(n) for n in range(5)], {"scorer": "exact"}, "It is apple", WRONG, "It is apple"),
    ([sum_of(n, answer="apple") for n in range(5)], {}, "It is Apple.", RIGHT, "It is Apple."),
    ([sum_of(n, answer="apple") for n in range(5)], {}, "an apple tree", WRONG, "an apple tree"),
    (
        [sum_of(n, answer="apple") for n in range(5)],
        {"scorer": "includes"},
        "an apple tree",
        RIGHT,
        "an apple tree",
    ),
    ([sum_of(n, answer=["apple", "pear"]) for n in range(5)], {}, " \n", UNPARSED, ""),
]


@pytest.mark.parametrize(("rows", "keys", "text", "state", "short"), READ)
def test_how_answers_are_read(
    rows: list[Row],
    keys: dict[str, Any],
    text: str,
    state: AnswerState,
    short: str,
    tmp_path: Path,
) -> None:
    """Choices by letter, numbers as numbers, other texts at the end; else by the scorer named."""
    found, choice = reading_of(benchmark(written(tmp_path / "q.jsonl", rows), **keys), text)
    assert found is state
    assert choice.removesuffix(".0") == short.removesuffix(".0")


@pytest.mark.parametrize(
    ("rows", "scorer", "said"),
    [
        (FIVE, "match", "its questions have choices"),
        ([sum_of(n) for n in range(5)], "choice", "its questions have no choices"),
        ([sum_of(n, answer="x") for n in range(5)], "numeric", "answers that are no numbers"),
        (FIVE, "judge", "Use choice, or leave it out"),
    ],
)
def test_a_scorer_that_does_not_fit_is_told(
    rows: list[Row], scorer: str, said: str, tmp_path: Path
) -> None:
    """The entry's scorer must be one that these questions can have."""
    made = benchmark(written(tmp_path / "q.jsonl", rows), scorer=scorer)
    with pytest.raises(ConfigError, match=said):
        made.task(made.load("hub").questions, shard="all")


def test_constrained_answers_allow_the_letters_of_the_longest(tmp_path: Path) -> None:
    """Five choices need the letters A to E; free text has no form to hold it to."""
    rows = [*FIVE, house_rule(9, choices=["a", "b", "c", "d", "e"])]
    made = benchmark(written(tmp_path / "rules.jsonl", rows))
    assert made.letters == "ABCDE"
    assert made.constraint("llamacpp") == {"grammar": 'root ::= "ANSWER: " [A-E]'}
    assert made.constraint("vllm") == {"structured_outputs": {"regex": "ANSWER: [A-E]"}}
    assert made.constraint("openrouter") is None

    sums = benchmark(written(tmp_path / "sums.jsonl", [sum_of(n) for n in range(5)]))
    assert sums.letters == ""
    assert sums.constraint("vllm") is None


def test_what_makes_answers_incomparable(tmp_path: Path) -> None:
    """More questions leave prompt and versions as they are; another scorer does not."""
    sums = [sum_of(n) for n in range(5)]
    few = benchmark(written(tmp_path / "few.jsonl", sums))
    many = benchmark(written(tmp_path / "many.jsonl", [*sums, sum_of(9)]))
    exact = benchmark(written(tmp_path / "exact.jsonl", sums), scorer="exact")
    choices = benchmark(written(tmp_path / "choices.jsonl", FIVE))

    assert (few.prompt_hash, few.versions) == (many.prompt_hash, many.versions)
    assert few.versions["task"] != exact.versions["task"]
    assert few.prompt_hash != choices.prompt_hash
    assert len(few.prompt_hash) == 16
