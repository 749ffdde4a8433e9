"""What only Inspect's own evaluation does, and what it must not do to its process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import SandboxEnvironmentSpec
from tests import processes
from tests.doubles import replies
from tests.doubles.server import Server, answer
from tests.unit.asking.asked import ask, changed, client_of, logs_in, runner_of, task_of

from capgate.common.answers import AnswerState
from capgate.common.errors import CapgateError, RequestFault

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@solver
def stubborn(*, fails: bool) -> Solver:
    """Asks until it is answered; then fails by itself, if it is told to."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        while True:
            try:
                state = await generate(state)
                break
            except RequestFault:
                pass
        if fails:
            raise ValueError("a fault of the task's own")
        return state

    return solve


def test_a_fault_that_the_solver_caught_is_not_the_samples(server: Server, tmp_path: Path) -> None:
    """A solver may ask again; what then ends the sample is not explained by the earlier fault."""
    for fails in (False, True):
        server.script(replies.PROMPT_TOO_LONG)
        runner = runner_of("inspect", tmp_path, changed(solver=stubborn(fails=fails)))
        ((_, outcome),) = ask(runner, task_of(client_of(server), 1))
        assert outcome.fault is None
        assert (outcome.answer.state is AnswerState.ERROR) is fails
        assert ("a fault of the task's own" in outcome.answer.text) is fails


@solver
def side_by_side() -> Solver:
    """Asks twice at the same time and fails as the first of both does."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        other = asyncio.create_task(generate(state))
        try:
            return await generate(state)
        finally:
            await other

    return solve


def test_an_answer_beside_it_takes_no_fault_away(server: Server, tmp_path: Path) -> None:
    """Of two requests at the same time the one that failed ends the sample, and is its fault."""
    failed = threading.Event()

    async def fail(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        failed.set()
        return await replies.PROMPT_TOO_LONG(request, body)

    async def late(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert await asyncio.to_thread(failed.wait, 30)
        return await answer("ANSWER: B")(request, body)

    server.script(fail, late)
    runner = runner_of("inspect", tmp_path, changed(solver=side_by_side()))
    ((_, outcome),) = ask(runner, task_of(client_of(server), 1))
    assert isinstance(outcome.fault, RequestFault)
    assert outcome.fault.kind == "context_too_long"


@solver
def showing() -> Solver:
    """Shows the model a picture with the question."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        picture = ContentImage(image="data:image/png;base64,iVBORw0KGgo=")
        state.messages = [ChatMessageUser(content=[ContentText(text=state.input_text), picture])]
        return await generate(state)

    return solve


def test_a_task_that_shows_pictures_takes_this_runner(server: Server, tmp_path: Path) -> None:
    """It is asked as it stands; the direct runner sends nothing and names this one.

    Nothing but its solver's run shows that it has pictures.
    """
    server.answer = lambda _: "ANSWER: B"
    task, changes = task_of(client_of(server), 1), changed(solver=showing())
    direct = runner_of("direct", tmp_path / "direct", changes)
    ((_, outcome),) = ask(direct, task)
    assert outcome.answer.state is AnswerState.ERROR
    assert "Run it with --runner inspect" in outcome.answer.text
    assert not server.chats
    ((_, outcome),) = ask(runner_of("inspect", tmp_path / "inspect", changes), task)
    assert outcome.answer.text == "ANSWER: B"
    parts = server.chats[0].body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"]


def test_a_model_that_the_environment_names_is_not_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's setting for evaluations of their own changes nothing."""
    monkeypatch.setenv("INSPECT_EVAL_MODEL", "openai/gpt-nowhere")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert len(ask(runner_of("inspect", tmp_path), task_of(client_of(server)))) == 4
    (log,) = logs_in(tmp_path)
    assert log.eval.model == "capgate/lora-a"


def test_a_task_asks_each_target_once_under_one_name(server: Server, tmp_path: Path) -> None:
    """Two tasks that a log could not tell apart are refused before anything is asked."""
    client = client_of(server)
    with pytest.raises(ValueError, match="two tasks of one name"):
        ask(runner_of("inspect", tmp_path), task_of(client, 2), task_of(client, 2, first=2))
    assert not server.chats


def test_nothing_is_shown(tmp_path: Path) -> None:
    """The first evaluation of a process writes nothing on the terminal, not even of hooks."""
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.doubles.server import Server\n"
        "from tests.unit.asking.asked import ask, client_of, runner_of, task_of\n"
        "with Server() as server:\n"
        "    runner = runner_of('inspect', Path(sys.argv[1]))\n"
        "    assert len(ask(runner, task_of(client_of(server)))) == 4\n"
    )
    root = Path(__file__).parents[3]
    kept = {name: value for name, value in os.environ.items() if "INSPECT" not in name}
    code, out, err = processes.run(
        [sys.executable, str(script), str(tmp_path / "logs")],
        root,
        {**kept, "PYTHONPATH": str(root)},
        timeout=300,
        apart=True,
    )
    assert (code, out, err) == (0, "", "")


def test_a_fault_of_the_task_is_told(server: Server, tmp_path: Path) -> None:
    """A task that Inspect can't run ends in one message with Inspect's own words."""
    runner = runner_of(
        "inspect", tmp_path, changed(sandbox=SandboxEnvironmentSpec("no-such-sandbox"))
    )
    with pytest.raises(CapgateError, match="no-such-sandbox"):
        ask(runner, task_of(client_of(server)))
    assert not server.chats
