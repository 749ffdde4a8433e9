"""The direct runner against Inspect's own evaluation: the same requests, outcomes and logs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from urllib.request import urlopen

import pytest
from aiohttp import web
from inspect_ai import score
from inspect_ai.log import (
    EvalLog,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
    write_eval_log,
)
from inspect_ai.scorer import Scorer, choice, includes
from tests.doubles import replies
from tests.doubles.replies import Handler, Reply, Said, completion
from tests.doubles.server import Server, answer
from tests.integration.conftest import until
from tests.unit.asking.asked import ask, client_of
from tests.unit.client.conftest import KEY

from capgate.asking.inspect_backend.direct_runner import DirectRunner
from capgate.asking.inspect_backend.inspect_runner import InspectRunner
from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.runner import Runner
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.task import TASKS, MmluTask
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.redact import MARK
from capgate.config.run_options import LogFormat
from capgate.run.log_sweep import sweep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FORMS: Final[Mapping[str, Handler]] = {
    "the form that is asked for": answer("ANSWER: B"),
    "prose before it": answer("Consider each of them.\n\nANSWER: C"),
    "a letter alone": answer("B"),
    "nothing": answer(""),
    "LaTeX": answer("$\\boxed{A}$\nANSWER: $A$"),
    "a thought apart": answer(Said("ANSWER: C", thought="It can't be A.")),
    "a thought inside": answer("<think>It can't be A.</think>\nANSWER: D"),
    "cut off": answer(Said("First, one must know", cut_off=True)),
    "log-probabilities": Reply(200, completion("ANSWER: A)", logprobs=replies.LOGPROBS)),
    "a refusal": replies.PROMPT_TOO_LONG,
    "other scripts": answer("答案\u2028: é\u0301 🙂\nANSWER: D"),
    "a key": answer(f"{KEY}\nANSWER: A"),
}
"""How a model answers the first question, the second one …, and again from the beginning."""

_COUNT: Final = 2 * len(FORMS)

_IDS_AND_TIMES: Final = frozenset(
    {
        *("id", "uuid", "eval_id", "run_id", "task_id", "span_id", "created"),
        *("started_at", "completed_at", "total_time", "working_time", "working_start"),
        *("timestamp", "completed", "time", "seconds"),
    }
)

_OTHERWISE: Final = {
    "eval.config.log_buffer": "how Inspect was told to run",
    "eval.config.max_samples": "how Inspect was told to run",
    "eval.config.max_tasks": "how Inspect was told to run",
    "eval.config.sandbox_prebuilt": "no task that is run directly has a sandbox",
    "plan.config.max_connections": "how Inspect was told to run",
    "samples.events.config.max_connections": "how Inspect was told to run",
    "reductions": "with one epoch they repeat each sample's score",
    "samples.attachments": "long texts stand where they belong",
    "samples.events.traceback": "a request's fault says all; a traceback shows our own code",
    "samples.events.traceback_ansi": "see there",
    "samples.error.traceback": "see there",
    "samples.error.traceback_ansi": "see there",
    "samples.events.error.traceback": "see there",
    "samples.events.error.traceback_ansi": "see there",
}
"""Fields that differ, and why."""


@dataclass(frozen=True)
class Ran:
    """What a runner did.

    Attributes:
        bodies: The requests that it sent, sorted.
        headers: Their headers.
        outcomes: Question's hash to how it ended.
        log: The log.
        path: Where the log is.
    """

    bodies: Sequence[bytes]
    headers: set[tuple[tuple[str, str], ...]]
    outcomes: Mapping[str, Outcome]
    log: EvalLog
    path: Path


def run(runner: Runner, server: Server, folder: Path, questions: Sequence[Question]) -> Ran:
    """Has a runner ask all questions of a server that answers in all forms."""
    server.asked.clear()
    server.script(forever=answers_in_turn(questions))
    client = client_of(server, logprobs=3, extra_body={"cache_prompt": False})
    task = QuestionTask("anatomy", questions, client, target="mine", look="confirm")
    ended = ask(runner, task)
    assert len(ended) == len(questions)
    (path,) = folder.iterdir()
    # As at the end of each run: what Inspect wrote may hold the key.
    sweep(folder, client.redactor)
    return Ran(
        sorted(asked.raw for asked in server.chats),
        {
            tuple((name, text) for name, text in asked.headers.items() if name != "Content-Length")
            for asked in server.chats
        },
        {outcome.answer.question: outcome for _, outcome in ended},
        read_eval_log(str(path), resolve_attachments=True),
        path,
    )


def answers_in_turn(questions: Sequence[Question]) -> Handler:
    """Answers each question in a form that follows from its place alone."""
    forms = dict(zip(map(_asked, questions), [*FORMS.values()] * 2, strict=True))

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked = body["messages"][-1]["content"]
        # A question may stand within another one.
        of = max((text for text in forms if text in asked), key=len)
        return await forms[of](request, body)

    return reply


def _asked(question: Question) -> str:
    asked = question.sample.input
    return asked if isinstance(asked, str) else asked[-1].text


def both(
    task: str, questions: Sequence[Question], folder: Path, log_format: LogFormat = "json"
) -> tuple[Ran, Ran]:
    """Has Inspect's own runner and the direct one ask one server, one after the other."""
    benchmark = MmluTask(task, 512)
    made: dict[str, type[InspectRunner] | type[DirectRunner]] = {
        "inspect": InspectRunner,
        "direct": DirectRunner,
    }
    ran = []
    with Server(key=KEY) as server:
        for name, kind in made.items():
            (folder / name).mkdir()
            runner = kind(benchmark, folder / name, temperature=0.0, log_format=log_format)
            ran.append(run(runner, server, folder / name, questions))
    return ran[0], ran[1]


def questions_of(task: str, source: str) -> Sequence[Question]:
    """Questions of a task, few of each subject."""
    found = load_questions(source, shots=TASKS[task]).questions
    return found[:: max(1, len(found) // _COUNT)][:_COUNT]


def untimed(answer: Answer) -> Answer:
    """An answer without how long it took."""
    return dataclasses.replace(answer, seconds=0.0)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, object]]:  # noqa: ANN401
    """The fields of a log, each with its path; ids and times are left out."""
    if isinstance(value, dict) and value:
        for name, one in value.items():
            if name not in _IDS_AND_TIMES:
                yield from leaves(one, f"{path}.{name}".strip("."))
    elif isinstance(value, list) and value:
        for at, one in enumerate(value):
            yield from leaves(one, f"{path}[{at}]")
    else:
        yield path, value


def plain(log: EvalLog) -> dict[str, Any]:
    """A log as JSON, its samples by id, with those of their events that a reader looks for."""
    found: dict[str, Any] = json.loads(log.model_dump_json(exclude_none=True))
    samples = {str(sample.id): sample for sample in log.samples or []}
    found["samples"].sort(key=lambda sample: sample["id"])
    for sample in found["samples"]:
        assert samples[str(sample["id"])].uuid
        sample["name"] = sample["id"]
        sample["events"] = [
            event for event in sample["events"] if event["event"] in ("model", "score", "error")
        ]
    return found


def differences(one: EvalLog, other: EvalLog) -> dict[str, str]:
    """The fields in which two logs differ, each with an example; without what is known to."""
    first, second = dict(leaves(plain(one))), dict(leaves(plain(other)))
    found: dict[str, str] = {}
    for path in sorted({*first, *second}):
        field = re.sub(r"\[\d+\]", "", path)
        known = any(field == name or field.startswith(f"{name}.") for name in _OTHERWISE)
        values = [fields.get(path, "(missing)") for fields in (first, second)]
        if not known and values[0] != values[1]:
            found.setdefault(field, f"{path}: {values[0]!r} is not {values[1]!r}")
    return found


@pytest.fixture(scope="module", params=list(TASKS))
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, Ran]:
    """Both runners' work on the questions that capgate ships."""
    task = str(request.param)
    return both(task, questions_of(task, "bundled"), tmp_path_factory.mktemp("logs"))


def test_the_same_requests(ran: tuple[Ran, Ran]) -> None:
    """Both send the same requests, byte for byte, with the same headers."""
    inspect, direct = ran
    assert direct.bodies == inspect.bodies
    assert len(direct.bodies) == _COUNT
    assert direct.headers == inspect.headers


def test_the_same_outcomes(ran: tuple[Ran, Ran]) -> None:
    """Each question ends alike: state, letter, text, tokens, log-odds, why it stopped, fault."""
    inspect, direct = ran
    assert direct.outcomes.keys() == inspect.outcomes.keys()
    for question, outcome in inspect.outcomes.items():
        other = direct.outcomes[question]
        assert untimed(other.answer) == untimed(outcome.answer)
        assert type(other.fault) is type(outcome.fault)
        assert str(other.fault) == str(outcome.fault)
    found = [outcome.answer for outcome in direct.outcomes.values()]
    assert len({one.state for one in found}) == 4
    assert {one.choice for one in found} == {"", "A", "B", "C", "D"}
    assert any(one.margin for one in found)
    assert any(one.cut_off for one in found)


def test_the_same_logs(ran: tuple[Ran, Ran]) -> None:
    """The logs are equal in every field: settings, plan, results, samples and their events."""
    inspect, direct = ran
    assert differences(inspect.log, direct.log) == {}


def test_neither_log_holds_the_key(ran: tuple[Ran, Ran]) -> None:
    """The key, which the model repeats, is cut out of both logs."""
    for one in ran:
        text = one.log.model_dump_json()
        assert KEY not in text
        assert f"{MARK}\\nANSWER: A" in text


def test_the_same_on_the_real_mmlu(mmlu_folder: Path, tmp_path: Path) -> None:
    """On real questions of many subjects, too, requests, outcomes and logs are the same."""
    for name in TASKS:
        folder = tmp_path / name.split("/")[-1]
        folder.mkdir()
        inspect, direct = both(name, questions_of(name, str(mmlu_folder)), folder)
        test_the_same_requests((inspect, direct))
        test_the_same_outcomes((inspect, direct))
        test_the_same_logs((inspect, direct))


@pytest.fixture(scope="module", params=["json", "eval"])
def logged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, Ran]:
    """Both runners' work, with logs of each form."""
    task = next(iter(TASKS))
    folder = tmp_path_factory.mktemp("logs")
    return both(task, questions_of(task, "bundled"), folder, request.param)


def test_inspects_readers_read_the_log(logged: tuple[Ran, Ran]) -> None:
    """It is listed and read whole, by header, by summary, one by one and by id, as Inspect's."""
    _, direct = logged
    (info,) = list_eval_logs(str(direct.path.parent))
    assert Path(info.name.removeprefix("file://")) == direct.path
    assert info.task == "mmlu-0-shot-anatomy"
    header = read_eval_log(info, header_only=True)
    assert header.samples is None
    assert header.status == "success"
    assert header.results is not None
    assert header.results == direct.log.results
    assert (header.results.total_samples, header.results.completed_samples) == (24, 22)
    summaries = read_eval_log_sample_summaries(info)
    assert len(summaries) == _COUNT
    assert sum(one.error is not None for one in summaries) == 2
    samples = list(read_eval_log_samples(info, all_samples_required=True))
    assert {one.id for one in samples} == {one.id for one in direct.log.samples or []}
    one = samples[0]
    assert read_eval_log_sample(info, one.id, one.epoch).messages == one.messages


@pytest.mark.parametrize("scorer", [choice(), includes()], ids=["choice", "includes"])
def test_it_can_be_scored_again(logged: tuple[Ran, Ran], scorer: Scorer) -> None:
    """`inspect_ai.score` makes of the direct runner's log what it makes of Inspect's."""
    found = []
    for one in logged:
        made = score(read_eval_log(str(one.path)), scorer, action="append", display="none")
        assert made.results is not None
        found.append(
            [
                {s.id: {n: (v.value, v.answer) for n, v in (s.scores or {}).items()}}
                for s in sorted(made.samples or [], key=lambda s: str(s.id))
            ]
            + [[(one.name, one.scored_samples) for one in made.results.scores]]  # type: ignore[list-item]
        )
    assert found[0] == found[1]


def test_the_command_scores_it_again(logged: tuple[Ran, Ran], tmp_path: Path) -> None:
    """`inspect score` takes the log as it takes any."""
    _, direct = logged
    target = tmp_path / direct.path.name
    done = subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "score", str(direct.path)),
            *("--scorer", "includes", "--action", "append", "--output-file", str(target)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    again = read_eval_log(str(target))
    assert again.results is not None
    assert {one.name for one in again.results.scores} == {"choice", "includes"}


def test_a_log_survives_being_written_again(logged: tuple[Ran, Ran], tmp_path: Path) -> None:
    """What Inspect reads of the log it writes and reads again without a loss."""
    _, direct = logged
    log = read_eval_log(str(direct.path))
    copy = tmp_path / direct.path.name
    write_eval_log(log, str(copy))
    assert differences(read_eval_log(str(copy)), log) == {}


def test_inspect_view_serves_the_log(logged: tuple[Ran, Ran]) -> None:
    """`inspect view` lists the log and hands it out whole."""
    _, direct = logged
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    view = subprocess.Popen(
        [
            *(sys.executable, "-m", "inspect_ai", "view", "start"),
            *("--log-dir", str(direct.path.parent), "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def get(path: str) -> Any:  # noqa: ANN401
        with urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as response:
            return json.load(response)

    def serves() -> bool:
        with contextlib.suppress(OSError):
            return bool(get("log-files"))
        assert view.poll() is None
        return False

    try:
        until(serves, "inspect view serves")
        (found,) = get("log-files")["files"]
        assert unquote(found["name"]).endswith(direct.path.name)
        whole = get(f"logs/{quote(found['name'], safe='')}")
    finally:
        view.terminate()
        view.wait(30)
    assert whole["status"] == "success"
    assert len(whole["samples"]) == _COUNT
