"""Shipped benchmarks asked by the direct runner, and upstream's own tasks by Inspect alone.

A process of its own: what the library `datasets` may load is fixed at its import.

    HF_HOME=… HF_HUB_OFFLINE=1 python -m tests.integration.asked_plainly gsm8k,hellaswag some/folder
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from inspect_ai import eval as evaluate
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import get_model
from inspect_ai.util import registry_create
from tests.doubles.server import Server
from tests.integration.test_sameness import differences
from tests.unit.asking.asked import ask, client_of, runner_of
from tests.unit.asking.test_free_text import answers
from tests.unit.client.conftest import KEY

from capgate.asking.inspect_backend.direct_tasks import why_not_direct
from capgate.asking.inspect_backend.provider import capgate_api
from capgate.asking.outcome import QuestionTask
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.make import make_benchmark
from capgate.config.benchmarks_file import load_benchmarks

_OF_THE_RUN: Final = (
    *("eval.metadata", "eval.task", "eval.model_args", "metadata", "eval.dataset"),
    *("eval.config", "eval.revision", "eval.packages", "plan.config", "stats.connection"),
)
"""Fields that say who had it run and how, and not what was asked and answered."""


def of_the_questions(found: dict[str, str]) -> dict[str, str]:
    """Differences without those that say how a log was made."""
    return {
        field: told
        for field, told in found.items()
        if not any(field == one or field.startswith((f"{one}.", f"{one}_")) for one in _OF_THE_RUN)
    }


def plainly(task: Any, server: Server, folder: Path, **settings: Any) -> EvalLog:  # noqa: ANN401
    """The log of a plain evaluation, by Inspect alone."""
    assert capgate_api
    model = get_model(
        "capgate/lora-a", base_url=server.url, api_key=KEY, target="mine", memoize=False
    )
    (log,) = evaluate(
        task, model=model, log_dir=str(folder), display="none", log_format="json", **settings
    )
    assert log.status == "success"
    return read_eval_log(log.location, resolve_attachments=True)


def directly(made: Benchmark, server: Server, folder: Path) -> EvalLog:
    """The log of the direct runner."""
    questions = made.load("hub").questions
    task = QuestionTask("all", questions, client_of(server), target="mine", look="first")
    ask(runner_of("direct", folder, made), task)
    (path,) = folder.iterdir()
    return read_eval_log(str(path))


def compared(name: str, server: Server, folder: Path) -> dict[str, Any]:
    """What differs between both ways of asking a shipped benchmark."""
    entry = load_benchmarks(Path("/nowhere")).entry_of(name)
    made = make_benchmark(name, entry, task=str(entry.task), max_tokens=512, root=Path("/nowhere"))
    questions = made.load("hub").questions
    server.asked.clear()
    ours = directly(made, server, folder / name / "direct")
    sent = sorted(one.raw.decode() for one in server.chats)
    server.asked.clear()
    upstream = registry_create("task", str(entry.task), **entry.args)
    theirs = plainly(
        upstream,
        server,
        folder / name / "plain",
        temperature=0.0,
        max_tokens=made.max_tokens,
        epochs=1,
    )
    return {
        "why not": why_not_direct(made.task(questions, shard="all")),
        "questions": len(questions),
        "sent alike": sent == sorted(one.raw.decode() for one in server.chats),
        "differences": of_the_questions(differences(theirs, ours)),
    }


if __name__ == "__main__":
    with Server(key=KEY, answer=answers, models=("lora-a",)) as running:
        asked = sys.argv[1].split(",")
        print(json.dumps({name: compared(name, running, Path(sys.argv[2])) for name in asked}))
