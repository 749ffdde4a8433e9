"""Stores put together: all that each of them holds is there once, in whatever order."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspect_ai.dataset import Sample
from tests.doubles.postgres import PostgresServer

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import StoreError
from capgate.config.store_place import StorePlace
from capgate.store import merge as merging
from capgate.store.answer_store import Store
from capgate.store.ids import AnswerIds
from capgate.store.kept import Seen
from capgate.store.merge import Merged
from capgate.store.open_store import open_store
from capgate.store.shard import Look, Shard
from capgate.store.tables import TABLES, Table
from capgate.store.tries import Attempt, begin, end

FACTS = {"model": "m", "versions": {"task": "t@1"}}
RUNS, TARGETS, QUESTIONS = ("r1", "r2"), ("base", "mine"), ("q1", "q2")
BENCHMARKS = (MMLU, "rules")


def answer(question: str, state: AnswerState = AnswerState.CORRECT, text: str = "") -> Answer:
    """An answer."""
    return Answer(question, "anatomy", state, choice="A", text=text, cost=0.25)


def asked(question: str, subject: str) -> Question:
    """A question."""
    return Question(question, subject, Sample(id=1, input=f"{question}?", target="A"))


def content(path: Path) -> dict[str, Any]:
    """All that can be read of a store."""
    with Store(path) as store:
        found: dict[str, Any] = {
            "runs": store.runs(),
            "shards": {run: store.shards(run) for run in RUNS},
            "sightings": [(one.weights, one.at) for one in store.sightings("server")],
            "tries": sorted(store.rows("SELECT run, target, kind, verdict, number FROM tries")),
        }
        for run, target, look, name in itertools.product(RUNS, TARGETS, get_args(Look), BENCHMARKS):
            found["used", run, target, look, name] = store.used(run, target, look, benchmark=name)
        for name in BENCHMARKS:
            found["questions", name] = store.kept_questions(QUESTIONS, benchmark=name)
        for fingerprint in TARGETS:
            context = store.context(fingerprint, "prompt", FACTS)
            found["found", fingerprint] = store.find(context, QUESTIONS, run="later")
            found["cost", fingerprint] = store.mean_cost(context)
            found["some", fingerprint] = store.some_answers_under(fingerprint, 9)
        return found


def merge(paths: Sequence[Path], into: Path) -> Merged:
    """Puts stores that are files into one."""
    return merging.merge([StorePlace.file(one) for one in paths], StorePlace.file(into))


def rows_of(path: Path) -> dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]:
    """All rows of a store: table to key to all columns."""
    with Store(path) as store:
        return {
            table.name: {
                row[: len(table.key)]: row
                for row in store.rows(f"SELECT {', '.join(table.columns)} FROM {table.name}")
            }
            for table in TABLES
        }


def answers_of(path: Path) -> list[str]:
    """The texts of all answers of a store."""
    with Store(path) as store:
        return [text for (text,) in store.rows("SELECT text FROM answers ORDER BY id")]


runs, targets, questions = map(st.sampled_from, (RUNS, TARGETS, QUESTIONS))
names = st.sampled_from(BENCHMARKS)
STEP = st.one_of(
    st.tuples(
        st.just("add"),
        runs,
        targets,
        questions,
        st.sampled_from(AnswerState),
        st.sampled_from(get_args(Look)),
        names,
    ),
    st.tuples(st.just("reuse"), runs, targets, st.sampled_from(["anatomy", "bones"]), names),
    st.tuples(st.just("leave out"), runs, targets),
    st.tuples(st.just("start"), runs),
    st.tuples(st.just("end"), runs, st.integers(0, 9)),
    st.tuples(st.just("question"), questions, st.sampled_from(["anatomy", "bones"])),
    st.tuples(st.just("see"), runs, st.integers(1, 3)),
    st.tuples(st.just("try"), st.sampled_from(["PASS", "REGRESSION"]), st.booleans()),
    st.tuples(st.just("take over")),
)


def write(store: Store, what: str, *given: Any) -> None:  # noqa: ANN401 (of each kind of step)
    """Does what a run does with a store."""
    if what == "add":
        run, target, question, state, look, name = given
        context = store.context(target, "prompt", FACTS)
        store.add(
            context, answer(question, state), run=run, target=target, look=look, benchmark=name
        )
    elif what == "reuse":
        run, target, group, name = given
        context = store.context(target, "prompt", FACTS)
        there = store.find(context, QUESTIONS, run=run, target=target, benchmark=name).values()
        grouped = [replace(one, answer=replace(one.answer, subject=group)) for one in there]
        store.reuse(grouped, run=run, target=target, benchmark=name)
    elif what == "leave out":
        run, target = given
        store.leave_out(store.context(target, "prompt", FACTS), run, 0.0)
    elif what == "start":
        store.start_run(given[0], {"limit": 3})
    elif what == "end":
        run, n = given
        store.end_shard(run, "mine", Shard("suite", MMLU), {"n": n})
    elif what == "question":
        store.keep_questions([asked(given[0], given[1])])
    elif what == "see":
        store.keep_sighting("server", Seen(f"w{given[1]}", given[0], float(given[1]), {}))
    elif what == "try":
        verdict, part = given
        begin(store, Attempt("r1", "mine", MMLU, "full", "all", "c", "r", "d", fresh=True))
        end(store, "r1", "mine", "full", verdict, benchmark=MMLU, part=part)
    else:
        store.take_over("base", "mine", FACTS)


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(STEP, max_size=6),
    apart=st.lists(st.lists(STEP, max_size=8), min_size=3, max_size=3),
)
def test_order_groups_and_repetitions_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    before: Sequence[tuple[Any, ...]],
    apart: Sequence[Sequence[tuple[Any, ...]]],
) -> None:
    """Stores that were copies of one and then grew apart come to the same however they are merged.

    Their union is commutative, associative and idempotent in all that is read.
    """
    folder = tmp_path_factory.mktemp("apart")
    first = folder / "first"
    with Store(first) as store:
        for what, *rest in before:
            write(store, what, *rest)
    a, b, c = (folder / name for name in "abc")
    for path, steps in zip((a, b, c), apart, strict=True):
        shutil.copy(first, path)
        with Store(path) as store:
            for what, *rest in steps:
                write(store, what, *rest)
    merge([a, b, c], folder / "whole")
    rows = rows_of(folder / "whole")
    parts = [rows_of(path) for path in (a, b, c)]
    for table, merged in rows.items():
        assert merged.keys() == set().union(*(part[table] for part in parts)), table
        assert all(
            any(part[table].get(key) == row for part in parts) for key, row in merged.items()
        ), table
    expected = content(folder / "whole")
    merge([c, b], folder / "cb")
    merge([folder / "cb", a], folder / "cb, a")
    assert rows_of(folder / "cb, a") == rows
    assert content(folder / "cb, a") == expected
    merge([b, a], a)
    merge([c, a, c, folder / "cb"], folder / "a, b, c")
    assert content(folder / "a, b, c") == expected
    assert merge([a, b, c, first], folder / "whole").new_answers == 0
    assert content(folder / "whole") == expected


@settings(max_examples=12, deadline=None)
@given(apart=st.lists(st.lists(STEP, max_size=10), min_size=3, max_size=3))
def test_a_database_in_between_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    apart: Sequence[Sequence[tuple[Any, ...]]],
) -> None:
    """What stores hold comes through PostgreSQL row by row, also what a run wrote there itself."""
    folder = tmp_path_factory.mktemp("apart")
    url = postgres.url(postgres.new_database())
    there, back = StorePlace.read(url), StorePlace.file(folder / "back")
    for name, steps in zip(("a", "b", url), apart, strict=True):
        with open_store(StorePlace.read(name, folder)) as store:
            for what, *rest in steps:
                write(store, what, *rest)
    paths = [folder / name for name in "ab"]
    merging.merge([there], StorePlace.file(folder / "c"))
    merge([*paths, folder / "c"], folder / "whole")
    for path in reversed(paths):
        merging.merge([StorePlace.file(path)], there)
    assert merging.merge([StorePlace.file(folder / "whole")], there).new_answers == 0
    merging.merge([there], back)
    assert rows_of(folder / "back") == rows_of(folder / "whole")
    assert content(folder / "back") == content(folder / "whole")


def greater_and_smaller(table: Table) -> tuple[list[Any], list[Any]]:
    """Two rows of one key, the first of which counts: by what was found last, or knows more."""
    numbers = {"made", "created", "kept", "started", "at", "judged", "number", "share", "set_aside"}
    numbers |= {"prompt_tokens", "completion_tokens", "seconds", "margin", "cost", "cut_off"}
    numbers |= {"reasoning_tokens"}
    row = {name: 1 if name in numbers else "{}" for name in table.columns}
    row |= {name: name.encode() for name in ("id", "context", "taker", "answer") if name in row}
    if table.name == "runs":
        row["id"] = "r1"
    later = {
        "contexts": {"facts": '{"longer": 1}', "made": 0},
        "answers": {"set_aside": 2, "text": ""},
        "questions": {"kept": 2, "subject": ""},
        "runs": {"started": 2, "settings": "{"},
        "uses": {"subject": "~"},
        "shards": {"at": 2, "facts": ""},
        "sightings": {"weights": "~", "run": ""},
        "tries": {"judged": 2, "verdict": None},
    }[table.name]
    return list((row | later).values()), list(row.values())


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table.rest], ids=lambda table: table.name
)
@pytest.mark.parametrize("first", [0, 1])
def test_of_two_rows_of_one_key_the_later_one_counts(
    tmp_path: Path, table: Table, first: int
) -> None:
    """Whichever of the two stores is put in first."""
    rows = greater_and_smaller(table)
    for name, row in zip("ab", rows, strict=True):
        with Store(tmp_path / name) as store, store.transaction() as db:
            marks = ", ".join("?" * len(row))
            columns = ", ".join(table.columns)
            db.execute(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", row)
    order = [tmp_path / "a", tmp_path / "b"]
    merge(order[:: -1 if first else 1], tmp_path / "c")
    with Store(tmp_path / "c") as store:
        found = store.rows(f"SELECT {', '.join(table.columns)} FROM {table.name}")
    assert found == [tuple(rows[0])]


def test_what_two_machines_found_counts_together(tmp_path: Path) -> None:
    """Half of a run's answers in each of two stores are all of them in the merged one."""
    for name, question in (("a", "q1"), ("b", "q2")):
        with Store(tmp_path / name) as store:
            store.start_run(f"run-{name}", {})
            context = store.context("mine", "prompt", FACTS)
            store.add(context, answer(question), run=f"run-{name}", target="mine")
    into = tmp_path / "new" / "c"
    assert merge([tmp_path / "a", tmp_path / "b"], into) == Merged(2, 2, 2, 2)
    assert merge([tmp_path / "b"], into) == Merged(2, 0, 2, 0)
    with Store(into) as store:
        context = store.context("mine", "prompt", FACTS)
        assert store.find(context, ["q1", "q2"], run="later").keys() == {"q1", "q2"}
        assert {run for run, _, _ in store.runs()} == {"run-a", "run-b"}
    assert len(answers_of(tmp_path / "a")) == 1


def test_a_store_that_has_grown_is_put_in_again(tmp_path: Path) -> None:
    """What came since, what ended since and what was left out since is there after that."""
    path, into = tmp_path / "a", tmp_path / "c"
    with Store(path) as store:
        context = store.context("mine", "prompt", FACTS)
        store.add(context, answer("q1"), run="r1", target="mine")
        store.end_shard("r1", "mine", Shard("suite", MMLU), {"n": 1})
        merge([path], into)
        store.leave_out(context, "r1", 0.0)
        store.add(context, answer("q2"), run="r1", target="mine")
        store.end_shard("r1", "mine", Shard("suite", MMLU), {"n": 2})
        merge([path], into)
        merge([path], into)
    with Store(into) as store:
        assert [one.answer.question for one in store.used("r1", "mine")] == ["q2"]
        assert list(store.shards("r1").values()) == [{"n": 2}]


def older(path: Path) -> Path:
    """A store that version 6 wrote (`store-version-6.sql`)."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name("store-version-6.sql").read_text())
    return path


def test_copies_of_an_older_store_are_one(tmp_path: Path) -> None:
    """Two copies that were brought up apart, and a third that was not, have each answer once."""
    paths = [older(tmp_path / name) for name in "abc"]
    for path, question in zip(paths[:2], ("new1", "new2"), strict=True):
        with Store(path) as store:
            context = store.context("free", "prompt", FACTS)
            store.add(context, answer(question), run="later", target="mine")
    unchanged = paths[2].read_bytes()
    merged = merge(paths, tmp_path / "whole")
    assert merged == Merged(10, 10, 1, 1)
    assert paths[2].read_bytes() == unchanged


def test_a_store_whose_ids_were_numbers_is_read(tmp_path: Path) -> None:
    """Of a store of version 6 the same answers count, in the same groups, the newest last."""
    run = "20260101T000000Z-0001"
    for _ in range(2):
        with Store(
            older(tmp_path / "a") if not (tmp_path / "a").exists() else tmp_path / "a"
        ) as store:
            used = {one.answer.question: one.answer for one in store.used(run, "mine")}
            assert {q: one.state.value for q, one in used.items()} == {
                "q1": "correct",
                "q2": "correct",
                "q3": "error",
            }
            sums = store.used(run, "mine", benchmark="sums")
            assert {(one.answer.question, one.answer.subject) for one in sums} == {
                ("q1", "bones"),
                ("s1", "anatomy"),
            }
            assert [one.answer.choice for one in store.used(run, "mine", "confirm")] == ["C"]
            # What was left out counts neither there nor later.
            assert [one.answer.question for one in store.used(run, "base")] == ["q2"]
            left = store.context("other", "prompt", {})
            assert store.find(left, ["q1", "q2"], run="new").keys() == {"q2"}
            free = store.context("free", "prompt", {})
            assert store.find(free, ["q2"], run="new")["q2"].answer.choice == "C"
            assert [seen.weights for seen in store.sightings("server")] == ["w"]
            again = Attempt(
                "new", "mine", MMLU, "full", "all", "free", "floor 0.5", "d", fresh=True
            )
            assert begin(store, again).number == 2


def newer(path: Path) -> None:
    """Makes a store of a later version."""
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    """Makes another program's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")


def damaged(path: Path) -> None:
    """Makes a store one of whose pages is lost."""
    with Store(path) as store:
        context = store.context("mine", "prompt", FACTS)
        for number in range(60):
            store.add(context, answer(f"q{number}", text="x" * 500), run="r1", target="mine")
    whole = path.read_bytes()
    at = (len(whole) // 4096 // 2) * 4096
    path.write_bytes(whole[:at] + b"\xa5" * 4096 + whole[at + 4096 :])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (newer, "has schema 99.*Upgrade capgate"),
        (foreign, "another program's database"),
        (damaged, "b can't be read.*is damaged.*leave it out"),
        (lambda path: path.write_text("words " * 1000), "b can't be read.*not a database"),
        (str, "there is no store of answers .*b"),
    ],
    ids=["newer", "another program's", "damaged", "of another kind", "missing"],
)
def test_a_store_that_can_t_be_put_in_is_told_and_nothing_changes(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    """It is named with the remedy; no store changes, and none is made."""
    with Store(tmp_path / "a") as store:
        context = store.context("mine", "prompt", FACTS)
        store.add(context, answer("q1"), run="r1", target="mine")
    make(tmp_path / "b")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(StoreError, match=f"(?s){said}"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_store_into_which_nothing_fits_any_more_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full, a store is put in as a whole or not at all."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401
        opened.append(connect(*arguments, **options))
        return opened[-1]

    for name in "ab":
        with Store(tmp_path / name) as store:
            store.start_run(name, {})
            context = store.context("mine", "prompt", FACTS)
            for n in range(40 if name == "b" else 1):
                text = "x" * (3000 if name == "b" else 10)
                store.add(context, answer(f"{name}{n}", text=text), run=name, target="mine")
    merge([tmp_path / "a"], tmp_path / "c")
    take_in = Store.take_in

    def full(store: Store, file: Path) -> None:
        pages = opened[-1].execute("PRAGMA page_count").fetchone()[0]
        # SQLite says the same of a file that may not grow as of a full disk.
        opened[-1].execute(f"PRAGMA max_page_count = {pages + 5}")
        take_in(store, file)

    monkeypatch.setattr(sqlite3, "connect", noted)
    monkeypatch.setattr(Store, "take_in", full)
    with pytest.raises(StoreError, match=r"c can't be written.*full"):
        merge([tmp_path / "b"], tmp_path / "c")
    monkeypatch.undo()
    with Store(tmp_path / "c") as store:
        assert [run for run, _, _ in store.runs()] == ["a"]
    assert len(answers_of(tmp_path / "c")) == 1
    assert merge([tmp_path / "b"], tmp_path / "c") == Merged(41, 40, 2, 1)


def test_a_run_that_began_no_store_is_nothing(tmp_path: Path) -> None:
    """A file that a worker made and was killed before it wrote to it holds nothing."""
    (tmp_path / "a").touch()
    assert merge([tmp_path / "a"], tmp_path / "c") == Merged(0, 0, 0, 0)


@given(st.lists(st.floats(0, 4e9), max_size=30))
def test_ids_grow_and_are_never_given_twice(times: list[float]) -> None:
    """Also by a clock that is set back; those of two machines at one time differ."""
    one, other = AnswerIds(), AnswerIds()
    mine, theirs = [one.new(at) for at in times], [other.new(at) for at in times]
    assert mine == sorted(mine)
    assert len({*mine, *theirs}) == 2 * len(times)
    assert {len(name) for name in mine} <= {12}
