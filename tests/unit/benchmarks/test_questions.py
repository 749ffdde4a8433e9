"""Where questions come from: layouts of folders, their faults, and a hub out of reach."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.dataset import Sample

from capgate.benchmarks.mmlu import hub
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import SUBJECTS
from capgate.benchmarks.questions import Question, QuestionSet, question_hash
from capgate.common.errors import DatasetError

Row = dict[str, Any]


def row(subject: str, number: int, **keys: object) -> Row:
    """Returns one question."""
    return {
        "question": f"{subject}: is {number}, “written out”,\na number?\u2028",
        "subject": subject,
        "choices": [f"yes, {number}", 'no "way"', "", "é"],
        "answer": number % 4,
    } | keys


ROWS = [row(subject, n) for n in range(5) for subject in ("anatomy", "virology", "astronomy")]
DEV = [row(subject, 100 + n) for n in range(5) for subject in ("anatomy", "virology", "astronomy")]


def jsonl(folder: Path, split: str, rows: Sequence[object]) -> None:
    """Writes a split as capgate's own jsonl."""
    folder.mkdir(exist_ok=True)
    lines = (one if isinstance(one, str) else json.dumps(one) for one in rows)
    (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")


def jsonl_by_hand(folder: Path, split: str, rows: Sequence[Row]) -> None:
    """Writes it as some editors would: a byte-order mark, raw characters, letters for answers."""
    folder.mkdir(exist_ok=True)
    lines = (
        json.dumps(one | {"answer": "ABCD"[one["answer"]]}, ensure_ascii=False) for one in rows
    )
    (folder / f"{split}.jsonl").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")


def parquet(folder: Path, split: str, rows: Sequence[Row]) -> None:
    """Writes a split as the hub lays it out."""
    import pyarrow
    import pyarrow.parquet

    (folder / "all").mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(list(rows)), folder / "all" / f"{split}-00000-of-00001.parquet"
    )


def csvs(folder: Path, split: str, rows: Sequence[Row]) -> None:
    """Writes a split as the authors' headerless CSVs."""
    (folder / "data" / split).mkdir(parents=True, exist_ok=True)
    for subject in {one["subject"] for one in rows}:
        with (folder / "data" / split / f"{subject}_{split}.csv").open(
            "w", newline="", encoding="utf-8"
        ) as file:
            csv.writer(file, lineterminator="\n").writerows(
                [one["question"], *one["choices"], "ABCD"[one["answer"]]]
                for one in rows
                if one["subject"] == subject
            )


def fault_of(source: Path | str, shots: int = 0) -> str:
    """Returns the message with which loading ends."""
    with pytest.raises(DatasetError) as caught:
        load_questions(str(source), shots=shots)
    return str(caught.value)


@pytest.mark.parametrize("shots", [0, 5])
@pytest.mark.parametrize("layout", [jsonl_by_hand, parquet, csvs])
def test_every_layout_gives_the_same_set(
    tmp_path: Path, layout: Callable[[Path, str, Sequence[Row]], None], shots: int
) -> None:
    """The same rows as jsonl, parquet or CSV are the same questions under the same hash."""
    # CSVs have no order across subjects; ordered alike, all layouts agree in it too.
    rows, dev = (sorted(part, key=lambda one: one["subject"]) for part in (ROWS, DEV))
    for write, folder in ((jsonl, tmp_path / "jsonl"), (layout, tmp_path / "other")):
        write(folder, "test", rows)
        write(folder, "dev", dev)
    first = load_questions(str(tmp_path / "jsonl"), shots=shots)
    other = load_questions(str(tmp_path / "other"), shots=shots)
    assert len(first.questions) == len(ROWS)
    assert first.digest == other.digest
    assert [(q.hash, q.sample.id, q.subject) for q in first.questions] == [
        (q.hash, q.sample.id, q.subject) for q in other.questions
    ]


def test_the_digest_depends_on_content_alone(tmp_path: Path) -> None:
    """Shuffled rows are the same set; one changed letter makes another one."""
    jsonl(tmp_path / "a", "test", ROWS)
    jsonl(tmp_path / "b", "test", random.Random(7).sample(ROWS, len(ROWS)))
    jsonl(tmp_path / "c", "test", [ROWS[0] | {"question": "Is 1 a number"}, *ROWS[1:]])
    jsonl(tmp_path / "d", "test", [ROWS[0] | {"answer": 3}, *ROWS[1:]])
    digests = [load_questions(str(tmp_path / name), shots=0).digest for name in "abcd"]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_few_shot_examples_are_part_of_the_question(tmp_path: Path) -> None:
    """With other examples a question is another one, so that its answers are not mixed."""
    for name, dev in (("a", DEV), ("b", [*DEV[3:], *DEV[:3]])):
        jsonl(tmp_path / name, "test", ROWS)
        jsonl(tmp_path / name, "dev", dev)
    a, b = (load_questions(str(tmp_path / name), shots=5) for name in "ab")
    assert not {q.hash for q in a.questions} & {q.hash for q in b.questions}
    assert a.describe()["shots"] == 5
    messages = a.questions[0].sample.input
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 5, "user"]


def test_malformed_rows_are_told_with_file_and_line_all_at_once(tmp_path: Path) -> None:
    """Each faulty row is named by file and line with what was expected; sound ones are not."""
    good = ROWS[0]
    jsonl(
        tmp_path,
        "test",
        [
            good,
            "{not json",
            good | {"subject": "anatmy"},
            good | {"choices": ["a", "b"]},
            good | {"answer": 4},
            good | {"answer": True},
            {"question": " ", "subject": 3},
            [1, 2],
            good | {"question": "half \ud83d"},
            '{"question": ' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"answer": ' + "9" * 5_000 + "}",
            good | {"answer": [[[1]]], "subject": ["anatomy"]},
        ],
    )
    message = fault_of(tmp_path)
    file = tmp_path / "test.jsonl"
    assert f"{tmp_path} has 11 malformed rows" in message
    for line, said in (
        (2, "not JSON"),
        (3, "did you mean anatomy?"),
        (4, "choices should be a list of 4 texts"),
        (5, "answer should be 0–3 or A–D, got 4"),
        (6, "got True"),
        (7, "question should be a text"),
        (7, "subject 3 is not one of MMLU's 57"),
        (8, "expected an object, got list"),
        (9, "lone surrogate"),
        (10, "nested too deep"),
        (11, "a number of thousands of digits"),
        (12, "got list"),
        (12, "subject list is not"),
    ):
        assert any(
            f"{file}, line {line}:" in told and said in told for told in message.splitlines()
        )
    assert f"{file}, line 1:" not in message


def test_many_malformed_rows_are_cut_short(tmp_path: Path) -> None:
    """A thousand faults show twenty and their number."""
    jsonl(tmp_path, "test", ["{"] * 1000)
    message = fault_of(tmp_path)
    assert "1000 malformed rows" in message
    assert "… and 980 more" in message
    assert len(message.splitlines()) == 22


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """Broken encoding is told with its line, in jsonl and in CSV."""
    sound = json.dumps(ROWS[0]).encode()
    (tmp_path / "test.jsonl").write_bytes(b"\n".join([sound, b'{"question": "\xff"}', sound]))
    assert "test.jsonl, line 2: not UTF-8" in fault_of(tmp_path)
    other = tmp_path / "csv"
    csvs(other, "test", ROWS[:1])
    with (other / "data" / "test" / "anatomy_test.csv").open("ab") as file:
        file.write(b"caf\xe9,a,b,c,d,A\n")
    assert "anatomy_test.csv, line 3: not UTF-8" in fault_of(other)


def test_a_csv_row_of_another_width_is_named(tmp_path: Path) -> None:
    """A CSV row without six fields, or with a header's, is told with its line."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "anatomy_test.csv").write_text(
        "question,A,B,C,D,answer\nIs it?,a,b,c,A\n", encoding="utf-8"
    )
    message = fault_of(tmp_path)
    assert "anatomy_test.csv, line 1: answer should be" in message
    assert "anatomy_test.csv, line 2: expected question, 4 choices" in message


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    """A file that is no parquet is told by name."""
    (tmp_path / "test-00000.parquet").write_text("not parquet")
    assert "test-00000.parquet can't be read as parquet" in fault_of(tmp_path)


def test_a_folder_without_questions_is_told(tmp_path: Path) -> None:
    """Missing and empty folders and empty files say what should be there."""
    assert "does not exist" in fault_of(tmp_path / "nowhere")
    assert "It should hold test.jsonl, test*.parquet or test/<subject>_test.csv" in fault_of(
        tmp_path
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "test.jsonl").touch()
    assert "holds no questions" in fault_of(tmp_path / "empty")


def test_five_shots_need_examples_of_each_subject(tmp_path: Path) -> None:
    """Without a dev split, 5 shots are refused with the subjects that lack examples; 0 work."""
    jsonl(tmp_path, "test", ROWS)
    assert "(split dev) for anatomy, astronomy, virology" in fault_of(tmp_path, shots=5)
    assert len(load_questions(str(tmp_path), shots=0).questions) == len(ROWS)


def test_fewer_than_five_examples_are_used_as_they_are(tmp_path: Path) -> None:
    """The bundled set's two examples are two, as upstream's function makes of them."""
    jsonl(tmp_path, "test", ROWS[:1])
    jsonl(tmp_path, "dev", [DEV[0], DEV[3]])
    (question,) = load_questions(str(tmp_path), shots=5).questions
    assert len(question.sample.input) == 1 + 2 * 2 + 1


def test_a_repeated_question_is_asked_once(tmp_path: Path) -> None:
    """Rows that repeat a question are dropped, under another subject too (as upstream does)."""
    jsonl(tmp_path, "test", [*ROWS, ROWS[0], ROWS[1], ROWS[0] | {"subject": "virology"}])
    assert len(load_questions(str(tmp_path), shots=0).questions) == len(ROWS)


def test_two_answers_to_one_question_are_refused(tmp_path: Path) -> None:
    """The same question with two keys can't be scored and is told."""
    jsonl(tmp_path, "test", [*ROWS, ROWS[2] | {"answer": (ROWS[2]["answer"] + 1) % 4}])
    message = fault_of(tmp_path)
    assert "twice, with the answers" in message
    assert "Remove the wrong one" in message


def test_other_choices_make_another_question(tmp_path: Path) -> None:
    """The same words over other choices are two questions with two ids."""
    jsonl(tmp_path, "test", [row("anatomy", 1), row("anatomy", 1, choices=["p", "q", "r", "s"])])
    questions = load_questions(str(tmp_path), shots=0).questions
    assert len({q.hash for q in questions}) == len({q.sample.id for q in questions}) == 2


def made(sizes: dict[str, int], seed: int = 0) -> QuestionSet:
    """Returns a set with that many questions for each subject, shuffled."""
    questions = []
    for subject, size in sizes.items():
        for number in range(size):
            sample = Sample(
                input=f"{subject} {number}",
                choices=["a", "b", "c", "d"],
                target="A",
                metadata={"subject": subject},
            )
            questions.append(Question(question_hash(sample), subject, sample))
    random.Random(seed).shuffle(questions)
    return QuestionSet("made", "", 0, tuple(questions))


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(_TEXT, st.lists(_TEXT, max_size=4))
def test_a_question_keeps_its_hash(text: str, choices: list[str]) -> None:
    """Stored answers and baselines are found by it: the hash of its content in compact JSON."""
    content = json.dumps(["", text, choices, "A"], ensure_ascii=False, separators=(",", ":"))
    sample = Sample(input=text, choices=choices, target="A")
    assert question_hash(sample) == hashlib.sha256(content.encode()).hexdigest()[:32]


SIZES = st.dictionaries(st.sampled_from(SUBJECTS), st.integers(1, 40), min_size=1, max_size=12)


@given(SIZES, st.integers(1, 300))
def test_a_limit_is_kept_exactly_and_spread(sizes: dict[str, int], limit: int) -> None:
    """A limit gives that many questions, one for each subject at least, in fair proportion."""
    chosen = made(sizes).select(limit=limit).by_subject
    counts = {subject: len(questions) for subject, questions in chosen.items()}
    total = sum(sizes.values())
    assert sum(counts.values()) == min(limit, total)
    assert list(counts) == sorted(sizes)
    if limit >= len(sizes):
        assert all(counts.values())
    for one in sizes:
        for other in sizes:
            if sizes[one] > sizes[other]:
                assert counts[one] >= counts[other] or limit < len(sizes)


@given(SIZES, st.data())
def test_a_larger_limit_contains_a_smaller_one(sizes: dict[str, int], data: st.DataObject) -> None:
    """More questions are the same ones and some more, so that stored answers serve again."""
    total = sum(sizes.values())
    large = data.draw(st.integers(1, total + 3))
    small = data.draw(st.integers(1, large))
    questions = made(sizes)
    fewer, more = (questions.select(limit=limit) for limit in (small, large))
    assert {q.hash for q in fewer} <= {q.hash for q in more}


@given(SIZES, st.integers(1, 300), st.integers(1, 100))
def test_a_choice_does_not_depend_on_the_order(
    sizes: dict[str, int], limit: int, seed: int
) -> None:
    """Whatever the order of the rows, a limit takes the same questions, in the set's order."""
    first, other = made(sizes), made(sizes, seed=seed)
    assert first.digest == other.digest
    assert {q.hash for q in first.select(limit=limit)} == {
        q.hash for q in other.select(limit=limit)
    }
    place = {question.hash: number for number, question in enumerate(other.questions)}
    for questions in other.select(limit=limit).by_subject.values():
        places = [place[question.hash] for question in questions]
        assert places == sorted(places)


def test_only_the_subjects_asked_for_share_a_limit() -> None:
    """Subjects that were not asked for take no part of the limit."""
    chosen = made({"anatomy": 9, "virology": 9, "nutrition": 9}).select(("anatomy", "virology"), 10)
    assert {subject: len(mine) for subject, mine in chosen.by_subject.items()} == {
        "anatomy": 5,
        "virology": 5,
    }


def test_a_hub_out_of_reach_is_told_within_seconds(tmp_path: Path) -> None:
    """With no hub and no cache, loading ends within 10 s and names the three ways out."""
    program = (
        "import os, time\n"
        "from inspect_evals.mmlu import mmlu\n"
        "from capgate.benchmarks.mmlu.load import load_questions\n"
        "from capgate.common.errors import DatasetError\n"
        "for offline in ('0', '1'):\n"
        "    os.environ['HF_HUB_OFFLINE'] = offline\n"
        "    started = time.monotonic()\n"
        "    try: load_questions('hub', shots=0)\n"
        "    except DatasetError as error: print(time.monotonic() - started, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": "http://127.0.0.1:1",
            "HF_HOME": str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    told = done.stdout.splitlines()
    assert len(told) == 2
    for line in told:
        seconds, message = line.split(" ", 1)
        assert float(seconds) < 10
        assert message.startswith("MMLU can't be loaded from http://127.0.0.1:1")
        for way in ("run once with network access", "--dataset DIR", "--dataset bundled"):
            assert way in message
    assert "Traceback" not in done.stderr


def test_a_hub_behind_a_closed_door_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy or hub that answers with a refusal counts as out of reach; nothing is loaded."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        with pytest.raises(DatasetError, match="HTTP 403"), hub.ready("0" * 40):
            pass
        server.shutdown()


def test_a_folder_that_would_pass_for_the_hub_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder ./cais/mmlu, which the loader would take for the hub's set, is told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cais" / "mmlu").mkdir(parents=True)
    with pytest.raises(DatasetError, match="--dataset cais/mmlu"), hub.ready("0" * 40):
        pass


def test_only_the_pinned_revision_counts_as_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache serves where it holds the pinned revision whole; another revision does not."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    folder = tmp_path / "datasets" / "cais___mmlu" / "all" / "0.0.0" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").touch()
    (folder / "mmlu-test.arrow").touch()
    assert not hub.cached("a" * 40)
    (folder / "mmlu-dev.arrow").touch()
    assert hub.cached("a" * 40)
    assert not hub.cached("b" * 40)
