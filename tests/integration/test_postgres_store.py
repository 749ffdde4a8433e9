"""Machines that share a PostgreSQL database: nothing is asked twice, nothing is lost or shown.

A machine is a project with folders of its own: home, cache, temporary files.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from tests.doubles.events import Signal
from tests.doubles.postgres import PostgresServer, programs
from tests.doubles.server import Server
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.checkout import like_a_model
from tests.integration.conftest import (
    PROBE,
    TWO_SUBJECTS,
    Hold,
    Outcome,
    Process,
    Project,
    no_traceback,
    question_of,
    questions,
    right,
    target,
    until,
    wrong,
)

from capgate.cli import main
from capgate.common.postgres_url import PostgresUrl
from capgate.config.store_place import StorePlace
from capgate.store.open_store import open_store


class Machine:
    """A machine: a project, and the environment of what runs on it."""

    def __init__(self, project: Project, url: str, folder: Path) -> None:
        self.project = project
        self.url = url
        self.environment = {"CAPGATE_CLAIM_SECONDS": "3"}
        names = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
        for variable, name in names.items():
            (folder / name).mkdir(parents=True)
            self.environment[variable] = str(folder / name)

    def start(self, *options: str) -> Process:
        """Starts the whole benchmark on two subjects."""
        return self.project.start_full("--store", self.url, *options, **self.environment)

    def run(self, *options: str) -> Outcome:
        """Runs the whole benchmark on two subjects to its end."""
        return self.start(*options).finish()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database for a store."""
    return postgres.url(postgres.new_database())


@pytest.fixture
def machine(tmp_path: Path, server: Server, url: str) -> Iterator[Callable[..., Machine]]:
    """Makes a machine that asks `server`, which answers every question right."""
    made: list[Machine] = []

    def make(store: str = url, **keys: object) -> Machine:
        folder = tmp_path / f"machine{len(made)}"
        one = Machine(Project.make(folder / "project"), store, folder)
        one.project.serve(server, **keys)
        made.append(one)
        return one

    yield make
    for one in made:
        one.project.close()


def stored(server: PostgresServer, url: str) -> int:
    """How many answers a store has."""
    ((count,),) = server.execute(url.rpartition("/")[2], "SELECT count(*) FROM capgate.answers")
    return int(count)


def test_two_machines_ask_each_question_once(
    machine: Callable[..., Machine], server: Server
) -> None:
    """Of two runs at once each question is asked by one, and both have every answer."""
    one, other = machine(max_connections=1), machine(max_connections=1)
    hold = Hold(server, after=2)
    server.script(forever=hold)
    first = one.start()
    assert hold.reached.wait(120)
    second = other.start()
    until(
        lambda: sum(question_of(chat.body) == PROBE for chat in server.chats) == 2,
        "the second machine's preflight",
    )
    hold.release()
    outcomes = [first.finish(), second.finish()]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert len(questions(server.chats)) == 8
    assert set(questions(server.chats).values()) == {1}
    for each in (one, other):
        (report,) = each.project.reports()
        assert report["targets"]["double"]["overall"]["correct"] == 8
        assert not list(each.project.root.rglob("*.sqlite-wal"))


def test_the_claims_of_a_machine_that_is_gone_expire(
    machine: Callable[..., Machine], server: Server, postgres: PostgresServer, url: str
) -> None:
    """After SIGKILL another machine waits for a while, then asks what was not answered."""
    one, other = machine(max_connections=1), machine(max_connections=1)
    hold = Hold(server, after=5)
    server.script(forever=hold)
    first = one.start()
    assert hold.reached.wait(120)
    (waiting,) = (q for q, n in questions(server.chats[-1:]).items() if n)
    until(lambda: stored(postgres, url) == 5, "five answers stored")
    first.kill()
    assert first.finish().code == -signal.SIGKILL
    hold.release()
    outcome = other.run()
    assert outcome.code == 0, outcome.text
    counts = questions(server.chats)
    assert counts.pop(waiting) == 2
    assert len(counts) == 7
    assert set(counts.values()) == {1}
    assert other.project.result()["overall"]["asked"] == 3


def test_a_machine_that_was_cut_off_changes_no_verdict(
    machine: Callable[..., Machine], server: Server, postgres: PostgresServer, url: str
) -> None:
    """Another one has asked the same meanwhile and was answered otherwise: each has its own."""
    one, other = machine(max_connections=1), machine(max_connections=1)
    hold = Hold(server, after=2)
    server.script(forever=hold)
    first = one.start()
    assert hold.reached.wait(120)
    until(lambda: stored(postgres, url) == 2, "two answers stored")
    # As if its machine slept: it renews no claim, and its answer waits for it.
    os.kill(first.pid, signal.SIGSTOP)
    try:
        hold.release()
        server.answer = wrong
        outcome = other.run()
        assert outcome.code == 10, outcome.text
        server.answer = right
    finally:
        os.kill(first.pid, signal.SIGCONT)
    outcome = first.finish()
    assert outcome.code in (0, 10), outcome.text
    assert len(questions(server.chats)) == 8
    assert max(questions(server.chats).values()) == 2
    with open_store(StorePlace.read(url)) as store:
        for each in (one, other):
            (report,) = each.project.reports()
            overall = report["targets"]["double"]["overall"]
            states = Counter(s.answer.state.value for s in store.used(report["run"], "double"))
            assert states == {"correct": overall["correct"], "wrong": overall["wrong"]}
            assert states.total() == 8
        assert states == {"correct": 2, "wrong": 6}


@pytest.fixture
def restarted() -> Iterator[PostgresServer]:
    """A server of one test alone, which stops and starts it."""
    if programs() is None:
        pytest.skip("needs PostgreSQL's programs: make test-postgres installs them")
    with PostgresServer() as server:
        yield server


def test_a_database_that_stops_and_starts_is_survived(
    machine: Callable[..., Machine], server: Server, restarted: PostgresServer
) -> None:
    """The run goes on where it was: each question is asked once, and the verdict is right."""
    url = restarted.url(restarted.new_database())
    one = machine(url, max_connections=1)
    one.environment["CAPGATE_CLAIM_SECONDS"] = "60"
    hold = Hold(server, after=3)
    server.script(forever=hold)
    process = one.start()
    assert hold.reached.wait(120)
    until(lambda: stored(restarted, url) == 3, "three answers stored")
    restarted.stop("immediate")
    hold.release()
    until(lambda: len(questions(server.chats)) >= 4, "the fourth question")
    restarted.start()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert set(questions(server.chats).values()) == {1}
    assert stored(restarted, url) == 8
    assert one.project.result()["overall"]["correct"] == 8


def test_a_database_that_stays_away_ends_the_asking(
    machine: Callable[..., Machine], server: Server, restarted: PostgresServer
) -> None:
    """It is told in one paragraph, with the code of an error; the next run goes on."""
    url = restarted.url(restarted.new_database())
    one = machine(url, max_connections=1)
    hold = Hold(server, after=3)
    server.script(forever=hold)
    process = one.start()
    assert hold.reached.wait(120)
    until(lambda: stored(restarted, url) == 3, "three answers stored")
    restarted.stop()
    hold.release()
    outcome = process.finish()
    assert outcome.code == 11, outcome.text
    assert "was lost and can't be made again" in outcome.text
    assert "REGRESSION" not in outcome.text
    assert no_traceback(outcome.text)
    restarted.start()
    again = one.run()
    assert again.code == 0, again.text
    assert one.project.result()["overall"]["correct"] == 8
    # What was being asked while the store was away is asked again, and no more.
    assert sum(questions(server.chats).values()) <= 8 + 3


class HeldVllm(Vllm):
    """Answers the first questions; from then on each waits until it is released."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (those of Vllm)
        super().__init__(**options)
        self.reached = threading.Event()
        self.released = Signal()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if is_question_of_a_run(json.loads(await request.read())) and len(self.chats) > 12:
            self.reached.set()
            await self.released.arrives()
        return await super().chat(request)


@pytest.mark.parametrize("end", ["ends", "is killed"])
def test_machines_share_an_adapter_of_one_server(
    machine: Callable[..., Machine], postgres: PostgresServer, url: str, end: str
) -> None:
    """It is loaded once and stays while a machine uses it; the last one unloads it.

    Also where the one that loaded it is killed: its lease expires.
    """
    with HeldVllm(answer=like_a_model) as server:
        machines = [machine(), machine()]
        for one in machines:
            # Each has the adapter's folder at a path of its own.
            make_adapter(one.project.root / "adapters" / "mine")
            one.project.targets(base=target(server.url, max_connections=1))
            one.project.write("thresholds/policy.yaml", "catch: 0.1\nreason: few questions\n")
        options = ("--model-id", "base", "--adapter-name", "mine")
        first = machines[0].start(*options)
        assert server.reached.wait(120)
        second = machines[1].start(*options)
        until(lambda: leases(postgres, url) == 2, "the second machine's lease")
        if end == "is killed":
            first.kill()
            server.released.set()
        else:
            server.released.set()
            outcome = first.finish()
            assert outcome.code in (0, 10), outcome.text
        outcome = second.finish()
        assert outcome.code in (0, 10), outcome.text
        assert len(server.loads) == 1
        assert server.unloads == [server.loads[0][0]]
        assert server.adapters == {}


def is_question_of_a_run(asked: dict[str, Any]) -> bool:
    """Whether a request asks a question of the benchmark, and is no proof or preflight."""
    return "ANSWER: $LETTER" in str(asked["messages"]) and question_of(asked) != PROBE


def leases(server: PostgresServer, url: str) -> int:
    """How many leases there are."""
    ((count,),) = server.execute(url.rpartition("/")[2], "SELECT count(*) FROM capgate.leases")
    return int(count)


def texts_with(word: str, folder: Path) -> list[Path]:
    """The files of a folder that hold a word."""
    return [
        file for file in folder.rglob("*") if file.is_file() and word.encode() in file.read_bytes()
    ]


def test_no_password_is_left_anywhere(
    machine: Callable[..., Machine],
    server: Server,
    postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    """Not in a file, an output, a command that is shown, or the command line of a process."""
    one = machine(max_connections=1)
    hold = Hold(server, after=2)
    server.script(forever=hold)
    process = one.start("-n", "2")
    assert hold.reached.wait(120)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    for child in children:
        assert postgres.password not in " ".join(child.cmdline())
    hold.release()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert postgres.password not in outcome.text
    assert texts_with(postgres.password, tmp_path) == []
    (report,) = one.project.reports()
    shown = str(PostgresUrl(one.url))
    assert report["settings"]["files"]["store"] == shown
    assert texts_with(shown, one.project.root / "reports")


@pytest.mark.slow
def test_commands_read_the_store(
    machine: Callable[..., Machine],
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
) -> None:
    """All that take `--store` work with the URL, its password in PGPASSWORD; one is a baseline."""
    one = machine()
    for fresh in ((), ("--fresh",)):
        whole = ("benchmarks", "-m", "full", "--store", url, *fresh)
        assert one.project.pytest(*whole, **one.environment).code == 0
    monkeypatch.chdir(one.project.root)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    store = ("--store", str(PostgresUrl(url)))
    ((question, first),) = postgres.execute(
        url.rpartition("/")[2], "SELECT question, run FROM capgate.answers ORDER BY id LIMIT 1"
    )
    assert postgres.password not in store[1]
    for code, command in (
        (0, ("report", "latest")),
        (0, ("triage", "latest")),
        (0, ("show", "latest", question)),
        (0, ("compare", first, "latest")),
        (0, ("rescore", "latest")),
        (0, ("plan",)),
        (0, ("doctor",)),
        (0, ("baseline", "record", "double", "--run", "latest")),
        (1, ("baseline", "lint")),
    ):
        assert main([*command, *store]) == code, (command, capsys.readouterr())
        told = capsys.readouterr()
        assert postgres.password not in told.out + told.err
    file = one.project.root / "copy.sqlite"
    assert main(["store", "merge", store[1], "--into", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new_runs"] >= 2
    assert main(["report", "latest", "--store", str(file)]) == 0


def test_tests_that_ask_nothing_open_no_database(project: Project, server: Server) -> None:
    """The store's URL may be wrong where pytest only collects."""
    project.serve(server)
    where = ("--store", "postgresql://nobody:nothing@127.0.0.1:1/none")
    outcome = project.pytest("benchmarks", "--collect-only", "-q", *TWO_SUBJECTS, *where)
    assert outcome.code == 0, outcome.text
    outcome = project.pytest("benchmarks", "-m", "full", *TWO_SUBJECTS, *where)
    assert outcome.code == 11, outcome.text
    assert "Start the server" in outcome.text
    assert "nothing@" not in outcome.text
    assert no_traceback(outcome.text)
    assert server.chats == []
