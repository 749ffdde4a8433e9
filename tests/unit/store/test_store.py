"""The store of answers: nothing that was answered is lost, and nothing is asked twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.dataset import Sample
from tests.unit.store.places import Place

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import StoreError
from capgate.common.redact import Redactor
from capgate.store.answer_rows import Context, Stored
from capgate.store.answer_store import Store
from capgate.store.runs import benchmarks_of, read_run
from capgate.store.shard import OVER_ALL, Look, Shard
from capgate.store.tries import Attempt
from capgate.store.tries import begin as begin_try

ANATOMY = Shard("group", MMLU, "anatomy")

SECONDS = 300.0
"""How long another process may take on a slow machine."""


def answer(question: str = "q", state: AnswerState = AnswerState.CORRECT, text: str = "") -> Answer:
    """Returns an answer."""
    return Answer(question, "anatomy", state, choice="A", text=text)


def found(store: Store, context: Context, *questions: str, run: str, fresh: bool = False) -> set:
    """Returns the questions that have an answer."""
    return set(store.find(context, questions or ("q",), run=run, fresh=fresh))


@pytest.fixture
def context(store: Store) -> Context:
    """Somebody who was asked."""
    return store.context("fingerprint", "prompt", {})


def test_an_answer_comes_back_as_it_was(store: Store, context: Context) -> None:
    """Every field of an answer is kept."""
    whole = Answer(
        question="q",
        subject="virology",
        state=AnswerState.WRONG,
        choice="D",
        text="ANSWER: D\x00\x1b[2J é 💡",
        prompt_tokens=12,
        completion_tokens=5,
        seconds=0.25,
        margin=-1.5,
        served_by="upstream",
        cost=0.0001,
        finish_reason="length",
        cut_off=True,
        reasoning_tokens=3,
        endpoint="gpu1:8000",
    )
    number = store.add(context, whole, run="r", target="mine")
    kept = store.find(context, ["q"], run="other")["q"]
    assert (kept.id, kept.answer, kept.run) == (number, whole, "r")


def test_half_a_character_is_kept_visibly(store: Store, context: Context) -> None:
    """An emoji that a token limit cut in two does not end the run."""
    store.add(context, answer(text="well \ud83d"), run="r", target="mine")
    assert store.find(context, ["q"], run="r")["q"].answer.text == "well \\ud83d"


def test_an_answer_serves_where_target_prompt_and_question_agree(store: Store) -> None:
    """Another fingerprint, prompt or question has no part in it."""
    mine = store.context("mine", "0 shots", {})
    store.add(mine, answer("q"), run="first", target="mine")
    assert found(store, store.context("mine", "0 shots", {}), run="second") == {"q"}
    assert not found(store, store.context("yours", "0 shots", {}), run="second")
    assert not found(store, store.context("mine", "5 shots", {}), run="second")
    assert not found(store, mine, "other", run="second")


def test_errors_are_asked_again_by_other_runs_only(store: Store, context: Context) -> None:
    """A fault is no answer to another run, but its own run does not ask over and over."""
    store.add(context, answer(state=AnswerState.ERROR), run="first", target="mine")
    assert found(store, context, run="first") == {"q"}
    assert not found(store, context, run="second")


def test_an_unparsed_answer_is_one(store: Store, context: Context) -> None:
    """What could not be read was answered all the same and is not asked again."""
    store.add(context, answer(state=AnswerState.UNPARSED), run="first", target="mine")
    assert found(store, context, run="second") == {"q"}


def test_fresh_takes_only_what_this_run_asked(store: Store, context: Context) -> None:
    """With `--fresh` earlier runs' answers are left aside, its own are kept; none is deleted."""
    store.add(context, answer(state=AnswerState.WRONG), run="first", target="mine")
    assert not found(store, context, run="second", fresh=True)
    store.add(context, answer(state=AnswerState.CORRECT), run="second", target="mine")
    own = store.find(context, ["q"], run="second", fresh=True)
    assert own["q"].answer.state is AnswerState.CORRECT
    again = store.find(context, ["q"], run="third")
    assert again["q"].run == "second"


def test_more_questions_than_one_query_takes(store: Store, context: Context) -> None:
    """Thousands of questions are looked up at once."""
    hashes = [f"q{number}" for number in range(1203)]
    for one in hashes[::400]:
        store.add(context, answer(one), run="r", target="mine")
    assert found(store, context, *hashes, run="r") == {"q0", "q400", "q800", "q1200"}


def test_a_run_counts_what_it_asked_and_what_it_reused(store: Store, context: Context) -> None:
    """A run's result rests on its own and on found answers, the newest of each question."""
    store.add(context, answer("a"), run="first", target="mine")
    store.add(context, answer("b"), run="first", target="mine")
    first = store.find(context, ["a"], run="second")["a"]
    store.reuse([first], run="second", target="mine")
    store.reuse([first], run="second", target="mine")
    store.add(context, answer("c", AnswerState.ERROR), run="second", target="mine")
    store.add(context, answer("c", AnswerState.WRONG), run="second", target="mine")
    used = {one.answer.question: one.answer.state for one in store.used("second", "mine")}
    assert used == {"a": AnswerState.CORRECT, "c": AnswerState.WRONG}
    assert not store.used("second", "yours")


def test_shards_and_runs_are_remembered(store: Store) -> None:
    """How shards ended (the last time) and what runs were asked to do is kept."""
    store.start_run("r", {"limit": 5})
    store.start_run("r", {"limit": 6})
    store.end_shard("r", "mine", ANATOMY, {"n": 1})
    store.end_shard("r", "mine", ANATOMY, {"n": 2})
    assert store.shards("r") == {("mine", ANATOMY): {"n": 2}}
    assert store.shards("other") == {}
    ((run, _, settings),) = store.runs()
    assert (run, settings) == ("r", {"limit": 5})


def test_nothing_secret_is_kept(tmp_path: Path) -> None:
    """Wherever it stands: in an answer, in who gave it, in a run's settings, in how it ended."""
    secret = "s3cr3t-value"
    path = tmp_path / "answers.sqlite"
    with Store(path, Redactor([secret])) as store:
        store.start_run("r", {"note": secret})
        context = store.context("fingerprint", "prompt", {"note": secret})
        whole = replace(answer(text=f"it is {secret}"), served_by=f"by {secret}")
        store.add(context, whole, run="r", target="mine")
        store.end_shard("r", "mine", ANATOMY, {"note": secret})
        files = [one.read_bytes() for one in tmp_path.glob("answers.sqlite*")]
    assert len(files) > 1
    assert not [one for one in files if secret.encode() in one]


def test_alert_urls_that_were_kept_are_taken_out(tmp_path: Path) -> None:
    """Earlier versions kept them with a run's settings: opening the store overwrites them."""
    path = tmp_path / "answers.sqlite"
    with Store(path) as store:
        store.start_run("r", {"limit": 5})
    before = sqlite3.connect(path)
    settings = '{"alerts": ["https://chat.example/hook-s3cr3t"], "limit": 5}'
    with before:
        before.execute("UPDATE runs SET settings = ?", (settings,))
    before.close()
    assert b"hook-s3cr3t" in path.read_bytes()
    with Store(path) as store:
        ((_, _, kept),) = store.runs()
    assert kept == {"limit": 5}
    assert b"hook-s3cr3t" not in path.read_bytes()


def test_questions_are_kept_once(store: Store) -> None:
    """Texts of questions with and without examples are kept, for whoever reads the answers."""
    questions = load_questions("bundled", shots=5).questions[:3]
    store.keep_questions(questions)
    store.keep_questions(questions)
    kept = store.rows("SELECT hash, text FROM questions")
    assert dict(kept) == {one.hash: one.sample.input[-1].text for one in questions}


STEPS = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from("qrs"), st.sampled_from(AnswerState)),
    max_size=12,
)


TURNS = count()


@given(STEPS)
def test_however_two_runs_take_turns_each_question_is_asked_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, AnswerState]]
) -> None:
    """Two runs on one store ask a question once, unless it failed in the other one."""
    store = Store(tmp_path_factory.getbasetemp() / "turns.sqlite")
    context = store.context(str(next(TURNS)), "prompt", {})
    asked: list[tuple[str, str, AnswerState]] = []
    for run, question, state in steps:
        if found(store, context, question, run=run):
            continue
        asked.append((run, question, state))
        store.add(context, answer(question, state), run=run, target="mine")
    for question in "qrs":
        mine = [(run, state) for run, asked_for, state in asked if asked_for == question]
        good = [state for _, state in mine if state is not AnswerState.ERROR]
        assert len(good) <= 1
        # Each run puts up with at most one fault, and asks nothing after an answer.
        assert len({run for run, _ in mine}) == len(mine)
        assert not good or mine[-1][1] is good[0]
        if mine:
            last = store.find(context, [question], run=mine[-1][0])[question]
            assert last.answer.state is mine[-1][1]
    store.close()


_VERSION_1 = """
CREATE TABLE contexts (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, prompt TEXT NOT NULL,
    facts TEXT NOT NULL, UNIQUE (fingerprint, prompt));
CREATE TABLE runs (id TEXT PRIMARY KEY, started REAL NOT NULL, settings TEXT NOT NULL);
CREATE TABLE questions (hash TEXT PRIMARY KEY, subject TEXT NOT NULL, sample_id TEXT NOT NULL,
    text TEXT NOT NULL, choices TEXT NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE answers (id INTEGER PRIMARY KEY, context INTEGER NOT NULL REFERENCES contexts (id),
    question TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL, choice TEXT NOT NULL,
    text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, margin REAL, served_by TEXT NOT NULL, cost REAL, run TEXT NOT NULL,
    created REAL NOT NULL);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE TABLE uses (run TEXT NOT NULL, target TEXT NOT NULL,
    answer INTEGER NOT NULL REFERENCES answers (id), PRIMARY KEY (run, target, answer))
    WITHOUT ROWID;
CREATE TABLE shards (run TEXT NOT NULL, target TEXT NOT NULL, shard TEXT NOT NULL,
    facts TEXT NOT NULL, PRIMARY KEY (run, target, shard)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def test_a_store_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Its answers are found, but for those that hold a thought or were cut off; all are kept."""
    file = tmp_path / "answers.sqlite"
    texts = {
        "plain": ("ANSWER: A", 5),
        "thought": ("<think>ANSWER: B</think>ANSWER: A", 9),
        "open": ("<think>ANSWER: B", 9),
        "cut": ("ANSWER: A and so", 16),
    }
    with closing(sqlite3.connect(file)) as db:
        db.executescript(_VERSION_1)
        facts = '{"generation": {"max_tokens": 16}}'
        db.execute("INSERT INTO contexts VALUES (1, 'fingerprint', 'prompt', ?)", (facts,))
        db.execute("INSERT INTO runs VALUES ('old', 1.0, '{}')")
        for at, (question, (text, tokens)) in enumerate(texts.items()):
            db.execute(
                "INSERT INTO answers VALUES (?, 1, ?, 'anatomy', 'correct', 'A', ?, 9, ?, 0.1, "
                "NULL, '', NULL, 'old', 1.0)",
                (at, question, text, tokens),
            )
            db.execute("INSERT INTO uses VALUES ('old', 'mine', ?)", (at,))
        db.commit()
    for _ in range(2):
        with Store(file) as store:
            context = store.context("fingerprint", "prompt", {})
            assert found(store, context, *texts, run="new") == {"plain"}
            used = {one.answer.question: one.answer for one in store.used("old", "mine")}
            assert used.keys() == texts.keys()
            assert [name for name, one in used.items() if one.cut_off] == ["cut"]


_BEFORE_4 = {2: "DROP TABLE tries; DROP TABLE sightings;", 3: "DROP TABLE tries;", 4: ""}
"""Version to what its stores do not have of version 4's tables."""


@pytest.mark.parametrize("version", _BEFORE_4)
def test_a_store_whose_names_were_signals_is_read(tmp_path: Path, version: int) -> None:
    """Stores of versions 2 to 4 told shards and looks apart by names; each is found as what it is.

    `store-version-4.sql` is the dump of a store that version 4 wrote.
    """
    file = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(Path(__file__).with_name("store-version-4.sql").read_text())
        db.executescript(f"{_BEFORE_4[version]} PRAGMA user_version = {version};")
        written = db.execute("SELECT COUNT(*), SUM(length(text)) FROM answers").fetchone()
    run, quick = "20260101T000000Z-0001", "20260102T000000Z-0002"
    for _ in range(2):
        with Store(file) as store:
            kinds = {(shard.kind, shard.name) for _, shard in store.shards(run)}
            assert kinds == {
                *((kind, "") for kind in ("entry", "preflight", "suite", "reask")),
                *(("group", name) for name in ("anatomy", "virology")),
            }
            assert store.shards(run)["mine", Shard("reask", MMLU)] == {"asked": 1, "reason": ""}
            assert read_run(store, run).mode == "full"
            assert read_run(store, quick).mode == "quick"
            looks = {
                look: {one.answer.question: one.answer.choice for one in used}
                for look in get_args(Look)
                if (used := store.used(run, "mine", look))
            }
            assert looks == {
                "first": {"q1": "A", "q2": "B", "q3": ""},
                "confirm": {"q2": "A", "q3": ""},
                "repeat": {"q1": "C"},
                "constrained": {"q3": "D"},
            }
            assert {one.run for one in store.used(run, "mine", "confirm")} == {run}
            assert [one.answer.choice for one in store.used(quick, "mine")] == ["A"]
    with closing(sqlite3.connect(file)) as db:
        kept = db.execute("SELECT COUNT(*), SUM(length(text)) FROM answers").fetchone()
        assert kept == written


def test_a_store_that_knew_one_benchmark_is_read(tmp_path: Path) -> None:
    """What version 5 stored is MMLU's: answers of each look, questions with their keys, tries.

    `store-version-5.sql` is the dump of a store that version 5 wrote.
    """
    file = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(Path(__file__).with_name("store-version-5.sql").read_text())
    run, quick = "20260101T000000Z-0001", "20260102T000000Z-0002"
    for _ in range(2):
        with Store(file) as store:
            looks = {
                look: {one.answer.question: one.answer.choice for one in used}
                for look in get_args(Look)
                if (used := store.used(run, "mine", look, benchmark=MMLU))
            }
            assert looks == {
                "first": {"q1": "A", "q2": "B", "q3": ""},
                "confirm": {"q2": "A"},
                "repeat": {"q1": "C"},
                "constrained": {"q3": "D"},
            }
            assert not store.used(run, "mine", benchmark="gsm8k")
            kept = store.kept_questions(["q1", "q3"])
            assert [(one.subject, one.choices, one.key) for one in kept.values()] == [
                ("anatomy", ("w", "x", "y", "z"), "A"),
                ("virology", ("w", "x", "y", "z"), "D"),
            ]
            assert [benchmarks_of(store, one) for one in (run, quick)] == [[MMLU], [MMLU]]
            assert len(read_run(store, run).answers) == 3
            assert store.sightings("http://127.0.0.1:1 m")
            again = Attempt("new", "mine", MMLU, "full", "all", "free", "floor 0.5", "d", True)
            assert begin_try(store, again).number == 2


def test_a_store_that_knew_one_endpoint_is_read(tmp_path: Path) -> None:
    """Version 7 did not say which endpoint answered; its answers count as before.

    `store-version-7.sql` is the dump of a store that version 7 wrote.
    """
    file = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(Path(__file__).with_name("store-version-7.sql").read_text())
    run = "20260101T000000Z-0001"
    with Store(file) as store:
        used = {one.answer.question: one.answer for one in store.used(run, "mine")}
        assert {q: (one.state.value, one.endpoint) for q, one in used.items()} == {
            "q1": ("correct", ""),
            "q2": ("wrong", ""),
            "q3": ("error", ""),
        }
        taker = store.context("other", "prompt", {})
        assert store.find(taker, ["q1", "q3"], run="new").keys() == {"q1"}
        store.add(taker, replace(used["q1"], endpoint="gpu2:8000"), run="new", target="mine")
        assert [one.answer.endpoint for one in store.used("new", "mine")] == ["gpu2:8000"]


def test_the_answers_of_one_endpoint_are_left_out(store: Store, context: Context) -> None:
    """Where one of several servers was started with other weights, the others' answers stay."""
    for question, endpoint in (("q1", "gpu1:8000"), ("q2", "gpu2:8000"), ("q3", "gpu1:8000")):
        given = replace(answer(question), endpoint=endpoint)
        store.add(context, given, run="r", target="mine")
    assert store.leave_out(context, "r", 0.0, "gpu1:8000") == 2
    assert found(store, context, "q1", "q2", "q3", run="r") == {"q2"}


def test_benchmarks_are_kept_apart(store: Store, context: Context) -> None:
    """An answer counts only for the benchmark that asked; another one finds and reuses it."""
    store.start_run("r", {"benchmarks": ["rules", MMLU]})
    store.add(context, answer("q"), run="r", target="mine", benchmark="rules")
    assert not store.used("r", "mine")
    found = store.find(context, ["q"], run="r", target="mine", benchmark=MMLU)
    assert not found["q"].counts
    store.reuse(found.values(), run="r", target="mine", benchmark=MMLU)
    for name in (MMLU, "rules"):
        assert [one.id for one in store.used("r", "mine", benchmark=name)] == [found["q"].id]
        store.end_shard("r", "mine", Shard("entry", name), {})
    store.end_shard("r", "mine", OVER_ALL, {"verdict": None})
    assert benchmarks_of(store, "r", "mine") == ["rules", MMLU]
    assert benchmarks_of(store, "r", "other") == []


def test_an_answer_counts_in_the_group_that_its_question_has_now(
    store: Store, context: Context
) -> None:
    """A question whose group was renamed is not asked again, and counts in its new group."""
    number = store.add(context, answer("q"), run="old", target="mine", benchmark="rules")
    stored = store.find(context, ["q"], run="new", benchmark="rules")["q"]
    regrouped = replace(stored, answer=replace(stored.answer, subject="billing"))
    store.reuse([regrouped], run="new", target="mine", benchmark="rules")
    store.reuse([stored], run="third", target="mine", benchmark="rules")
    groups = {
        run: [one.answer.subject for one in store.used(run, "mine", benchmark="rules")]
        for run in ("old", "new", "third")
    }
    assert groups == {"old": ["anatomy"], "new": ["billing"], "third": ["anatomy"]}
    assert stored.id == number


@pytest.mark.parametrize(
    ("target", "keys", "shown"),
    [
        ("7", ("7",), "7"),
        (["seven", "7"], ("seven", "7"), "seven | 7"),
        ('["a"]', ('["a"]',), '["a"]'),
    ],
)
def test_a_question_of_free_text_is_kept(
    store: Store, target: str | list[str], keys: tuple[str, ...], shown: str
) -> None:
    """It has no choices, and its key is one text or a list of texts, which may look like JSON."""
    question = Question("h", "sums", Sample(id=4, input="3 + 4?", target=target))
    store.keep_questions([question], benchmark="gsm8k")
    store.keep_questions([replace(question, subject="addition")], benchmark="gsm8k")
    kept = store.kept_questions(["h"], benchmark="gsm8k")["h"]
    assert (kept.subject, kept.text, kept.choices, kept.keys) == ("addition", "3 + 4?", (), keys)
    assert kept.key == shown
    assert not store.kept_questions(["h"])


def test_looks_are_kept_apart(store: Store, context: Context) -> None:
    """What a run was answered in one look is not found, and does not count, in another."""
    store.add(context, answer("q"), run="r", target="mine")
    assert not store.find(context, ["q"], run="r", fresh=True, look="confirm")
    store.add(context, answer("q", AnswerState.ERROR), run="r", target="mine", look="confirm")
    assert [one.answer.state for one in store.used("r", "mine")] == [AnswerState.CORRECT]
    second = store.find(context, ["q"], run="r", fresh=True, look="confirm")
    assert second["q"].answer.state is AnswerState.ERROR


def test_a_newer_schema_is_refused_and_not_touched(tmp_path: Path) -> None:
    """A store of a later capgate is refused with the remedy; not a byte of it changes."""
    file = tmp_path / "answers.sqlite"
    Store(file).close()
    other = sqlite3.connect(file)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("PRAGMA user_version = 99")
    other.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"has schema 99.*Upgrade capgate"):
        Store(file)
    assert file.read_bytes() == before


def test_another_program_s_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    """A SQLite file that is no store gets no tables of ours."""
    file = tmp_path / "theirs.sqlite"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        Store(file)
    assert file.read_bytes() == before


def test_a_store_and_all_beside_it_are_its_owner_s(tmp_path: Path) -> None:
    """Also SQLite's own files and the claims; who shares the store's file shares them all."""
    before = os.umask(0o002)
    try:
        for name, mode in (("own", 0o600), ("shared", 0o660)):
            path = tmp_path / name / "reports" / "answers.sqlite"
            if name == "shared":
                path.parent.mkdir(parents=True)
                path.touch(mode)
            with Store(path) as store, store.claim("c"), ExitStack() as claims:
                assert store.claim_free(claims, "d")
                store.start_run("r", {})
                files = [one for one in path.parent.rglob("*") if one.is_file()]
                assert {one.name for one in files} >= {
                    "answers.sqlite",
                    "answers.sqlite-wal",
                    "answers.sqlite-shm",
                    "c.lock",
                    "d.lock",
                }
                assert {one.stat().st_mode & 0o777 for one in files} == {mode}
                folder = (path.parent / ".answers.sqlite.claims").stat().st_mode & 0o777
                assert folder == (0o700 if mode == 0o600 else 0o770)
        assert (tmp_path / "own" / "reports").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_what_can_t_be_a_store_is_told(tmp_path: Path) -> None:
    """A file of another kind, a folder, and a place under a file are told with the remedy."""
    (tmp_path / "words").write_text("words " * 1000)
    for path in (tmp_path / "words", tmp_path, tmp_path / "words" / "answers.sqlite"):
        with pytest.raises(StoreError, match="name another file with --store"):
            Store(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_write_permission_is_told(tmp_path: Path) -> None:
    """A folder that may not be written is told with the remedy."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="make its folder writable"):
            Store(tmp_path / "answers.sqlite")
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that can't be written is told as the store's fault; the older ones stay."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    with Store(tmp_path / "answers.sqlite") as store:
        context = store.context("fingerprint", "prompt", {})
        store.add(context, answer("kept"), run="r", target="mine")
        pages = opened[-1].execute("PRAGMA page_count").fetchone()[0]
        # SQLite says the same of a file that may not grow as of a full disk.
        opened[-1].execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"can't be written.*full"):
            store.add(context, answer("large", text="x" * 100_000), run="r", target="mine")
        assert found(store, context, "kept", "large", run="r") == {"kept"}


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    """Whichever page of the file is lost, each call works or tells of it; nothing is deleted."""
    path = tmp_path / "answers.sqlite"
    with Store(path) as store:
        context = store.context("fingerprint", "prompt", {})
        store.start_run("r", {})
        store.end_shard("r", "mine", ANATOMY, {"n": 1})
        store.keep_questions(load_questions("bundled", shots=0).questions[:60])
        for number in range(60):
            store.add(context, answer(f"q{number}", text="x" * 500), run="r", target="mine")
    whole = path.read_bytes()
    told = set()
    for page in range(4096, len(whole), 4096):
        path.write_bytes(whole[:page] + b"\xa5" * 4096 + whole[page + 4096 :])
        told |= {what for what, call in CALLS.items() if damage(path, context, call)}
        assert len(path.read_bytes()) >= len(whole)
    assert told == set(CALLS)


CALLS: dict[str, Callable[[Store, Context], object]] = {
    "start_run": lambda store, _: store.start_run("s", {}),
    "context": lambda store, _: store.context("other", "prompt", {}),
    "find": lambda store, context: store.find(context, [f"q{n}" for n in range(60)], run="r"),
    "mean_cost": lambda store, context: store.mean_cost(context),
    "add": lambda store, context: store.add(context, answer("new"), run="r", target="mine"),
    "reuse": lambda store, _: store.reuse(
        [Stored(b"1", answer("q0"), "r")], run="s", target="mine"
    ),
    "keep_questions": lambda store, _: store.keep_questions(
        load_questions("bundled", shots=0).questions
    ),
    "kept_questions": lambda store, _: store.kept_questions(
        [q.hash for q in load_questions("bundled", shots=0).questions]
    ),
    "end_shard": lambda store, _: store.end_shard("r", "mine", Shard("suite", MMLU), {}),
    "shards": lambda store, _: store.shards("r"),
    "used": lambda store, _: store.used("r", "mine"),
    "runs": lambda store, _: store.runs(),
}


def damage(path: Path, context: Context, call: Callable[[Store, Context], object]) -> bool:
    """Whether a call on a damaged store says so."""
    told = ""
    try:
        with Store(path) as store:
            call(store, context)
    except StoreError as error:
        told = str(error)
    assert not told or "move it away, or name another file with --store" in told
    return bool(told)


@pytest.mark.parametrize(
    "change",
    ["UPDATE shards SET facts = '{'", "UPDATE runs SET settings = 'x'", "DROP TABLE uses"]
    + [
        f"UPDATE answers SET {column}"
        for column in ("state = 'maybe'", "text = CAST(x'ff' AS TEXT)")
    ],
)
def test_a_store_of_strange_content_is_told(tmp_path: Path, change: str) -> None:
    """What stands in a table and can't be understood is damage too."""
    path = tmp_path / "answers.sqlite"
    with Store(path) as store:
        context = store.context("fingerprint", "prompt", {})
        store.start_run("r", {})
        store.end_shard("r", "mine", ANATOMY, {"n": 1})
        store.add(context, answer("q0"), run="r", target="mine")
    other = sqlite3.connect(path)
    with other:
        other.execute(change)
    other.close()
    assert any(damage(path, context, call) for call in CALLS.values())


def test_a_long_wait_for_a_claim_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for another process is told of it, once, and only where it takes a while."""
    monkeypatch.setattr("capgate.store.store_file.TOLD_AFTER_SECONDS", 0.05)
    store, told = place.open(), Event()
    with process("claim", place) as holder:
        begin(holder)
        assert line(holder) == "held"
        with store.claim("another", waiting=told.set):
            assert not told.is_set()

        def let_go() -> None:
            assert told.wait(SECONDS)
            begin(holder)

        helper = Thread(target=let_go)
        helper.start()
        with store.claim("shard", waiting=told.set):
            assert told.is_set()
        helper.join(SECONDS)


def test_what_is_computed_once_leaves_no_file(tmp_path: Path) -> None:
    """A claim that a run makes once is cleared away, unless what it was for went wrong."""
    with Store(tmp_path / "answers.sqlite") as store:
        with suppress(OSError), store.claim("once", once=True):
            raise OSError
        assert list(tmp_path.rglob("once.lock"))
        with store.claim("once", once=True):
            pass
        assert not list(tmp_path.rglob("once.lock"))


PROGRAM = """
import sys
from capgate.common.answers import Answer, AnswerState
from capgate.config.store_place import StorePlace
from capgate.store.open_store import open_store

what, named, name = sys.argv[1:]
sys.stdin.readline()
store = open_store(StorePlace.read(named))


def add(number):
    context = store.context("fingerprint", "prompt", {})
    answer = Answer(f"{name}{number}", "anatomy", AnswerState.CORRECT, text="x" * 2000)
    store.add(context, answer, run=name, target="mine")


if what == "claim":
    with store.claim("shard"):
        print("held", flush=True)
        sys.stdin.readline()
elif what == "some":
    for number in range(100):
        add(number)
else:
    number = 0
    while True:
        add(number)
        print(number, flush=True)
        number += 1
"""


@contextmanager
def process(what: str, place: Place, name: str = "a") -> Iterator[subprocess.Popen[str]]:
    """Another process on the store; it begins when a line is written to it."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, place.named, name],
        env={**os.environ, "CAPGATE_CLAIM_SECONDS": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=SECONDS)


def begin(*processes: subprocess.Popen[str]) -> None:
    """Lets processes begin."""
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()


def line(one: subprocess.Popen[str]) -> str:
    """Waits for a line of a process that has one to say."""
    assert one.stdout is not None
    ended = Timer(SECONDS, one.kill)
    ended.start()
    try:
        said = one.stdout.readline()
    finally:
        ended.cancel()
    assert said, f"it has ended ({one.poll()}) or said nothing for {SECONDS:g} s"
    return said.strip()


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_a_claim_waits_for_its_holder(place: Place, end: str) -> None:
    """A shard that another process computes is waited for, and is free when that is gone.

    In a file at once, in a database after the time in which it should have renewed its claim.
    """
    with process("claim", place) as holder, process("claim", place, "b") as waiter:
        begin(holder)
        assert line(holder) == "held"
        begin(waiter)
        with place.open().claim("another shard"):
            pass
        if end == "leaves":
            begin(holder)
        else:
            # Stopped, it holds its claim still and can't let go of it by itself.
            os.kill(holder.pid, signal.SIGSTOP)
            assert waiter.poll() is None
            os.kill(holder.pid, signal.SIGKILL)
        assert line(waiter) == "held"
        assert holder.wait(SECONDS) == (0 if end == "leaves" else -signal.SIGKILL)


def test_a_held_claim_is_not_given_twice(place: Place) -> None:
    """While one process holds a shard, no connection of another one gets it, nor one of its own."""
    with process("claim", place) as holder, ExitStack() as claims:
        begin(holder)
        assert line(holder) == "held"
        one, other = place.open(), place.open()
        assert not one.claim_free(claims, "shard")
        assert one.claim_free(claims, "free")
        assert not other.claim_free(claims, "free")
        claims.close()
        assert other.claim_free(claims, "free")


def test_two_processes_that_write_at_once_lose_nothing(place: Place) -> None:
    """Processes that open a new store and fill it at the same time both succeed wholly."""
    with process("some", place, "a") as a, process("some", place, "b") as b:
        begin(a, b)
        assert (a.wait(SECONDS), b.wait(SECONDS)) == (0, 0)
    expected = {f"{name}{number}" for name in "ab" for number in range(100)}
    store = place.open()
    context = store.context("fingerprint", "prompt", {})
    assert found(store, context, *sorted(expected), run="later") == expected


def test_a_process_killed_while_writing_loses_no_answer(place: Place) -> None:
    """Every answer whose recording had ended is there after SIGKILL, and the store is sound."""
    with process("all", place) as writer:
        begin(writer)
        while line(writer) != "50":
            pass
        writer.kill()
        told = [50, *map(int, writer.communicate(timeout=SECONDS)[0].split())]
    store = place.open()
    context = store.context("fingerprint", "prompt", {})
    questions = [f"a{number}" for number in range(max(told) + 1)]
    assert found(store, context, *questions, run="later") == set(questions)
    if Path(place.named).is_file():
        with closing(sqlite3.connect(place.named)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.add(context, answer("more"), run="later", target="mine")
