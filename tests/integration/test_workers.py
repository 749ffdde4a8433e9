"""Workers on several machines ask parts of a run's questions; what they stored is judged then.

Each machine is a process with a home, a folder for temporary files and, unless they share one, a
store of its own.
"""

from __future__ import annotations

import json
import math
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doubles.events import Signal
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import (
    NEEDS_LLAMACPP,
    REAL,
    Outcome,
    Process,
    Project,
    no_traceback,
    question_of,
    target,
    until,
)
from tests.integration.test_adapters import is_question, like_a_model, wrong

from capgate.config.store_place import StorePlace
from capgate.store.open_store import open_store

PARTS = 4
ASKED = ("--model-id", "base", "--adapter-name", "mine", "--domains", "humanities")
FEW = "catch: 0.1\nreason: few questions\n"
STORED = ("benchmarks", "-m", "full", *ASKED)


def forgot_some(_path: str, asked: dict[str, Any]) -> str:
    """Answers every fourth question wrong."""
    if is_question(asked) and sum(question_of(asked).encode()) % 4 == 0:
        return wrong(asked)
    return like_a_model(asked)


class HoldingVllm(Vllm):
    """One that answers the first `after` questions; from then on each waits for `released`."""

    def __init__(self) -> None:
        super().__init__(answer=like_a_model, tuned=forgot_some)
        self.after: float = math.inf
        self.reached = threading.Event()
        self.released = Signal()
        self.unanswered: list[tuple[str, str]] = []

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if self.after < math.inf and is_question(body):
            self.after -= 1
            if self.after < 0:
                self.unanswered.append((body["model"], question_of(body)))
                self.reached.set()
                await self.released.arrives()
        return await super().chat(request)

    def hold(self, after: int) -> None:
        """Answers so many more questions."""
        self.after = after

    def release(self) -> None:
        """Answers all again; what waited is forgotten, for who asked it is gone."""
        self.after = math.inf
        self.released.set()


class Cluster:
    """A project whose base and adapter are asked by several machines."""

    def __init__(self, project: Project, server: HoldingVllm) -> None:
        self.project = project
        self.server = server
        project.write("thresholds/policy.yaml", FEW)
        make_adapter(project.root / "adapters" / "mine")
        project.targets(base=target(server.url))

    def machine(self, name: str) -> dict[str, str]:
        """The environment of a machine."""
        disk = self.project.root / "machines" / name
        (disk / "tmp").mkdir(parents=True, exist_ok=True)
        return {
            "HOME": str(disk),
            "TMPDIR": str(disk / "tmp"),
            # They share one server, and so the notes on who has loaded which adapter.
            "XDG_CACHE_HOME": str(disk.parent / "cache"),
            "CAPGATE_CLAIM_SECONDS": "3",
        }

    def worker(self, shard: str, machine: str, store: str, *options: str) -> Process:
        """Starts a worker."""
        return self.project.capgate(
            *("worker", "--shard", shard, *ASKED, "--store", store),
            *("--output-dir", f"out-{machine}", *options),
            **self.machine(machine),
        )

    def judge(self, *options: str) -> Outcome:
        """Judges what is stored, on a machine of its own."""
        return self.project.pytest(*STORED, *options, **self.machine("judge"))

    def asked(self) -> Counter[tuple[str, str]]:
        """How often each model was asked each question."""
        return Counter(
            (str(chat.body["model"]), question_of(chat.body))
            for chat in self.server.chats
            if is_question(chat.body)
        )


@pytest.fixture
def cluster(project: Project) -> Iterator[Cluster]:
    """Such a project."""
    with HoldingVllm() as server:
        yield Cluster(project, server)


def told(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of its targets, but for times and what was asked when."""
    passing = {"seconds", "asked", "timestamp", "earlier", "newest_earlier", "fingerprint", "run"}
    passing |= {"seen"}

    def kept(value: Any) -> Any:  # noqa: ANN401 (any JSON)
        if isinstance(value, dict):
            # A verdict's further reasons say how old the answers are.
            return {
                k: v[:1] if k == "reasons" else kept(v)
                for k, v in value.items()
                if k not in passing
            }
        return [kept(one) for one in value] if isinstance(value, list) else value

    found: dict[str, Any] = kept(
        {name: report[name] for name in ("targets", "comparisons", "verdict", "complete")}
    )
    return found


def test_four_workers_say_what_one_run_says(cluster: Cluster) -> None:
    """Also where one of them was killed in the middle and another one asked its part."""
    project, server = cluster.project, cluster.server
    alone = project.pytest(*STORED, "--store", "alone.sqlite", **cluster.machine("alone"))
    (of_one_run,) = project.reports()
    once = cluster.asked()
    server.asked.clear()

    server.hold(after=5)
    killed = cluster.worker("2/4", "m2", "part-2.sqlite")
    assert server.reached.wait(120)
    until(lambda: answers_in(project.root / "part-2.sqlite") == 5, "five answers stored")
    killed.kill()
    assert killed.finish().code == -signal.SIGKILL
    in_flight = Counter(server.unanswered)
    server.release()
    workers = [cluster.worker(f"{part}/4", f"m{part}", f"part-{part}.sqlite") for part in (0, 1, 3)]
    workers.append(cluster.worker("2/4", "m4", "part-2.sqlite"))
    for worker in workers:
        ended = worker.finish()
        assert ended.code == 0, ended.text
    # What was in flight as the worker was killed was asked again, and nothing else.
    assert cluster.asked() == once + in_flight

    assert merged(cluster, *(f"part-{part}.sqlite" for part in range(PARTS))).code == 0
    server.asked.clear()
    outcome = cluster.judge("--stored", "--store", "all.sqlite")
    assert outcome.code == alone.code == 1, outcome.text
    assert outcome.verdict("base+mine") == alone.verdict("base+mine") == "REGRESSION"
    assert "NOTHING WAS ASKED" in outcome.text
    assert not server.asked
    assert told(project.reports()[-1]) == told(of_one_run)

    # Merged twice is merged once.
    assert merged(cluster, "part-1.sqlite", "part-3.sqlite").text.count(" (0 new)") == 2


@pytest.fixture(params=["folder", "database"])
def shared(request: pytest.FixtureRequest) -> str:
    """A store that machines share."""
    if request.param == "folder":
        return "shared/"
    server = request.getfixturevalue("postgres")
    return str(server.url(server.new_database()))


def test_workers_share_a_store(cluster: Cluster, shared: str) -> None:
    """Machines that share a folder or a database ask each question once, and need no merge."""
    project, server = cluster.project, cluster.server
    server.hold(after=5)
    killed = cluster.worker("1/4", "m1", shared)
    assert server.reached.wait(120)
    until(lambda: stored_in(project, shared) == 5, "five answers stored")
    killed.kill()
    killed.finish()
    in_flight = Counter(server.unanswered)
    server.release()
    workers = [cluster.worker(f"{part}/4", f"m{part}", shared) for part in (0, 2, 3)]
    workers.append(cluster.worker("1/4", "m4", shared, "--json"))
    *_, again = ended = [worker.finish() for worker in workers]
    assert [one.code for one in ended] == [0] * 4, "\n".join(one.text for one in ended)
    found = json.loads(again.text[again.text.index("{") :])
    assert sum(one["questions"] - one["asked"] for one in found["slices"]) == 5
    twice = {one for one, n in cluster.asked().items() if n > 1}
    assert twice == in_flight.keys()

    server.asked.clear()
    judged = cluster.judge("--stored", "--store", shared)
    assert judged.code == 1, judged.text
    assert not server.asked
    alone = project.pytest(*STORED, "--store", "alone.sqlite", **cluster.machine("alone"))
    assert alone.verdict("base+mine") == judged.verdict("base+mine") == "REGRESSION"
    stored, one_run = project.reports()[-2:]
    assert told(stored) == told(one_run)


def test_what_is_missing_is_an_error_with_the_command_that_asks_it(cluster: Cluster) -> None:
    """It says how much of which target is missing; the command is run as it is shown."""
    for part in (0, 2, 3):
        ended = cluster.worker(f"{part}/4", f"m{part}", "shared/").finish()
        assert ended.code == 0, ended.text
    of_each = len(cluster.asked()) * 4 // 3 // 2
    cluster.server.asked.clear()
    outcome = cluster.judge("--stored", "--store", "shared/")
    assert outcome.code == 11, outcome.text
    text = " ".join(outcome.text.split())
    assert f"lacks {of_each // 2} of {of_each} answers of base" in text
    assert "answers of base+mine" not in text
    assert "PASS" not in text
    assert no_traceback(outcome.text)
    command = text[text.index("capgate worker --shard 0/1") :].split(". ")[0]
    for option in ("--model-id base", "--adapter-name mine", "--store shared/"):
        assert option in command
    assert not cluster.server.asked
    words = command.split()[1:]
    asking = cluster.project.capgate(*words[: words.index("shared/") + 1], **cluster.machine("m9"))
    ended = asking.finish()
    assert ended.code == 0, ended.text
    assert len(cluster.asked()) == of_each // 2
    assert cluster.judge("--stored", "--store", "shared/").code == 1


def test_several_benchmarks_are_judged_by_workers_of_pytest_too(cluster: Cluster) -> None:
    """Each benchmark is divided among all workers; one verdict stands over all, also with -n 2."""
    rows = [
        {"question": f"Which is {n}?", "choices": [str(n), str(n + 1)], "answer": "A", "group": "g"}
        for n in range(40)
    ]
    cluster.project.write("data/own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    cluster.project.write("config/benchmarks.yaml", "own: {questions: data/own.jsonl, catch: 0.3}")

    def answers(asked: dict[str, Any]) -> str:
        text = str(asked["messages"][-1]["content"])
        return "ANSWER: A" if "Which is" in text else like_a_model(asked)

    cluster.server.answer = answers
    cluster.server.tuned = lambda _, asked: answers(asked)
    of = ("--benchmark", "mmlu", "--benchmark", "own")
    for part in range(2):
        worker = cluster.worker(f"{part}/2", f"m{part}", "shared/", "--json", *of)
        ended = worker.finish()
        assert ended.code == 0, ended.text
        slices = json.loads(ended.text[ended.text.index("{") :])["slices"]
        assert {(one["benchmark"], one["questions"]) for one in slices} == {
            ("mmlu", 52),
            ("own", 40),
        }
    cluster.server.asked.clear()
    judged = cluster.judge("--stored", "--store", "shared/", "-n", "2", *of)
    assert judged.code == 0, judged.text
    assert "PASS: base+mine over 2 benchmarks" in judged.text
    assert not cluster.server.asked


@pytest.mark.slow
@NEEDS_LLAMACPP
def test_workers_with_servers_of_their_own(project: Project) -> None:
    """Each starts a real llama.cpp; what both asked is judged as one run judges it."""
    project.floors(**{REAL: 0.03})
    few = ("--model-id", REAL, "--subjects", "virology,anatomy", "--limit", "6")
    for part in range(2):
        asked = project.capgate(
            *("worker", "--shard", f"{part}/2", *few, "--store", f"{part}.sqlite"),
        ).finish()
        assert asked.code == 0, asked.text
    merging = ("store", "merge", "0.sqlite", "1.sqlite", "--into", "all.sqlite")
    assert project.capgate(*merging).finish().code == 0
    stored = project.pytest("benchmarks", "-m", "full", *few, "--stored", "--store", "all.sqlite")
    assert "NOTHING WAS ASKED: all 6 answers" in " ".join(stored.text.split()), stored.text
    alone = project.pytest("benchmarks", "-m", "full", *few, "--store", "alone.sqlite")
    assert stored.code == alone.code
    assert stored.verdict(REAL) == alone.verdict(REAL)
    assert told(project.reports()[-2]) == told(project.reports()[-1])


def answers_in(file: Path) -> int:
    """How many answers a store has that are no faults."""
    if not file.exists():
        return 0
    with open_store(StorePlace.file(file)) as store:
        return int(store.rows("SELECT COUNT(*) FROM answers WHERE state != 'error'")[0][0])


def stored_in(project: Project, name: str) -> int:
    """The same of a store that machines share; a folder's segments are read."""
    place = StorePlace.read(name)
    if place.url is not None:
        with open_store(place) as store:
            return int(store.rows("SELECT COUNT(*) FROM answers WHERE state != 'error'")[0][0])
    lines = [
        line
        for file in (project.root / name).glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return sum('["answers"' in line and '"error"' not in line for line in lines)


def merged(cluster: Cluster, *stores: str) -> Outcome:
    """Puts stores together."""
    machine = cluster.machine("judge")
    return cluster.project.capgate(
        "store", "merge", *stores, "--into", "all.sqlite", **machine
    ).finish()
