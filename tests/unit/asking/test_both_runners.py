"""Either runner, asking real servers: how outcomes, faults, logs and ends are told."""

from __future__ import annotations

import asyncio
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from inspect_ai.log import list_eval_logs
from tests.doubles import replies
from tests.doubles.replies import Handler
from tests.doubles.server import Server, answer
from tests.unit.asking.asked import ask, asked, client_of, logs_in, runner_of, task_of
from tests.unit.client.conftest import KEY

from capgate.asking.cost_limit import NotAskedError, RunCostLimit, TargetCost
from capgate.asking.outcome import LOOK, TARGET, Outcome, QuestionTask
from capgate.common.answers import AnswerState
from capgate.common.errors import RequestFault
from capgate.common.files import FileError
from capgate.common.loop_thread import LoopThread
from capgate.config.run_options import RUNNERS, LogFormat, RunnerKind
from capgate.serving.openrouter import Price

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.parametrize("kind", RUNNERS),
]


def test_answers_come_as_they_are_scored(kind: RunnerKind, server: Server, tmp_path: Path) -> None:
    """Each question ends in one outcome, with what the answer tells."""
    letters = iter("ABCD")
    server.answer = lambda _: f"ANSWER: {next(letters)}"
    task = task_of(client_of(server))
    ended = ask(runner_of(kind, tmp_path), task)
    assert {one for one, _ in ended} == {task}
    assert {o.answer.question for _, o in ended} == {q.hash for q in task.questions}
    assert len(ended) == 4
    for _, outcome in ended:
        assert outcome.fault is None
        assert outcome.answer.state.readable
        assert outcome.answer.text == f"ANSWER: {outcome.answer.choice}"
        assert (outcome.answer.prompt_tokens, outcome.answer.completion_tokens) == (57, 5)
        assert outcome.answer.served_by == "lora-a"
        assert outcome.answer.finish_reason == "stop"


@pytest.mark.parametrize("log_format", ["json", "eval"])
def test_the_log_holds_all(
    kind: RunnerKind, server: Server, tmp_path: Path, log_format: LogFormat
) -> None:
    """Each task has one log in the wanted form, which says who was asked and why."""
    folder = tmp_path / "logs of a run"
    tasks = [task_of(client_of(server)), task_of(client_of(server, "other"), 3, "virology", 4)]
    ask(runner_of(kind, folder, log_format=log_format), *tasks)
    assert {one.suffix for one in folder.iterdir()} == {f".{log_format}"}
    logs = {(log.eval.metadata or {})[TARGET]: log for log in logs_in(folder)}
    assert {log.status for log in logs.values()} == {"success"}
    assert {(log.eval.metadata or {})[LOOK] for log in logs.values()} == {"first"}
    assert logs["mine"].eval.model == "capgate/lora-a"
    assert {name: len(log.samples or []) for name, log in logs.items()} == {"mine": 4, "other": 3}
    for log in logs.values():
        assert log.results is not None
        assert log.results.scores[0].metrics["accuracy"]
        for sample in log.samples or []:
            assert [e.event for e in sample.events if e.event in ("model", "score")] == [
                "model",
                "score",
            ]


def test_an_outcome_comes_while_others_are_asked(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """A question's outcome is told before the others are answered."""
    told = threading.Event()

    async def when_told(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert await asyncio.to_thread(told.wait, 30)
        return await answer("ANSWER: B")(request, body)

    server.script(answer("ANSWER: A"), forever=when_told)
    ended = ask(
        runner_of(kind, tmp_path), task_of(client_of(server)), on_outcome=lambda *_: told.set()
    )
    assert [outcome.answer.choice for _, outcome in ended] == ["A", "B", "B", "B"]


@pytest.mark.parametrize(
    ("handler", "fault"),
    [
        (replies.UNAUTHORIZED, "unauthorized"),
        (replies.NO_CREDIT, "no_credit"),
        (replies.MODERATION, "moderation"),
        (replies.NO_MODEL, "model_not_found"),
        (replies.PROMPT_TOO_LONG, "context_too_long"),
        (replies.RATE_LIMITED, "rate_limited"),
        (replies.QUOTA, "quota"),
        (replies.ENGINE_DEAD, "server_error"),
        (replies.TRUNCATED, "bad_json"),
        (replies.HTML, "not_json"),
        (replies.EMPTY_CHOICES, "empty_choices"),
        (replies.ERROR_IN_200, "server_error"),
        (replies.disconnect, "disconnected"),
    ],
)
def test_each_fault_is_told_by_its_kind(
    kind: RunnerKind, server: Server, tmp_path: Path, handler: Handler, fault: str
) -> None:
    """Whatever a server does in place of answering, the outcome's fault says what it was."""
    server.script(forever=handler)
    ended = ask(runner_of(kind, tmp_path), task_of(client_of(server), 2))
    assert [outcome.answer.state for _, outcome in ended] == [AnswerState.ERROR] * 2
    for _, outcome in ended:
        assert isinstance(outcome.fault, RequestFault)
        assert outcome.fault.kind == fault
    assert len(server.chats) <= 4


def test_a_fault_is_an_object_and_no_score(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """A question whose request failed has its typed fault; the others are answered."""
    server.script(replies.PROMPT_TOO_LONG, forever=answer("ANSWER: B"))
    ended = ask(runner_of(kind, tmp_path), task_of(client_of(server)))
    failed = [outcome for _, outcome in ended if outcome.fault is not None]
    assert len(failed) == 1
    assert isinstance(failed[0].fault, RequestFault)
    assert failed[0].fault.kind == "context_too_long"
    assert failed[0].answer.state is AnswerState.ERROR
    assert failed[0].answer.text == str(failed[0].fault)
    (log,) = logs_in(tmp_path)
    assert log.status == "success"
    (sample,) = (one for one in log.samples or [] if one.error is not None)
    assert sample.error is not None
    assert sample.error.message == str(failed[0].fault)
    assert not sample.scores
    assert log.results is not None
    assert log.results.scores[0].scored_samples == 3


def test_what_costs_too_much_is_told_apart(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """A question that `--max-cost` forbids ends so, and nothing is sent for it."""
    client = client_of(server)
    client.cost = TargetCost("mine", Price(1.0, 1.0), RunCostLimit(0.001))
    ended = ask(runner_of(kind, tmp_path), task_of(client))
    assert len(ended) == 4
    assert all(isinstance(outcome.fault, NotAskedError) for _, outcome in ended)
    assert not server.chats


def test_several_servers_are_asked_with_their_own_keys(kind: RunnerKind, tmp_path: Path) -> None:
    """Models of one name on two servers each get their own requests, keys and outcomes."""
    with (
        Server(key="first-key-1234", answer=lambda _: "ANSWER: A") as one,
        Server(key="other-key-1234", answer=lambda _: "ANSWER: B") as two,
    ):
        tasks = [
            task_of(client_of(one, "mine", key="first-key-1234")),
            task_of(client_of(two, "theirs", key="other-key-1234")),
        ]
        ended = ask(runner_of(kind, tmp_path), *tasks)
        assert len(one.chats) == len(two.chats) == 4
    found = {(task.target, outcome.answer.choice) for task, outcome in ended}
    assert found == {("mine", "A"), ("theirs", "B")}


def test_the_key_is_in_no_log_and_on_no_terminal(
    kind: RunnerKind, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is in no part of a log and on no terminal, answered or refused."""
    with Server(key=KEY) as server:
        ask(runner_of(kind, tmp_path, log_format="eval"), task_of(client_of(server)))
        server.key = "another"
        ask(runner_of(kind, tmp_path, log_format="eval"), task_of(client_of(server)))
    logs = list(tmp_path.glob("*.eval"))
    assert len(logs) == 2
    for path in logs:
        with zipfile.ZipFile(path) as members:
            for name in members.namelist():
                assert b"canary" not in members.read(name), name
    out = capfd.readouterr()
    assert "canary" not in out.out + out.err


def test_a_key_that_the_model_repeats_is_not_kept(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """What is scored is the answer as it came; what is kept of it is without the key."""
    server.answer = lambda _: f"{KEY}\nANSWER: B"
    ended = ask(runner_of(kind, tmp_path), task_of(client_of(server)))
    assert {outcome.answer.choice for _, outcome in ended} == {"B"}
    assert not any(KEY in outcome.answer.text for _, outcome in ended)


def test_a_fault_of_the_caller_ends_the_evaluation(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """What `on_outcome` raises is raised, and no further question is asked for nothing."""

    def broken(_: QuestionTask, outcome: Outcome) -> None:
        raise OSError(f"no room for {outcome.answer.question}")

    runner = runner_of(kind, tmp_path)
    with pytest.raises(OSError, match="no room for"):
        ask(
            runner,
            task_of(client_of(server, connections=2), 100),
            task_of(client_of(server, "other", connections=2), 100, "virology", 100),
            on_outcome=broken,
        )
    assert len(server.chats) < 50
    assert len(ask(runner, task_of(client_of(server)))) == 4


def test_cancelling_ends_it_and_its_log(kind: RunnerKind, server: Server, tmp_path: Path) -> None:
    """What was answered is told and logged; the rest has no outcome, and the log says so."""
    server.script(answer("ANSWER: B"), forever=replies.hang)

    async def main() -> list[str]:
        told: list[str] = []
        first = asyncio.Event()

        def take(_: QuestionTask, outcome: Outcome) -> None:
            told.append(outcome.answer.question)
            first.set()

        asking = asyncio.create_task(
            asked(runner_of(kind, tmp_path), [task_of(client_of(server), 20)], take)
        )
        await first.wait()
        asking.cancel()
        # The server hangs for longer than that.
        await asyncio.wait([asking], timeout=20)
        assert asking.cancelled()
        return told

    assert len(asyncio.run(main())) == 1
    (log,) = logs_in(tmp_path)
    assert log.status == "cancelled"
    assert [bool(sample.scores) for sample in log.samples or []].count(True) == 1


def test_it_runs_in_a_loop_of_another_thread(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """The evaluation runs where its caller's loop does, one call after the other."""
    thread = LoopThread("asking")
    runner, client = runner_of(kind, tmp_path), client_of(server)
    names: list[str] = []

    async def both() -> None:
        await asyncio.gather(
            *(
                runner.ask(
                    [task_of(client, 2, name)],
                    lambda *_: names.append(threading.current_thread().name),
                )
                for name in ("anatomy", "virology")
            )
        )
        await client.client.aclose()

    try:
        thread.run(both)
    finally:
        thread.close()
    assert names == ["asking"] * 4
    assert len(list_eval_logs(str(tmp_path))) == 2


def test_a_log_that_cannot_be_written_is_a_fault_of_files(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """Where the folder for logs is a file, the message names it."""
    (tmp_path / "logs").write_text("")
    with pytest.raises(FileError, match="logs"):
        ask(runner_of(kind, tmp_path / "logs"), task_of(client_of(server)))
