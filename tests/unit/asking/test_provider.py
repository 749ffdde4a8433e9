"""The provider under a real `eval()` with inspect_evals' own solver and scorer."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import (
    GenerateConfig,
    Model,
    get_model,
)
from inspect_ai.scorer import choice
from inspect_evals.mmlu.mmlu import mmlu_multiple_choice
from tests.doubles import replies
from tests.doubles.replies import Handler
from tests.doubles.server import Server, answer
from tests.unit.client.conftest import KEY, QUICK

from capgate.asking.inspect_backend.messages import facts_of
from capgate.client.limits import ClientLimits
from capgate.common.errors import CapgateError
from capgate.common.text import HEAD, TAIL

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def task(count: int = 4, name: str = "anatomy") -> Task:
    """Returns a small task whose right answers are all B."""
    samples = [
        Sample(
            id=f"q{at}",
            input=f"Question {at}?",
            choices=["one", "two", "three", "four"],
            target="B",
            metadata={"subject": "anatomy"},
        )
        for at in range(count)
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=mmlu_multiple_choice(max_non_cot_tokens=512),
        scorer=choice(),
        config=GenerateConfig(temperature=0.0),
        name=name,
    )


def model_of(server: Server, key: str = KEY, **args: Any) -> Model:  # noqa: ANN401
    """Returns the provider's model at the server."""
    args.setdefault("limits", ClientLimits(**(QUICK | {"max_retries": 1})))  # type: ignore[arg-type]
    return get_model(
        "capgate/lora-a",
        base_url=server.url,
        api_key=key,
        target="my-target",
        memoize=False,
        **args,
    )


def run(model: Model, logs: Path, count: int = 4) -> EvalLog:
    """Runs the task once."""
    (log,) = eval(
        task(count),
        model=model,
        log_dir=str(logs),
        display="none",
        fail_on_error=False,
        ctl_server=False,
        log_realtime=False,
        log_model_api=True,
    )
    return log


def test_answers_and_scores(server: Server, tmp_path: Path) -> None:
    """Answers are read and scored by upstream's own code, with the provider's facts beside."""
    server.answer = lambda asked: (
        "ANSWER: B" if "Question 1" in str(asked["messages"]) else "ANSWER: C"
    )
    log = run(model_of(server), tmp_path)
    assert log.status == "success"
    values = {s.id: (s.scores or {})["choice"].value for s in log.samples or []}
    assert values == {"q0": "I", "q1": "C", "q2": "I", "q3": "I"}
    for sample in log.samples or []:
        facts = facts_of(sample.output)
        assert facts.attempts == 1
        assert facts.finish_reason == "stop"
        assert facts.served_by == "lora-a"
        assert facts.seconds > 0
        assert sample.output.usage is not None
        assert (sample.output.usage.input_tokens, sample.output.usage.output_tokens) == (57, 5)


def test_request(server: Server, tmp_path: Path) -> None:
    """The solver's token limit, the task's temperature and extra members reach the server."""
    run(
        model_of(
            server,
            extra_body={"grammar": 'root ::= "A"', "cache_prompt": False},
            config=GenerateConfig(seed=7, logprobs=True, top_logprobs=5),
        ),
        tmp_path,
        1,
    )
    body = server.chats[0].body
    assert body["model"] == "lora-a"
    assert body["max_tokens"] == 512
    assert body["temperature"] == 0.0
    assert body["seed"] == 7
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert (body["grammar"], body["cache_prompt"]) == ('root ::= "A"', False)
    (message,) = body["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("Answer the following multiple choice question.")


def test_logprobs(server: Server, tmp_path: Path) -> None:
    """Log-probabilities come out in Inspect's own form."""
    server.script(forever=replies.Reply(200, replies.completion("A", logprobs=replies.LOGPROBS)))
    (sample,) = run(model_of(server), tmp_path, 1).samples or []
    logprobs = sample.output.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content[0].top_logprobs is not None
    assert [top.token for top in logprobs.content[0].top_logprobs] == ["A", "D", "The"]


@pytest.mark.parametrize(
    "handler",
    [replies.UNAUTHORIZED, replies.ENGINE_DEAD, replies.HTML, replies.EMPTY_CHOICES],
    ids=["refused", "failed", "no JSON", "no answer"],
)
def test_faults_are_never_scored(server: Server, tmp_path: Path, handler: Handler) -> None:
    """A sample without an answer has an error that names everything, and no score."""
    server.script(forever=handler)
    log = run(model_of(server), tmp_path, 2)
    assert log.status == "success"
    assert log.results is None or all(score.scored_samples == 0 for score in log.results.scores)
    for sample in log.samples or []:
        assert not sample.scores
        assert sample.error is not None
        assert sample.error.message.startswith("my-target: ")
        assert server.url in sample.error.message
    assert len(server.chats) <= 4


def test_refused(server: Server, tmp_path: Path) -> None:
    """A server that is not there is an error of every sample, and the eval ends soon."""
    model = model_of(server)
    server.stop()
    log = run(model, tmp_path, 30)
    samples = log.samples or []
    assert len(samples) == 30
    assert not any(sample.scores for sample in samples)
    assert all(sample.error and server.url in sample.error.message for sample in samples)


def test_a_failed_sample_stops_no_other(server: Server, tmp_path: Path) -> None:
    """Where one question fails, the others are answered and scored."""
    server.script(replies.PROMPT_TOO_LONG, forever=answer("ANSWER: B"))
    log = run(model_of(server), tmp_path, 12)
    assert sum(sample.error is not None for sample in log.samples or []) == 1
    assert sum(bool(sample.scores) for sample in log.samples or []) == 11
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1.0


def test_key_is_in_no_log(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is in no part of the log and on no terminal, answered or refused."""
    server.key = KEY
    run(model_of(server), tmp_path, 2)
    server.key = "another"
    echo = replies.Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    server.key = ""
    server.script(forever=echo)
    run(model_of(server), tmp_path, 2)
    logs = list(tmp_path.glob("*.eval"))
    assert len(logs) == 2
    for path in logs:
        with zipfile.ZipFile(path) as members:
            for name in members.namelist():
                assert b"canary" not in members.read(name), name
    out = capfd.readouterr()
    assert "canary" not in out.out + out.err


def test_two_servers_of_one_name(server: Server, tmp_path: Path) -> None:
    """Two servers that serve one name each get their own requests, keys and faults."""
    with Server(key="other-key-123456") as other:
        first, second = model_of(server), model_of(other, "other-key-123456")
        logs = eval(
            task(3),
            model=[first, second],
            log_dir=str(tmp_path),
            display="none",
            fail_on_error=False,
            ctl_server=False,
        )
        assert [log.status for log in logs] == ["success", "success"]
        assert len(server.chats) == len(other.chats) == 3
        assert {a.headers["Authorization"] for a in server.chats} == {f"Bearer {KEY}"}


def test_an_evaluation_leaves_no_connection_open(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections are closed while the evaluation's event loop still runs; nothing warns later."""
    model = model_of(server)
    run(model, tmp_path, 2)
    del model
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        gc.collect()
    assert not [one for one in warned if "client session" in str(one.message)]
    assert "client session" not in caplog.text


def test_the_command_line_takes_the_provider(server: Server, tmp_path: Path) -> None:
    """`inspect eval` finds the provider by its name, without an import."""
    (tmp_path / "own.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import Sample\n"
        "from inspect_ai.scorer import includes\n"
        "@task\n"
        "def own():\n"
        "    return Task(dataset=[Sample(input='2+2=?', target='4')], scorer=includes())\n"
    )
    server.answer = lambda _: "4"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "eval", "own.py"),
            *("--model", "capgate/lora-a", "--model-base-url", server.url),
            *("-M", "target=mine", "--display", "plain", "--log-dir", "logs"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (log,) = (read_eval_log(one.name) for one in list_eval_logs(str(tmp_path / "logs")))
    assert log.status == "success"
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
    assert [asked.body["model"] for asked in server.chats] == ["lora-a"]


def test_base_url_is_needed() -> None:
    """A model without a server is refused at once, with the way out."""
    make: Callable[[], Model] = lambda: get_model("capgate/m", memoize=False)  # noqa: E731
    with pytest.raises(CapgateError, match="base_url"):
        make()


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("x" * 200_000 + "\nANSWER: B", "C"),
        ("ANSWER: B\n" + "x" * 200_000, "C"),
        ("x" * 100_000 + "\nANSWER: B\n" + "x" * 100_000, "I"),
        ("x" * (HEAD - 7) + "ANSWER:" + "x" * 200_000 + " B" + "\n" * (TAIL - 2), "I"),
        ("x" * (HEAD + TAIL - 10) + "\nANSWER: B", "C"),
    ],
    ids=["end", "beginning", "middle", "across the cut", "just short enough"],
)
def test_of_a_huge_answer_beginning_and_end_are_scored_and_kept(
    server: Server, tmp_path: Path, said: str, score: str
) -> None:
    """What is kept is what was scored; its length is told, and nothing is read across the cut."""
    server.answer = lambda _: said
    (sample,) = run(model_of(server), tmp_path, 1).samples or []
    assert (sample.scores or {})["choice"].value == score
    kept = sample.output.completion
    assert len(kept) < HEAD + TAIL + 100
    assert (f"of {len(said):,} characters left out" in kept) == (len(said) > HEAD + TAIL)
