"""Several servers answer for one target."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml
from aiohttp import web
from tests.doubles.events import Signal
from tests.doubles.server import is_proof
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import (
    NEEDS_LLAMACPP,
    REAL,
    Process,
    Project,
    is_question,
    no_traceback,
    questions,
    right,
    target,
    until,
)

EIGHT = 8
"""Questions of `Project.full`."""


class Replica(Vllm):
    """One of a target's servers.

    Args:
        left: How many questions it answers before it waits; it answers all where None.
        keys: Those of `Vllm`.
    """

    def __init__(self, left: int | None = None, **keys: Any) -> None:  # noqa: ANN401 (those of `Vllm`)
        super().__init__(answer=like_a_model, **keys)
        self.left = left
        self.reached = threading.Event()
        self.released = Signal()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answers, or waits first."""
        body = json.loads(await request.read())
        if self.left is not None and not is_proof(body) and is_question(body):
            self.left -= 1
            if self.left < 0:
                self.reached.set()
                await self.released.arrives()
        return await super().chat(request)

    def back(self, weights: str = "") -> None:
        """Is started again, and answers all from now on."""
        self.left, self.weights = None, weights
        self.start()


def like_a_model(asked: dict[str, Any]) -> str:
    """Every bundled question right, and words for the proof's prompts."""
    prompt = asked["messages"][-1]["content"]
    return f"Well, about {prompt[:12]} one may say" if is_proof(asked) else right(asked)


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    """Two servers with the same weights."""
    with Replica() as one, Replica() as other:
        yield one, other


def serve(project: Project, servers: Sequence[Replica], **keys: object) -> None:
    """Makes servers the endpoints of the only target, with a floor of 50 %."""
    urls = [server.url for server in servers]
    project.targets(double=target(urls, **keys))  # type: ignore[arg-type]
    project.floors(double=0.5)


def place(server: Replica) -> str:
    """The name of an endpoint."""
    return f"127.0.0.1:{server.port}"


def stored(project: Project) -> Counter[str]:
    """Endpoint to the answers that it gave, by the store."""
    return Counter(one for _, one in answers(project))


def answers(project: Project) -> list[tuple[str, str]]:
    """Question and endpoint of each stored answer."""
    file = project.root / "reports" / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(file, timeout=30)) as db:
        return db.execute("SELECT question, endpoint FROM answers WHERE set_aside < 2").fetchall()


def asked_once(servers: Sequence[Replica]) -> bool:
    """Whether every question was asked, and only once by all servers together."""
    counts: Counter[str] = Counter()
    for server in servers:
        counts += questions(server.chats)
    return set(counts.values()) == {1}


def begin(project: Project, pair: tuple[Replica, Replica], *left: int) -> Process:
    """Starts a run that asks each server one question at a time; waits until both are at theirs.

    Args:
        project: Where it runs.
        pair: The servers.
        left: How many questions each of them still answers.
    """
    for server, count in zip(pair, left, strict=True):
        server.left = count
    serve(project, pair, max_connections=1)
    process = project.start_full()
    assert all(server.reached.wait(60) for server in pair)
    return process


def test_requests_go_where_fewest_are_in_flight(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """Both servers are asked, each question once; the store says which one answered."""
    serve(project, pair, max_connections=1)
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    assert asked_once(pair)
    gave = stored(project)
    assert gave.keys() == {place(server) for server in pair}
    assert sum(gave.values()) == EIGHT
    assert all(questions(server.chats).total() == gave[place(server)] for server in pair)


def test_a_list_of_one_is_one_server(project: Project, pair: tuple[Replica, Replica]) -> None:
    """With one endpoint nothing is as with several: no name of it is kept."""
    serve(project, pair[:1])
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    assert stored(project) == {"": EIGHT}


def test_a_server_that_dies_loses_nothing(project: Project, pair: tuple[Replica, Replica]) -> None:
    """Its open questions go to the other one, the line names it, and the verdict is the same."""
    one, other = pair
    one.left = 1
    serve(project, pair, max_connections=2)
    process = project.start_full()
    assert one.reached.wait(60)
    one.stop()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert f"its endpoint {place(one)} stopped answering" in outcome.text
    assert outcome.text.count("stopped answering") == 1
    assert project.stored() == {"correct": EIGHT}
    found = answers(project)
    assert len({question for question, _ in found}) == len(found) == EIGHT
    assert stored(project)[place(other)] >= EIGHT - 1


@pytest.mark.parametrize("runner", ["direct", "inspect"])
def test_logs_say_which_endpoint_answered(
    project: Project, pair: tuple[Replica, Replica], runner: str
) -> None:
    """So do the report and `capgate show`, with either runner."""
    serve(project, pair, max_connections=1)
    outcome = project.full("--runner", runner)
    assert outcome.code == 0, outcome.text
    gave = stored(project)
    assert project.result()["endpoints"] == gave
    counts = ", ".join(f"{endpoint} {count}" for endpoint, count in sorted(gave.items()))
    assert f"answered by {counts}" in " ".join(outcome.text.split())
    (page,) = project.root.glob("reports/*/report.html")
    assert counts in page.read_text()
    assert gave.keys() == {place(server) for server in pair}
    logged: Counter[str] = Counter()
    for path in project.root.glob("reports/*/logs/*.json"):
        for sample in json.loads(path.read_bytes())["samples"]:
            logged[sample["output"]["metadata"]["capgate"]["endpoint"]] += 1
    assert logged.total() == EIGHT + 1  # the preflight's question is not stored
    assert all(logged[endpoint] >= count for endpoint, count in gave.items())
    question, endpoint = answers(project)[0]
    assert f"answered at {endpoint}" in capgate(project, "show", "latest", question).stdout


def test_a_run_that_was_killed_goes_on_with_one_server(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """SIGKILL of the run and the end of a server: what was answered is not asked again."""
    one, other = pair
    process = begin(project, pair, 2, 2)
    until(lambda: len(answers(project)) == 4, "the answers of both are stored")
    process.kill()
    process.finish()
    one.stop()
    other.left = None
    before = len(other.chats)
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    assert questions(other.chats[before:]).total() == 4
    assert project.stored() == {"correct": EIGHT}


def test_ctrl_c_ends_a_run_of_several_servers(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """It ends at once, though a server that is away is looked for; the next run asks the rest."""
    one, other = pair
    process = begin(project, pair, 1, 2)
    one.stop()
    until(lambda: len(answers(project)) == 3, "what was answered is stored")
    process.signal_group(signal.SIGINT)
    outcome = process.finish(60)
    assert outcome.code == 2, outcome.text
    assert no_traceback(outcome.text)
    other.left = None
    before = len(other.chats)
    assert project.full().code == 0
    assert questions(other.chats[before:]).total() == EIGHT - 3


def test_other_weights_in_the_middle_are_noticed(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """A server whose weights change while it is asked is named; the others' answers stay."""
    one, other = pair
    process = begin(project, pair, 2, 2)
    until(lambda: len(answers(project)) == 4, "the answers of both are stored")
    one.weights = "other"
    for server in pair:
        server.left = None
        server.released.set()
    outcome = process.finish()
    assert outcome.code == 11, outcome.text
    said = " ".join(outcome.text.split())
    assert f"at {one.url} does not answer as it did when this run began" in said
    assert {endpoint for _, endpoint in answers(project)} == {place(other)}


def test_a_server_that_is_away_at_the_start_is_left_out(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """The run goes on with the others, and says so."""
    one, other = pair
    serve(project, pair)
    one.stop()
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    assert f"{place(one)} does not answer" in outcome.text
    assert stored(project) == {place(other): EIGHT}


def test_all_dead_is_an_error_that_names_all(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """No server answers: nothing is scored."""
    serve(project, pair)
    for server in pair:
        server.stop()
    outcome = project.full()
    assert outcome.code == 11, outcome.text
    assert "none of its 2 endpoints answers" in outcome.text
    assert all(place(server) in outcome.text for server in pair)
    assert no_traceback(outcome.text)
    assert project.stored() == {}


def test_other_weights_are_an_error_that_names_both(project: Project) -> None:
    """A replica with other weights must not answer for the target."""
    with Replica() as one, Replica(weights="other") as other:
        serve(project, (one, other))
        outcome = project.full()
        assert outcome.code == 11, outcome.text
        assert f"its endpoints {place(one)} and {place(other)} do not serve the same" in " ".join(
            outcome.text.split()
        )
        assert "log-probabilities" in outcome.text
        assert project.stored() == {}


def test_a_server_that_comes_back_is_proven_and_asked_again(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """It is asked again only after the proof, and the run ends as if nothing had happened."""
    one, other = pair
    process = begin(project, pair, 1, 2)
    one.stop()
    proofs = len(one.proofs)
    one.back()
    until(lambda: questions(one.chats).total() > 2, "the server that is back is asked")
    assert len(one.proofs) > proofs
    other.released.set()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert f"its endpoint {place(one)} answers, is proven and is asked again" in outcome.text
    found = answers(project)
    assert len({question for question, _ in found}) == len(found) == EIGHT


def test_a_server_that_comes_back_with_other_weights_stays_out(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """Somebody started another model there: the rest is asked of the other server."""
    one, other = pair
    process = begin(project, pair, 1, 1)
    one.stop()
    before = len(one.chats)
    one.back(weights="other")
    until(lambda: len(one.proofs) > 20, "the server that is back is looked at")
    other.released.set()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert questions(one.chats[before:]).total() == 0
    assert project.stored() == {"correct": EIGHT}


def test_an_adapter_is_loaded_and_proven_at_each(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """Each server lists it, answers its proof, and gives answers for base and adapter."""
    make_adapter(project.root / "adapters" / "tuned")
    serve(project, pair, max_connections=1)
    outcome = project.full("--adapter-name", "adapters/tuned", "--model-id", "double")
    assert outcome.code == 10, outcome.text  # eight questions decide nothing
    for server in pair:
        assert len(server.loads) == 1
        assert len(server.unloads) == 1
        assert len({chat.body["model"] for chat in server.chats}) == 2
    assert sum(stored(project).values()) == 2 * EIGHT


def test_a_dead_adapter_at_one_server_is_an_error_that_names_it(project: Project) -> None:
    """One of two servers ignores the adapter: its answers would be the base's."""
    with Replica() as one, Replica(pull=0.0) as other:
        make_adapter(project.root / "adapters" / "tuned")
        serve(project, (one, other))
        outcome = project.full("--adapter-name", "adapters/tuned", "--model-id", "double")
        assert outcome.code == 11, outcome.text
        assert f"at its endpoint {place(other)}" in outcome.text


def test_what_one_replica_answered_counts_for_the_other(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """A replica that is added or taken away loses no stored answer: the weights are the same."""
    one, other = pair
    serve(project, (one, other))
    assert project.full().code == 0
    before = [len(server.chats) for server in pair]
    fingerprint = project.result()["fingerprint"]
    for left in ((other,), (one,), (other, one)):
        serve(project, left)
        outcome = project.full()
        assert outcome.code == 0, outcome.text
    assert project.result()["fingerprint"] == fingerprint, "their order says nothing"
    assert [questions(s.chats[n:]).total() for s, n in zip(pair, before, strict=True)] == [0, 0]


def test_a_sweep_loads_its_adapters_at_each(
    project: Project, pair: tuple[Replica, Replica]
) -> None:
    """Each adapter is loaded on both servers, asked of both, and unloaded from both."""
    for seed in range(3):
        make_adapter(project.root / "runs" / f"checkpoint-{seed + 1}", seed=seed)
    serve(project, pair, max_connections=2)
    outcome = capgate(project, "sweep", "--model-id", "double", "--adapters", "runs/*")
    assert outcome.returncode in (0, 10), outcome.stdout + outcome.stderr
    assert stored(project).keys() == {place(server) for server in pair}
    for server in pair:
        assert len(server.loads) == len(server.unloads) == 3
        assert {chat.body["model"] for chat in server.chats} >= {name for name, _ in server.loads}


def test_endpoints_on_the_command_line(project: Project, pair: tuple[Replica, Replica]) -> None:
    """`--endpoints` takes the place of what the entry says; http:// and /v1 are added."""
    project.targets(double=target("http://127.0.0.1:9/v1"))
    project.floors(double=0.5)
    outcome = project.full("--endpoints", f"{place(pair[0])},{pair[1].url}")
    assert outcome.code == 0, outcome.text
    assert stored(project).keys() <= {place(server) for server in pair}
    (run,) = project.reports()
    assert run["settings"]["endpoints"] == [server.url for server in pair]


def test_workers_share_the_endpoints(project: Project, pair: tuple[Replica, Replica]) -> None:
    """With -n 2 each server is opened once, one dies, and every question is answered once."""
    one = pair[0]
    one.left = 1
    serve(project, pair, max_connections=2)
    process = project.start_full("-n", "2")
    assert one.reached.wait(60)
    one.stop()
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert outcome.text.count("stopped answering") == 1
    assert project.stored() == {"correct": EIGHT}


@pytest.mark.slow
@NEEDS_LLAMACPP
def test_a_real_server_that_is_killed_loses_nothing(project: Project) -> None:
    """Two servers that capgate starts; SIGKILL ends one, and the result is as with one server."""
    options = ("benchmarks", "-m", "full", "--subjects", "virology,anatomy", "--limit", "8")
    project.floors(**{REAL: 0.03})
    alone = project.pytest(*options)
    assert alone.code in (0, 1, 10), alone.text
    before = project.result(REAL)
    known = answers(project)
    file = project.root / "config" / "models.yaml"
    entry = yaml.safe_load(file.read_text())[REAL]
    entry["serve"] |= {"replicas": 2, "parallel": 1, "threads": 1}
    project.write("config/models.yaml", yaml.safe_dump({REAL: {**entry, "max_connections": 1}}))
    process = project.start(*options, "--fresh")
    until(lambda: len(answers(project)) >= len(known) + 2, "answers of both", 120)
    servers = project.servers()
    assert len(servers) == 2
    servers[0].kill()
    outcome = process.finish()
    assert outcome.code == alone.code, outcome.text
    assert outcome.text.count("stopped answering") == 1
    assert "its endpoint replica" in outcome.text
    result = project.result(REAL)
    assert result["verdict"]["kind"] == before["verdict"]["kind"]
    assert result["overall"]["questions"] == 8
    assert result["overall"]["errors"] == 0
    assert result["overall"]["correct"] == before["overall"]["correct"]
    assert result["fingerprint"] == before["fingerprint"]
    assert sum(result["endpoints"].values()) == 8
    assert result["endpoints"].keys() <= {"replica 1", "replica 2"}
    asked = [question for question, endpoint in answers(project) if endpoint]
    assert len(set(asked)) == len(asked) == 8
    until(lambda: not project.processes(), "every process has ended", 30)


@pytest.mark.slow
@NEEDS_LLAMACPP
def test_replicas_that_are_left_running(project: Project) -> None:
    """`inference-server start` starts all, a run asks them, and `stop` ends them."""
    file = project.root / "config" / "models.yaml"
    entry = yaml.safe_load(file.read_text())[REAL]
    entry["serve"] |= {"replicas": 2, "parallel": 1, "threads": 1}
    project.write("config/models.yaml", yaml.safe_dump({REAL: {**entry, "max_connections": 1}}))
    server = "capgate.commands.inference_server"
    started = capgate(project, "start", REAL, module=server)
    try:
        assert started.stdout.count("is running at") == 2, started.stdout + started.stderr
        assert capgate(project, "health", REAL, module=server).stdout.count("answers at") == 2
        options = ("--subjects", "virology", "--limit", "4", "--measure")
        outcome = project.pytest("benchmarks", "-m", "full", *options)
        assert outcome.code == 0, outcome.text
        assert "starting llama.cpp" not in outcome.text
        assert stored(project).keys() == {"replica 1", "replica 2"}
    finally:
        stopped = capgate(project, "stop", REAL, module=server)
    assert stopped.stdout.count("is stopped") == 2
    assert not project.servers()


def test_commands_know_several_endpoints(project: Project, pair: tuple[Replica, Replica]) -> None:
    """`doctor` compares them, `list-models --check` and `inference-server` ask each."""
    serve(project, pair)
    checked = capgate(project, "doctor", "--model-id", "double")
    assert checked.returncode == 0, checked.stdout
    assert all(f"{place(server)} answers /health" in checked.stdout for server in pair)
    assert ", at 2 endpoints" in checked.stdout
    listed = capgate(project, "list-models", "--check")
    assert "reachable at 2 endpoints" in listed.stdout
    assert all(place(server) in listed.stdout for server in pair)
    health = capgate(project, "health", module="capgate.commands.inference_server")
    assert health.stdout.count("answers at") == 2
    pair[1].weights = "other"
    assert "do not serve the same model" in capgate(project, "doctor").stdout
    pair[1].stop()
    listed = capgate(project, "list-models", "--check")
    assert listed.returncode == 1
    assert f"reachable, but not {place(pair[1])}" in listed.stdout


def capgate(
    project: Project, *words: str, module: str = "capgate.cli"
) -> subprocess.CompletedProcess[str]:
    """Runs a command of capgate."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
