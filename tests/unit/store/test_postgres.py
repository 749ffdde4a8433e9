"""What is a PostgreSQL database's alone: what can be wrong with it, and what is lost on the way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.postgres import PostgresServer

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError, ConfigError, StoreError
from capgate.config.store_place import StorePlace
from capgate.store.answer_store import Store
from capgate.store.open_store import open_store
from capgate.store.postgres.texts import as_written, writable
from capgate.store.schema import SCHEMA_VERSION

SECONDS = 60.0


def answer(question: str) -> Answer:
    """An answer."""
    return Answer(question, "anatomy", AnswerState.CORRECT, choice="A", text="A")


def opened(url: str) -> Store:
    """A connection to a store."""
    return open_store(StorePlace.read(url))


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The name of an empty database."""
    return postgres.new_database()


@pytest.fixture(scope="module")
def restarted() -> Iterator[PostgresServer]:
    """A server of these tests alone, which they stop and start."""
    from tests.doubles.postgres import programs

    if programs() is None:
        pytest.skip("needs PostgreSQL's programs: make test-postgres installs them")
    with PostgresServer() as server:
        yield server


@given(st.text(st.sampled_from("\0\x1a0a💡"), max_size=12))
def test_each_text_can_be_written_and_comes_back(text: str) -> None:
    """PostgreSQL refuses one character, NUL; a text that holds it comes back as it was."""
    assert "\0" not in writable(text)
    assert as_written(writable(text)) == text


def told(url: str) -> str:
    """What a user is told of a store that can't be opened, without its password."""
    with pytest.raises(StoreError) as error:
        opened(url).close()
    return str(error.value)


def test_what_is_wrong_with_a_database_is_told(postgres: PostgresServer, database: str) -> None:
    """One paragraph with the server's words and the remedy, and never a password."""
    said = told(postgres.url("nobody_made_it"))
    assert '"nobody_made_it" does not exist' in said
    assert "createdb" in said
    said = told(postgres.url(database, password="wrong-s3cret"))
    assert "password authentication failed" in said
    assert "PGPASSWORD" in said
    assert "wrong-s3cret" not in said
    said = told(postgres.url(database).replace(str(postgres.port), "1"))
    assert "refused" in said
    assert "Start the server" in said
    said = told(postgres.url(database, user="nobody"))
    assert "PGPASSWORD" in said
    for one in (said, told(postgres.url(database).replace(str(postgres.port), "port"))):
        assert postgres.password not in one


def test_a_database_that_can_t_hold_every_character_is_refused(postgres: PostgresServer) -> None:
    """Of another encoding than UTF-8, with the command that makes one."""
    postgres.execute("postgres", "CREATE DATABASE ascii ENCODING SQL_ASCII TEMPLATE template0")
    assert "createdb --encoding UTF8" in told(postgres.url("ascii"))


def test_a_newer_schema_is_refused_and_not_touched(postgres: PostgresServer, database: str) -> None:
    """A store of a later capgate is refused with the remedy."""
    url = postgres.url(database)
    opened(url).close()
    postgres.execute(database, "UPDATE capgate.version SET number = 99")
    said = told(url)
    assert f"has schema 99; this capgate knows {SCHEMA_VERSION}" in said
    assert "Upgrade capgate" in said
    assert postgres.execute(database, "SELECT number FROM capgate.version") == [(99,)]


def test_another_program_s_schema_is_refused(postgres: PostgresServer, database: str) -> None:
    """One of our name that is not ours gets no tables; those in other schemas are left alone."""
    postgres.execute(database, "CREATE TABLE runs (theirs INT)")
    opened(postgres.url(database)).close()
    assert postgres.execute(database, "SELECT * FROM public.runs") == []
    postgres.execute(database, "DROP SCHEMA capgate CASCADE")
    postgres.execute(database, "CREATE SCHEMA capgate CREATE TABLE theirs (a INT)")
    assert "another program's" in told(postgres.url(database))
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'capgate'"
    assert postgres.execute(database, tables) == [("theirs",)]


def test_what_a_later_version_adds_is_added(postgres: PostgresServer, database: str) -> None:
    """A store of an earlier version gets the columns that it lacks, and keeps its rows."""
    url = postgres.url(database)
    with opened(url) as store:
        context = store.context("f", "p", {"model": "m"})
        store.add(context, answer("q"), run="r", target="mine")
    postgres.execute(database, "ALTER TABLE capgate.answers DROP COLUMN endpoint")
    postgres.execute(database, "UPDATE capgate.version SET number = 7")
    with opened(url) as store:
        assert [one.answer.question for one in store.used("r", "mine")] == ["q"]
        store.add(context, answer("more"), run="r", target="mine")
    assert postgres.execute(database, "SELECT number FROM capgate.version") == [(SCHEMA_VERSION,)]


def test_a_user_who_may_only_read_reads(postgres: PostgresServer, database: str) -> None:
    """Answers are found; that they can't be written, or no store be made, is told."""
    reader = f"reader_of_{database}"
    postgres.execute(database, f"CREATE ROLE {reader} LOGIN PASSWORD 's3cret'")
    url = postgres.url(database, user=reader, password="s3cret")
    said = told(url)
    assert "permission denied" in said
    assert "grant" in said
    with opened(postgres.url(database)) as store:
        context = store.context("f", "p", {"model": "m"})
        store.add(context, answer("q"), run="r", target="mine")
    postgres.execute(
        database,
        f"GRANT USAGE ON SCHEMA capgate TO {reader}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA capgate TO {reader}",
    )
    with opened(url) as store, ExitStack() as claims:
        assert [one.answer.question for one in store.used("r", "mine")] == ["q"]
        for refused in (
            lambda: store.add(context, answer("p"), run="r", target="mine"),
            lambda: store.claim_free(claims, "c"),
        ):
            with pytest.raises(StoreError, match=r"permission denied.*grant"):
                refused()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where psycopg is missing the extra that brings it is told."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = told("postgresql://me:s3cret@127.0.0.1/answers")
    assert "pip install 'capgate[postgres]'" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("text", ["0.5", "soon", "nan", "1e9"])
def test_a_wrong_number_of_seconds_is_told(
    postgres: PostgresServer, database: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims never expire at once, and never not at all."""
    monkeypatch.setenv("CAPGATE_CLAIM_SECONDS", text)
    with pytest.raises(ConfigError, match="CAPGATE_CLAIM_SECONDS should be"):
        opened(postgres.url(database))


def cut(server: PostgresServer, database: str) -> int:
    """Ends all connections to a database, as a network does; returns how many there were."""
    ended = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{database}' AND pid != pg_backend_pid()"
    )
    return len(server.execute("postgres", ended))


def test_a_connection_that_is_lost_between_two_calls_is_made_again(
    postgres: PostgresServer, database: str
) -> None:
    """Reading, writing and claiming go on; the claim that was held still is."""
    url = postgres.url(database)
    with opened(url) as store, opened(url) as other, ExitStack() as claims:
        context = store.context("f", "p", {"model": "m"})
        assert store.claim_free(claims, "mine")
        assert cut(postgres, database) >= 2
        store.add(context, answer("q"), run="r", target="mine")
        assert cut(postgres, database)
        assert [one.answer.question for one in store.used("r", "mine")] == ["q"]
        assert store.claim_free(claims, "more")
        assert not other.claim_free(claims, "mine")


def test_a_transaction_whose_connection_is_lost_is_done_again(
    postgres: PostgresServer, database: str
) -> None:
    """From its beginning: all of it is there, once."""
    url = postgres.url(database)
    with opened(url) as store:
        insert = "INSERT INTO runs (id, started, settings) VALUES (?, ?, '{}')"
        with store.transaction(alone=True) as db:
            db.execute(insert, ("one", 1.0))
            cut(postgres, database)
            assert store.rows("SELECT id FROM runs") == [("one",)]
            db.executemany(insert, [("two", 2.0), ("three", 3.0)])
            cut(postgres, database)
        assert [run for run, _, _ in store.runs()] == ["three", "two", "one"]


def test_what_goes_wrong_within_a_transaction_takes_all_of_it_back(
    postgres: PostgresServer, database: str
) -> None:
    """Nothing of it is there, and the store goes on."""
    with opened(postgres.url(database)) as store:
        insert = "INSERT INTO runs (id, started, settings) VALUES (?, ?, '{}')"

        def write(*runs: str) -> None:
            with store.transaction() as db:
                for run in runs:
                    db.execute(insert, (run, 1.0))
                raise RuntimeError

        with pytest.raises(StoreError, match="written"):
            write("one", "one")
        with pytest.raises(RuntimeError):
            write("two")
        assert store.runs() == []
        store.start_run("three", {})
        assert [run for run, _, _ in store.runs()] == ["three"]


def test_a_server_that_comes_back_is_waited_for(restarted: PostgresServer) -> None:
    """What is written while it is down is written when it is up, and no claim has expired."""
    url = restarted.url(restarted.new_database())
    with opened(url) as store, ExitStack() as claims:
        context = store.context("f", "p", {"model": "m"})
        assert store.claim_free(claims, "mine")
        restarted.stop("immediate")
        writer = Thread(target=lambda: store.add(context, answer("q"), run="r", target="mine"))
        writer.start()
        restarted.start()
        writer.join(SECONDS)
        assert [one.answer.question for one in store.used("r", "mine")] == ["q"]
        with opened(url) as other:
            assert not other.claim_free(claims, "mine")


def test_a_server_that_stays_away_is_told(
    restarted: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time for which claims are held, with what to do; nothing stored is lost."""
    monkeypatch.setenv("CAPGATE_CLAIM_SECONDS", "1")
    url = restarted.url(restarted.new_database())
    with opened(url) as store:
        context = store.context("f", "p", {"model": "m"})
        store.add(context, answer("q"), run="r", target="mine")
        restarted.stop()
        try:
            with pytest.raises(StoreError, match=r"refused.*what is stored is not asked again"):
                store.add(context, answer("p"), run="r", target="mine")
            with pytest.raises(CapgateError, match="refused"):
                store.used("r", "mine")
        finally:
            restarted.start()
        assert [one.answer.question for one in store.used("r", "mine")] == ["q"]


def test_two_that_begin_at_once_write_their_questions_and_tries(
    postgres: PostgresServer, database: str
) -> None:
    """What one writes depends on what it read; still neither fails, and both spend the same."""
    from capgate.store.tries import Attempt, begin

    url = postgres.url(database)
    opened(url).close()
    found: list[object] = []

    def try_it() -> None:
        with opened(url) as store:
            attempt = Attempt("r", "mine", MMLU, "full", "all", "c", "r", "d", fresh=True)
            found.append(begin(store, attempt))

    threads = [Thread(target=try_it) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(SECONDS)
    assert len(found) == 4
    assert len({repr(one) for one in found}) == 1
    assert postgres.execute(database, "SELECT count(*) FROM capgate.tries") == [(1,)]
